"""A PostgreSQL that says nothing: whoever waits for it gives up, and comes back by itself."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from receiver.db.bounded import PING_SECONDS
from receiver.db.engine import (
    CONNECT_SECONDS,
    GRACE_SECONDS,
    connection_of_its_own,
    create_engine_for,
)
from receiver.db.group_commit import OwnConnection
from tests.faults.proxy import Proxy
from tests.service import wait_until

ONE = text("SELECT 1")
# Seconds: more than any of the bounds in question, and less than any other there is.
SOON = 15.0


@pytest.fixture
def wire(environ: dict[str, str]) -> Iterator[Proxy]:
    sockets = unquote(environ["DATABASE_URL"].partition("host=")[2])
    proxy = Proxy(Path(sockets) / ".s.PGSQL.5432")
    yield proxy
    proxy.close()


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


def test_a_connection_of_its_own_that_went_dead_while_idle_is_left_soon(
    wire: Proxy, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.db.group_commit.IDLE_SECONDS", 0)
    engine = create_engine_for(url, statement_seconds=60)
    own = OwnConnection(engine)
    own.rows("SELECT 1", {})
    wire.mute(True)
    wire.mute(False)
    started = time.monotonic()
    assert own.rows("SELECT 1", {}) == [(1,)]
    assert PING_SECONDS <= time.monotonic() - started < SOON
    own.close()
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
        told = connection.scalar(text("SHOW idle_in_transaction_session_timeout"))
    engine.dispose()
    assert told == "30s"


def test_a_wait_for_a_lock_ends_before_a_statement_that_takes_long_does(
    environ: dict[str, str],
) -> None:
    # Who waits was in somebody's way: its message is not at fault, and is not quarantined.
    engine = create_engine_for(environ["DATABASE_URL"], pool_size=1, statement_seconds=9)
    with engine.connect() as connection:
        told = [connection.scalar(text(f"SHOW {it}_timeout")) for it in ("lock", "statement")]
    engine.dispose()
    assert told == ["6s", "9s"]


def test_an_engine_that_is_disposed_of_leaves_a_statement_under_way_its_connection(
    environ: dict[str, str],
) -> None:
    engine = create_engine_for(environ["DATABASE_URL"])
    connection = connection_of_its_own(engine)
    assert connection is not None
    with ThreadPoolExecutor(1) as thread:
        slow = thread.submit(connection.execute, "SELECT pg_sleep(0.3)")
        wait_until(connection.lock.locked)
        engine.dispose()
        assert slow.result(SOON).fetchone() == ("",)
    assert connection.closed
