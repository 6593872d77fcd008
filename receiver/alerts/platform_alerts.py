"""Conditions of the machinery: Redis, workers, clock and disk."""

from collections.abc import Iterator

from receiver.alerts.condition import CRITICAL, WARNING, Alert, condition
from receiver.alerts.context import AlertContext

# A disk is low below both: 8 % of a large disk is still room enough.
DISK_LOW_SHARE, DISK_LOW_BYTES = 0.10, 20 * 2**30
DISK_FULL_BYTES = 2**30


@condition(
    "redis_away",
    CRITICAL,
    "Check that Redis is running and that REDIS_URL is right. Waiting messages are then processed.",
    needs_database=False,
)
def find_redis_away(context: AlertContext) -> Iterator[Alert]:
    if not context.system.redis_reachable:
        yield Alert(None, "Redis cannot be reached: messages are stored but not processed")


@condition(
    "no_workers",
    CRITICAL,
    "Start the process `worker` of the Procfile. Waiting messages are then processed.",
    needs_database=False,
)
def find_no_workers(context: AlertContext) -> Iterator[Alert]:
    if context.system.redis_reachable and context.system.workers == 0:
        yield Alert(None, "No worker is running: messages are stored but not processed")


@condition("no_clock", CRITICAL, "Start the process `clock` of the Procfile.")
def find_no_clock(context: AlertContext) -> Iterator[Alert]:
    if context.workers_run and context.system.clock_since is None:
        summary = (
            "Workers are running, but no clock is: couriers are not polled, and messages whose"
            " wake-up was lost are not processed"
        )
        yield Alert(None, summary, context.last_sweep_at)


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
