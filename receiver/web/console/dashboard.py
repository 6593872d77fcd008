"""The home page of the console: alerts, the backlog, refused webhooks, the accounts."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, render_template
from sqlalchemy.exc import SQLAlchemyError

from receiver.accounts.account_status import list_account_statuses
from receiver.accounts.refused_credentials import read_refusals
from receiver.alerts.history import list_alerts
from receiver.db.models import PARKED, PENDING, QUARANTINED
from receiver.db.pagination import MOST_COUNTED
from receiver.inbox import browse
from receiver.inbox.pending import read_progress
from receiver.web.console.alerts import example_url, list_actions
from receiver.web.context import AppContext, app_context

dashboard = Blueprint("dashboard", __name__)

MOST_REFUSALS = 20
# The page of the alerts shows all of them.
MOST_ALERTS = 10


@dashboard.get("")
@dashboard.get("/")
def show_dashboard() -> str:
    """Show the state of the service now."""
    app, now = app_context(), datetime.now(UTC)
    evaluation = app.alert_reader.read(now)
    facts: dict[str, Any] = {"accounts": None}
    if evaluation.database_answers:
        # Without it the counts of the last seconds are missing.
        with suppress(SQLAlchemyError):
            app.credential_recorder.flush()
        facts = _read_facts(app, now)
    return render_template(
        "console/dashboard.html",
        **list_alerts(evaluation, app.sessions),
        most=MOST_COUNTED,
        workers=evaluation.system.workers,
        example_url=example_url,
        list_actions=list_actions,
        most_alerts=MOST_ALERTS,
        **facts,
    )


def _read_facts(app: AppContext, now: datetime) -> dict[str, Any]:
    """Return what the page shows beside the alerts."""
    with app.sessions() as session:
        return {
            "accounts": list_account_statuses(session, app.settings.accounts, now)["couriers"],
            "counts": {
                outcome: browse.count_messages(session, outcome)
                for outcome in (PENDING, QUARANTINED, PARKED)
            },
            "refusals": read_refusals(session)[:MOST_REFUSALS],
            "waiting_seconds": read_progress(session, now)[0],
        }
