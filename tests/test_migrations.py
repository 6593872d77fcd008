"""Migrations create the models' tables, can be undone, take turns and stop nobody."""

import io
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from receiver.db.engine import session_factory
from receiver.db.locks import MIGRATION_LOCK
from receiver.db.migrate import alembic_config, migrate
from receiver.db.models import Base
from receiver.db.revision import newest_revision, read_revision
from tests.command import run_command
from tests.service import ROOT, free_port, wait_until


@pytest.fixture
def empty_database(servers: dict[str, str], worker_id: str) -> Iterator[str]:
    """A database without any tables, by its URL."""
    name = f"ot_{worker_id}_empty"
    with psycopg.connect(servers["admin"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
    yield servers["postgres"].replace("%7B%7D", name)
    with psycopg.connect(servers["admin"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def migrated_database(new_database: Callable[[str], str]) -> str:
    """A database with all tables, by its URL."""
    return new_database("migrated")


@pytest.fixture
def open_engine() -> Iterator[Callable[[str], Engine]]:
    """Return a function that makes an engine which keeps no connection open."""
    with ExitStack() as stack:

        def make(database_url: str) -> Engine:
            url = make_url(database_url).set(drivername="postgresql+psycopg")
            engine = create_engine(url, poolclass=NullPool)
            stack.callback(engine.dispose)
            return engine

        yield make


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names()) - {"alembic_version"}


def differences(engine: Engine) -> list[object]:
    """Return what Alembic would change to make the tables those of the models."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))


def test_partial_indexes_are_those_of_the_models(
    empty_database: str, open_engine: Callable[[str], Engine]
) -> None:
    """Alembic's comparison does not see them."""

    def indexes(engine: Engine) -> dict[str, str]:
        with engine.connect() as connection:
            rows = connection.execute(
                text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
            )
            found = {row.indexname: row.indexdef for row in rows}
        return {name: index for name, index in found.items() if not name.startswith("alembic")}

    engine = open_engine(empty_database)
    migrate(empty_database)
    migrated = indexes(engine)
    command.downgrade(alembic_config(empty_database), "base")
    Base.metadata.create_all(engine)
    assert indexes(engine) == migrated
    assert sum(" WHERE " in index for index in migrated.values()) >= 3


def test_migrations_create_the_tables_of_the_models_and_can_be_undone(
    empty_database: str, open_engine: Callable[[str], Engine]
) -> None:
    engine = open_engine(empty_database)
    migrate(empty_database)
    assert tables(engine) == set(Base.metadata.tables)
    assert differences(engine) == []
    command.downgrade(alembic_config(empty_database), "base")
    assert tables(engine) == set()
    migrate(empty_database)
    assert differences(engine) == []


def test_the_documented_way_back_leads_to_the_older_tables(
    migrated_database: str, open_engine: Callable[[str], Engine], environ: dict[str, str]
) -> None:
    newest, older = list(
        ScriptDirectory.from_config(alembic_config(migrated_database)).walk_revisions()
    )[:2]
    page = (ROOT / "deploy" / "docs" / "deploying.md").read_text()
    [arguments] = re.findall(r"^ordertrail (migrate --to .*)$", page, re.MULTILINE)
    arguments = arguments.replace("<revision of the older version>", older.revision)
    done = run_command(environ, *arguments.split(), DATABASE_URL=migrated_database)
    assert done.exit_code == 0, done.output
    engine = open_engine(migrated_database)
    with session_factory(engine)() as session:
        assert read_revision(session) == older.revision == newest.down_revision
    migrate(migrated_database)
    with session_factory(engine)() as session:
        assert read_revision(session) == newest_revision()
    assert differences(engine) == []


def test_there_is_one_head(empty_database: str) -> None:
    assert len(ScriptDirectory.from_config(alembic_config(empty_database)).get_heads()) == 1


def test_migrating_again_changes_nothing(
    migrated_database: str, open_engine: Callable[[str], Engine]
) -> None:
    engine = open_engine(migrated_database)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orders (account, courier, courier_order_id, status, created_at,"
                " updated_at) VALUES ('a', 'c', '1', 'pending', now(), now())"
            )
        )
    migrate(migrated_database)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM orders")) == 1


# A migration of the next release: it alters a table that is in use, and builds an index.
HEAD = ScriptDirectory.from_config(alembic_config("")).get_current_head()
NEXT_MIGRATION = f"""
import sqlalchemy as sa
from alembic import op

from receiver.db.migrations.online import create_index

revision = "next"
down_revision = "{HEAD}"


def upgrade() -> None:
    op.add_column("orders", sa.Column("colour", sa.Text()), if_not_exists=True)
    create_index("tours_courier_name_idx", "tours", ["courier_name"])
"""


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """The migrations with one more."""
    location = tmp_path / "migrations"
    shutil.copytree(ROOT / "receiver" / "db" / "migrations", location)
    (location / "versions" / "next.py").write_text(NEXT_MIGRATION)
    return location


def start_migration(database_url: str, location: Path | None = None) -> "subprocess.Popen[bytes]":
    """Start a migration in a process of its own: Alembic's context is one for a process.

    location: of other migrations than this release's.
    """
    code = f"""
from receiver.db import migrate
configure = migrate.alembic_config
def alembic_config(url):
    config = configure(url)
    if {str(location or "")!r}:
        config.set_main_option("script_location", {str(location)!r})
    return config
migrate.alembic_config = alembic_config
migrate.migrate({database_url!r}, lock_seconds=20)
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(migration: "subprocess.Popen[bytes]") -> str:
    """Wait for the success of a migration and return its output."""
    output, _ = migration.communicate(timeout=60)
    assert migration.returncode == 0, output.decode()
    return output.decode()


def migrating(engine: Engine) -> int:
    """Return how many migrations run: each waits for its turn with one connection."""
    return _count(engine, "pg_stat_activity", "application_name = 'ordertrail'")


def waiting(engine: Engine) -> int:
    """Return how many connections wait for a table."""
    locks = "pg_locks JOIN pg_database ON database = pg_database.oid"
    return _count(engine, locks, "locktype = 'relation' AND NOT granted")


def _count(engine: Engine, what: str, which: str) -> int:
    ours = f"FROM {what} WHERE datname = current_database() AND {which}"
    with engine.connect() as connection:
        return len(connection.execute(text(f"SELECT pid {ours}")).all())


def test_two_migrations_at_once_wait_for_each_other(
    empty_database: str, open_engine: Callable[[str], Engine]
) -> None:
    engine = open_engine(empty_database)
    with engine.connect() as first:
        first.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        first.commit()
        migrations = [start_migration(empty_database) for _ in range(2)]
        try:
            wait_until(lambda: migrating(engine) == 2)
            assert tables(engine) == set()
        finally:
            first.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
            first.commit()
            outputs = [finish(migration) for migration in migrations]
    for line in "".join(outputs).splitlines():
        assert "migration_waiting" in line
        assert "another migration runs" in line
    assert differences(engine) == []


def columns_of(engine: Engine, table: str) -> set[str]:
    return {column["name"] for column in inspect(engine).get_columns(table)}


def test_a_migration_lets_others_pass_while_a_table_is_in_use(
    migrated_database: str, open_engine: Callable[[str], Engine], next_release: Path
) -> None:
    """A wait in PostgreSQL's queue for a table in use would stop everybody behind it."""
    engine = open_engine(migrated_database)
    with engine.connect() as reader:
        # A report that runs for hours.
        reader.execute(text("SELECT count(*) FROM orders"))
        migration = start_migration(migrated_database, next_release)
        try:
            wait_until(lambda: waiting(engine) == 1)
            with engine.begin() as service:
                # It queues behind the migration, and is served long before the report ends.
                service.execute(text("SET LOCAL lock_timeout = '5s'"))
                service.execute(text("UPDATE orders SET status = status"))
        finally:
            reader.rollback()
            output = finish(migration)
    assert "migration_retried" in output
    assert "colour" in columns_of(engine, "orders")


def test_a_table_that_never_becomes_free_ends_the_migration_and_undoes_nothing(
    migrated_database: str,
    open_engine: Callable[[str], Engine],
    next_release: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = open_engine(migrated_database)
    config = alembic_config(migrated_database)
    config.set_main_option("script_location", str(next_release))
    monkeypatch.setattr("receiver.db.migrate.alembic_config", lambda _: config)
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM orders"))
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(migrated_database, lock_seconds=0)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == HEAD
    migrate(migrated_database)
    assert "colour" in columns_of(engine, "orders")


def test_an_index_is_built_while_others_write(
    migrated_database: str, open_engine: Callable[[str], Engine], next_release: Path
) -> None:
    """A writer that began before, and has not ended, is waited for and stops nobody."""
    engine = open_engine(migrated_database)
    insert = text(
        "INSERT INTO tours (account, tour_id, stops, received_at, message_id)"
        " VALUES ('a', :tour_id, '[]', now(), 1)"
    )
    with engine.connect() as first:
        first.execute(insert, {"tour_id": "one"})
        migration = start_migration(migrated_database, next_release)
        try:
            wait_until(lambda: builds_an_index(engine), 60)
            with engine.begin() as second:
                second.execute(text("SET LOCAL lock_timeout = '5s'"))
                second.execute(insert, {"tour_id": "two"})
        finally:
            first.rollback()
            finish(migration)
    assert "tours_courier_name_idx" in {
        index["name"] for index in inspect(engine).get_indexes("tours")
    }


def builds_an_index(engine: Engine) -> bool:
    with engine.connect() as connection:
        building = "SELECT count(*) FROM pg_stat_progress_create_index"
        return bool(connection.scalar(text(building)) == 1)


# Statements that rewrite or read a whole table while nobody else may write to it, or that the
# previous release, which still serves, does not survive.
FORBIDDEN = {
    r"DROP (TABLE|COLUMN)": "the previous release may still use it: drop it a release later",
    r"ALTER COLUMN \w+ (TYPE|SET NOT NULL)": "rewrites or reads the whole table",
    r"ADD CONSTRAINT (?!.*(NOT VALID|USING INDEX))": "reads the whole table: NOT VALID first",
    r"RENAME": "the previous release knows the old name",
    r"^(UPDATE|DELETE)": "takes as long as there are rows: let a worker do it",
    r"^CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)": "see receiver/db/migrations/online.py",
}
# Of a table that the same migration creates, everything is allowed.
TABLE = r"(?:ALTER TABLE|ON|UPDATE|FROM) (?:ONLY )?(\w+)"


def faults(sql: str) -> list[str]:
    """Return the statements of a migration that would keep somebody waiting, and why."""
    created = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", sql))
    found = []
    for statement in (" ".join(part.split()) for part in sql.split(";")):
        table = re.search(TABLE, statement)
        if (table and table[1] in created) or "alembic_version" in statement:
            continue
        found += [
            f"{statement}: {why}"
            for pattern, why in FORBIDDEN.items()
            if re.search(pattern, statement)
        ]
    return found


def sql_of(script: ScriptDirectory, revision: str) -> str:
    """Return a migration's statements."""
    output = io.StringIO()
    options = {"as_sql": True, "output_buffer": output}
    context = MigrationContext.configure(dialect_name="postgresql", opts=options)
    migration = script.get_revision(revision)
    assert migration is not None
    with Operations.context(context):
        migration.module.upgrade()
    return output.getvalue()


def test_no_migration_keeps_others_waiting(next_release: Path) -> None:
    script = ScriptDirectory.from_config(alembic_config("postgresql:///nowhere"))
    for revision in script.walk_revisions():
        assert faults(sql_of(script, revision.revision)) == []
    assert faults(sql_of(ScriptDirectory(str(next_release)), "next")) == []
    assert len(faults("UPDATE orders SET version = 1; CREATE INDEX some_idx ON orders (id)")) == 2


@pytest.mark.parametrize(
    "said",
    [
        "FATAL:  the database system is starting up",
        "FATAL:  the database system is shutting down",
        "FATAL:  the database system is in recovery mode",
        "failed to resolve host 'postgres': [Errno -2] Name or service not known",
    ],
)
def test_a_postgresql_that_is_not_up_yet_is_waited_for(
    monkeypatch: pytest.MonkeyPatch, empty_database: str, said: str
) -> None:
    real, attempts = command.upgrade, []

    def upgrade(*arguments: object) -> None:
        attempts.append(arguments)
        if len(attempts) > 1:
            return real(*arguments)  # type: ignore[arg-type]
        raise OperationalError("", {}, psycopg.OperationalError(said))

    monkeypatch.setattr("receiver.db.migrate.RETRY_SECONDS", 0.01)
    monkeypatch.setattr(command, "upgrade", upgrade)
    migrate(empty_database, connect_seconds=60)
    assert len(attempts) == 2


def test_a_database_that_is_not_there_is_not_waited_for(empty_database: str) -> None:
    url = make_url(empty_database).set(database="nowhere").render_as_string(hide_password=False)
    with pytest.raises(OperationalError, match="does not exist"):
        migrate(url, connect_seconds=600)
    # Where nothing listens, the wait comes to an end.
    with pytest.raises(OperationalError, match="refused"):
        migrate(f"postgresql://x@127.0.0.1:{free_port()}/x", connect_seconds=1)
