"""Conflicts: facts that do not go together, until a person says that they dealt with them."""

from datetime import UTC, datetime

from flask import Blueprint, g, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from receiver.orders.conflicts import close as close_conflict
from receiver.orders.conflicts import page
from receiver.orders.find import find_order
from receiver.schemas.conflict import ConflictFiltersSchema, ConflictNoteSchema
from receiver.web.console.pages import asked, done, read
from receiver.web.console.session_guard import form
from receiver.web.context import app_context

conflicts = Blueprint("conflicts", __name__)

FILTERS = ConflictFiltersSchema()
NOTE = ConflictNoteSchema()


@conflicts.get("/conflicts")
def index() -> str:
    """The open ones, the newest order first."""
    told = asked()
    with app_context().sessions() as session:
        listed = page(session, read(FILTERS, told))
    return render_template(
        "console/conflicts.html",
        **listed,
        accounts=sorted(app_context().settings.accounts),
        asked=told,
        name=g.visitor.name,
    )


@conflicts.post("/conflicts/close")
def close() -> Response:
    """Write down who dealt with one, and how; and back to where that was said."""
    place = request.args
    if not all(place.get(name) for name in ("account", "id", "conflict")):
        raise BadRequest("a conflict's address needs account, id and conflict")
    word = read(NOTE, form())
    app = app_context()
    with app.sessions.begin() as session:
        order = find_order(session, place["account"], place["id"], lock=True)
        close_conflict(
            session, order, place["conflict"], word["by"], word["note"], datetime.now(UTC)
        )
    app.feed_bell.ring()
    if place.get("back") == "list":
        return done("console.conflicts.index", "closed")
    return done("console.orders.show", "closed", account=place["account"], id=place["id"])
