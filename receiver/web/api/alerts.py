"""GET /v1/alerts: what a person should know of now (receiver/conditions computes it)."""

from datetime import UTC, datetime
from typing import Any

from receiver.alerts import find_alerts
from receiver.alerts.platform_alerts import read_system_state
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
        around = read_system_state(session, app.settings, app.redis)
        return {"alerts": list(find_alerts(session, app.settings, datetime.now(UTC), around))}
