"""The way to PostgreSQL: one engine a process."""

import weakref
from collections import namedtuple
from collections.abc import Callable, Collection, Iterable
from typing import Any
from typing import cast as as_type

import orjson
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Engine,
    Text,
    any_,
    cast,
    create_engine,
    event,
    func,
    literal,
    make_url,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker
from sqlalchemy.types import NULLTYPE

from receiver.db.bounded import Bounded
from receiver.db.session_settings import POOLED, settle

Column = InstrumentedAttribute[Any]

# Any waiting on PostgreSQL ends after these, so that a hanging server costs an answer, not a
# process.
CONNECT_SECONDS = 3
STATEMENT_SECONDS = 15
POOL_SECONDS = 3
# A process that is frozen in a transaction would hold its locks for as long as that lasts.
IDLE_SECONDS = 30
# So much later than PostgreSQL should have given up a statement, we do.
GRACE_SECONDS = 2

# synchronous_commit is what "200 means kept" rests on: a database-wide `off` must not undo it. By
# the rest PostgreSQL notices a host of ours that is cut off: the locks of its transaction go with
# it. (Where a pooler stands between, the pooler has to notice.)
SETTINGS: dict[str, str | int] = {
    "synchronous_commit": "on",
    "timezone": "UTC",
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def create_engine_for(
    database_url: str, pool_size: int = 8, statement_seconds: int = STATEMENT_SECONDS
) -> Engine:
    """An engine on PostgreSQL whose commits are flushed before they return.

    A connection is tested before it is used, so that a restarted server needs nobody's help. No
    statement takes longer than statement_seconds, and none waits longer than two thirds of that
    for a lock: who waits is then known to have been in somebody's way, and is no statement that
    takes too long by itself. The URL may lead to PostgreSQL or to a pooler before it, also one that
    pools transactions.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_SECONDS,
        pool_pre_ping=True,
        # An error would show the values it was about in logs and in RQ: they are personal data.
        hide_parameters=True,
        json_deserializer=orjson.loads,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "ordertrail",
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            "tcp_user_timeout": 10_000,
        },
    )

    def open_bounded(_dialect: Any, _record: Any, arguments: Any, named: Any) -> Bounded:
        connection = Bounded.connect(*arguments, **named)
        connection.answer_seconds = statement_seconds + GRACE_SECONDS
        return connection

    event.listen(engine, "do_connect", open_bounded)
    milliseconds = {
        "statement_timeout": 1000 * statement_seconds,
        "lock_timeout": 2000 * statement_seconds // 3,
        "idle_in_transaction_session_timeout": 1000 * IDLE_SECONDS,
    }
    settle(engine, SETTINGS | milliseconds)
    return engine


def connection_of_its_own(engine: Engine) -> Bounded | None:
    """A connection outside the pool, on which each statement is its own transaction.

    Nothing tests it before it is used. It is closed with the engine. None where a pooler stands
    between: there each transaction has to begin with the settings, and is no single statement.
    """
    pooled = engine.raw_connection()
    if pooled.info.get(POOLED):
        pooled.close()
        return None
    connection = as_type("Bounded", pooled.dbapi_connection)
    pooled.detach()
    connection.autocommit, connection.pinged = True, False

    # Weakly: the engine is told of each of them for good, and outages make many.
    known = weakref.ref(connection)

    def close(_engine: Engine) -> None:
        if (opened := known()) is not None:
            # Not under the hands of a thread that has a statement under way: libpq would crash.
            with opened.lock:
                opened.close()

    event.listen(engine, "engine_disposed", close, once=True)
    return connection


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """What opens a session on the engine."""
    return sessionmaker(engine, expire_on_commit=False)


def bare(columns: Iterable[Any]) -> Callable[..., Any]:
    """What makes a bare row of these columns' values.

    A row of SQLAlchemy's takes nine times as long to say what stands in a column, and an object of
    its session three times as long to be made.
    """
    return namedtuple("Bare", [column.key for column in columns])  # noqa: PYI024 (no fixed names)


def array_literal(values: Iterable[str | int | None]) -> str:
    """An array as PostgreSQL reads it, to be cast to text[] or bigint[].

    psycopg takes fifteen times as long for a list of texts, which was a tenth of a drain. Its bind
    parameter has no type of its own (NULLTYPE), or PostgreSQL would read the text again for each
    row that it compares.
    """
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: str | int | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def pairs_in(
    first: Column, second: Column, wanted: Collection[tuple[str, str]]
) -> ColumnElement[bool]:
    """Whether (first, second) is one of the wanted pairs, however many there are.

    Two arrays, since PostgreSQL takes 65,535 parameters, and a tour plan may name more orders.
    """
    arrays = [
        cast(literal(array_literal(values), NULLTYPE), ARRAY(Text))
        for values in zip(*wanted, strict=True)
    ]
    return tuple_(first, second).in_(select(*map(func.unnest, arrays)))


def id_in(column: Column, ids: Collection[int]) -> ColumnElement[bool]:
    """Whether a column is one of the ids, however many there are."""
    return column == any_(cast(literal(array_literal(ids), NULLTYPE), ARRAY(BigInteger)))
