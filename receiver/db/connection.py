"""Connections to PostgreSQL: a limit on every wait, and the settings of every transaction.

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

import psycopg
from psycopg.abc import RV, PQGen
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.pool import ConnectionPoolEntry

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


def replace_dead_connections(engine: Engine) -> None:
    """Have the pool test a connection that was idle, and replace it where it is dead."""

    def checked_out(connection: TimeLimitedConnection, *_: Any) -> None:
        if time.monotonic() - connection.answered_at > IDLE_SECONDS:
            try:
                connection.ping()
            except psycopg.OperationalError as error:
                raise InvalidatePoolError from error

    event.listen(engine, "checkout", checked_out)


def apply_settings(engine: Engine, settings: Settings) -> None:
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
