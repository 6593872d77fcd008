"""Check PostgreSQL, Redis and the processes: do they run, and do they keep what they are given?"""

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from redis import Redis, RedisError
from redis.sentinel import SentinelConnectionPool
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.alerts import CRITICAL
from receiver.cli.check import read_alerts
from receiver.cli.session import describe_failure, open_database
from receiver.db import migrate
from receiver.queue.job_queue import get_queue
from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings
from receiver.text import count_noun
from workers.cli.doctor import findings
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings, judge
from workers.cli.doctor.http_probe import NoResponse, send_probe

# The oldest PostgreSQL that is still maintained.
LEAST_POSTGRESQL = 140_000
POOLER = "A pooler discards our sessions' options: configure it to keep them"
# Settings as our sessions see them: the right values, how bad others are, and what to do.
SYNCHRONOUS = {"on", "local", "remote_write", "remote_apply"}
LOSES = "Set {} = on: without it a crash may lose messages that were answered 200."
POSTGRESQL_SETTINGS = {
    "fsync": ({"on"}, BROKEN, LOSES.format("fsync")),
    "full_page_writes": ({"on"}, BROKEN, LOSES.format("full_page_writes")),
    "synchronous_commit": (SYNCHRONOUS, BROKEN, f"{POOLER} (connect_query in PgBouncer)."),
    "transaction_read_only": ({"off"}, BROKEN, "DATABASE_URL must name the primary."),
    "TimeZone": ({"UTC", "Etc/UTC"}, WARNING, f"{POOLER}: they set UTC."),
}
# Connections that one process may open (its pool, and as many more; web stores and reads on further
# ones), and the processes beside the web workers: a worker, a clock, a command.
CONNECTIONS_PER_WEB_PROCESS, CONNECTIONS_PER_PROCESS, OTHER_PROCESSES = 19, 16, 3
CONNECTIONS_FULL = 0.8

SERVER_STATE = text("""
    SELECT current_setting('server_version_num')::int AS version,
           current_setting('server_version') AS shown_version, clock_timestamp() AS now,
           current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int AS most_connections,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
               AS connections,
           pg_size_pretty(pg_database_size(current_database())) AS size
""")

# RQ 2 needs 5; from 6.2 on a job is moved in one step, so that a crash loses none.
LEAST_REDIS, GOOD_REDIS = (5, 0), (6, 2)
MEMORY_WARNING = 0.8
LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def check_postgresql(settings: Settings, environ: Mapping[str, str]) -> Findings:
    try:
        with open_database(settings) as sessions, sessions() as session:
            asked_at = datetime.now(UTC)
            state = session.execute(SERVER_STATE).one()
            ours = asked_at + (datetime.now(UTC) - asked_at) / 2
            yield Finding("connection", OK, f"reachable; the size of the database is {state.size}")
            new = state.version >= LEAST_POSTGRESQL
            yield judge("version", new, state.shown_version, "Upgrade it to 14 or newer.")
            for name in POSTGRESQL_SETTINGS:
                value = session.execute(text("SELECT current_setting(:name)"), {"name": name})
                yield _check_setting(name, value.scalar_one())
            yield findings.compare_clocks("clock", state.now, ours, "the PostgreSQL host")
            yield _check_connections(state.most_connections, state.connections, environ)
            yield _check_schema(session, settings)
    except SQLAlchemyError as error:
        seen = describe_failure(error) or type(error).__name__
        url = make_url(settings.database_url).render_as_string(hide_password=True)
        advice = f"Check that it is running, and that DATABASE_URL={url} is right."
        yield Finding("connection", BROKEN, seen[:300], advice)


def _check_setting(name: str, value: str) -> Finding:
    right, level, advice = POSTGRESQL_SETTINGS[name]
    return judge(name, value in right, value, advice, level)


def _check_connections(limit: int, used: int, environ: Mapping[str, str]) -> Finding:
    web = int(environ.get("WEB_CONCURRENCY") or os.cpu_count() or 1)
    needed = web * CONNECTIONS_PER_WEB_PROCESS + OTHER_PROCESSES * CONNECTIONS_PER_PROCESS
    full = used > CONNECTIONS_FULL * limit
    seen = f"{used} of {limit} in use; the processes of this host may need {needed}"
    advice = "Raise max_connections, lower WEB_CONCURRENCY, or use PgBouncer."
    good = not full and needed <= limit
    return judge("connections", good, seen, advice, BROKEN if full else WARNING)


def _check_schema(session: Session, settings: Settings) -> Finding:
    """Check that the tables are at the revision of this version."""
    scripts = ScriptDirectory.from_config(migrate.alembic_config(settings.database_url))
    head = scripts.get_current_head()
    current = MigrationContext.configure(session.connection()).get_current_revision()
    seen, advice = f"at revision {current}; this version needs {head}", "Run `ordertrail migrate`."
    if current and current not in {script.revision for script in scripts.walk_revisions()}:
        seen += f" and does not know {current}"
        advice = "Install the newer version that migrated the database."
    return judge("tables", current == head, seen, advice, BROKEN)


