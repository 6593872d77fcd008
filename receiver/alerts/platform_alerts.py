"""Conditions of the machinery: PostgreSQL, Redis, workers, clock and disk."""

from collections.abc import Iterator
from datetime import timedelta

from receiver.alerts.condition import CRITICAL, WARNING, Alert, condition
from receiver.alerts.context import AlertContext
from receiver.db.revision import newest_revision, read_revision
from receiver.inbox import storage_check
from receiver.queue import redis_check
from receiver.text import duration_text

TABLES_OUTDATED = "tables_outdated"
JOBS_FAILING = "jobs_failing"
# Removal goes on every few seconds.
RETENTION_LATE = timedelta(days=1)
# A disk is low below both: 8 % of a large disk is still room enough.
DISK_LOW_SHARE, DISK_LOW_BYTES = 0.10, 20 * 2**30
DISK_FULL_BYTES = 2**30


def _database_condition(name: str, states: set[str], summary: str, what_to_do: str) -> None:
    """Add a condition that holds in these states of PostgreSQL."""

    def find(context: AlertContext) -> Iterator[Alert]:
        if context.system.database in states:
            detail = context.system.database_detail or context.system.database
            yield Alert(None, summary.format(detail))

    condition(name, CRITICAL, what_to_do, needs_database=False)(find)


_database_condition(
    "database_away",
    {storage_check.UNREACHABLE, storage_check.FAILING, storage_check.NO_PERMISSION},
    "PostgreSQL cannot be used: every webhook is answered 503 ({})",
    "Check that PostgreSQL is running and that DATABASE_URL is right.",
)
_database_condition(
    "database_connections",
    {storage_check.OUT_OF_CONNECTIONS},
    "PostgreSQL takes no further connection: webhooks and the API are answered 503",
    "Find out who holds the connections (pg_stat_activity), or raise max_connections.",
)
_database_condition(
    "database_read_only",
    {storage_check.READ_ONLY},
    "PostgreSQL is read-only: every webhook is answered 503",
    "Point DATABASE_URL at the primary, or find out who set default_transaction_read_only.",
)
_database_condition(
    "database_slow",
    {storage_check.SLOW},
    "PostgreSQL needs longer for a small write than a webhook waits: webhooks are answered 503",
    "Look at the latency of PostgreSQL's disk: each webhook waits for a flush.",
)
_database_condition(
    "database_full",
    {storage_check.DISK_FULL},
    "The disk of PostgreSQL is full: webhooks are answered 503",
    "Free some space on PostgreSQL's disk, or grow it.",
)


@condition(
    TABLES_OUTDATED, CRITICAL, "Run `ordertrail migrate` (the process `release` of the Procfile)."
)
def find_tables_outdated(context: AlertContext) -> Iterator[Alert]:
    """Find out whether the release step was forgotten; newer tables fit an older version."""
    revision, needed = read_revision(context.session), newest_revision()
    if revision is None:
        yield Alert(None, "There are no tables: webhooks are answered 503")
    elif revision < needed:
        summary = f"The tables are at revision {revision}, and this version needs {needed}"
        yield Alert(None, summary)
    elif context.system.database == storage_check.WRONG_TABLES:
        yield Alert(None, "The tables do not fit this version: webhooks are answered 503")


_WITHOUT_REDIS = "; the clock processes messages by itself meanwhile, more slowly, and polls none"


@condition(
    "redis_away",
    CRITICAL,
    "Check that Redis is running and that REDIS_URL is right.",
    needs_database=False,
)
def find_redis_away(context: AlertContext) -> Iterator[Alert]:
    state = context.system.redis
    if not context.system.redis_reachable and state in {redis_check.OK, redis_check.UNREACHABLE}:
        yield Alert(None, f"Redis cannot be reached{_WITHOUT_REDIS}")


