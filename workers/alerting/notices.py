"""Notices: the rows that record alerts, and when each of them is pushed.

A notice opens as soon as its condition holds, and is pushed once the condition has held for its
grace time. It is pushed again when it gets worse, and once a day while it lasts.
"""

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime, timedelta
from functools import partial

import structlog
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.alerts import CRITICAL, WARNING, Alert, Evaluation
from receiver.db.models import Notice, Push
from workers.alerting.pushes import CLOSED, OPENED, STILL, WORSE

log = structlog.get_logger(__name__)

# A restart, or a deploy, is over by then; what needs a person is not.
GRACE = {CRITICAL: timedelta(seconds=45), WARNING: timedelta(minutes=5)}
# Strangers try credentials; a courier's own fault is critical before long, or lasts.
GRACES = {("credentials_refused", WARNING): timedelta(hours=6)}
# A notice closes once its condition has not held for so long.
CALM = timedelta(minutes=5)
# One that opened again within RESTLESS closes after RESTLESS: at most one pair of pushes an hour.
RESTLESS = timedelta(hours=1)
# An alert is worse when its count grows by this factor; it is pushed again at most this often.
WORSE_FACTOR = 10
WORSE_EVERY = timedelta(minutes=5)
REMIND_EVERY = timedelta(days=1)
MOST_CAUSES = 100


def grace_of(alert: Alert) -> timedelta:
    """Return how long an alert must hold before it is pushed."""
    return GRACES.get((alert.condition, alert.severity), GRACE[alert.severity])


