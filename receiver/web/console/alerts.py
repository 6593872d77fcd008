"""The page of the alerts with their history, and the form that acknowledges or snoozes one."""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, render_template, url_for
from werkzeug.exceptions import UnprocessableEntity
from werkzeug.wrappers import Response

from receiver.alerts.history import acknowledge_alert, list_alerts
from receiver.schemas.account import AcknowledgementSchema
from receiver.web.console.forms import load_fields, order_url, redirect_with_notice
from receiver.web.console.session_guard import read_form
from receiver.web.context import app_context

alerts = Blueprint("alerts", __name__)

ACKNOWLEDGEMENT = AcknowledgementSchema()
# For how long an alert can be snoozed here; empty: as acknowledging does.
PAUSES = {
    "": "acknowledge, for a day",
    "1": "snooze for 1 hour",
    "4": "snooze for 4 hours",
    "72": "snooze for 3 days",
    "168": "snooze for a week",
    "0": "push it again",
}


@alerts.get("/alerts")
def show_alerts_page() -> str:
    """List the open alerts, each with its form, and those of the last 30 days."""
    app = app_context()
    evaluation = app.alert_reader.read(datetime.now(UTC))
    found = list_alerts(evaluation, app.sessions, with_history=True)
    return render_template(
        "console/alerts.html",
        **found,
        is_readable=evaluation.database_answers,
        pauses=PAUSES,
        example_url=example_url,
    )


@alerts.post("/alerts/<number:alert_id>/acknowledge")
def submit_acknowledgement(alert_id: str) -> Response:
    """Acknowledge an open alert, or snooze it for the hours that the form says."""
    form, now = read_form(), datetime.now(UTC)
    wanted = load_fields(ACKNOWLEDGEMENT, form)
    hours = form.get("hours", "")
    if hours not in PAUSES:
        raise UnprocessableEntity("hours: must be one of those on the form")
    if hours:
        wanted["until"] = now + timedelta(hours=int(hours))
    acknowledge_alert(app_context().sessions, alert_id, wanted, now)
    notice = "resumed" if hours == "0" else "acknowledged"
    return redirect_with_notice("console.alerts.show_alerts_page", notice)


def example_url(alert: dict[str, Any]) -> str | None:
    """Return the URL of the order or message that an alert names as an example."""
    if alert["example"] is None or alert["account"] is None:
        return None
    if alert["condition"].startswith("messages_"):
        return url_for("console.messages.show_message_page", message_id=alert["example"])
    return order_url(alert["account"], alert["example"])
