"""The inbox for the shop and for ops: what came in, what became of it, and another try."""

from datetime import UTC, datetime
from typing import Any

from receiver.inbox import browse, retry
from receiver.schemas.conflict import ConflictNoteSchema
from receiver.schemas.fields import ProblemSchema
from receiver.schemas.message import (
    MessageFiltersSchema,
    MessagePageSchema,
    MessageSchema,
    RetriedSchema,
    RetrySchema,
)
from receiver.web.api.blueprint import Routes
from receiver.web.context import app_context

messages = Routes("messages", __name__, description="The inbox: what couriers told, word for word")

# For how long one request goes on sending messages back. Seconds.
RETRY_FOR_SECONDS = 5.0


@messages.get("/messages")
@messages.arguments(MessageFiltersSchema, location="query")
@messages.response(200, MessagePageSchema)
def list_messages(filters: dict[str, Any]) -> dict[str, Any]:
    """Messages without their bodies, the newest first; every filter narrows the list."""
    with app_context().sessions() as session:
        return browse.list_messages(session, filters)


@messages.get("/messages/<number:message_id>")
@messages.response(200, MessageSchema)
@messages.alt_response(404, schema=ProblemSchema, description="No such message")
def get_message(message_id: str) -> dict[str, Any]:
    """One message with its body, word for word.

    The body is a text and no JSON object, since reading and writing JSON again would lose what
    signatures are made of: spaces, the spelling of numbers, names that are given twice. Both
    `body` and `body_base64` are null once the body is no longer kept.
    """
    with app_context().sessions() as session:
        return browse.get_message(session, message_id)


@messages.post("/messages/<number:message_id>/retry")
@messages.response(202, RetriedSchema)
@messages.alt_response(404, schema=ProblemSchema, description="No such message")
@messages.alt_response(409, schema=ProblemSchema, description="Its body is no longer kept")
def retry_message(message_id: str) -> dict[str, Any]:
    """Send one message back to the workers: one that is quarantined, parked or discarded.

    One that is pending or applied stays as it is and counts as 0, since what was wished for is
    under way or done: so a request whose answer was lost can be sent again.
    """
    app = app_context()
    retried = retry.retry_message(app.sessions, app.bells, message_id, datetime.now(UTC))
    return {"retried": retried, "next_cursor": None}


@messages.post("/messages/retry")
@messages.arguments(RetrySchema)
@messages.response(202, RetriedSchema)
def retry_messages(wanted: dict[str, Any]) -> dict[str, Any]:
    """Send all quarantined, or all parked, messages back to the workers, the oldest first.

    They are read whenever no new messages wait, so live traffic is not delayed. Where there are
    very many the answer comes before the last: go on with `next_cursor` until it is null, so that
    none is sent back twice.
    """
    app = app_context()
    now = datetime.now(UTC)
    return retry.retry_messages(app.sessions, app.bells, wanted, now, RETRY_FOR_SECONDS)


@messages.post("/messages/<number:message_id>/discard")
@messages.arguments(ConflictNoteSchema)
@messages.response(200, MessageSchema)
@messages.alt_response(404, schema=ProblemSchema, description="No such message")
@messages.alt_response(409, schema=ProblemSchema, description="It is applied, or about to be")
def discard_message(word: dict[str, str], message_id: str) -> dict[str, Any]:
    """Say that a quarantined or parked message needs nothing more, who says so, and why.

    A discarded one stays as it is; its retry takes the word back.
    """
    sessions, now = app_context().sessions, datetime.now(UTC)
    return retry.discard_message(sessions, message_id, word, now)
