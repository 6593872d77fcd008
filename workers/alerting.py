"""Alerting: evaluate the conditions every few seconds, record the alerts, and push them to people.

It runs in the clock's process and not as a job, because missing workers and a missing Redis are
alerts too. Where several clocks run, one of them evaluates at a time.

A notice records an alert; it opens once and closes once, however its condition flickers. Each of
ALERT_URLS gets a push of both. Pushes are rows in PostgreSQL, so they outlive every process. One
that was sent but not recorded, because the process died in between, is sent again.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import structlog
from redis import Redis
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import CRITICAL, AlertReader, Evaluation, runbook_link
from receiver.background_thread import BackgroundThread
from receiver.db.group_commit import AutocommitPool
from receiver.db.locks import ALERTS_LOCK, try_lock
from receiver.db.models import Notice, Push
from receiver.inbox.storage_check import StorageCheck
from receiver.settings import Settings
from receiver.stats.history import delete_old_history
from receiver.times import rfc3339

log = structlog.get_logger(__name__)

# Also before the first check: workers and clock start together, and the first sweep takes a moment.
INTERVAL_SECONDS = 20.0
CLEAN_UP_EVERY = timedelta(hours=1)

OPENED, CLOSED = "opened", "closed"
# A notice closes once its condition has not held for so long.
CALM = timedelta(minutes=5)
# One that opened again within RESTLESS closes after RESTLESS: at most one pair of pushes an hour.
RESTLESS = timedelta(hours=1)
KEPT_FOR = timedelta(days=30)

# A process that sends a push has it for so long before another may send it.
LEASE = timedelta(minutes=2)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=30)
# About two days.
MOST_ATTEMPTS = 100
MOST_AT_ONCE = 50

PushedNotice = tuple[Push, Notice]


class AlertWatch:
    """Watch the conditions for as long as the clock runs."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], redis: Redis) -> None:
        self._settings, self._sessions, self._redis = settings, sessions, redis
        # By names that reveal nothing: addresses contain passwords.
        self._urls = {
            hashlib.sha256(url.encode()).hexdigest()[:12]: url for url in settings.alert_urls
        }
        storage = StorageCheck(AutocommitPool(sessions.kw["bind"]))
        self._reader = AlertReader(settings, sessions, redis, storage)
        self._cleaned_up_at: datetime | None = None
        self._thread = BackgroundThread(
            "alert_check", self._check_now, delay=INTERVAL_SECONDS, retry_seconds=0
        )

    def start(self) -> None:
        """Check every few seconds from now on, in a thread."""
        self._thread.wake()

    def _check_now(self) -> float:
        self.check(datetime.now(UTC))
        return 0

    def check(self, now: datetime) -> None:
        """Record the alerts that opened and closed, and send the pushes that are due."""
        evaluation = self._reader.read(now)
        with self._sessions.begin() as session:
            if not try_lock(session, ALERTS_LOCK):
                return
            self._update_notices(session, evaluation, now)
            if self._cleaned_up_at is None or now - self._cleaned_up_at >= CLEAN_UP_EVERY:
                delete_old_history(session, now)
                old = (Notice.opened_at < now - KEPT_FOR, Notice.closed_at < now - KEPT_FOR)
                session.execute(delete(Notice).where(*old))
                self._cleaned_up_at = now
        self._send_due_pushes(now)

    def _update_notices(self, session: Session, evaluation: Evaluation, now: datetime) -> None:
        unclosed = select(Notice).where(Notice.closed_at.is_(None)).order_by(Notice.id)
        known = {(notice.condition, notice.account): notice for notice in session.scalars(unclosed)}
        seen = set()
        for alert in evaluation.alerts:
            key = alert.condition, alert.account or ""
            seen.add(key)
            notice = known.get(key) or Notice(condition=key[0], account=key[1], opened_at=now)
            for name in ("severity", "summary", "what_to_do", "example", "count", "since"):
                setattr(notice, name, getattr(alert, name))
            notice.gone_since = None
            if key not in known:
                session.add(notice)
                self._plan_pushes(session, notice, OPENED, now)
                log.warning("alert_opened", **_log_fields(notice), count=alert.count)
        for key in known.keys() - seen:
            notice = known[key]
            if notice.condition in evaluation.unknown:
                # It may hold still.
                continue
            notice.gone_since = notice.gone_since or now
            if now - notice.gone_since >= _calm_needed(session, notice):
                notice.closed_at = now
                self._plan_pushes(session, notice, CLOSED, now)
                held = (notice.gone_since - notice.opened_at).total_seconds()
                log.info("alert_closed", **_log_fields(notice), seconds=round(held))

    def _plan_pushes(self, session: Session, notice: Notice, kind: str, now: datetime) -> None:
        session.flush()
        session.add_all(
            Push(notice_id=notice.id, kind=kind, target=target, next_at=now)
            for target in self._urls
        )

    def _send_due_pushes(self, now: datetime) -> None:
        """Send the pushes that are due, one message a target."""
        by_target: dict[str, list[PushedNotice]] = defaultdict(list)
        with self._sessions.begin() as session:
            due = (
                select(Push, Notice)
                .join(Notice, Notice.id == Push.notice_id)
                .where(Push.sent_at.is_(None), Push.given_up_at.is_(None), Push.next_at <= now)
                .order_by(Push.notice_id, Push.kind.desc())
                .limit(MOST_AT_ONCE)
                .with_for_update(of=Push, skip_locked=True)
            )
            for push, notice in session.execute(due):
                push.attempts += 1
                push.next_at = now + LEASE
                by_target[push.target].append((push, notice))
        for target, pushes in by_target.items():
            # An address that is not known was removed from ALERT_URLS.
            url = self._urls.get(target)
            sent = url is not None and _send(url, pushes)
            if url is not None and not sent:
                log.warning("alert_push_failed", target=target, alerts=len(pushes))
            with self._sessions.begin() as session:
                for push, notice in pushes:
                    session.add(push)
                    wait = FIRST_WAIT * 2 ** min(push.attempts - 1, 10)
                    push.next_at = now + min(wait, LONGEST_WAIT)
                    if sent:
                        push.sent_at = now
                    elif url is None or push.attempts >= MOST_ATTEMPTS:
                        push.given_up_at = now
                        log.error("alert_push_given_up", target=target, **_log_fields(notice))


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


