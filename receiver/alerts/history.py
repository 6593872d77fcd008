"""The open alerts with what people said to them, and their history; acknowledge an alert."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import select, tuple_
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit
from receiver.alerts.condition import Alert
from receiver.alerts.evaluation import Evaluation
from receiver.db.models import Notice, Order
from receiver.db.pagination import HIGHEST_ID
from receiver.errors import UnknownAlert

log = structlog.get_logger(__name__)

MOST_LISTED = 200
# So long an alert that was acknowledged is not pushed again.
ACKNOWLEDGED_FOR = timedelta(days=1)
# Conditions whose example is a message; that of all others is an order.
ABOUT_MESSAGES = frozenset({"backlog", "no_progress", "messages_parked", "messages_quarantined"})

OF_ALERT = ("condition", "severity", "account", "since", "count", "summary", "what_to_do")
OF_NOTICE = ("id", "acknowledged_at", "acknowledged_until", "acknowledged_by", "acknowledged_note")

# By account and the courier's id of an order.
References = dict[tuple[str | None, str | None], str | None]


def list_alerts(
    evaluation: Evaluation, sessions: sessionmaker[Session], with_history: bool = False
) -> dict[str, Any]:
    """Return the open alerts, the critical ones first, and those of the last 30 days on request.

    Without PostgreSQL there are alerts all the same, but none has an id, and there is no history.

    Shape: as AlertListSchema shows it.
    """
    notices: dict[tuple[str, str], Notice] = {}
    references: References = {}
    history = []
    if evaluation.database_answers:
        with suppress(SQLAlchemyError), sessions() as session:
            unclosed = session.scalars(select(Notice).where(Notice.closed_at.is_(None)))
            notices = {(notice.condition, notice.account): notice for notice in unclosed}
            references = _read_references(session, evaluation.alerts)
            if with_history:
                newest = select(Notice).order_by(Notice.id.desc()).limit(MOST_LISTED)
                history = list(session.scalars(newest))
    alerts = [
        _render_alert(alert, notices.get((alert.condition, alert.account or "")), references)
        for alert in evaluation.alerts
    ]
    return {"alerts": alerts, **({"history": history} if with_history else {})}


def _render_alert(alert: Alert, notice: Notice | None, references: References) -> dict[str, Any]:
    """Return an alert with its id; one that the clock has not recorded yet has none."""
    is_order = alert.condition not in ABOUT_MESSAGES
    return {
        "example_reference": references.get((alert.account, alert.example)) if is_order else None,
        **{name: getattr(alert, name) for name in (*OF_ALERT, "runbook", "example")},
        **{name: getattr(notice, name, None) for name in OF_NOTICE},
    }


def _read_references(session: Session, alerts: Iterable[Alert]) -> References:
    """Return the shop's references of the orders that alerts name, by account and id."""
    named = [
        (alert.account, alert.example)
        for alert in alerts
        if alert.account and alert.example and alert.condition not in ABOUT_MESSAGES
    ]
    order_id = tuple_(Order.account, Order.courier_order_id)
    rows = select(Order.account, Order.courier_order_id, Order.reference).where(order_id.in_(named))
    return {(account, name): reference for account, name, reference in session.execute(rows)}


def acknowledge_alert(
    sessions: sessionmaker[Session], alert_id: int | str, wanted: dict[str, Any], now: datetime
) -> Notice:
    """Have an open alert not pushed again for a day, or snooze it until a time of one's own.

    It is pushed all the same where it becomes critical, and its end is pushed.

    wanted: {"by", "note", "until"?}; a time in the past takes an earlier acknowledgement back.

    Raises: UnknownAlert where no alert of this id is open.
    """
    with sessions.begin() as session:
        number = int(alert_id)
        notice = None
        if number <= HIGHEST_ID:
            notice = session.get(Notice, number, with_for_update=True)
        if notice is None or notice.closed_at is not None:
            raise UnknownAlert(f"no alert {alert_id} is open")
        notice.acknowledged_at = now
        notice.acknowledged_until = wanted.get("until", now + ACKNOWLEDGED_FOR)
        notice.acknowledged_by, notice.acknowledged_note = wanted["by"], wanted["note"]
        notice.acknowledged_severity = notice.severity
        audit.record_action(session, audit.ACKNOWLEDGE, account=notice.account or None)
        log.info(
            "alert_acknowledged",
            condition=notice.condition,
            account=notice.account or None,
            by=wanted["by"],
            until=notice.acknowledged_until.isoformat(),
        )
        return notice
