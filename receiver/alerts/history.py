"""The history of alerts: what was open when; and alerts that a person acknowledged."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts.condition import Alert
from receiver.db.models import Notice
from receiver.errors import UnknownAlert

MOST_LISTED = 200
# So long an alert is not pushed again where the person says nothing else.
DEFAULT_PAUSE = timedelta(days=1)


def list_history(session: Session) -> list[Notice]:
    """Return the alerts of the last 30 days, the newest first."""
    return list(session.scalars(select(Notice).order_by(Notice.id.desc()).limit(MOST_LISTED)))


def read_alert_ids(session: Session) -> dict[tuple[str, str | None], int]:
    """Return the ids of the open alerts, by condition and account."""
    rows = session.execute(
        select(Notice.condition, Notice.account, Notice.id).where(Notice.closed_at.is_(None))
    )
    return {(condition, account or None): number for condition, account, number in rows}


def with_ids(alerts: list[Alert], ids: dict[tuple[str, str | None], int]) -> list[dict[str, Any]]:
    """Return the alerts with their ids; one that the clock has not recorded yet has none."""
    names = ("condition", "severity", "account", "since", "count", "summary", "what_to_do")
    return [
        {
            **{name: getattr(alert, name) for name in (*names, "runbook", "example")},
            "id": ids.get((alert.condition, alert.account)),
        }
        for alert in alerts
    ]


def acknowledge_alert(
    sessions: sessionmaker[Session], alert_id: int, until: datetime | None, note: str, now: datetime
) -> Notice:
    """Have an open alert not pushed again until then, but for its end.

    Raises: UnknownAlert where no alert of this id is open.
    """
    with sessions.begin() as session:
        notice = session.get(Notice, alert_id)
        if notice is None or notice.closed_at is not None:
            raise UnknownAlert(f"no alert {alert_id} is open")
        notice.acknowledged_until = until or now + DEFAULT_PAUSE
        notice.acknowledged_note = note
        return notice
