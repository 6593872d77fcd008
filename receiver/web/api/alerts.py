"""The alerts that are open now, and their history."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from receiver.alerts import history
from receiver.schemas import account as schemas
from receiver.web.api.blueprint import ApiBlueprint
from receiver.web.context import app_context

alerts = ApiBlueprint("alerts", "Problems that a person should know about.")


@alerts.get("/alerts")
@alerts.arguments(schemas.AlertFiltersSchema, location="query")
@alerts.response(200, schemas.AlertListSchema)
def list_alerts(filters: dict[str, Any]) -> dict[str, Any]:
    """List the alerts that are open now, critical ones first."""
    app = app_context()
    evaluation = app.alert_reader.read(datetime.now(UTC))
    ids: dict[tuple[str, str | None], int] = {}
    past: dict[str, Any] = {}
    # Without PostgreSQL there are alerts all the same.
    if evaluation.database_answers:
        with suppress(SQLAlchemyError), app.sessions() as session:
            ids = history.read_alert_ids(session)
            past = {"history": history.list_history(session)} if filters["history"] else {}
    return {"alerts": history.with_ids(evaluation.alerts, ids), **past}


@alerts.post("/alerts/<number:alert_id>/acknowledge")
@alerts.arguments(
    schemas.AcknowledgementSchema, required=False, example={"note": "the courier repairs it"}
)
@alerts.response(200, schemas.PastAlertSchema)
def acknowledge_alert(wanted: dict[str, Any], alert_id: int) -> Any:
    """Have an open alert not pushed again for a while; its end is pushed."""
    app, now = app_context(), datetime.now(UTC)
    until, note = wanted.get("until"), wanted["note"]
    return history.acknowledge_alert(app.sessions, alert_id, until, note, now)
