"""Check that PostgreSQL keeps what is committed, and that it suits this version and this load."""

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime

from alembic.script import ScriptDirectory
from sqlalchemy import make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.alerts.context import find_postgres_directory
from receiver.cli.session import open_database
from receiver.db import migrate
from receiver.logs import exception_fields
from receiver.settings import Settings
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings, compare_clocks

# The oldest version that is still maintained.
LEAST_VERSION = 140_000
# Settings without which a crash loses committed data.
DURABILITY = {
    "fsync": "Set fsync = on: without it a crash may lose messages that were answered 200.",
    "full_page_writes": "Set full_page_writes = on: without it a crash may corrupt tables.",
}
# Connections that one process may open (its pool, and as many more), and the processes beside the
# web workers: a worker, a clock, a command.
CONNECTIONS_PER_PROCESS, OTHER_PROCESSES = 16, 3
CONNECTIONS_FULL = 0.8
DISK_WARNING = 0.1

SERVER_STATE = text("""
    SELECT current_setting('server_version_num')::int AS version,
           current_setting('server_version') AS shown_version,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           current_setting('synchronous_commit') AS synchronous_commit,
           current_setting('transaction_read_only') AS read_only,
           current_setting('TimeZone') AS zone, clock_timestamp() AS now,
           current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int AS most_connections,
           (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')
               AS connections,
           pg_size_pretty(pg_database_size(current_database())) AS size
""")


def check_postgresql(settings: Settings, environ: Mapping[str, str]) -> Findings:
    try:
        with open_database(settings) as sessions, sessions() as session:
            yield from _check_server(session, environ)
            yield _check_schema(session, settings)
            yield from _check_disk(session, settings)
    except SQLAlchemyError as error:
        seen = " ".join(str(getattr(error, "orig", None) or error).split())
        url = make_url(settings.database_url).render_as_string(hide_password=True)
        advice = f"Check that it runs, and DATABASE_URL={url}"
        yield Finding("connection", BROKEN, seen[:300] or str(exception_fields(error)), advice)


def _check_server(session: Session, environ: Mapping[str, str]) -> Findings:
    asked_at = datetime.now(UTC)
    state = session.execute(SERVER_STATE).mappings().one()
    ours = asked_at + (datetime.now(UTC) - asked_at) / 2
    yield Finding("connection", OK, f"reachable; the size of the database is {state['size']}")
    if state["version"] < LEAST_VERSION:
        advice = f"Upgrade it to {LEAST_VERSION // 10_000} or newer."
        yield Finding("version", WARNING, state["shown_version"], advice)
    else:
        yield Finding("version", OK, state["shown_version"])
    if state["read_only"] == "on":
        advice = "DATABASE_URL must name the primary: a replica cannot store messages."
        yield Finding("writable", BROKEN, "read-only", advice)
    for name, advice in DURABILITY.items():
        on = state[name] == "on"
        yield Finding(name, OK if on else BROKEN, state[name], "" if on else advice)
    yield _check_synchronous_commit(state["synchronous_commit"])
    yield _check_time_zone(state["zone"])
    yield compare_clocks("clock", state["now"], ours, "the PostgreSQL host")
    yield _check_connections(state["most_connections"], state["connections"], environ)


def _check_synchronous_commit(value: str) -> Finding:
    """Check the value in our own sessions: they set it to `on`, which a pooler may discard."""
    if value != "off":
        return Finding("synchronous_commit", OK, f"{value} in our sessions")
    advice = (
        "A pooler discards our sessions' options: configure it to keep them (connect_query in"
        " PgBouncer), or ALTER ROLE ... SET synchronous_commit = on."
    )
    seen = "off in our sessions: a crash may lose messages that were answered 200"
    return Finding("synchronous_commit", BROKEN, seen, advice)


def _check_time_zone(value: str) -> Finding:
    if value in {"UTC", "Etc/UTC"}:
        return Finding("time zone", OK, value)
    advice = "A pooler discards our sessions' options, which set UTC: configure it to keep them."
    return Finding("time zone", WARNING, value, advice)


def _check_connections(limit: int, used: int, environ: Mapping[str, str]) -> Finding:
    web = int(environ.get("WEB_CONCURRENCY") or os.cpu_count() or 1)
    needed = (web + OTHER_PROCESSES) * CONNECTIONS_PER_PROCESS
    seen = f"{used} of {limit} in use; one of our hosts may need {needed}"
    advice = "Raise max_connections, lower WEB_CONCURRENCY, or use PgBouncer."
    if used > CONNECTIONS_FULL * limit:
        return Finding("connections", BROKEN, seen, advice)
    if needed > limit:
        return Finding("connections", WARNING, seen, advice)
    return Finding("connections", OK, seen)


def _check_schema(session: Session, settings: Settings) -> Finding:
    """Check that the tables are at the revision of this version."""
    scripts = ScriptDirectory.from_config(migrate.alembic_config(settings.database_url))
    head = scripts.get_current_head()
    has_tables = session.scalar(text("SELECT to_regclass('alembic_version')"))
    current = (
        session.scalar(text("SELECT version_num FROM alembic_version")) if has_tables else None
    )
    if current == head:
        return Finding("tables", OK, f"at revision {current}, as this version needs")
    if current is None:
        return Finding("tables", BROKEN, "there are none", "Run `ordertrail migrate`.")
    if current in {script.revision for script in scripts.walk_revisions()}:
        seen = f"at revision {current}, but this version needs {head}"
        return Finding("tables", BROKEN, seen, "Run `ordertrail migrate`.")
    seen = f"at revision {current}, which this version ({head}) does not know"
    return Finding("tables", BROKEN, seen, "Install the newer version that migrated the database.")


def _check_disk(session: Session, settings: Settings) -> Findings:
    """Check the disk of a PostgreSQL on this machine, if our role may know where its data is."""
    url = make_url(settings.database_url)
    local = url.host in {"localhost", "127.0.0.1", "::1"} or str(
        url.query.get("host", "")
    ).startswith("/")
    directory = find_postgres_directory(session) if local else None
    try:
        disk = shutil.disk_usage(directory) if directory else None
    except OSError:
        disk = None
    if disk is None:
        yield Finding("disk", NOTE, "not visible from here: monitor it on PostgreSQL's host")
        return
    free = disk.free / disk.total
    seen = f"{disk.free / 2**30:.1f} GiB free ({free:.0%}) on the disk of its data"
    if free < DISK_WARNING:
        advice = "Free some space: PostgreSQL stops when the disk is full."
        yield Finding("disk", WARNING, seen, advice)
    else:
        yield Finding("disk", OK, seen)
