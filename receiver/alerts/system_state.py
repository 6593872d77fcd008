"""The state of what is not in PostgreSQL: Redis, the workers, the clock and the disks."""

import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from redis import Redis, RedisError
from sqlalchemy import text
from sqlalchemy.orm import Session

from receiver.queue.liveness import clock_alive_since, count_live_workers
from receiver.settings import Settings

# For an ordinary role the setting is an error, which would be in PostgreSQL's log at every scrape.
DATA_DIRECTORY = text("""
    SELECT CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
                THEN current_setting('data_directory') END
""")


@dataclass(frozen=True, slots=True)
class SystemState:
    """What was found. None: not known.

    clock_since: since when the clock has been ticking without a break; None: it is not ticking.
    disk_free, disk_size: bytes of the fullest of the disks with our data.
    """

    redis_reachable: bool
    workers: int | None
    clock_since: datetime | None
    disk_free: int | None = None
    disk_size: int | None = None


def read_system_state(session: Session, settings: Settings, redis: Redis) -> SystemState:
    """Read the state of Redis, the workers, the clock and the disks."""
    workers: int | None = None
    clock_since: datetime | None = None
    try:
        workers = count_live_workers(redis)
        clock_since = clock_alive_since(redis)
        reachable = True
    except (RedisError, OSError):
        reachable = False
    disks = [
        shutil.disk_usage(path)
        for path in {settings.data_dir, find_postgres_directory(session)}
        if path is not None and path.is_dir()
    ]
    fullest = min(disks, key=lambda disk: disk.free, default=None)
    free, size = (fullest.free, fullest.total) if fullest else (None, None)
    return SystemState(reachable, workers, clock_since, free, size)


def find_postgres_directory(session: Session) -> Path | None:
    """Return PostgreSQL's data directory, if our role may read it; it may be on another machine."""
    directory = session.scalar(DATA_DIRECTORY)
    return Path(directory) if directory else None
