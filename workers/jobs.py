"""The RQ jobs. A job carries no data: what there is to do is in PostgreSQL."""

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from receiver import telemetry
from receiver.logs import failure_fields
from receiver.queue.doorbell import ring_doorbell
from receiver.queue.job_failures import record_job_result
from receiver.queue.job_queue import mark_job_started
from receiver.queue.liveness import record_sweep
from receiver.stats import totals
from workers.folding.drain import drain_inbox
from workers.folding.poison import CrashGuard
from workers.polling.account_poller import AccountPoller
from workers.runtime import STOP, get_runtime
from workers.upkeep.performance import count_performance
from workers.upkeep.retention import Retention
from workers.upkeep.sweep import find_overdue_messages, is_being_folded

log = structlog.get_logger(__name__)

# A drain ends after this long even if messages are left: the worker can be stopped, and other jobs
# have their turn before they are dropped (JOB_TTL_SECONDS of the clock), also on a slow machine.
DRAIN_SECONDS = 2.0
# While a worker drops old data, or counts performance, it does not drain.
RETENTION_SECONDS = 0.25
PERFORMANCE_SECONDS = 0.25

Job = Callable[[], None]
# The names that an RQ job may have.
NAMES: set[str] = set()


class JobFailed(Exception):
    """A job failed. Without the error's text: RQ keeps it in Redis, and it may quote rows."""


def job(work: Job) -> Job:
    """Make a function an RQ job: the outermost edge, where an error is logged and raised again."""
    name = f"{work.__module__}.{work.__name__}"
    NAMES.add(name)

    @functools.wraps(work)
    def run() -> None:
        # Without Redis the mark that the job waits expires by itself.
        with suppress(RedisError, OSError):
            mark_job_started(get_runtime().redis, name)
        try:
            with telemetry.job_span(work.__name__):
                work()
        except Exception as error:  # noqa: BLE001 (the edge)
            what = failure_fields(error)
            log.error("job_failed", job=work.__name__, **what)  # noqa: TRY400 (see JobFailed)
            _record_failure(work.__name__)
            raise JobFailed(f"{work.__name__}: {what['error']} at {what['where']}") from None

        record_job_result(get_runtime().redis, work.__name__, failed=False)

    return run


def _record_failure(name: str) -> None:
    process = get_runtime()
    record_job_result(process.redis, name, failed=True)
    with suppress(SQLAlchemyError), process.sessions.begin() as session:
        totals.add_totals(session, {(totals.JOB_FAILURES, "", name): 1})


@functools.cache
def _crash_guard() -> CrashGuard:
    return CrashGuard()


@functools.cache
def _pollers() -> Sequence[AccountPoller]:
    process = get_runtime()
    factor = process.settings.poll_interval_factor
    return [
        AccountPoller(account, account.access, factor, process.sessions, process.redis, STOP)
        for _, account in sorted(process.settings.accounts.items())
        if account.access is not None
    ]


@job
def drain() -> None:
    """Empty the inbox."""
    process = get_runtime()
    feed = process.feed_bell.ring
    if drain_inbox(process.sessions, process.settings, _crash_guard(), DRAIN_SECONDS, feed, STOP):
        ring_doorbell(process.redis)


@job
def poll() -> None:
    """Start polling the orders that are due; an account that fails keeps no other from it."""
    for poller in _pollers():
        try:
            poller.start_threads()
        except Exception as error:  # noqa: BLE001 (the edge of an account)
            fields = failure_fields(error)
            log.error("poll_failed", account=poller.slug, **fields)  # noqa: TRY400


@job
def sweep() -> None:
    """Ring the doorbell for messages that no drain came for."""
    process = get_runtime()
    now = datetime.now(UTC)
    with process.sessions.begin() as session:
        record_sweep(session, now)
        overdue = find_overdue_messages(session, now)
        is_backlog = overdue is not None and is_being_folded(session, now)
    if overdue is not None and ring_doorbell(process.redis) and not is_backlog:
        log.warning("overdue_messages_found", **overdue)
        with process.sessions.begin() as session:
            totals.add_totals(session, {(totals.MENDED, "", totals.RINGS): 1})


@job
def retain() -> None:
    """Drop what is past its retention; the rest waits for the next time."""
    process = get_runtime()
    Retention(process.settings).drop_due(process.sessions, datetime.now(UTC), RETENTION_SECONDS)


@job
def count() -> None:
    """Add what ended orders count for to the daily sums of couriers' performance."""
    count_performance(get_runtime().sessions, PERFORMANCE_SECONDS)


def close() -> None:
    """Stop the pollers' threads; STOP is set."""
    if _pollers.cache_info().currsize:
        for poller in _pollers():
            poller.close()
