"""Check that Redis or Valkey works with RQ and keeps what it is given."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from redis import Redis, RedisError
from redis.sentinel import Sentinel, SentinelConnectionPool

from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings
from workers.cli.doctor.findings import BROKEN, OK, WARNING, Finding, Findings, compare_clocks

# RQ 2 needs 5; from 6.2 on a job is moved in one step, so that a crash loses none.
LEAST_VERSION, GOOD_VERSION = (5, 0), (6, 2)
MEMORY_WARNING = 0.8
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def check_redis(settings: Settings) -> Findings:
    redis = connect_redis(settings.redis_url)
    try:
        yield from _check_sentinels(redis)
        asked_at = datetime.now(UTC)
        seconds, microseconds = redis.time()
        ours = asked_at + (datetime.now(UTC) - asked_at) / 2
        info: dict[str, Any] = redis.info()
    except (RedisError, OSError) as error:
        advice = "Check that it runs, and REDIS_URL. Until then messages wait; none is lost."
        yield Finding("connection", BROKEN, f"{type(error).__name__}: {error}"[:300], advice)
        return
    finally:
        redis.close()
    yield Finding("connection", OK, "reachable")
    yield _check_version(info)
    if info.get("role") != "master":
        advice = "REDIS_URL must name the primary, or the Sentinels: redis+sentinel://..."
        yield Finding("writable", BROKEN, "a replica, which accepts no writes", advice)
    yield _check_persistence(info)
    yield _check_memory(info)
    theirs = datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)
    yield compare_clocks("clock", theirs, ours, "the Redis host")
    yield from _check_password(settings.redis_url)


def _check_version(info: dict[str, Any]) -> Finding:
    valkey = info.get("valkey_version")
    shown = f"Valkey {valkey}" if valkey else f"Redis {info['redis_version']}"
    numbers = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
    if numbers < GOOD_VERSION:
        level = BROKEN if numbers < LEAST_VERSION else WARNING
        return Finding("version", level, shown, "Upgrade it to 6.2 or newer.")
    return Finding("version", OK, shown)


def _check_persistence(info: dict[str, Any]) -> Finding:
    """Check that a restart does not lose the queue and the rate limits of polling."""
    if not int(info.get("aof_enabled", 0)):
        seen = "no append-only file: a restart loses the queue, which the sweep then restores"
        return Finding("persistence", WARNING, seen, "Set appendonly yes.")
    if info.get("aof_last_write_status", "ok") != "ok":
        seen = "the append-only file cannot be written"
        return Finding("persistence", BROKEN, seen, "Check its disk and its log.")
    return Finding("persistence", OK, "append-only file")


def _check_memory(info: dict[str, Any]) -> Finding:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        level, effect = WARNING, "harmless only while maxmemory is not set"
        if limit:
            level, effect = BROKEN, "and maxmemory is set: queued jobs may be evicted"
        return Finding("eviction", level, f"{policy}, {effect}", "Set maxmemory-policy noeviction.")
    if limit and used > MEMORY_WARNING * limit:
        seen = f"{used / limit:.0%} of maxmemory is used; when it is full, nothing can be queued"
        return Finding("eviction", WARNING, seen, "Raise maxmemory, or find out what fills it.")
    return Finding("eviction", OK, policy)


def _check_sentinels(redis: Redis) -> Findings:
    """Check that enough Sentinels are reachable to elect a new primary."""
    pool = redis.connection_pool
    if not isinstance(pool, SentinelConnectionPool):
        return
    manager: Sentinel = pool.sentinel_manager
    reachable, quorum = 0, 0
    for sentinel in manager.sentinels:
        try:
            masters: Any = sentinel.sentinel_masters()
        except (RedisError, OSError):
            continue
        reachable += 1
        quorum = int(masters.get(pool.service_name, {}).get("quorum", 0)) or quorum
    total = len(manager.sentinels)
    seen = f"{reachable} of {total} reachable"
    if reachable == 0:
        yield Finding("Sentinel", BROKEN, seen, "Check the hosts in REDIS_URL.")
    elif reachable <= total // 2 or reachable < quorum:
        advice = "Start the others: these are too few to elect a new primary."
        yield Finding("Sentinel", WARNING, seen, advice)
    else:
        yield Finding("Sentinel", OK, f"{seen}, quorum {quorum}")


def _check_password(url: str) -> Findings:
    """Check that not everybody on the network can add jobs to the queue."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    if parts.scheme == "unix" or host in LOOPBACK or "@" in parts.netloc:
        return
    advice = "Set a password (REDIS_URL=rediss://:password@...), or restrict access to it."
    yield Finding("access", WARNING, f"no password for {host}", advice)
