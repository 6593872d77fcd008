"""The migrations: they make what the models say, can be undone, and take turns."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, inspect, make_url, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from receiver.db.migrate import alembic_config, migrate
from receiver.db.models import Base
from tests.service import ROOT, wait_until

# What migrations/env.py takes before it touches anything.
MIGRATION_LOCK = 7_203_118_402


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
def look() -> Iterator[Callable[[str], Engine]]:
    """Make an engine that keeps no connection open."""
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
    """What Alembic would change to make the database what the models say."""
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        return list(compare_metadata(context, Base.metadata))


def test_migrations_make_what_the_models_say(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    migrate(empty_database)
    engine = look(empty_database)
    assert tables(engine) == set(Base.metadata.tables)
    assert differences(engine) == []


def test_partial_indexes_are_those_of_the_models(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    """Which Alembic's comparison passes over."""

    def indexes(engine: Engine) -> dict[str, str]:
        with engine.connect() as connection:
            rows = connection.execute(
                text("SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
            )
            found = {row.indexname: row.indexdef for row in rows}
        return {name: it for name, it in found.items() if not name.startswith("alembic")}

    engine = look(empty_database)
    migrate(empty_database)
    migrated = indexes(engine)
    command.downgrade(alembic_config(empty_database), "base")
    Base.metadata.create_all(engine)
    assert indexes(engine) == migrated
    assert sum(" WHERE " in it for it in migrated.values()) >= 3


def test_downgrade_leaves_nothing_and_upgrade_works_again(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    engine = look(empty_database)
    migrate(empty_database)
    command.downgrade(alembic_config(empty_database), "base")
    assert tables(engine) == set()
    migrate(empty_database)
    assert differences(engine) == []


def test_each_migration_can_be_undone_by_itself(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    config = alembic_config(empty_database)
    engine = look(empty_database)
    revisions = [it.revision for it in ScriptDirectory.from_config(config).walk_revisions()]
    for revision in reversed(revisions):
        migrate(empty_database, revision)
        command.downgrade(config, "-1")
        migrate(empty_database, revision)
    assert differences(engine) == []


def test_there_is_one_head(empty_database: str) -> None:
    assert len(ScriptDirectory.from_config(alembic_config(empty_database)).get_heads()) == 1


def test_migrating_again_changes_nothing(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    migrate(empty_database)
    engine = look(empty_database)
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orders (account, courier, courier_order_id, status, created_at,"
                " updated_at) VALUES ('a', 'c', '1', 'pending', now(), now())"
            )
        )
    migrate(empty_database)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM orders")) == 1


def start_migration(database_url: str) -> "subprocess.Popen[bytes]":
    """A migration in a process of its own: Alembic's context is one for a process."""
    code = f"from receiver.db.migrate import migrate; migrate({database_url!r})"
    return subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(migration: "subprocess.Popen[bytes]") -> str:
    """What a migration said, once it has gone well."""
    output, _ = migration.communicate(timeout=30)
    assert migration.returncode == 0, output.decode()
    return output.decode()


def trying(engine: Engine) -> int:
    """How many migrations are there: each waits with one connection for its turn."""
    return _count(engine, "pg_stat_activity", "application_name = 'ordertrail'")


def waiting(engine: Engine) -> int:
    """How many connections wait for a table."""
    locks = "pg_locks JOIN pg_database ON database = pg_database.oid"
    return _count(engine, locks, "locktype = 'relation' AND NOT granted")


def _count(engine: Engine, what: str, which: str) -> int:
    ours = f"FROM {what} WHERE datname = current_database() AND {which}"
    with engine.connect() as connection:
        return len(connection.execute(text(f"SELECT pid {ours}")).all())


def test_two_migrations_at_once_wait_for_each_other(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    engine = look(empty_database)
    with engine.connect() as first:
        first.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        first.commit()
        migrations = [start_migration(empty_database) for _ in range(2)]
        try:
            wait_until(lambda: trying(engine) == 2)
            assert tables(engine) == set()
        finally:
            first.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
            first.commit()
            said = [finish(migration) for migration in migrations]
    assert said == ["", ""]
    assert differences(engine) == []


def test_a_migration_lets_others_pass_while_a_table_is_in_use(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    """To wait in PostgreSQL's queue for a busy table would stop everybody behind it."""
    migrate(empty_database, "0001")
    engine = look(empty_database)
    with engine.connect() as reader:
        # A report that runs for hours. 0002 wants orders for itself.
        reader.execute(text("SELECT count(*) FROM orders"))
        migration = start_migration(empty_database)
        try:
            wait_until(lambda: waiting(engine) == 1)
            with engine.begin() as service:
                # It stands behind the migration, and gets its turn long before the report ends.
                service.execute(text("SET LOCAL lock_timeout = '5s'"))
                service.execute(text("UPDATE orders SET status = status"))
        finally:
            reader.rollback()
            said = finish(migration)
    assert "the migration tries again" in said
    assert differences(engine) == []


def test_a_table_that_never_comes_free_ends_the_migration_and_undoes_nothing_done(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    migrate(empty_database, "0001")
    engine = look(empty_database)
    with engine.connect() as reader:
        reader.execute(text("SELECT count(*) FROM orders"))
        with pytest.raises(OperationalError, match="lock timeout"):
            migrate(empty_database, patience=0)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0001"
    migrate(empty_database)
    assert differences(engine) == []


def test_several_migrations_started_together_all_succeed(
    empty_database: str, look: Callable[[str], Engine]
) -> None:
    for migration in [start_migration(empty_database) for _ in range(3)]:
        finish(migration)
    assert differences(look(empty_database)) == []
