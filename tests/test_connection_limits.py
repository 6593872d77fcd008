"""Where PostgreSQL does not answer every wait ends, and the service recovers by itself."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import psycopg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from receiver.db.engine import CONNECT_SECONDS, create_engine_for
from receiver.db.group_commit import AutocommitPool
from tests.faults.proxy import Proxy
from tests.service import wait_until

ONE = text("SELECT 1")
# Seconds: more than any of the bounds in question, and less than any other there is.
SOON = 15.0
# Shorter here than outside, where a machine may be busy.
GRACE_SECONDS = PING_SECONDS = 0.5


@pytest.fixture
def wire(environ: dict[str, str]) -> Iterator[Proxy]:
    sockets = unquote(environ["DATABASE_URL"].partition("host=")[2])
    proxy = Proxy(Path(sockets) / ".s.PGSQL.5432")
    yield proxy
    proxy.close()


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("receiver.db.engine.GRACE_SECONDS", GRACE_SECONDS)
    monkeypatch.setattr("receiver.db.engine.PING_SECONDS", PING_SECONDS)


@pytest.fixture(autouse=True)
def idle_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count every connection in a pool as idle, unless the test repeats a statement."""
    if "repeated" not in request.node.name:
        monkeypatch.setattr("receiver.db.engine.IDLE_SECONDS", 0)


@pytest.fixture
def url(environ: dict[str, str], wire: Proxy) -> str:
    """The way over the wire."""
    name = environ["DATABASE_URL"].rpartition("/")[2].partition("?")[0]
    return f"postgresql://postgres@127.0.0.1:{wire.port}/{name}"


@pytest.fixture
def engine_on_wire(url: str) -> Iterator[Engine]:
    engine = create_engine_for(url, pool_size=1, statement_seconds=1)
    yield engine
    engine.dispose()


def test_a_statement_that_is_never_answered_ends(wire: Proxy, engine_on_wire: Engine) -> None:
    started = time.monotonic()
    with engine_on_wire.connect() as connection:
        connection.execute(ONE)
        wire.mute(True)
        with pytest.raises(OperationalError, match=f"has not answered for {1 + GRACE_SECONDS} s"):
            connection.execute(ONE)
    assert time.monotonic() - started < SOON
    wire.mute(False)
    with engine_on_wire.connect() as connection:
        assert connection.scalar(ONE) == 1


def test_a_connection_that_went_dead_in_the_pool_is_left_soon(
    wire: Proxy, engine_on_wire: Engine
) -> None:
    with engine_on_wire.connect() as connection:
        connection.execute(ONE)
    wire.mute(True)
    wire.mute(False)
    started = time.monotonic()
    with engine_on_wire.connect() as connection:
        assert connection.scalar(ONE) == 1
    assert PING_SECONDS <= time.monotonic() - started < SOON


def test_a_single_statement_leaves_a_dead_connection_soon(wire: Proxy, url: str) -> None:
    engine = create_engine_for(url, statement_seconds=60)
    pool = AutocommitPool(engine)
    assert pool.fetch_all("SELECT 1", {}) == [(1,)]
    wire.mute(True)
    wire.mute(False)
    started = time.monotonic()
    assert pool.fetch_all("SELECT 1", {}) == [(1,)]
    assert PING_SECONDS <= time.monotonic() - started < SOON
    engine.dispose()


def test_a_single_statement_is_repeated_where_its_connection_was_closed(
    environ: dict[str, str],
) -> None:
    engine = create_engine_for(environ["DATABASE_URL"])
    pool = AutocommitPool(engine)
    [(first,)] = pool.fetch_all("SELECT pg_backend_pid()", {})
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as admin:
        admin.execute("SELECT pg_terminate_backend(%s, 5000)", [first])
    [(second,)] = pool.fetch_all("SELECT pg_backend_pid()", {})
    assert second != first
    engine.dispose()


def test_a_server_that_does_not_even_greet_is_given_up(wire: Proxy, engine_on_wire: Engine) -> None:
    wire.mute(True)
    started = time.monotonic()
    with pytest.raises(OperationalError), engine_on_wire.connect():
        pass
    assert CONNECT_SECONDS - 1 <= time.monotonic() - started < SOON


def test_whoever_freezes_in_a_transaction_lets_go_of_its_locks(environ: dict[str, str]) -> None:
    engine = create_engine_for(environ["DATABASE_URL"], pool_size=1)
    with engine.connect() as connection:
        shown = connection.scalar(text("SHOW idle_in_transaction_session_timeout"))
    engine.dispose()
    assert shown == "30s"


def test_a_wait_for_a_lock_ends_before_a_statement_that_takes_long_does(
    environ: dict[str, str],
) -> None:
    # Who waits was in somebody's way: its message is not at fault, and is not quarantined.
    engine = create_engine_for(environ["DATABASE_URL"], pool_size=1, statement_seconds=9)
    with engine.connect() as connection:
        shown = [connection.scalar(text(f"SHOW {name}_timeout")) for name in ("lock", "statement")]
    engine.dispose()
    assert shown == ["6s", "9s"]


def test_an_engine_that_is_disposed_of_leaves_a_statement_under_way_its_connection(
    environ: dict[str, str],
) -> None:
    engine = create_engine_for(environ["DATABASE_URL"])
    pool = AutocommitPool(engine)
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(pool.fetch_all, "SELECT 1 FROM pg_sleep(0.3)", {})
        wait_until(lambda: pool._pool.checkedout() == 1)  # type: ignore[attr-defined] # a QueuePool
        engine.dispose()
        assert slow.result(SOON) == [(1,)]
    pool.close()
