"""The page of the alerts with their history, their buttons, and the form that acknowledges one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, g, render_template, url_for
from werkzeug.exceptions import UnprocessableEntity
from werkzeug.wrappers import Response

from receiver.alerts.history import ABOUT_MESSAGES, acknowledge_alert, list_alerts
from receiver.db.models import PARKED, PENDING, QUARANTINED
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
        list_actions=list_actions,
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


Alert = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Action:
    """A button. fields: those of the form that it sends; None: it is a link."""

    label: str
    url: str
    fields: Mapping[str, str] | None = None


def list_actions(alert: Alert) -> list[Action]:
    """Return the buttons of an open alert, as list_alerts() returns it."""
    actions = [make(alert) for make in _ACTIONS.get(alert["condition"], ())]
    return [action for action in (*actions, _acknowledge(alert)) if action is not None]


def example_url(alert: Alert) -> str | None:
    """Return the URL of the order or message that an alert names as an example."""
    if alert["example"] is None:
        return None
    if alert["condition"] in ABOUT_MESSAGES:
        return url_for("console.messages.show_message_page", message_id=alert["example"])
    return order_url(alert["account"], alert["example"]) if alert["account"] else None


def _show_messages(label: str, outcome: str) -> Callable[[Alert], Action]:
    def make(alert: Alert) -> Action:
        page = "console.messages.show_messages_page"
        return Action(label, url_for(page, outcome=outcome, account=alert["account"]))

    return make


def _retry_quarantined(alert: Alert) -> Action:
    selection = {"outcome": QUARANTINED, "account": alert["account"] or ""}
    return Action("Retry all", url_for("console.messages.submit_retry_all"), selection)


def _refresh_example(alert: Alert) -> Action | None:
    account = app_context().settings.accounts.get(alert["account"])
    if alert["example"] is None or account is None or account.access is None:
        return None
    order = {"account": account.slug, "id": alert["example"]}
    name = alert["example_reference"] or alert["example"]
    return Action(f"Refresh {name:.40}", url_for("console.orders.submit_refresh", **order), {})


def _show_conflicts(alert: Alert) -> Action:
    url = url_for("console.conflicts.show_conflicts_page", account=alert["account"])
    return Action("Show and close conflicts", url)


def _show_refusals(_alert: Alert) -> Action:
    page = url_for("console.dashboard.show_dashboard", _anchor="refusals")
    return Action("Show refused webhooks", page)


def _acknowledge(alert: Alert) -> Action | None:
    until = alert["acknowledged_until"]
    if alert["id"] is None or (until is not None and until > datetime.now(UTC)):
        return None
    url = url_for("console.alerts.submit_acknowledgement", alert_id=alert["id"])
    return Action("Acknowledge", url, {"by": g.user.name})


_ACTIONS: Mapping[str, tuple[Callable[[Alert], Action | None], ...]] = {
    "messages_quarantined": (
        _show_messages("Show or discard messages", QUARANTINED),
        _retry_quarantined,
    ),
    "messages_parked": (_show_messages("Show or discard messages", PARKED),),
    "backlog": (_show_messages("Show pending messages", PENDING),),
    "no_progress": (_show_messages("Show pending messages", PENDING),),
    "orders_stuck": (_refresh_example,),
    "eta_slipped": (_refresh_example,),
    "orders_given_up": (_refresh_example,),
    "orders_in_conflict": (_show_conflicts,),
    "credentials_refused": (_show_refusals,),
    "old_secret_used": (_show_refusals,),
}
