"""Redis or Valkey: whether RQ can work with it, and whether it keeps what it is given."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisError
from redis.sentinel import Sentinel, SentinelConnectionPool

from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings
from workers.cli.doctor.findings import BROKEN, OK, WARNING, Finding, Findings, skew

AREA = "Redis"
# RQ 2 needs 5; from 6.2 on a job is moved in one step, and none is lost between two.
LEAST_VERSION, GOOD_VERSION = (5, 0), (6, 2)
FULL = 0.8
AT_HOME = {"localhost", "127.0.0.1", "::1"}


def check(settings: Settings) -> Findings:
    redis = connect_redis(settings.redis_url)
    try:
        yield from _sentinels(redis)
        asked_at = datetime.now(UTC)
        seconds, micros = redis.time()
        ours = asked_at + (datetime.now(UTC) - asked_at) / 2
        told: dict[str, Any] = redis.info()
    except (RedisError, OSError) as failure:
        seen = f"{type(failure).__name__}: {failure}"[:300]
        mend = "Look whether it runs, and at REDIS_URL. Until then messages wait, and none is lost."
        yield Finding(AREA, "connection", BROKEN, seen, mend)
        return
    finally:
        redis.close()
    yield Finding(AREA, "connection", OK, "answers")
    yield _version(told)
    if told.get("role") != "master":
        mend = "REDIS_URL must name the primary, or the Sentinels: redis+sentinel://..."
        yield Finding(AREA, "writable", BROKEN, "a replica, which takes no writes", mend)
    yield _persistence(told)
    yield _eviction(told)
    theirs = datetime.fromtimestamp(seconds + micros / 1e6, UTC)
    yield skew(AREA, theirs, ours, "Redis' host")
    yield from _open_door(settings.redis_url)


def _version(told: dict[str, Any]) -> Finding:
    valkey = told.get("valkey_version")
    shown = f"Valkey {valkey}" if valkey else f"Redis {told['redis_version']}"
    numbers = tuple(int(part) for part in str(told["redis_version"]).split(".")[:2])
    if numbers < LEAST_VERSION:
        return Finding(AREA, "version", BROKEN, shown, "RQ does not work with it: 6.2 or newer.")
    if numbers < GOOD_VERSION:
        return Finding(AREA, "version", WARNING, shown, "Upgrade it to 6.2 or newer.")
    return Finding(AREA, "version", OK, shown)


def _persistence(told: dict[str, Any]) -> Finding:
    """What a restart of it would forget: wake-ups, and how fast couriers were asked of late."""
    if not int(told.get("aof_enabled", 0)):
        seen = "no append-only file: a restart forgets what is queued, and the sweep must find it"
        return Finding(AREA, "persistence", WARNING, seen, "Set appendonly yes.")
    if told.get("aof_last_write_status", "ok") != "ok":
        seen = "the append-only file cannot be written"
        return Finding(AREA, "persistence", BROKEN, seen, "Look at its disk and its log.")
    return Finding(AREA, "persistence", OK, "append-only file")


def _eviction(told: dict[str, Any]) -> Finding:
    most, used = int(told.get("maxmemory", 0)), int(told.get("used_memory", 0))
    policy = told.get("maxmemory_policy", "noeviction")
    if most and policy != "noeviction":
        seen = f"{policy}, with maxmemory: what is queued may be thrown away"
        return Finding(AREA, "eviction", BROKEN, seen, "Set maxmemory-policy noeviction.")
    if policy != "noeviction":
        seen = f"{policy}, only harmless while there is no maxmemory"
        return Finding(AREA, "eviction", WARNING, seen, "Set maxmemory-policy noeviction.")
    if most and used > FULL * most:
        seen = f"{used / most:.0%} of maxmemory is used, and then nothing can be queued"
        return Finding(AREA, "eviction", WARNING, seen, "Give it more, or look what fills it.")
    return Finding(AREA, "eviction", OK, policy)


def _sentinels(redis: Redis) -> Findings:
    """How many of the Sentinels answer, and whether they can agree on a new primary."""
    pool = redis.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return
    manager: Sentinel = pool.sentinel_manager
    answered, quorum = 0, 0
    for one in manager.sentinels:
        try:
            masters: Any = one.sentinel_masters()
        except (RedisError, OSError):
            continue
        answered += 1
        quorum = int(masters.get(pool.service_name, {}).get("quorum", 0)) or quorum
    count = len(manager.sentinels)
    seen = f"{answered} of {count} answer"
    if answered == 0:
        yield Finding(AREA, "Sentinel", BROKEN, seen, "Look at the hosts in REDIS_URL.")
    elif answered <= count // 2 or answered < quorum:
        mend = "Too few to agree on a new primary: start the others."
        yield Finding(AREA, "Sentinel", WARNING, seen, mend)
    else:
        yield Finding(AREA, "Sentinel", OK, f"{seen}, {quorum} must agree")


def _open_door(url: str) -> Findings:
    """Whoever reaches it can write jobs into its queue."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    if parts.scheme == "unix" or host in AT_HOME or "@" in parts.netloc:
        return
    mend = "Give it a password (REDIS_URL=rediss://:password@...), or let nobody else reach it."
    yield Finding(AREA, "access", WARNING, f"no password for {host}", mend)
