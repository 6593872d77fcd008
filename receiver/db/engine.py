"""The engine: one pool of connections to PostgreSQL for each process."""

from typing import Any

import orjson
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.connection import TimeLimitedConnection, apply_settings, replace_dead_connections

# No wait on PostgreSQL is longer than these, so that a hanging server costs a request and not a
# process.
CONNECT_SECONDS = 3
STATEMENT_SECONDS = 15
POOL_SECONDS = 3
# A process that is frozen in a transaction holds its locks until PostgreSQL ends the transaction.
IDLE_IN_TRANSACTION_SECONDS = 30
# We give up a statement so much later than PostgreSQL should have done.
GRACE_SECONDS = 2

# A 200 promises that the message is stored, which rests on synchronous_commit: the database's
# default may be `off`. With the others PostgreSQL notices that our host is cut off, and releases
# the locks of its transactions. (Behind a pooler, the pooler has to notice.)
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
    """Create an engine whose commits are flushed to disk before they return.

    A connection that was idle is tested before it is used, so the service recovers by itself after
    a restart of PostgreSQL. A statement may wait for a lock for two thirds of statement_seconds: if
    it fails by that, another transaction was in its way, and it is not slow by itself.

    database_url: of PostgreSQL, or of a pooler before it, in session or transaction mode.
    """
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_timeout=POOL_SECONDS,
        # The connection used last is the least likely to be dead.
        pool_use_lifo=True,
        # An error would show its values in logs and in RQ: they are personal data.
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

    def connect(_dialect: Any, _record: Any, args: Any, kwargs: Any) -> TimeLimitedConnection:
        connection = TimeLimitedConnection.connect(*args, **kwargs)
        connection.answer_seconds = statement_seconds + GRACE_SECONDS
        return connection

    event.listen(engine, "do_connect", connect)
    replace_dead_connections(engine)
    timeouts = {
        "statement_timeout": 1000 * statement_seconds,
        "lock_timeout": 2000 * statement_seconds // 3,
        "idle_in_transaction_session_timeout": 1000 * IDLE_IN_TRANSACTION_SECONDS,
    }
    apply_settings(engine, SETTINGS | timeouts)
    return engine


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Return what opens sessions on the engine; their objects stay readable after a commit."""
    return sessionmaker(engine, expire_on_commit=False)