class Notices:
    """Records alerts in a transaction of the caller. targets: the names of ALERT_URLS.

    log_lines: to be called after the commit, since what is not recorded happens again.
    """

    def __init__(self, session: Session, targets: Iterable[str], now: datetime) -> None:
        self._session, self._targets, self._now = session, list(targets), now
        self.log_lines: list[Callable[[], object]] = []

    def update(
        self,
        evaluation: Evaluation,
        pushed: Mapping[tuple[str, str], datetime],
        logged: Collection[tuple[str, str]],
    ) -> None:
        """Open, continue and close notices, and plan their pushes.

        pushed: alerts that were pushed while PostgreSQL could not be used, and when. logged: those
        whose opening was logged meanwhile.
        """
        unclosed = select(Notice).where(Notice.closed_at.is_(None)).order_by(Notice.id)
        rows = self._session.scalars(unclosed)
        known = {(notice.condition, notice.account): notice for notice in rows}
        seen = set()
        for alert in evaluation.alerts:
            key = alert.condition, alert.account or ""
            seen.add(key)
            notice = known.get(key)
            if notice is None:
                notice = self._open(alert, pushed.get(key))
                if key not in logged:
                    self.log_lines.append(partial(log_opened, alert))
            self._continue(notice, alert)
        for key in known.keys() - seen:
            # One whose condition cannot be computed may hold still.
            if known[key].condition not in evaluation.unknown:
                self._end(known[key])

    def _open(self, alert: Alert, pushed_at: datetime | None) -> Notice:
        notice = Notice(
            condition=alert.condition,
            account=alert.account or "",
            opened_at=self._now,
            held_since=self._now,
            pushed_at=pushed_at,
            pushes=0,
        )
        if pushed_at is not None:
            self._note_pushed(notice, alert)
            notice.pushed_at = pushed_at
        self._session.add(notice)
        return notice

    def _continue(self, notice: Notice, alert: Alert) -> None:
        # A short break does not begin the grace time anew: what flickers needs a person, too.
        if notice.gone_since is not None and self._now - notice.gone_since >= grace_of(alert):
            notice.held_since = self._now
        notice.gone_since = None
        if notice.severity == WARNING and alert.severity == CRITICAL:
            line = partial(log.warning, "alert_worse", **log_fields(alert), count=alert.count)
            self.log_lines.append(line)
        for name in ("severity", "summary", "what_to_do", "example", "count", "since"):
            setattr(notice, name, getattr(alert, name))
        if self._is_acknowledged(notice):
            return
        held_since = notice.held_since or notice.opened_at
        if notice.pushed_at is None:
            if self._now - held_since >= grace_of(alert):
                self._plan(notice, alert, OPENED)
        elif self._is_worse(notice, alert):
            self._plan(notice, alert, WORSE)
        elif self._now - notice.pushed_at >= REMIND_EVERY or _was_snoozed(notice):
            self._plan(notice, alert, STILL)

    def _is_acknowledged(self, notice: Notice) -> bool:
        """Whether nothing is to be pushed yet. That ends where the alert becomes critical."""
        until = notice.acknowledged_until
        if until is None or until <= self._now:
            return False
        if notice.acknowledged_severity == WARNING and notice.severity == CRITICAL:
            notice.acknowledged_until = self._now
            return False
        return True

    def _is_worse(self, notice: Notice, alert: Alert) -> bool:
        if notice.pushed_severity == WARNING and alert.severity == CRITICAL:
            return True
        if self._now - (notice.pushed_at or self._now) < WORSE_EVERY:
            return False
        more = alert.count >= WORSE_FACTOR * max(notice.pushed_count or 1, 1)
        return more or bool(set(_causes(alert)) - set(notice.pushed_causes or ()))

    def _plan(self, notice: Notice, alert: Alert, kind: str) -> None:
        self._session.flush()
        name = kind if kind == OPENED else f"{kind} {notice.pushes}"
        self._add_pushes(notice, name)
        self._note_pushed(notice, alert)

    def _note_pushed(self, notice: Notice, alert: Alert) -> None:
        notice.pushed_at = self._now
        notice.pushed_severity, notice.pushed_count = alert.severity, alert.count
        known = set(notice.pushed_causes or ()) | set(_causes(alert))
        notice.pushed_causes = sorted(known)[:MOST_CAUSES]
        notice.pushes += 1

    def _end(self, notice: Notice) -> None:
        notice.gone_since = notice.gone_since or self._now
        if self._now - notice.gone_since < self._calm_needed(notice):
            return
        notice.closed_at = self._now
        if notice.pushed_at is not None:
            self._add_pushes(notice, CLOSED)
        held = (notice.gone_since - notice.opened_at).total_seconds()
        line = partial(log.info, "alert_closed", **log_fields(notice), seconds=round(held))
        self.log_lines.append(line)

    def _add_pushes(self, notice: Notice, kind: str) -> None:
        self._session.add_all(
            Push(notice_id=notice.id, kind=kind, target=target, next_at=self._now)
            for target in self._targets
        )

    def _calm_needed(self, notice: Notice) -> timedelta:
        """For how long the condition must not hold: longer where the alert comes and goes."""
        closed_before = self._session.scalar(
            select(func.max(Notice.closed_at)).where(
                Notice.condition == notice.condition,
                Notice.account == notice.account,
                Notice.pushed_at.is_not(None),
            )
        )
        restless = closed_before is not None and notice.opened_at - closed_before < RESTLESS
        return RESTLESS if restless else CALM


def _was_snoozed(notice: Notice) -> bool:
    """Whether it was not pushed since its acknowledgement, which is over, ended."""
    until = notice.acknowledged_until
    return until is not None and notice.pushed_at is not None and notice.pushed_at < until


def _causes(alert: Alert) -> list[str]:
    """Return what an alert is about, by names that reveal nothing: causes may quote a courier."""
    return [hashlib.sha256(cause.encode()).hexdigest()[:12] for cause in alert.causes]


def log_opened(alert: Alert) -> None:
    log.warning("alert_opened", **log_fields(alert), count=alert.count)


def log_fields(alert: Alert | Notice) -> dict[str, str | None]:
    """Return an alert's log fields, without the summary, which may quote a courier's words."""
    return {
        "condition": alert.condition,
        "account": alert.account or None,
        "severity": alert.severity,
    }
