"""Alerting: evaluate the conditions every few seconds, record the alerts, and push them to people.

It runs in the clock's process and not as a job, because missing workers and a missing Redis are
alerts too. Where several clocks run, one of them evaluates at a time.

A notice records an alert; it opens once and closes once, however its condition flickers. Pushes are
rows in PostgreSQL, so they outlive every process. One that was sent but not recorded, because the
process died in between, is sent again. While PostgreSQL cannot be written, alerts are pushed
straight from memory.
"""

import hashlib
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import httpcore
import structlog
from redis import Redis, RedisError
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import Alert, AlertReader, Evaluation
from receiver.background_thread import BackgroundThread
from receiver.db.group_commit import AutocommitPool
from receiver.db.locks import ALERTS_LOCK, try_lock
from receiver.db.models import Notice, Push
from receiver.inbox.storage_check import OK, SLOW, StorageCheck
from receiver.logs import exception_fields
from receiver.settings import Settings
from receiver.stats import totals
from receiver.stats.history import delete_old_history
from workers.alerting.notices import Notices, grace_of, log_fields, log_opened
from workers.alerting.pushes import CLOSED, OPENED, PushText, Target, write_push

log = structlog.get_logger(__name__)

# Also before the first check: workers and clock start together, and the first sweep takes a moment.
INTERVAL_SECONDS = 15.0
CLEAN_UP_EVERY = timedelta(hours=1)
KEPT_FOR = timedelta(days=30)
# An alert that was pushed without PostgreSQL closes after so long.
CALM_WITHOUT_DATABASE = timedelta(minutes=1)

# So long do other clocks leave an alert to the one that pushed it without PostgreSQL.
ONE_CLOCK_SECONDS = 3600

# A process that sends a push has it for so long before another may send it.
LEASE = timedelta(minutes=2)
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=30)
# About two days.
MOST_ATTEMPTS = 100
MOST_AT_ONCE = 50

HEARTBEAT_EVERY = timedelta(minutes=1)
HEARTBEAT_SECONDS = 10.0
SUCCESS = range(200, 300)

# A check that takes longer hangs. Fifty pushes to an address that does not answer take ten minutes.
LONGEST_CHECK_SECONDS = 1800.0

Key = tuple[str, str]


