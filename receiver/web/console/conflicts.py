"""The page of open conflicts, and the form that closes one."""

from datetime import UTC, datetime

from flask import Blueprint, redirect, render_template, request
from werkzeug.wrappers import Response

from receiver.orders.conflicts import close_conflict, list_conflicts
from receiver.schemas.history import ConflictFiltersSchema, ConflictNoteSchema
from receiver.web.console import forms
from receiver.web.console.session_guard import read_form
from receiver.web.context import app_context

conflicts = Blueprint("conflicts", __name__)

FILTERS = ConflictFiltersSchema()
NOTE = ConflictNoteSchema()


@conflicts.get("/conflicts")
def show_conflicts_page() -> str:
    """List the open conflicts, newest order first."""
    query = forms.read_query()
    with app_context().sessions() as session:
        page = list_conflicts(session, app_context().settings, forms.load_fields(FILTERS, query))
    return render_template("console/conflicts.html", **page, query=query)


@conflicts.post("/conflicts/close")
def submit_conflict_note() -> Response:
    """Close a conflict, then return to the page that the form is on."""
    account, order_id, conflict = forms.read_parameters("account", "id", "conflict")
    app, note = app_context(), forms.load_fields(NOTE, read_form())
    close_conflict(app.sessions, app.bells, account, order_id, conflict, note, datetime.now(UTC))
    if request.args.get("back") == "list":
        return forms.redirect_with_notice("console.conflicts.show_conflicts_page", "closed")
    return redirect(forms.order_url(account, order_id, done="closed"), 303)
