"""Notices: the record of alerts; one opens once and closes once, however its condition flickers."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

import structlog
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from receiver.alerts import Alert
from receiver.db.models import Notice, Push

log = structlog.get_logger(__name__)

OPENED, CLOSED = "opened", "closed"

# An alert closes once its condition has not held for so long.
CALM = timedelta(minutes=5)
# One that opened again within RESTLESS closes after RESTLESS: at most one pair of pushes an hour.
RESTLESS = timedelta(hours=1)
KEPT_FOR = timedelta(days=30)


def update_notices(
    session: Session, alerts: Iterable[Alert], targets: Collection[str], now: datetime
) -> None:
    """Open and close notices as the alerts say, and plan the pushes of both to each target."""
    unclosed = select(Notice).where(Notice.closed_at.is_(None)).order_by(Notice.id)
    known = {(notice.condition, notice.account): notice for notice in session.scalars(unclosed)}
    seen = set()
    for alert in alerts:
        key = alert.condition, alert.account or ""
        seen.add(key)
        notice = known.get(key) or Notice(condition=key[0], account=key[1], opened_at=now)
        notice.severity, notice.summary = alert.severity, alert.summary
        notice.what_to_do, notice.example = alert.what_to_do, alert.example
        notice.count, notice.since = alert.count, alert.since
        notice.gone_since = None
        if key not in known:
            session.add(notice)
            _plan_pushes(session, notice, OPENED, targets, now)
            log.warning("alert_opened", **_log_fields(notice), count=alert.count)
    for key in known.keys() - seen:
        notice = known[key]
        notice.gone_since = notice.gone_since or now
        if now - notice.gone_since >= _calm_needed(session, notice):
            notice.closed_at = now
            _plan_pushes(session, notice, CLOSED, targets, now)
            held = (notice.gone_since - notice.opened_at).total_seconds()
            log.info("alert_closed", **_log_fields(notice), seconds=round(held))
    session.execute(
        delete(Notice).where(Notice.opened_at < now - KEPT_FOR, Notice.closed_at < now - KEPT_FOR)
    )


def _log_fields(notice: Notice) -> dict[str, str | None]:
    """Without the summary, which may quote a courier's words."""
    return {
        "condition": notice.condition,
        "account": notice.account or None,
        "severity": notice.severity,
    }


def _calm_needed(session: Session, notice: Notice) -> timedelta:
    """For how long the condition must not hold: longer where the alert comes and goes."""
    closed_before = session.scalar(
        select(func.max(Notice.closed_at)).where(
            Notice.condition == notice.condition, Notice.account == notice.account
        )
    )
    restless = closed_before is not None and notice.opened_at - closed_before < RESTLESS
    return RESTLESS if restless else CALM


def _plan_pushes(
    session: Session, notice: Notice, kind: str, targets: Collection[str], now: datetime
) -> None:
    session.flush()
    session.add_all(
        Push(notice_id=notice.id, kind=kind, target=target, next_at=now) for target in targets
    )
