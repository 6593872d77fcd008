"""GET /v1/statuses: our words, and each courier's words for them."""

from typing import Any

from receiver.couriers.vocabulary import describe_statuses
from receiver.schemas.fields import VocabularySchema
from receiver.web.api.blueprint import Routes

vocabulary = Routes("statuses", __name__, description="The vocabulary")


@vocabulary.get("/statuses")
@vocabulary.response(200, VocabularySchema)
def list_statuses() -> dict[str, Any]:
    """The statuses, and each courier's words mapped to them.

    An open set: treat a status that you do not know by its group.
    """
    return describe_statuses()
