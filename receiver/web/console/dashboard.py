"""The home page of the console: alerts, the backlog, refused webhooks, the accounts."""

from datetime import UTC, datetime

from flask import Blueprint, render_template, url_for

from receiver.accounts.account_status import list_account_statuses
from receiver.accounts.refused_credentials import read_refusals
from receiver.alerts import Alert, AlertContext, find_alerts
from receiver.db.models import PARKED, PENDING, QUARANTINED
from receiver.db.pagination import MOST_COUNTED
from receiver.inbox import browse
from receiver.inbox.pending import read_progress
from receiver.web.console.forms import order_url
from receiver.web.context import app_context

dashboard = Blueprint("dashboard", __name__)

MOST_REFUSALS = 20


@dashboard.get("")
@dashboard.get("/")
def show_dashboard() -> str:
    """Show the state of the service now."""
    app, now = app_context(), datetime.now(UTC)
    app.credential_recorder.flush()
    with app.sessions() as session:
        context = AlertContext.read(session, app.settings, app.redis, now, app.backlog_meter)
        alerts = find_alerts(context)
        accounts = list_account_statuses(session, app.settings.accounts, now)["couriers"]
        counts = {
            outcome: browse.count_messages(session, outcome)
            for outcome in (PENDING, QUARANTINED, PARKED)
        }
        refusals = read_refusals(session)[:MOST_REFUSALS]
        waiting_seconds, _ = read_progress(session, now)
    return render_template(
        "console/dashboard.html",
        alerts=alerts,
        accounts=accounts,
        counts=counts,
        refusals=refusals,
        waiting_seconds=waiting_seconds,
        most=MOST_COUNTED,
        workers=context.system.workers,
        example_url=example_url,
    )


def example_url(alert: Alert) -> str | None:
    """Return the URL of the order or message that an alert names as an example."""
    if alert.example is None or alert.account is None:
        return None
    if alert.condition.startswith("messages_"):
        return url_for("console.messages.show_message_page", message_id=alert.example)
    return order_url(alert.account, alert.example)
