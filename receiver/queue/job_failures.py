"""How often in a row each job has failed, in Redis, over all workers: for an alert."""

from contextlib import suppress

from redis import Redis, RedisError

_KEY = "ordertrail:job-failures"


def record_job_result(redis: Redis, job: str, failed: bool) -> None:
    """Count a failure, or forget the failures before a success. Without Redis nothing is kept."""
    with suppress(RedisError, OSError):
        if failed:
            redis.hincrby(_KEY, job, 1)
        else:
            redis.hdel(_KEY, job)


def read_job_failures(redis: Redis) -> dict[str, int]:
    """Return how often in a row each job has failed.

    Raises: RedisError, OSError.
    """
    found: dict[bytes, bytes] = redis.hgetall(_KEY)  # type: ignore[assignment]
    return {name.decode(): int(count) for name, count in found.items()}