_REFUSALS = {
    redis_check.WRONG_PASSWORD: (
        "Redis refuses our user or password",
        "Correct the user and the password in REDIS_URL, and restart all processes.",
    ),
    redis_check.READ_ONLY: (
        "Redis is a replica, which takes no writes",
        "Point REDIS_URL at the primary (or use redis+sentinel://), or promote this one.",
    ),
    redis_check.OUT_OF_MEMORY: (
        "Redis has no memory left and refuses writes",
        "Raise maxmemory, or find out what else fills Redis: Ordertrail needs a few MB.",
    ),
    redis_check.REFUSES_WRITES: (
        "Redis answers but refuses writes",
        "See Redis' log: most often its disk is full (MISCONF).",
    ),
}


@condition(
    "redis_refuses",
    CRITICAL,
    "See Redis' log: it answers, but cannot be used.",
    needs_database=False,
)
def find_redis_refuses(context: AlertContext) -> Iterator[Alert]:
    if context.system.redis in _REFUSALS:
        summary, what_to_do = _REFUSALS[context.system.redis]
        yield Alert(None, f"{summary}{_WITHOUT_REDIS}", what_to_do=what_to_do)


@condition(
    "no_workers",
    CRITICAL,
    "Start the process `worker` of the Procfile. Waiting messages are then processed.",
    needs_database=False,
)
def find_no_workers(context: AlertContext) -> Iterator[Alert]:
    if context.system.redis_reachable and context.system.workers == 0:
        yield Alert(None, "No worker is running: messages are stored but not processed")


@condition(
    JOBS_FAILING,
    CRITICAL,
    "See job_failed in the workers' log: it has the error's place.",
    needs_database=False,
)
def find_jobs_failing(context: AlertContext) -> Iterator[Alert]:
    """Find jobs that fail at every run; PostgreSQL's faults, which make all fail, are others."""
    failing = context.failing_jobs
    if failing and context.system.database == storage_check.OK:
        named = ", ".join(f"{name} ({count} times)" for name, count in sorted(failing.items()))
        summary = f"Jobs fail at every run: {named}"
        yield Alert(None, summary, count=max(failing.values()), causes=tuple(failing))


@condition("no_clock", CRITICAL, "Start the process `clock` of the Procfile.")
def find_no_clock(context: AlertContext) -> Iterator[Alert]:
    if context.workers_run and context.system.clock_since is None:
        summary = (
            "Workers are running, but no clock is: couriers are not polled, and messages whose"
            " wake-up was lost are not processed"
        )
        yield Alert(None, summary, context.last_sweep_at)


@condition(
    "retention_behind",
    WARNING,
    "After a term was shortened this passes by itself, as ordertrail_retention_lag_seconds shows."
    " Otherwise see whether the workers are busy all the time, or PostgreSQL is slow.",
)
def find_retention_behind(context: AlertContext) -> Iterator[Alert]:
    """Find out whether rows stay longer than they may; what stops the job is another condition."""
    is_failing = "retain" in context.failing_jobs
    if is_failing or not context.can_fold or context.system.clock_since is None:
        return
    lags = context.retention_lags
    late = sorted(kind for kind, lag in lags.items() if lag > RETENTION_LATE)
    if late:
        worst = max(late, key=lambda kind: lags[kind])
        names = ", ".join(kind.replace("_", " ") for kind in late)
        summary = (
            f"Old data is not removed in time ({names}): the oldest should have been"
            f" removed {duration_text(lags[worst])} ago"
        )
        since = context.now - lags[worst]
        yield Alert(None, summary, since, count=len(late), causes=tuple(late))


@condition(
    "disk_low",
    WARNING,
    "Free some space, or lower INBOX_RETENTION_DAYS. A full disk makes every webhook fail with"
    " 503.",
    needs_database=False,
)
def find_disk_low(context: AlertContext) -> Iterator[Alert]:
    free, size = context.system.disk_free, context.system.disk_size
    if free is None or not size or free >= DISK_LOW_BYTES or free / size >= DISK_LOW_SHARE:
        return
    summary = f"The disk is {1 - free / size:.0%} full: {free / 2**30:.1f} GiB are free"
    yield Alert(None, summary, severity=CRITICAL if free < DISK_FULL_BYTES else "")
