"""The alerts that are open now, and their history."""

from datetime import UTC, datetime
from typing import Any

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
    return history.list_alerts(evaluation, app.sessions, with_history=filters["history"])


@alerts.post("/alerts/<number:alert_id>/acknowledge")
@alerts.arguments(
    schemas.AcknowledgementSchema,
    required=False,
    example={"by": "Ann", "note": "the courier repairs it"},
)
@alerts.response(200, schemas.PastAlertSchema)
def acknowledge_alert(wanted: dict[str, Any], alert_id: str) -> Any:
    """Have an open alert not pushed again until a time, or for a day: somebody takes care of it.

    It is pushed all the same where it becomes critical, and its end is pushed.
    """
    return history.acknowledge_alert(app_context().sessions, alert_id, wanted, datetime.now(UTC))


@alerts.post("/alerts/<number:alert_id>/snooze")
@alerts.arguments(
    schemas.SnoozeSchema, example={"until": "2026-04-17T09:00:00Z", "by": "Ann", "note": "known"}
)
@alerts.response(200, schemas.PastAlertSchema)
def snooze_alert(wanted: dict[str, Any], alert_id: str) -> Any:
    """Have an open alert not pushed until a time; if it is still open then, it is pushed again.

    It is pushed all the same where it becomes critical, and its end is pushed. A time in the past
    takes an acknowledgement back.
    """
    return history.acknowledge_alert(app_context().sessions, alert_id, wanted, datetime.now(UTC))
