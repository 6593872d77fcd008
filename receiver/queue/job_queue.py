"""The RQ queue, which holds at most one job of a name: every job does all the work there is."""

from contextlib import suppress

from redis import Redis, RedisError
from rq import Queue
from rq.serializers import JSONSerializer

QUEUE = "ordertrail"


def get_queue(redis: Redis) -> Queue:
    """Return the one queue. It holds JSON: RQ's default, pickle, runs whatever Redis holds."""
    return Queue(QUEUE, connection=redis, serializer=JSONSerializer)


def enqueue_once(
    redis: Redis,
    job: str,
    block_seconds: int,
    failure_ttl: int,
    ttl: int | None = None,
    job_timeout: int | None = None,
) -> bool:
    """Queue a job unless one of its name waits; return whether it was queued.

    block_seconds: how long a job that was queued and never started (its worker died in between)
    prevents the next one.

    Raises: RedisError, OSError.
    """
    if not redis.set(waiting_key(job), 1, nx=True, ex=block_seconds):
        return False
    try:
        get_queue(redis).enqueue(
            job, result_ttl=0, failure_ttl=failure_ttl, ttl=ttl, job_timeout=job_timeout
        )
    except (RedisError, OSError):
        with suppress(RedisError, OSError):
            mark_job_started(redis, job)
        raise
    return True


def mark_job_started(redis: Redis, job: str) -> None:
    """Allow the next job of this name to be queued.

    A job calls this before it looks for work: whatever it may miss then queues another one.
    """
    redis.delete(waiting_key(job))


def waiting_key(job: str) -> str:
    """Return the name of the key in Redis that exists while a job waits."""
    return f"ordertrail:waiting:{job}"
