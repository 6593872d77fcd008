"""Notices: an alert opens once and closes once, however its condition flickers meanwhile."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from receiver.alerts import Alert
from receiver.db.models import Notice, Push

OPENED, CLOSED = "opened", "closed"

# An alert is over once its condition has not held for so long.
CALM = timedelta(minutes=5)
# One that opens again within RESTLESS is over only after that: at most one pair of pushes an hour.
RESTLESS = timedelta(hours=1)
KEPT_FOR = timedelta(days=30)


def update_notices(
    session: Session, alerts: Iterable[Alert], targets: Collection[str], now: datetime
) -> None:
    """Open what is new, close what is over, and plan the pushes of both to each target."""
    still_open = select(Notice).where(Notice.closed_at.is_(None)).order_by(Notice.id)
    known = {(notice.condition, notice.account): notice for notice in session.scalars(still_open)}
    seen = set()
    for alert in alerts:
        key = alert.condition, alert.account or ""
        seen.add(key)
        notice = known.get(key)
        if notice is None:
            notice = Notice(condition=key[0], account=key[1], opened_at=now)
            session.add(notice)
            _describe(notice, alert)
            _plan(session, notice, OPENED, targets, now)
        else:
            notice.gone_since = None
            _describe(notice, alert)
    for key in known.keys() - seen:
        notice = known[key]
        notice.gone_since = notice.gone_since or now
        if now - notice.gone_since >= _calm(session, notice):
            notice.closed_at = now
            _plan(session, notice, CLOSED, targets, now)
    session.execute(
        delete(Notice).where(Notice.opened_at < now - KEPT_FOR, Notice.closed_at < now - KEPT_FOR)
    )


def _describe(notice: Notice, alert: Alert) -> None:
    notice.severity, notice.summary = alert.severity, alert.summary
    notice.what_to_do, notice.example = alert.what_to_do, alert.example
    notice.count, notice.since = alert.count, alert.since


def _calm(session: Session, notice: Notice) -> timedelta:
    """For how long the condition is to be gone: for long, where it comes and goes."""
    before = session.scalar(
        select(func.max(Notice.closed_at)).where(
            Notice.condition == notice.condition, Notice.account == notice.account
        )
    )
    return RESTLESS if before is not None and notice.opened_at - before < RESTLESS else CALM


def _plan(
    session: Session, notice: Notice, kind: str, targets: Collection[str], now: datetime
) -> None:
    session.flush()
    session.add_all(
        Push(notice_id=notice.id, kind=kind, target=target, next_at=now) for target in targets
    )
