"""Why an order has its status, and the conflicts between reported facts."""

from datetime import UTC, datetime
from typing import Any

from flask import Response

from receiver.accounts.known_accounts import require_known_account
from receiver.db.pagination import begin_consistent_read
from receiver.orders import conflicts as order_conflicts
from receiver.orders import explain
from receiver.orders.find import find_order
from receiver.schemas import history as schemas
from receiver.web.api.blueprint import ApiBlueprint, json_answer
from receiver.web.context import app_context
from receiver.web.openapi.components import UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE

conflicts = ApiBlueprint("attention", "Explanations of a status, and conflicting facts.")


@conflicts.get("/orders/<account>/<path:order_id>/explain")
@conflicts.arguments(schemas.ExplanationFiltersSchema, location="query")
@conflicts.response(200, schemas.ExplanationSchema)
def explain_order(page: dict[str, Any], account: str, order_id: str) -> Response:
    """Explain the status of an order: all messages and events, and which events count or not.

    Messages, events and details come in pages: `limit` counts each of the three.
    """
    with app_context().sessions() as session:
        begin_consistent_read(session)
        order = find_order(session, account, order_id)
        explanation = explain.explain_order(session, order, page)
    return json_answer(explanation)


@conflicts.get("/conflicts")
@conflicts.arguments(schemas.ConflictFiltersSchema, location="query")
@conflicts.response(200, schemas.ConflictPageSchema)
@conflicts.problem(404, UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE, "account_not_found")
def list_conflicts(filters: dict[str, Any]) -> dict[str, Any]:
    """List open conflicts: reported facts that contradict, such as picked up after cancelled."""
    app = app_context()
    with app.sessions() as session:
        page = order_conflicts.list_conflicts(session, app.settings, filters)
        if not page["conflicts"]:
            require_known_account(session, app.settings, filters.get("account"))
        return page


@conflicts.post("/orders/<account>/<path:order_id>/conflicts/<conflict_id>/close")
@conflicts.arguments(
    schemas.ConflictNoteSchema, example={"by": "Ann", "note": "the driver called, it is there"}
)
@conflicts.response(200, schemas.ConflictSchema)
def close_conflict(
    note: dict[str, str], account: str, order_id: str, conflict_id: str
) -> dict[str, Any]:
    """Close a conflict, and record who decided it and why."""
    app, now = app_context(), datetime.now(UTC)
    return order_conflicts.close_conflict(
        app.sessions, app.bells, account, order_id, conflict_id, note, now
    )
