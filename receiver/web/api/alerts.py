"""The alerts that are open now."""

from datetime import UTC, datetime
from typing import Any

from receiver.schemas.account import AlertListSchema
from receiver.web.api.blueprint import ApiBlueprint
from receiver.web.context import app_context

alerts = ApiBlueprint("alerts", "Problems that a person should know about.")


@alerts.get("/alerts")
@alerts.response(200, AlertListSchema)
def list_alerts() -> dict[str, Any]:
    """List the alerts that are open now, critical ones first."""
    return {"alerts": app_context().alert_reader.read(datetime.now(UTC)).alerts}