def _send(url: str, pushes: Sequence[PushedNotice]) -> bool:
    # It takes half a second to import, and most installations push nothing.
    from apprise import Apprise, NotifyFormat, NotifyType  # noqa: PLC0415

    opened = [notice for push, notice in pushes if push.kind == OPENED]
    critical = any(notice.severity == CRITICAL for notice in opened)
    kind = NotifyType.FAILURE if critical else NotifyType.WARNING if opened else NotifyType.SUCCESS
    try:
        return bool(
            Apprise([url]).notify(
                title=_title(pushes),
                body="\n\n".join(_paragraph(push, notice) for push, notice in pushes),
                notify_type=kind,
                body_format=NotifyFormat.TEXT,
            )
        )
    except Exception as error:  # noqa: BLE001 (any of a hundred services; it is tried again)
        log.warning("apprise_failed", error=type(error).__name__)
        return False


def _title(pushes: Sequence[PushedNotice]) -> str:
    if len(pushes) == 1:
        push, notice = pushes[0]
        account = f" of {notice.account}" if notice.account else ""
        return f"Ordertrail: {notice.condition}{account} {push.kind}"
    numbers = [(sum(push.kind == kind for push, _ in pushes), kind) for kind in (OPENED, CLOSED)]
    return "Ordertrail: " + ", ".join(f"{count} {kind}" for count, kind in numbers if count)


def _paragraph(push: Push, notice: Notice) -> str:
    account = f" of account {notice.account}" if notice.account else ""
    if push.kind == CLOSED and notice.closed_at is not None:
        held = str((notice.gone_since or notice.closed_at) - notice.opened_at).partition(".")[0]
        return f"CLOSED {notice.condition}{account}: it was open for {held}."
    facts = [
        f"such as {notice.example}" if notice.example else "",
        f"since {rfc3339(notice.since.replace(microsecond=0))}" if notice.since else "",
    ]
    details = ", ".join(filter(None, facts))
    return (
        f"OPENED ({notice.severity}) {notice.condition}{account}: {notice.summary}"
        + (f" ({details})" if details else "")
        + f".\n{notice.what_to_do}\nSee {runbook_link(notice.condition)}"
    )
