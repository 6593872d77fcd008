"""Find out whether Redis can be used now, by a small write: one that only answers is no use."""

from redis import Redis, RedisError
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)

# What is wrong with Redis. The values are shown by /readyz.
OK = "ok"
UNREACHABLE = "unreachable"
WRONG_PASSWORD = "wrong password"  # noqa: S105 (a state)
READ_ONLY = "read-only"
OUT_OF_MEMORY = "out of memory"
REFUSES_WRITES = "refuses writes"

_PROBE_KEY = "ordertrail:probe"
_KEPT_SECONDS = 60
_FAULTS: tuple[tuple[type[Exception], str], ...] = (
    (AuthenticationError, WRONG_PASSWORD),
    (AuthorizationError, WRONG_PASSWORD),
    (NoPermissionError, WRONG_PASSWORD),
    (ReadOnlyError, READ_ONLY),
    (OutOfMemoryError, OUT_OF_MEMORY),
    # Such as MISCONF: its disk is full, and it stops to take writes.
    (ResponseError, REFUSES_WRITES),
)


def check_redis(redis: Redis) -> str:
    """Return OK, or what keeps jobs from being queued."""
    try:
        redis.set(_PROBE_KEY, 1, ex=_KEPT_SECONDS)
    except (RedisError, OSError) as error:
        return name_redis_fault(error)
    return OK


def name_redis_fault(error: Exception) -> str:
    """Return what an error of the client says about Redis: one of the above."""
    return next((fault for kind, fault in _FAULTS if isinstance(error, kind)), UNREACHABLE)
