"""The pages of the inbox: the list, one message, and the forms to retry and discard."""

from datetime import UTC, datetime

from flask import Blueprint, render_template
from werkzeug.wrappers import Response

from receiver.db.models import PARKED, QUARANTINED
from receiver.db.pagination import MOST_COUNTED
from receiver.inbox import browse
from receiver.inbox.retry import discard_message, discard_messages, retry_message, retry_messages
from receiver.schemas.history import ConflictNoteSchema
from receiver.schemas.message import DiscardSchema, MessageFiltersSchema, RetrySchema
from receiver.text import indent_json
from receiver.web.console.forms import load_fields, read_query, redirect_with_notice
from receiver.web.console.session_guard import read_form
from receiver.web.context import app_context

messages = Blueprint("messages", __name__)

FILTERS = MessageFiltersSchema()
NOTE = ConflictNoteSchema()
RETRY = RetrySchema()
DISCARD = DiscardSchema()
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
        page = browse.list_messages(session, load_fields(FILTERS, query))
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
    selection, app = load_fields(RETRY, read_form()), app_context()
    now = datetime.now(UTC)
    result = retry_messages(app.sessions, app.bells, selection, now, ONE_REQUEST_SECONDS)
    notice = "retried_some" if result["next_cursor"] else "retried_many"
    return redirect_with_notice(LIST_PAGE, notice, count=result["retried"], **selection)


@messages.post("/messages/discard")
def submit_discard_all() -> Response:
    """Discard all messages of an outcome that match, as many as one request can."""
    selection, now = load_fields(DISCARD, read_form()), datetime.now(UTC)
    result = discard_messages(app_context().sessions, selection, now, ONE_REQUEST_SECONDS)
    notice = "discarded_some" if result["next_cursor"] else "discarded_many"
    shown = {name: selection[name] for name in ("outcome", "account") if name in selection}
    return redirect_with_notice(LIST_PAGE, notice, count=result["discarded"], **shown)
