"""GET /v1/alerts: the conditions that hold now (see receiver/alerts)."""

from datetime import UTC, datetime
from typing import Any

from receiver.alerts import AlertContext, find_alerts
from receiver.schemas.account import AlertListSchema
from receiver.web.api.blueprint import Routes
from receiver.web.context import app_context

alerts = Routes("alerts", __name__, description="What a person should know of")


@alerts.get("/alerts")
@alerts.response(200, AlertListSchema)
def list_alerts() -> dict[str, Any]:
    """The conditions that hold now and that a person should know of, the critical ones first."""
    app = app_context()
    with app.sessions() as session:
        context = AlertContext.read(session, app.settings, app.redis, datetime.now(UTC))
        return {"alerts": find_alerts(context)}
