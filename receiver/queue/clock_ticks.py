"""The clock's ticks, as Redis has them: since when it ticks, and which of its jobs wait.

So it can be told whether nobody asks the workers, or they do not come to do it.
"""

from datetime import datetime

from redis import Redis

SINCE = "ordertrail:ticking-since"
# No clock ticked for so long, and it stands still; it ticks twice a second.
STILL_SECONDS = 60
# A job waits for so long at most. Longer than a drain takes, or a worker that comes from one drain
# only to go to the next would find everything gone that was queued meanwhile.
WAIT_SECONDS = 15


def note(redis: Redis, now: datetime) -> None:
    """Write down that a clock has just ticked."""
    redis.set(SINCE, now.isoformat(), nx=True, ex=STILL_SECONDS)
    redis.expire(SINCE, STILL_SECONDS)


def ticking_since(redis: Redis) -> datetime | None:
    """Since when clocks tick without a break; None where none does."""
    told = redis.get(SINCE)
    return datetime.fromisoformat(told.decode()) if isinstance(told, bytes) else None


def may_wait(redis: Redis, job: str) -> bool:
    """Whether a job is to be queued: not where one of its kind waits, which does the same work."""
    return bool(redis.set(_waiting(job), 1, nx=True, ex=WAIT_SECONDS))


def taken(redis: Redis, job: str) -> None:
    """A worker has come to the job: the next one may be queued."""
    redis.delete(_waiting(job))


def _waiting(job: str) -> str:
    return f"ordertrail:waiting:{job}"