class AlertWatch:
    """Watch the conditions for as long as the clock runs."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], redis: Redis) -> None:
        self._settings, self._sessions, self._redis = settings, sessions, redis
        # By names that reveal nothing: addresses contain passwords.
        self._targets = {
            hashlib.sha256(url.encode()).hexdigest()[:12]: Target(url)
            for url in settings.alert_urls
        }
        storage = StorageCheck(AutocommitPool(sessions.kw["bind"]))
        self._reader = AlertReader(settings, sessions, redis, storage)
        self._checked_at = time.monotonic()
        self._cleaned_up_at: datetime | None = None
        self._heart_beat_at: datetime | None = None
        # Since when each alert holds; and when it was pushed while PostgreSQL could not be written.
        self._held_since: dict[Key, datetime] = {}
        self._pushed: dict[Key, tuple[Alert, datetime]] = {}
        self._gone_since: dict[Key, datetime] = {}
        # The alerts that had notices when PostgreSQL was read last, and those that were pushed.
        self._recorded: set[Key] = set()
        self._pushed_before: set[Key] = set()
        # The alerts whose opening was logged since, and which were not pushed.
        self._opened: dict[Key, Alert] = {}
        self._thread = BackgroundThread(
            "alert_check", self._check_now, delay=INTERVAL_SECONDS, retry_seconds=0
        )

    def start(self) -> None:
        """Check every few seconds from now on, in a thread."""
        self._thread.wake()

    def hangs(self) -> bool:
        """Return whether the checks have stopped, so that only a restart helps."""
        return time.monotonic() - self._checked_at > LONGEST_CHECK_SECONDS

    def _check_now(self) -> float:
        self._checked_at = time.monotonic()
        self.check(datetime.now(UTC))
        return 0

    def check(self, now: datetime) -> None:
        """Record the alerts that opened and closed, and send the pushes that are due."""
        evaluation = self._reader.read(now)
        holding = {(alert.condition, alert.account or "") for alert in evaluation.alerts}
        self._held_since = {key: self._held_since.get(key, now) for key in holding}
        for key in self._opened.keys() - holding:
            if key[0] not in evaluation.unknown:
                log.info("alert_closed", **log_fields(self._opened.pop(key)))
        if evaluation.system.database == SLOW:
            # A check would take minutes: each commit waits for the disk.
            self._push_from_memory(evaluation, now)
        else:
            try:
                is_ours = self._record(evaluation, now)
                self._close_pushed(evaluation, now)
                if is_ours:
                    self._send_due_pushes(now)
            except SQLAlchemyError as error:
                log.warning("alerts_not_recorded", **exception_fields(error))
                self._push_from_memory(evaluation, now)
        self._beat(evaluation, now)

    def _record(self, evaluation: Evaluation, now: datetime) -> bool:
        """Record the alerts, unless another clock does; return whether this one did."""
        with self._sessions.begin() as session:
            if not try_lock(session, ALERTS_LOCK):
                return False
            pushed = {key: at for key, (_, at) in self._pushed.items()}
            notices = Notices(session, self._targets, now)
            notices.update(evaluation, pushed, pushed.keys() | self._opened.keys())
            session.flush()
            columns = (Notice.condition, Notice.account, Notice.pushed_at)
            rows = session.execute(select(*columns).where(Notice.closed_at.is_(None))).all()
            if self._cleaned_up_at is None or now - self._cleaned_up_at >= CLEAN_UP_EVERY:
                delete_old_history(session, now)
                old = (Notice.opened_at < now - KEPT_FOR, Notice.closed_at < now - KEPT_FOR)
                session.execute(delete(Notice).where(*old))
                self._cleaned_up_at = now
        for log_line in notices.log_lines:
            log_line()
        self._recorded = {(row.condition, row.account) for row in rows}
        self._pushed_before = {(row.condition, row.account) for row in rows if row.pushed_at}
        for key in pushed.keys() & self._pushed_before:
            # Its notice closes it.
            del self._pushed[key]
        for key in self._opened.keys() & self._recorded:
            del self._opened[key]
        return True

    def _push_from_memory(self, evaluation: Evaluation, now: datetime) -> None:
        """Push what has held for its grace time. Of several clocks one does, if Redis answers."""
        for alert in evaluation.alerts:
            key = alert.condition, alert.account or ""
            if not any(key in known for known in (self._recorded, self._pushed, self._opened)):
                log_opened(alert)
                self._opened[key] = alert
            is_new = key not in self._pushed and key not in self._pushed_before
            if is_new and now - self._held_since[key] >= grace_of(alert) and self._is_first(key):
                push = write_push(self._settings, OPENED, alert)
                if self._send_to_all(push):
                    self._pushed[key] = alert, now
                    self._opened.pop(key, None)
        self._close_pushed(evaluation, now)

    def _send_to_all(self, push: PushText) -> bool:
        """Return whether a target took it: it is not repeated because of the others."""
        sent = [target.send(push) for target in self._targets.values()]
        return any(sent) or not sent

    def _is_first(self, key: Key) -> bool:
        name = f"ordertrail:pushed:{':'.join(key)}"
        with suppress(RedisError, OSError):
            return bool(self._redis.set(name, 1, nx=True, ex=ONE_CLOCK_SECONDS))
        return True

    def _close_pushed(self, evaluation: Evaluation, now: datetime) -> None:
        """Push that an alert is over which was pushed from memory."""
        holding = {(alert.condition, alert.account or "") for alert in evaluation.alerts}
        for key, (alert, at) in list(self._pushed.items()):
            if key in holding or alert.condition in evaluation.unknown:
                self._gone_since.pop(key, None)
                continue
            if now - self._gone_since.setdefault(key, now) < CALM_WITHOUT_DATABASE:
                continue
            held = str(now - at).partition(".")[0]
            push = write_push(self._settings, CLOSED, alert, held)
            if self._send_to_all(push):
                log.info("alert_closed", **log_fields(alert))
                del self._pushed[key], self._gone_since[key]

    def _send_due_pushes(self, now: datetime) -> None:
        """Send the pushes that are due, each as a message of its own."""
        with self._sessions.begin() as session:
            due = (
                select(Push, Notice)
                .join(Notice, Notice.id == Push.notice_id)
                .where(Push.sent_at.is_(None), Push.given_up_at.is_(None), Push.next_at <= now)
                .order_by(Push.notice_id, Push.next_at)
                .limit(MOST_AT_ONCE)
                .with_for_update(of=Push, skip_locked=True)
            )
            pushes = list(session.execute(due))
            for push, _ in pushes:
                push.attempts += 1
                push.next_at = now + LEASE
        failed = 0
        for push, notice in pushes:
            # An address that is not known was removed from ALERT_URLS.
            target = self._targets.get(push.target)
            ended_at = notice.gone_since or now
            held = str(ended_at - notice.opened_at).partition(".")[0]
            text = write_push(self._settings, push.kind.partition(" ")[0], notice, held)
            sent = target is not None and target.send(text)
            if target is not None and not sent:
                failed += 1
                log.warning("alert_push_failed", target=push.target, **log_fields(notice))
            with self._sessions.begin() as session:
                session.add(push)
                wait = FIRST_WAIT * 2 ** min(push.attempts - 1, 10)
                push.next_at = now + min(wait, LONGEST_WAIT)
                if sent:
                    push.sent_at = now
                elif target is None or push.attempts >= MOST_ATTEMPTS:
                    push.given_up_at = now
                    log.error("alert_push_given_up", target=push.target, **log_fields(notice))
        if failed:
            with self._sessions.begin() as session:
                totals.add_totals(session, {(totals.PUSH_FAILURES, "", ""): failed})

    def _beat(self, evaluation: Evaluation, now: datetime) -> None:
        """Request HEARTBEAT_URL: the monitor behind it raises an alarm when requests stop."""
        system, url = evaluation.system, self._settings.heartbeat_url
        is_well = system.database == OK and evaluation.database_answers and system.workers
        is_due = self._heart_beat_at is None or now - self._heart_beat_at >= HEARTBEAT_EVERY
        if url is None or not (is_well and system.redis_reachable and is_due):
            return
        self._heart_beat_at = now
        timeout = dict.fromkeys(("connect", "read", "write", "pool"), HEARTBEAT_SECONDS)
        try:
            status = httpcore.request("GET", url, extensions={"timeout": timeout}).status
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            log.warning("heartbeat_failed", **exception_fields(error))
        else:
            if status not in SUCCESS:
                log.warning("heartbeat_failed", status=status)
