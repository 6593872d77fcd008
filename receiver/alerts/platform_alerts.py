"""What everything else stands on: workers, clock, Redis, disk."""

import shutil
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from redis import Redis, RedisError
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.alerts.catalogue import CRITICAL
from receiver.alerts.context import Alert, AlertContext, SystemState, alert
from receiver.queue.liveness import SWEEP, clock_alive_since, count_live_workers
from receiver.settings import Settings

# The clock asks for a sweep every 3 seconds, and a worker that sweeps writes it down every 10. A
# worker that drains much comes to it late.
UNSWEPT_FOR = timedelta(seconds=60)
# Less than so much of the disk, where that is less than so much: a big disk has room at 8%.
DISK_SHARE, DISK_BYTES = 0.10, 20 * 2**30
DISK_FULL_BYTES = 2**30


def read_system_state(session: Session, settings: Settings, redis: Redis) -> SystemState:
    """See how Redis, the workers and the disks are."""
    workers: int | None = None
    ticking_since: datetime | None = None
    try:
        workers = count_live_workers(redis)
        ticking_since = clock_alive_since(redis)
        reachable = True
    except (RedisError, OSError):
        reachable = False
    disks = [
        shutil.disk_usage(path)
        for path in {settings.data_dir, _postgres_directory(session)}
        if path is not None and path.is_dir()
    ]
    fullest = min(disks, key=lambda disk: disk.free, default=None)
    return SystemState(
        reachable,
        workers,
        ticking_since,
        fullest.free if fullest else None,
        fullest.total if fullest else None,
    )


def _postgres_directory(session: Session) -> Path | None:
    """Where PostgreSQL keeps its data, if it tells us; it may well be on another machine."""
    try:
        with session.begin_nested():
            return Path(session.scalar(text("SHOW data_directory")) or "/nowhere")
    except SQLAlchemyError:
        return None


def alerts(scene: AlertContext) -> Iterator[Alert]:
    """Who does not work. Without Redis nobody knows of workers."""
    around = scene.around
    if not around.redis:
        yield alert(
            "redis_away",
            None,
            "Redis cannot be reached: messages are kept, and nobody folds them",
            "See whether Redis runs and REDIS_URL is right; what waits is folded once it is back.",
        )
    elif around.workers == 0:
        yield alert(
            "no_workers",
            None,
            "no worker runs: messages are kept, and nobody folds them",
            "Start `worker` of the Procfile; what waits is folded once it runs.",
        )
    elif around.ticking_since is None:
        yield alert(
            "no_clock",
            None,
            "workers run, but nothing is asked of them: couriers are not polled, and a lost ring"
            " is not made good",
            "Start `clock` of the Procfile.",
            since=scene.beats.get(SWEEP),
        )
    yield from _disk(around)


def unswept(scene: AlertContext, for_long: timedelta = UNSWEPT_FOR) -> bool:
    """Whether no sweep was made for long, or there is no clock to ask for one.

    What was before the clock began to tick does not count: after a standstill the first sweep takes
    a moment.
    """
    ticking, swept = scene.around.ticking_since, scene.beats.get(SWEEP)
    if ticking is None:
        return True
    return scene.now - max(ticking, swept or ticking) > for_long


def works(scene: AlertContext) -> bool:
    """Whether there is somebody to fold messages."""
    return scene.around.redis and scene.around.workers != 0


def _disk(around: SystemState) -> Iterator[Alert]:
    free, size = around.disk_free, around.disk_size
    if free is None or not size or free >= DISK_BYTES or free / size >= DISK_SHARE:
        return
    yield alert(
        "disk_low",
        None,
        f"the disk is {1 - free / size:.0%} full, {free / 2**30:.1f} GiB are left",
        "Make room, or lower INBOX_RETENTION_DAYS; when it is full every hook is answered 503.",
        severity=CRITICAL if free < DISK_FULL_BYTES else None,
    )
