"""Messages: what was not read, with the reason and its bytes; try again, or let it be."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g, render_template
from werkzeug.wrappers import Response

from receiver.db.models import OUTCOMES, PARKED, QUARANTINED
from receiver.inbox import browse
from receiver.inbox.retry import discard_message, retry_message, retry_messages
from receiver.schemas.conflict import ConflictNoteSchema
from receiver.schemas.message import MessageFiltersSchema, RetrySchema
from receiver.text import indent_json
from receiver.web.api.messages import RETRY_FOR_SECONDS
from receiver.web.console.pages import asked, done, read
from receiver.web.console.session_guard import form
from receiver.web.context import app_context

messages = Blueprint("messages", __name__)

FILTERS = MessageFiltersSchema()
NOTE = ConflictNoteSchema()
RETRY = RetrySchema()


@messages.get("/messages")
def index() -> str:
    """The list: at first what is quarantined."""
    told = asked()
    told.setdefault("outcome", QUARANTINED)
    filters = read(FILTERS, told)
    with app_context().sessions() as session:
        listed = browse.list_messages(session, filters)
        waiting = {it: browse.count_messages(session, it) for it in (QUARANTINED, PARKED)}
    return render_template(
        "console/messages.html",
        **listed,
        waiting=waiting,
        most=browse.MOST_COUNTED,
        outcomes=OUTCOMES,
        accounts=sorted(app_context().settings.accounts),
        asked=told,
    )


@messages.get("/messages/<number:message_id>")
def show(message_id: str) -> str:
    """One message, with its body laid out for reading."""
    with app_context().sessions() as session:
        found = browse.get_message(session, message_id)
    body = indent_json(found["body"]) if found["body"] is not None else found["body_base64"]
    return render_template("console/message.html", message=found, body=body, name=g.visitor.name)


@messages.get("/messages/<number:message_id>/raw")
def show_raw(message_id: str) -> Response:
    """Its bytes, to keep in a file: never taken for a page."""
    with app_context().sessions() as session:
        raw = browse.get_raw_body(session, message_id)
    answer = Response(raw, mimetype="application/octet-stream")
    answer.headers.set("Content-Disposition", "attachment", filename=f"message-{message_id}.bin")
    return answer


@messages.post("/messages/<number:message_id>/retry")
def retry(message_id: str) -> Response:
    """Back to the workers with one."""
    app = app_context()
    retried = retry_message(app.sessions, app.bells, message_id, datetime.now(UTC))
    notice = "retried" if retried else "applied"
    return done("console.messages.show", notice, message_id=message_id)


@messages.post("/messages/<number:message_id>/discard")
def discard(message_id: str) -> Response:
    """Say that one needs nothing more, who says so, and why."""
    word = read(NOTE, form())
    sessions, now = app_context().sessions, datetime.now(UTC)
    discard_message(sessions, message_id, word, now)
    return done("console.messages.show", "discarded", message_id=message_id)


@messages.post("/messages/retry")
def retry_all() -> Response:
    """Back to the workers with all of an outcome, as far as one request gets."""
    wanted: dict[str, Any] = read(RETRY, form())
    app = app_context()
    now = datetime.now(UTC)
    done_now = retry_messages(app.sessions, app.bells, wanted, now, RETRY_FOR_SECONDS)
    place = {name: wanted[name] for name in ("outcome", "account") if name in wanted}
    notice = "retried_some" if done_now["next_cursor"] else "retried_many"
    return done("console.messages.index", notice, count=done_now["retried"], **place)
