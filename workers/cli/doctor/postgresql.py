"""PostgreSQL: whether a 200 is kept there, and whether it will bear what we do to it."""

import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from alembic.script import ScriptDirectory
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import SQLAlchemyError

from receiver.db import engine as db
from receiver.db import migrate
from receiver.logs import exception_fields
from receiver.settings import Settings
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings, skew

AREA = "PostgreSQL"
# The oldest that its makers still mend.
LEAST_VERSION = 140_000
# What must be so that what was committed is there after a crash.
FLUSHED = {
    "fsync": ("on", "Set fsync = on: a crash may now lose all that was answered 200."),
    "full_page_writes": ("on", "Set full_page_writes = on: a crash may now tear pages."),
}
# Connections that one process may take (db.connect: its pool, and as many more), and processes
# beside web's: a worker, a clock, a command.
A_PROCESS, OTHERS = 16, 3
FULL = 0.8
LITTLE_DISK = 0.1

ASKED = (
    "SELECT current_setting('server_version_num')::int AS version,"
    " current_setting('server_version') AS shown_version,"
    " current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,"
    " current_setting('synchronous_commit') AS synchronous_commit,"
    " current_setting('transaction_read_only') AS read_only,"
    " current_setting('TimeZone') AS zone, clock_timestamp() AS now,"
    " current_setting('max_connections')::int"
    " - current_setting('superuser_reserved_connections')::int AS most_connections,"
    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,"
    " pg_size_pretty(pg_database_size(current_database())) AS size"
)
# Only for superusers and the like: a local server's disk can be looked at.
WHERE_DATA_IS = "SELECT current_setting('data_directory', true)"


def check(settings: Settings, environ: Mapping[str, str]) -> Findings:
    engine = db.create_engine_for(settings.database_url, pool_size=1)
    try:
        with engine.connect() as connection:
            yield from _checks(connection, settings, environ)
    except SQLAlchemyError as failure:
        seen = " ".join(str(getattr(failure, "orig", None) or failure).split())
        url = make_url(settings.database_url).render_as_string(hide_password=True)
        mend = f"Look whether it runs, and at DATABASE_URL: {url}"
        yield Finding(
            AREA, "connection", BROKEN, seen[:300] or str(exception_fields(failure)), mend
        )
    finally:
        engine.dispose()


def _checks(connection: Connection, settings: Settings, environ: Mapping[str, str]) -> Findings:
    asked_at = datetime.now(UTC)
    seen = connection.execute(text(ASKED)).mappings().one()
    ours = asked_at + (datetime.now(UTC) - asked_at) / 2
    yield Finding(AREA, "connection", OK, f"answers; the database takes {seen['size']}")
    if seen["version"] < LEAST_VERSION:
        mend = f"Upgrade it to {LEAST_VERSION // 10_000} or newer."
        yield Finding(AREA, "version", WARNING, seen["shown_version"], mend)
    else:
        yield Finding(AREA, "version", OK, seen["shown_version"])
    if seen["read_only"] == "on":
        mend = "DATABASE_URL must name the primary: a replica takes no messages."
        yield Finding(AREA, "writable", BROKEN, "read-only", mend)
    for name, (wanted, mend) in FLUSHED.items():
        level = OK if seen[name] == wanted else BROKEN
        yield Finding(AREA, name, level, seen[name], "" if level == OK else mend)
    yield _synchronous(seen["synchronous_commit"])
    yield _zone(seen["zone"])
    yield skew(AREA, seen["now"], ours, "PostgreSQL's host")
    yield _connections(seen["most_connections"], seen["connections"], environ)
    yield _tables(connection, settings)
    yield from _disk(connection)


def _synchronous(value: str) -> Finding:
    """As our own sessions have it: they ask for `on`, which a pooler in between may drop."""
    if value != "off":
        return Finding(AREA, "synchronous_commit", OK, f"{value} in our sessions")
    mend = (
        "Something between drops our sessions' options: let PgBouncer keep them"
        " (connect_query), or ALTER ROLE ... SET synchronous_commit = on."
    )
    return Finding(AREA, "synchronous_commit", BROKEN, "off in our sessions: 200 is not kept", mend)


def _zone(value: str) -> Finding:
    if value in {"UTC", "Etc/UTC"}:
        return Finding(AREA, "time zone", OK, value)
    mend = "Our sessions ask for UTC and did not get it: let the pooler keep their options."
    return Finding(AREA, "time zone", WARNING, value, mend)


def _connections(most: int, now: int, environ: Mapping[str, str]) -> Finding:
    web = int(environ.get("WEB_CONCURRENCY") or os.cpu_count() or 1)
    ours = (web + OTHERS) * A_PROCESS
    seen = f"{now} of {most} are taken; one host of ours takes up to {ours}"
    mend = "Raise max_connections, lower WEB_CONCURRENCY, or put PgBouncer in between."
    if now > FULL * most:
        return Finding(AREA, "connections", BROKEN, seen, mend)
    if ours > most:
        return Finding(AREA, "connections", WARNING, seen, mend)
    return Finding(AREA, "connections", OK, seen)


def _tables(connection: Connection, settings: Settings) -> Finding:
    """Whether the tables are those that this version of us knows."""
    ours = ScriptDirectory.from_config(migrate.alembic_config(settings.database_url))
    head = ours.get_current_head()
    there = connection.scalar(text("SELECT to_regclass('alembic_version')"))
    at = connection.scalar(text("SELECT version_num FROM alembic_version")) if there else None
    if at == head:
        return Finding(AREA, "tables", OK, f"at {at}, as this version wants them")
    if at in {script.revision for script in ours.walk_revisions()} or at is None:
        seen = f"at {at}, this version wants {head}" if at else "there are none"
        return Finding(AREA, "tables", BROKEN, seen, "Run `ordertrail migrate`.")
    seen = f"at {at}, which this version ({head}) does not know"
    return Finding(AREA, "tables", BROKEN, seen, "Install the newer version that was here already.")


def _disk(connection: Connection) -> Findings:
    """The disk of a server on this machine, where it lets itself be asked."""
    where = connection.scalar(text(WHERE_DATA_IS))
    host = make_url(str(connection.engine.url)).host
    query = connection.engine.url.query.get("host", "")
    local = host in {"localhost", "127.0.0.1", "::1"} or str(query).startswith("/")
    if not local or not where:
        yield Finding(AREA, "disk", NOTE, "on another machine: watch its disk there")
        return
    try:
        disk = shutil.disk_usage(Path(str(where)))
    except OSError:
        yield Finding(AREA, "disk", NOTE, f"{where} cannot be looked at from here")
        return
    free = disk.free / disk.total
    seen = f"{disk.free / 2**30:.1f} GiB free ({free:.0%}) where its data is"
    if free < LITTLE_DISK:
        mend = "Make room: a full disk ends all writing."
        yield Finding(AREA, "disk", WARNING, seen, mend)
    else:
        yield Finding(AREA, "disk", OK, seen)
