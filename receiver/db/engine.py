"""The engine: one pool of connections to PostgreSQL for each process, whose every wait is limited.

PostgreSQL's own timeouts need a PostgreSQL that runs. One that is frozen, or a proxy that swallows
what it is sent, keeps the connection open and never answers, so the client has to give up.

The settings are not startup options, because PgBouncer refuses those or ignores them. A pooler is
recognised by a server process id that differs from the client's. Its server connections are ours
for one transaction only, so each transaction begins with the settings, and neither a setting nor a
prepared statement stays behind for the next client.
"""

import time
from collections.abc import Mapping
from typing import Any

import orjson
import psycopg
from psycopg.abc import RV, PQGen
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

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
    # Whatever the server, the database or the role has set: how values are written and read, what a
    # statement outside of a transaction sees, and which schema our tables are in.
    "timezone": "UTC",
    "datestyle": "ISO, YMD",
    "intervalstyle": "postgres",
    "bytea_output": "hex",
    "default_transaction_isolation": "read committed",
    "search_path": "public",
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}

# The key in a pool entry's `info`: whether a pooler stands between us and PostgreSQL.
BEHIND_POOLER = "ordertrail_behind_pooler"

PING_SECONDS = 2.0
# A connection that was idle for longer may have died unnoticed and is tested before it is used.
IDLE_SECONDS = 1.0
# How often psycopg interrupts a wait to check for Ctrl-C.
INTERRUPT_SECONDS = 0.1

Settings = Mapping[str, str | int]


class TimeLimitedConnection(psycopg.Connection[Any]):
    """A connection that raises OperationalError and closes where PostgreSQL does not answer.

    answer_seconds: more than PostgreSQL lets any statement run; None for no limit.
    """

    answer_seconds: float | None = None
    answered_at = 0.0

    def wait(
        self, gen: PQGen[RV], interval: float = INTERRUPT_SECONDS, timeout: float | None = None
    ) -> RV:
        timeout = self.answer_seconds if timeout is None else timeout
        started_at = time.monotonic()
        try:
            answer = super().wait(gen, interval, timeout)
        except psycopg.OperationalError:
            if timeout is None or time.monotonic() - started_at < timeout:
                raise
            # A late answer must not be taken for the answer to another statement.
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"PostgreSQL has not answered for {timeout:g} seconds"
            ) from None
        self.answered_at = time.monotonic()
        return answer

    def ping(self) -> None:
        """Check that PostgreSQL still answers on this connection, with an empty statement.

        Raises: OperationalError after PING_SECONDS.
        """
        answer_seconds, self.answer_seconds = self.answer_seconds, PING_SECONDS
        autocommit, self.autocommit = self.autocommit, True
        try:
            self.execute("")
            self.autocommit = autocommit
        finally:
            self.answer_seconds = answer_seconds


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
        isolation_level="READ COMMITTED",
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
    _replace_dead_connections(engine)
    timeouts = {
        "statement_timeout": 1000 * statement_seconds,
        "lock_timeout": 2000 * statement_seconds // 3,
        "idle_in_transaction_session_timeout": 1000 * IDLE_IN_TRANSACTION_SECONDS,
    }
    _apply_settings(engine, SETTINGS | timeouts)
    return engine


def session_factory(engine: Engine) -> sessionmaker[Session]:
    """Return what opens sessions on the engine; their objects stay readable after a commit."""
    return sessionmaker(engine, expire_on_commit=False)


def _replace_dead_connections(engine: Engine) -> None:
    """Have the pool test a connection that was idle, and replace it where it is dead."""

    def checked_out(connection: TimeLimitedConnection, *_: Any) -> None:
        if time.monotonic() - connection.answered_at > IDLE_SECONDS:
            try:
                connection.ping()
            except psycopg.OperationalError as error:
                raise InvalidatePoolError from error

    event.listen(engine, "checkout", checked_out)


def _apply_settings(engine: Engine, settings: Settings) -> None:
    """Have the settings hold in every transaction on the engine."""

    def connected(connection: TimeLimitedConnection, entry: ConnectionPoolEntry) -> None:
        try:
            row = connection.execute("SELECT pg_backend_pid()").fetchone()
            entry.info[BEHIND_POOLER] = row != (connection.info.backend_pid,)
            if entry.info[BEHIND_POOLER]:
                connection.prepare_threshold = None
            else:
                connection.execute(set_statements("SESSION", settings).encode())
            connection.commit()
        except psycopg.Error:
            # The pool does not know the connection yet, so nobody else would close it.
            connection.close()
            raise

    def begun(connection: Connection) -> None:
        if connection.info.get(BEHIND_POOLER):
            connection.exec_driver_sql(set_statements("LOCAL", settings))

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", begun)


def set_statements(scope: str, settings: Settings) -> str:
    """Return the SET statements of the settings. scope: SESSION, or LOCAL to the transaction."""
    return "; ".join(f"SET {scope} {name} = '{value}'" for name, value in settings.items())
