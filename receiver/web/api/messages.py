"""The inbox: list, show, retry and discard messages."""

from datetime import UTC, datetime
from typing import Any

from flask import Response

from receiver.accounts.known_accounts import require_known_account
from receiver.inbox import browse, retry
from receiver.schemas import message as schemas
from receiver.schemas.history import ConflictNoteSchema
from receiver.web.api.blueprint import ApiBlueprint, json_answer
from receiver.web.context import app_context
from receiver.web.openapi.components import UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE

messages = ApiBlueprint("messages", "The inbox: everything that couriers sent, stored unchanged.")

# How long one request goes on before it answers with a cursor.
ONE_REQUEST_SECONDS = 5.0


@messages.get("/messages")
@messages.arguments(schemas.MessageFiltersSchema, location="query")
@messages.response(200, schemas.MessagePageSchema)
@messages.problem(404, UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE, "account_not_found")
def list_messages(filters: dict[str, Any]) -> dict[str, Any]:
    """List messages without their bodies, newest first."""
    app = app_context()
    with app.sessions() as session:
        page = browse.list_messages(session, filters)
        if not page["messages"]:
            require_known_account(session, app.settings, filters.get("account"))
        return page


@messages.get("/messages/<number:message_id>", is_open_to_readers=False)
@messages.response(200, schemas.MessageSchema)
def get_message(message_id: str) -> Response:
    """Show one message with its body.

    The body is a text, not a JSON object, because the signature covers every byte of it: spaces,
    the format of numbers, repeated names. `body` and `body_base64` are both null when the body is
    no longer stored.
    """
    with app_context().sessions() as session:
        message = browse.get_message(session, message_id)
    return json_answer(schemas.MessageSchema().dump(message))


@messages.post("/messages/<number:message_id>/retry")
@messages.response(202, schemas.RetriedSchema)
@messages.problem(
    409,
    "The body is no longer stored.",
    "message 184467 cannot be retried: its body is no longer stored",
    "wrong_outcome",
)
def retry_message(message_id: str) -> dict[str, Any]:
    """Process a quarantined, parked or discarded message again.

    A message that is pending or applied does not change, and `retried` is 0. So it is safe to
    repeat the request.
    """
    app = app_context()
    retried = retry.retry_message(app.sessions, app.bells, message_id, datetime.now(UTC))
    return {"retried": retried, "next_cursor": None}


@messages.post("/messages/retry")
@messages.arguments(schemas.RetrySchema, example={"outcome": "quarantined", "account": "tiramizoo"})
@messages.response(202, schemas.RetriedSchema)
@messages.problem(404, UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE, "account_not_found")
def retry_messages(selection: dict[str, Any]) -> dict[str, Any]:
    """Process all quarantined, or all parked, messages that match again, oldest first.

    New messages take precedence over them. If there are very many, one request does not retry all
    of them: repeat it with `next_cursor` as `cursor` until `next_cursor` is null.
    """
    app, now = app_context(), datetime.now(UTC)
    _require_known_account(selection)
    return retry.retry_messages(app.sessions, app.bells, selection, now, ONE_REQUEST_SECONDS)


@messages.post("/messages/<number:message_id>/discard")
@messages.arguments(ConflictNoteSchema, example={"by": "Ann", "note": "not an order of ours"})
@messages.response(200, schemas.MessageSchema)
@messages.problem(
    409,
    "The message is applied or pending.",
    "message 184467 is applied: only quarantined or parked messages can be discarded",
    "wrong_outcome",
)
def discard_message(note: dict[str, str], message_id: str) -> dict[str, Any]:
    """Discard a quarantined or parked message, and record who decided it and why.

    Discarding it again changes nothing. A retry reverses the decision.
    """
    sessions, now = app_context().sessions, datetime.now(UTC)
    return retry.discard_message(sessions, message_id, note, now)


@messages.post("/messages/discard")
@messages.arguments(
    schemas.DiscardSchema,
    example={"outcome": "quarantined", "reason": "Missing data", "by": "Ann", "note": "a test"},
)
@messages.response(200, schemas.DiscardedSchema)
@messages.problem(404, UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE, "account_not_found")
def discard_messages(selection: dict[str, Any]) -> dict[str, Any]:
    """Discard all quarantined, or all parked, messages that match, oldest first.

    If there are very many, one request does not discard all of them: repeat it with `next_cursor`
    as `cursor` until `next_cursor` is null. A retry of a message reverses the decision.
    """
    sessions, now = app_context().sessions, datetime.now(UTC)
    _require_known_account(selection)
    return retry.discard_messages(sessions, selection, now, ONE_REQUEST_SECONDS)


def _require_known_account(selection: dict[str, Any]) -> None:
    app = app_context()
    with app.sessions() as session:
        require_known_account(session, app.settings, selection.get("account"))