def check_redis(settings: Settings) -> Findings:
    try:
        with connect_redis(settings.redis_url) as redis:
            yield from _check_sentinels(redis)
            asked_at = datetime.now(UTC)
            seconds, microseconds = redis.time()
            ours = asked_at + (datetime.now(UTC) - asked_at) / 2
            info: dict[str, Any] = redis.info()
    except (RedisError, OSError) as error:
        advice = "Check that it is running, and REDIS_URL. Until then messages wait; none is lost."
        yield Finding("connection", BROKEN, f"{type(error).__name__}: {error}"[:300], advice)
        return
    yield Finding("connection", OK, "reachable")
    yield _check_version(info)
    advice = "REDIS_URL must name the primary, or the Sentinels: redis+sentinel://..."
    yield judge("writable", info["role"] == "master", f"it is a {info['role']}", advice, BROKEN)
    yield _check_persistence(info)
    yield _check_memory(info)
    theirs = datetime.fromtimestamp(seconds + microseconds / 1e6, UTC)
    yield findings.compare_clocks("clock", theirs, ours, "the Redis host")
    yield _check_password(settings.redis_url)


def _check_version(info: dict[str, Any]) -> Finding:
    valkey, version = info.get("valkey_version"), info["redis_version"]
    shown = f"Valkey {valkey}" if valkey else f"Redis {version}"
    numbers = tuple(int(part) for part in str(version).split(".")[:2])
    level = BROKEN if numbers < LEAST_REDIS else WARNING
    return judge("version", numbers >= GOOD_REDIS, shown, "Upgrade it to 6.2 or newer.", level)


def _check_persistence(info: dict[str, Any]) -> Finding:
    """Check that a restart does not lose the queue and the rate limits of polling."""
    if not int(info.get("aof_enabled", 0)):
        seen = "no append-only file: a restart loses the queue; it is restored from PostgreSQL"
        return Finding("persistence", WARNING, seen, "Set appendonly yes.")
    status = info.get("aof_last_write_status", "ok")
    seen, advice = f"append-only file; its last write: {status}", "Check its disk and its log."
    return judge("persistence", status == "ok", seen, advice, BROKEN)


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
    sentinels, reachable, quorum = pool.sentinel_manager.sentinels, 0, 0
    for sentinel in sentinels:
        try:
            masters: Any = sentinel.sentinel_masters()
        except (RedisError, OSError):
            continue
        reachable += 1
        quorum = int(masters.get(pool.service_name, {}).get("quorum", 0)) or quorum
    seen = f"{reachable} of {len(sentinels)} reachable, quorum {quorum}"
    advice = (
        "Check the hosts in REDIS_URL, and start the missing ones: too few cannot elect a primary."
    )
    good = reachable > len(sentinels) // 2 and reachable >= quorum
    yield judge("Sentinel", good, seen, advice, WARNING if reachable else BROKEN)


def _check_password(url: str) -> Finding:
    """Check that not everybody on the network can add jobs to the queue."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].partition(":")[0]
    if parts.scheme == "unix" or host in LOOPBACK or "@" in parts.netloc:
        return Finding("access", OK, "restricted")
    advice = "Set a password (REDIS_URL=rediss://:password@...), or restrict access to it."
    return Finding("access", WARNING, f"no password for {host}", advice)


def check_processes(settings: Settings) -> Findings:
    """Check web, and show the open alerts that are about the whole service."""
    yield _check_web(settings)
    try:
        found = read_alerts(settings)["alerts"]
        alerts = [alert for alert in found if alert["account"] is None]
    except SQLAlchemyError:
        yield Finding("alerts", NOTE, "unknown, since PostgreSQL cannot be used")
        return
    for alert in alerts:
        level = BROKEN if alert["severity"] == CRITICAL else WARNING
        yield Finding(alert["condition"], level, alert["summary"], alert["what_to_do"])
    if not alerts:
        yield Finding("alerts", OK, "workers and clock are running, and no message has waited long")
    try:
        with connect_redis(settings.redis_url) as redis:
            failed = get_queue(redis).failed_job_registry.count
    except (RedisError, OSError):
        return
    seen = f"{count_noun(failed, 'job')} failed recently"
    advice = "See the workers' log for the cause. The work itself is retried automatically."
    yield judge("jobs", not failed, seen, advice)


def _check_web(settings: Settings) -> Finding:
    """Check the web process of this machine, which need not have one."""
    try:
        response = send_probe("GET", f"{settings.url}/readyz", {})
        readiness = json.loads(response.body)
    except NoResponse:
        seen = f"not running at {settings.url}; fine if it runs on another host"
        return Finding("web", NOTE, seen)
    except ValueError:
        advice = "Choose another PORT, or stop the other program."
        return Finding("web", WARNING, f"another program answers at {settings.url}", advice)
    seen, good = f"{json.dumps(readiness)} at {settings.url}", response.status == HTTPStatus.OK
    return judge("web", good, seen, "See the findings about PostgreSQL.", BROKEN)
