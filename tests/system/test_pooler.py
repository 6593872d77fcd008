"""Through PgBouncer, which hands out PostgreSQL's connections a transaction at a time.

Two connections for all: whatever anybody left behind on one would meet the next who gets it.
"""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import psycopg
import pytest
from sqlalchemy import Engine, text

from receiver.changes.feed import read_changes
from receiver.db.engine import SETTINGS, create_engine_for
from receiver.db.engine import session_factory as open_sessions
from receiver.db.migrate import migrate
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.settings import Settings
from tests import pgbouncer
from tests.bodies import raw, tiramizoo_order
from tests.service import CLOCK, WORKER, Web, at_once, running, running_web, wait_until

CONNECTIONS = 2


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    # Short, as a socket's path has to be; and another user must get through.
    directory = Path(tempfile.mkdtemp(prefix="ot-pool-")).resolve()
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def pooled(servers: dict[str, str], directory: Path) -> Iterator[Callable[[str], str]]:
    """The URL of a database by way of the pooler, from its own."""
    (sockets,) = parse_qs(urlsplit(servers["admin"]).query)["host"]
    settings: dict[str, str | int] = {"default_pool_size": CONNECTIONS}
    with pgbouncer.running(directory, f"host={sockets}", Path(sockets), settings) as place:
        port = place.rpartition("=")[2]

        def through(url: str) -> str:
            name = urlsplit(url).path.strip("/")
            return (
                f"postgresql://postgres@/{name}?host={quote(str(directory), safe='')}&port={port}"
            )

        yield through


@pytest.fixture
def pool_url(new_database: Callable[[str], str], pooled: Callable[[str], str]) -> str:
    """A database of its own, that is careless about flushing, by way of the pooler."""
    url = new_database("pooled")
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    return pooled(url)


@pytest.fixture
def pool(pool_url: str) -> Iterator[Engine]:
    engine = create_engine_for(pool_url)
    yield engine
    engine.dispose()


def settings_there(engine: Engine) -> dict[str, str]:
    # Begun and committed: a rollback would take back whatever was left behind.
    with engine.begin() as connection:
        return {
            name: str(connection.scalar(text("SELECT current_setting(:name)"), {"name": name}))
            for name in ("synchronous_commit", "timezone", "statement_timeout", "lock_timeout")
        }


def test_every_transaction_is_flushed_and_bounded(pool: Engine) -> None:
    bounds = {"statement_timeout": "15s", "lock_timeout": "10s"}
    assert settings_there(pool) == {"synchronous_commit": "on", "timezone": "UTC", **bounds}


def of_a_stranger(url: str) -> list[object]:
    """The settings that whoever else connects finds."""
    with psycopg.connect(url, prepare_threshold=None) as connection:
        found = connection.execute(
            "SELECT name, setting FROM pg_settings WHERE lower(name) = ANY(%s) ORDER BY name",
            [[name.lower() for name in SETTINGS]],
        ).fetchall()
    assert len(found) == len(SETTINGS)
    return list(found)


def test_nothing_of_ours_is_left_behind_for_whoever_comes_next(pool: Engine, pool_url: str) -> None:
    before = of_a_stranger(pool_url)
    assert ("synchronous_commit", "off") in before
    settings_there(pool)
    at_once(*[lambda: settings_there(pool)] * 4)
    assert of_a_stranger(pool_url) == before


def test_nothing_is_prepared_on_a_connection_that_is_not_ours(pool: Engine) -> None:
    for _ in range(30):
        with pool.connect() as connection:
            connection.execute(text("SELECT count(*) FROM messages WHERE id > :id"), {"id": 1})
    # Both of PostgreSQL's connections, since neither is free while the other is looked at.
    with pool.connect() as one, pool.connect() as other:
        for connection in (one, other):
            assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0


def test_more_writers_than_connections_keep_all_they_are_told(pool: Engine) -> None:
    sessions = open_sessions(pool)

    def write(writer: int) -> None:
        for number in range(10):
            body = b"%d of %d" % (number, writer)
            now = datetime.now(UTC)
            with sessions.begin() as session:
                store_messages(
                    session, [IncomingMessage("a", "orders", "webhook", "token", body, now)]
                )

    at_once(*[lambda writer=writer: write(writer) for writer in range(8)])
    with sessions() as session:
        assert session.scalar(text("SELECT count(DISTINCT body) FROM messages")) == 80


def test_migrations_take_turns_also_here(
    servers: dict[str, str], worker_id: str, pooled: Callable[[str], str]
) -> None:
    name = f"ot_{worker_id}_pooled_empty"
    with psycopg.connect(servers["admin"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name}")
    url = servers["postgres"].replace("%7B%7D", name)
    migrate(pooled(url))
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM orders").fetchone()
        assert row == (0,)
        # Of this database alone: other tests' stand in the same list.
        locks = connection.execute(
            "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database"
            " WHERE locktype = 'advisory' AND datname = current_database()"
        )
        assert locks.fetchone() == (0,)
    with psycopg.connect(servers["admin"], autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_whole_service_works_through_it(
    environ: dict[str, str], pool: Engine, pool_url: str, redis: object, tmp_path: Path
) -> None:
    """Two web processes, two workers, two clocks: far more connections than there are."""
    env = {**environ, "DATABASE_URL": pool_url}
    sessions = open_sessions(pool)
    bearer = {"Authorization": f"Bearer {Settings.from_env(env).api_tokens[0].value}"}
    path = "/webhooks/tiramizoo/orders/tiramizoo-token"
    with ExitStack() as stack:
        webs = [
            stack.enter_context(running_web(env, tmp_path / f"web{number}.log"))
            for number in (1, 2)
        ]
        for number in (1, 2):
            stack.enter_context(running(WORKER, env, tmp_path / f"worker{number}.log"))
            stack.enter_context(running(CLOCK, env, tmp_path / f"clock{number}.log"))

        def post(web: Web, first: int) -> list[int]:
            with web.keeping_alive() as connection:
                codes = []
                for number in range(first, first + 20):
                    body = raw(tiramizoo_order(f"order-{number}", state="picked_up"))
                    connection.request("POST", path, body)
                    answer = connection.getresponse()
                    answer.read()
                    codes.append(answer.status)
                return codes

        calls = [lambda n=n: post(webs[n % 2], 20 * n) for n in range(6)]
        assert {code for codes in at_once(*calls) for code in codes} == {200}

        def folded() -> bool:
            with sessions() as session:
                done = "SELECT count(*) FROM messages WHERE outcome = 'applied'"
                return bool(session.scalar(text(done)) == 120)

        wait_until(folded, 60)
        # Reads: a list in REPEATABLE READ, the feed, somebody who waits for it.
        assert len(webs[0].get("/v1/orders?limit=200", bearer).json["orders"]) == 120
        with sessions() as session:
            assert len(read_changes(session, 0, 200)) == 120
        waited = webs[1].get("/v1/changes?after=now&wait=1", bearer)
        assert waited.json["changes"] == []
        assert webs[0].get("/readyz").json["status"] == "ready"
    for log in tmp_path.glob("*.log"):
        assert "Traceback" not in log.read_text()
        assert '"level": "error"' not in log.read_text()
