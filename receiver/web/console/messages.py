"""The pages of the inbox: the list, one message, and the forms to retry and discard."""

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, render_template
from marshmallow import Schema
from werkzeug.wrappers import Response

from receiver.db.models import PARKED, QUARANTINED
from receiver.db.pagination import MOST_COUNTED
from receiver.inbox import browse
from receiver.inbox.retry import discard_message, discard_messages, retry_message, retry_messages
from receiver.schemas.history import ConflictNoteSchema
from receiver.schemas.message import DiscardSchema, MessageFiltersSchema, RetrySchema
from receiver.text import indent_json
from receiver.web.console.forms import load_fields, read_days, read_query, redirect_with_notice
from receiver.web.console.session_guard import read_form
from receiver.web.context import app_context

messages = Blueprint("messages", __name__)

FILTERS = MessageFiltersSchema()
NOTE = ConflictNoteSchema()
RETRY = RetrySchema()
DISCARD = DiscardSchema()
# The filters of the list that its forms have as well.
LIST_FILTERS = ("outcome", "account", "received_from", "received_to")
LIST_PAGE = "console.messages.show_messages_page"
MESSAGE_PAGE = "console.messages.show_message_page"

# How many characters of a body are shown: to indent and escape a megabyte takes more than a second,
# during which the process answers nobody else.
MOST_SHOWN = 65_536

# How long one form goes on before it says that there are more.
ONE_REQUEST_SECONDS = 5.0


@messages.get("/messages")
def show_messages_page() -> str:
    """List messages, without a choice those that are quarantined."""
    query = read_query()
    query.setdefault("outcome", QUARANTINED)
    with app_context().sessions() as session:
        page = browse.list_messages(
            session, load_fields(FILTERS, query | read_days(query, "received"))
        )
        waiting = {
            outcome: browse.count_messages(session, outcome) for outcome in (QUARANTINED, PARKED)
        }
    return render_template(
        "console/messages.html", **page, waiting=waiting, most=MOST_COUNTED, query=query
    )


@messages.get("/messages/<number:message_id>")
def show_message_page(message_id: str) -> str:
    """Show one message with its body, indented for reading; of a large body the beginning."""
    with app_context().sessions() as session:
        message = browse.get_message(session, message_id)
    body = message["body"] if message["body"] is not None else message["body_base64"]
    is_cut = len(body or "") > MOST_SHOWN
    if is_cut:
        body = body[:MOST_SHOWN]
    elif message["body"] is not None:
        body = indent_json(body)
    return render_template("console/message.html", message=message, body=body, is_cut=is_cut)


@messages.get("/messages/<number:message_id>/raw")
def download_message_body(message_id: str) -> Response:
    """Send the body unchanged, as a file."""
    with app_context().sessions() as session:
        raw = browse.get_raw_body(session, message_id)
    answer = Response(raw, mimetype="application/octet-stream")
    answer.headers.set("Content-Disposition", "attachment", filename=f"message-{message_id}.bin")
    return answer


@messages.post("/messages/<number:message_id>/retry")
def submit_retry(message_id: str) -> Response:
    """Process one message again."""
    app = app_context()
    retried = retry_message(app.sessions, app.bells, message_id, datetime.now(UTC))
    notice = "retried" if retried else "applied"
    return redirect_with_notice(MESSAGE_PAGE, notice, message_id=message_id)


@messages.post("/messages/<number:message_id>/discard")
def submit_discard(message_id: str) -> Response:
    """Discard one message, and record who decided it and why."""
    note = load_fields(NOTE, read_form())
    discard_message(app_context().sessions, message_id, note, datetime.now(UTC))
    return redirect_with_notice(MESSAGE_PAGE, "discarded", message_id=message_id)


@messages.post("/messages/retry")
def submit_retry_all() -> Response:
    """Process all messages of an outcome again, as many as one request can."""
    selection, app = _read_selection(RETRY), app_context()
    now = datetime.now(UTC)
    result = retry_messages(app.sessions, app.bells, selection, now, ONE_REQUEST_SECONDS)
    notice = "retried_some" if result["next_cursor"] else "retried_many"
    return _redirect_to_list(notice, result["retried"])


@messages.post("/messages/discard")
def submit_discard_all() -> Response:
    """Discard all messages of an outcome that match, as many as one request can."""
    selection, now = _read_selection(DISCARD), datetime.now(UTC)
    result = discard_messages(app_context().sessions, selection, now, ONE_REQUEST_SECONDS)
    notice = "discarded_some" if result["next_cursor"] else "discarded_many"
    return _redirect_to_list(notice, result["discarded"])


def _read_selection(schema: Schema) -> dict[str, Any]:
    """Read which messages a form is about: those of the list that it stands under."""
    form = read_form()
    return load_fields(schema, form | read_days(form, "received"))


def _redirect_to_list(notice: str, count: int) -> Response:
    form = read_form()
    shown = {name: form[name] for name in LIST_FILTERS if form.get(name)}
    return redirect_with_notice(LIST_PAGE, notice, count=count, **shown)
