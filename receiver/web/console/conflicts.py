"""Conflicts: facts that do not go together, until a person says that they dealt with them."""

from datetime import UTC, datetime

from flask import Blueprint, g, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from receiver.orders.conflicts import close_conflict, list_conflicts
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
        listed = list_conflicts(session, read(FILTERS, told))
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
    close_conflict(
        app.sessions,
        app.bells,
        place["account"],
        place["id"],
        place["conflict"],
        word,
        datetime.now(UTC),
    )
    if place.get("back") == "list":
        return done("console.conflicts.index", "closed")
    return done("console.orders.show", "closed", account=place["account"], id=place["id"])
