"""For whoever has to look into an order: why it is where it is, and which facts contradict."""

from datetime import UTC, datetime
from typing import Any

from receiver.orders import conflicts
from receiver.orders.explain import explain
from receiver.orders.find import find_order
from receiver.schemas.conflict import (
    ConflictFiltersSchema,
    ConflictNoteSchema,
    ConflictPageSchema,
    ConflictSchema,
)
from receiver.schemas.explanation import ExplanationSchema
from receiver.schemas.fields import ProblemSchema
from receiver.web.api.blueprint import Routes
from receiver.web.context import app_context

attention = Routes("attention", __name__, description="Explanations and conflicts")


@attention.get("/orders/<account>/<path:order_id>/explain")
@attention.response(200, ExplanationSchema)
@attention.alt_response(404, schema=ProblemSchema, description="No such order")
def explain_order(account: str, order_id: str) -> dict[str, Any]:
    """Why the status is what it is: every message, every event, what applied and what did not."""
    with app_context().sessions() as session:
        return explain(session, find_order(session, account, order_id))


@attention.get("/conflicts")
@attention.arguments(ConflictFiltersSchema, location="query")
@attention.response(200, ConflictPageSchema)
def list_conflicts(filters: dict[str, Any]) -> dict[str, Any]:
    """Open conflicts: facts that do not go together, such as picked up after cancelled."""
    with app_context().sessions() as session:
        return conflicts.list_conflicts(session, filters)


@attention.post("/orders/<account>/<path:order_id>/conflicts/<conflict_id>/close")
@attention.arguments(ConflictNoteSchema)
@attention.response(200, ConflictSchema)
@attention.alt_response(404, schema=ProblemSchema, description="No such order or conflict")
def close_conflict(
    word: dict[str, str], account: str, order_id: str, conflict_id: str
) -> dict[str, Any]:
    """Say that a person dealt with a conflict, who, and how."""
    app = app_context()
    now = datetime.now(UTC)
    return conflicts.close_conflict(
        app.sessions, app.bells, account, order_id, conflict_id, word, now
    )
