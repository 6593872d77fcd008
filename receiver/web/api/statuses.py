"""The vocabulary: all statuses and the couriers' words for them."""

from typing import Any

from receiver.couriers.vocabulary import describe_statuses
from receiver.schemas.fields import VocabularySchema
from receiver.web.api.blueprint import ApiBlueprint
from receiver.web.context import app_context

statuses = ApiBlueprint("statuses", "The statuses, and the couriers' words for them.")


@statuses.get("/statuses")
@statuses.response(200, VocabularySchema)
def list_statuses() -> dict[str, Any]:
    """List all statuses with the couriers' words that are mapped to them.

    An account whose field map has words of its own stands beside the couriers.
    More statuses may be added: treat a status that you do not know by its group.
    """
    return describe_statuses(app_context().settings.own_words)
