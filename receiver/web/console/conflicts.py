"""The page of open conflicts, and the form that closes one."""

from datetime import UTC, datetime

from flask import Blueprint, g, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from receiver.orders.conflicts import close_conflict, list_conflicts
from receiver.schemas.history import ConflictFiltersSchema, ConflictNoteSchema
from receiver.web.console.forms import load_fields, read_query, redirect_with_notice
from receiver.web.console.session_guard import read_form
from receiver.web.context import app_context

conflicts = Blueprint("conflicts", __name__)

FILTERS = ConflictFiltersSchema()
NOTE = ConflictNoteSchema()


@conflicts.get("/conflicts")
def show_conflicts_page() -> str:
    """List the open conflicts, newest order first."""
    query = read_query()
    with app_context().sessions() as session:
        page = list_conflicts(session, load_fields(FILTERS, query))
    return render_template(
        "console/conflicts.html",
        **page,
        accounts=sorted(app_context().settings.accounts),
        query=query,
        name=g.user.name,
    )


@conflicts.post("/conflicts/close")
def submit_conflict_note() -> Response:
    """Close a conflict, then return to the page that the form is on."""
    query = request.args
    if not all(query.get(name) for name in ("account", "id", "conflict")):
        raise BadRequest("the address of a conflict needs account, id and conflict")
    account, order_id = query["account"], query["id"]
    app, now, note = app_context(), datetime.now(UTC), load_fields(NOTE, read_form())
    close_conflict(app.sessions, app.bells, account, order_id, query["conflict"], note, now)
    if query.get("back") == "list":
        return redirect_with_notice("console.conflicts.show_conflicts_page", "closed")
    page = "console.orders.show_order_page"
    return redirect_with_notice(page, "closed", account=account, id=order_id)
