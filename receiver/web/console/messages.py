"""Messages: what was not read, with the reason and its bytes; try again, or let it be."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, g, render_template
from werkzeug.wrappers import Response

from receiver.db.models import OUTCOMES, PARKED, QUARANTINED
from receiver.inbox import browse
from receiver.inbox.retry import send_all_back
from receiver.schemas.conflict import ConflictNoteSchema
from receiver.schemas.message import MessageFiltersSchema, RetrySchema
from receiver.text import laid_out
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
        listed = browse.page(session, filters)
        waiting = {it: browse.count(session, it) for it in (QUARANTINED, PARKED)}
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
        found = browse.shown(session, browse.number(message_id))
    body = laid_out(found["body"]) if found["body"] is not None else found["body_base64"]
    return render_template("console/message.html", message=found, body=body, name=g.visitor.name)


@messages.get("/messages/<number:message_id>/raw")
def show_raw(message_id: str) -> Response:
    """Its bytes, to keep in a file: never taken for a page."""
    with app_context().sessions() as session:
        raw = browse.raw(session, browse.number(message_id))
    answer = Response(raw, mimetype="application/octet-stream")
    answer.headers.set("Content-Disposition", "attachment", filename=f"message-{message_id}.bin")
    return answer


@messages.post("/messages/<number:message_id>/retry")
def retry(message_id: str) -> Response:
    """Back to the workers with one."""
    app, number = app_context(), browse.number(message_id)
    with app.sessions.begin() as session:
        sent = browse.send_back(session, number, datetime.now(UTC))
    app.doorbell.ring()
    notice = "retried" if sent else "applied"
    return done("console.messages.show", notice, message_id=message_id)


@messages.post("/messages/<number:message_id>/discard")
def discard(message_id: str) -> Response:
    """Say that one needs nothing more, who says so, and why."""
    word = read(NOTE, form())
    with app_context().sessions.begin() as session:
        browse.discard(
            session, browse.number(message_id), word["by"], word["note"], datetime.now(UTC)
        )
    return done("console.messages.show", "discarded", message_id=message_id)


@messages.post("/messages/retry")
def retry_all() -> Response:
    """Back to the workers with all of an outcome, as far as one request gets."""
    wanted: dict[str, Any] = read(RETRY, form())
    app = app_context()
    sent, further = send_all_back(
        app.sessions,
        app.doorbell.ring,
        wanted["outcome"],
        wanted.get("account"),
        seconds=RETRY_FOR_SECONDS,
    )
    place = {name: wanted[name] for name in ("outcome", "account") if name in wanted}
    notice = "retried_many" if further is None else "retried_some"
    return done("console.messages.index", notice, count=sent, **place)
