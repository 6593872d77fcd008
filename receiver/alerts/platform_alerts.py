"""Conditions of the machinery: Redis, workers, clock and disk."""

from collections.abc import Iterator

from receiver.alerts.condition import CRITICAL, Finding
from receiver.alerts.context import AlertContext

# A disk is low below both: 8 % of a large disk is still room enough.
DISK_LOW_SHARE, DISK_LOW_BYTES = 0.10, 20 * 2**30
DISK_FULL_BYTES = 2**30


def find_redis_away(context: AlertContext) -> Iterator[Finding]:
    if not context.system.redis_reachable:
        yield Finding()


def find_no_workers(context: AlertContext) -> Iterator[Finding]:
    if context.system.redis_reachable and context.system.workers == 0:
        yield Finding()


def find_no_clock(context: AlertContext) -> Iterator[Finding]:
    if context.workers_run and context.system.clock_since is None:
        yield Finding(since=context.last_sweep_at)


def find_disk_low(context: AlertContext) -> Iterator[Finding]:
    free, size = context.system.disk_free, context.system.disk_size
    if free is None or not size or free >= DISK_LOW_BYTES or free / size >= DISK_LOW_SHARE:
        return
    yield Finding(
        summary=f"The disk is {1 - free / size:.0%} full, {free / 2**30:.1f} GiB are left",
        severity=CRITICAL if free < DISK_FULL_BYTES else None,
    )
