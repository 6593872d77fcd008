"""From one release to the next while the old one serves: what the old left is read, what it runs
goes on running, and nobody waits for long.
"""

import gzip
import io
import json
import re
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from flask.testing import FlaskClient

from receiver.app import create_app
from receiver.db.migrate import alembic_config, migrate
from receiver.settings import Settings
from tests import everything
from tests.bodies import raw, tiramizoo_order
from tests.command import typed
from tests.conftest import API_TOKEN
from tests.service import CLOCK, ROOT, WORKER, running, running_web, wait_until
from tests.shop import get

RECORDED = ROOT / "tests" / "upgrades"
# The release before this one: its revision of the tables, and the commit that it was.
PREVIOUS, PREVIOUS_COMMIT = "0002", "ef0d27e05fe09843d1024368eed817f8f7380140"
BEARER = {"Authorization": f"Bearer {API_TOKEN}"}


@pytest.fixture
def previous(servers: dict[str, str], worker_id: str) -> Iterator[str]:
    """The URL of a database as the previous release left it."""
    name = f"ot_{worker_id}_previous"
    url = servers["postgres"].replace("%7B%7D", name)
    with psycopg.connect(servers["admin"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
        dump = gzip.decompress((RECORDED / f"{PREVIOUS}.sql.gz").read_bytes()).decode()
        with psycopg.connect(url, autocommit=True) as database:
            # \restrict and \unrestrict are psql's own.
            database.execute(re.sub(r"^\\.*$", "", dump, flags=re.MULTILINE).encode())
        yield url
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def environ_there(environ: dict[str, str], previous: str) -> dict[str, str]:
    return {**environ, **everything.ENVIRON, "DATABASE_URL": previous}


@pytest.fixture
def shop_there(environ_there: dict[str, str]) -> Iterator[FlaskClient]:
    app = create_app(Settings.from_env(environ_there))
    client = app.test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    yield client
    app.extensions["ordertrail"].watcher.close()
    app.extensions["ordertrail"].engine.dispose()
    app.extensions["ordertrail"].redis.close()


def holds(new: Any, old: Any, where: str = "") -> Iterator[str]:
    """Where an answer differs from that of the previous release; names may have come to it."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name, value in old.items():
            yield from holds(new.get(name), value, f"{where}.{name}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, value in enumerate(old):
            yield from holds(new[number], value, f"{where}[{number}]")
    elif new != old:
        yield f"{where}: {old!r} has become {new!r}"


def test_what_the_previous_release_left_is_told_as_it_told_it(
    previous: str, shop_there: FlaskClient
) -> None:
    migrate(previous)
    told = json.loads((RECORDED / f"{PREVIOUS}.json").read_text(encoding="utf-8"))
    assert len(told) > 20
    differences = [
        difference
        for path, answer in told.items()
        for difference in holds(shop_there.get(path).json, answer, path)
    ]
    assert differences == []


def test_its_orders_come_out_the_same_when_they_are_folded_anew(
    previous: str, environ_there: dict[str, str]
) -> None:
    migrate(previous)
    done = typed(environ_there, "rebuild", "--dry-run")
    assert (done.exit_code, ": 0 would change, 0 messages" in done.output) == (0, True), done.output


def columns(url: str) -> dict[tuple[str, str], tuple[str, bool]]:
    """Each column's type, and whether a row must be given a value for it."""
    with psycopg.connect(url) as database:
        rows = database.execute(
            "SELECT table_name, column_name, udt_name,"
            " is_nullable = 'NO' AND column_default IS NULL AND is_identity = 'NO'"
            " FROM information_schema.columns WHERE table_schema = 'public'"
        ).fetchall()
    return {(table, column): (kind, needed) for table, column, kind, needed in rows}


def rules(url: str) -> dict[str, tuple[str, str]]:
    """What may not be in a table: its unique indexes, checks, and references, by their names."""
    with psycopg.connect(url) as database:
        rows = database.execute(
            "SELECT conname, conrelid::regclass::text, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE contype IN ('c', 'f', 'x') AND connamespace = 'public'::regnamespace"
            " UNION ALL SELECT indexname, tablename, indexdef FROM pg_indexes"
            " WHERE schemaname = 'public' AND indexdef LIKE 'CREATE UNIQUE%'"
        ).fetchall()
    return {name: (table, told) for name, table, told in rows}


def test_the_tables_only_gain_what_the_previous_release_need_not_know(previous: str) -> None:
    """Whatever it reads is there, as it was; whatever it writes is let in."""
    old_columns, old_rules = columns(previous), rules(previous)
    migrate(previous)
    new_columns, new_rules = columns(previous), rules(previous)
    assert {name: new_columns.get(name) for name in old_columns} == old_columns
    tables = {table for table, _ in old_columns}
    needed = [name for name in new_columns.keys() - old_columns.keys() if new_columns[name][1]]
    assert [name for name in needed if name[0] in tables] == []
    added = {name: rule for name, rule in new_rules.items() if old_rules.get(name) != rule}
    assert {name: rule for name, rule in added.items() if rule[0] in tables} == {}


def sql_of(revision: str) -> str:
    """A migration's statements."""
    said = io.StringIO()
    told = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": said}
    )
    script = ScriptDirectory.from_config(alembic_config("postgresql:///nowhere"))
    found = script.get_revision(revision)
    assert found is not None
    with Operations.context(told):
        found.module.upgrade()
    return said.getvalue()


def later_revisions() -> list[str]:
    script = ScriptDirectory.from_config(alembic_config("postgresql:///nowhere"))
    found = [it.revision for it in script.walk_revisions(PREVIOUS, "head")]
    return sorted(set(found) - {PREVIOUS})


# What rewrites or reads a whole table while nobody else may write to it.
FORBIDDEN = {
    r"DROP (TABLE|COLUMN)": "the previous release may still use it: drop it a release later",
    r"ALTER COLUMN \w+ (TYPE|SET NOT NULL)": "rewrites or reads the whole table",
    r"ADD CONSTRAINT (?!.*(NOT VALID|USING INDEX))": "reads the whole table: NOT VALID first",
    r"RENAME": "the previous release knows the old name",
    r"^(UPDATE|DELETE)": "takes as long as there are rows: let a worker do it",
}


@pytest.mark.parametrize("revision", later_revisions())
def test_a_migration_keeps_nobody_waiting(revision: str) -> None:
    sql = sql_of(revision)
    statements = [" ".join(it.split()) for it in sql.split(";")]
    made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", sql))
    for statement in statements:
        table = re.search(r"(?:ALTER TABLE|ON|UPDATE|FROM) (?:ONLY )?(\w+)", statement)
        if (table and table[1] in made) or "alembic_version" in statement:
            continue
        for pattern, why in FORBIDDEN.items():
            assert not re.search(pattern, statement), f"{statement}: {why}"
        if re.match(r"CREATE (UNIQUE )?INDEX", statement):
            assert "CONCURRENTLY" in statement, f"{statement}: see receiver/db/migrations/online.py"


def test_an_index_is_built_while_others_write(previous: str, tmp_path: Path) -> None:
    """A writer that began before it, and has not ended, is waited for and stops nobody."""
    insert = (
        "INSERT INTO tours (account, tour_id, stops, received_at, message_id)"
        " VALUES ('a', %s, '[]', now(), 1)"
    )
    with psycopg.connect(previous) as first, ExitStack() as stack:
        first.execute(insert, ["one"])
        log = tmp_path / "migration.log"
        code = f"from receiver.db.migrate import migrate; migrate({previous!r})"
        migration = stack.enter_context(running(("-c", code), {}, log))

        def builds() -> bool:
            with psycopg.connect(previous) as look:
                row = look.execute("SELECT count(*) FROM pg_stat_progress_create_index").fetchone()
            return row == (1,)

        wait_until(builds, 60)
        with psycopg.connect(previous) as second:
            second.execute("SET lock_timeout = '5s'")
            second.execute(insert, ["two"])
        first.rollback()
        assert migration.wait(60) == 0, log.read_text()


@pytest.fixture(scope="module")
def old_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The previous release's code, where the clone knows its history."""
    archive = ["git", "-C", str(ROOT), "archive", PREVIOUS_COMMIT]
    done = subprocess.run(archive, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip("needs the history of the clone (git fetch --unshallow)")
    tree = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as opened:
        opened.extractall(tree, filter="data")
    return tree


@pytest.mark.usefixtures("redis")
def test_the_previous_release_serves_on_with_the_new_tables(
    previous: str,
    old_tree: Path,
    environ_there: dict[str, str],
    shop_there: FlaskClient,
    tmp_path: Path,
) -> None:
    """It takes in, folds and answers before, during and after the migration."""
    env = environ_there
    with ExitStack() as stack:
        web = stack.enter_context(running_web(env, tmp_path / "web.log", cwd=old_tree))
        stack.enter_context(running(WORKER, env, tmp_path / "worker.log", old_tree))
        stack.enter_context(running(CLOCK, env, tmp_path / "clock.log", old_tree))

        def serves(name: str) -> None:
            body = raw(tiramizoo_order(name, state="picked_up"))
            path = "/webhooks/tiramizoo/orders/tiramizoo-token"
            assert web.post(path, body).status_code == 200
            shown = f"/v1/orders/tiramizoo/{name}"
            wait_until(lambda: web.get(shown, BEARER).status_code == 200)

        serves("before")
        migrate(previous)
        serves("after")
    said = "".join(log.read_text() for log in tmp_path.glob("*.log"))
    assert "Traceback" not in said
    assert '"level": "error"' not in said
    # And the new release reads what it took in meanwhile.
    for name in ("before", "after"):
        assert get(shop_there, f"/orders/tiramizoo/{name}")["status"] == "picked_up"
    done = typed(env, "rebuild", "--dry-run")
    assert done.exit_code == 0, done.output
