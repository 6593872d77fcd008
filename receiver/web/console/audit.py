"""The page of the audit log."""

from flask import Blueprint, render_template

from receiver.audit import ACTIONS
from receiver.audit.browse import list_entries
from receiver.schemas.audit import AuditFiltersSchema
from receiver.web.console.forms import load_fields, read_query
from receiver.web.context import app_context

audit = Blueprint("audit", __name__)

FILTERS = AuditFiltersSchema()


@audit.get("/audit")
def show_audit_page() -> str:
    """List who did what, newest first."""
    query = read_query()
    with app_context().sessions() as session:
        page = list_entries(session, load_fields(FILTERS, query))
    return render_template("console/audit.html", **page, actions=ACTIONS, query=query)
