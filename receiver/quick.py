"""Quick reads: one statement on a connection of its own, one way to PostgreSQL and back.

A session would go four times: a test of its connection, BEGIN, the statement, ROLLBACK. That is
most of what getting one order costs. A connection that was lost is noticed by the read itself,
which is then done once more on a new one: reading twice harms nobody.
"""

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Engine

from receiver.bounded import Bounded
from receiver.db import POOL_SECONDS, connection_of_its_own
from receiver.errors import StorageUnavailable

AT_ONCE = 8


class QuickReads:
    """A few connections that are only read from; more readers than that take turns."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._idle: deque[Bounded] = deque()
        self._turns = threading.BoundedSemaphore(AT_ONCE)

    def first(self, statement: str, values: Mapping[str, Any]) -> Any:
        """The first row of a statement, with its columns as attributes; None where there is none.

        Raises: StorageUnavailable.
        """
        if not self._turns.acquire(timeout=POOL_SECONDS):
            raise StorageUnavailable("the database cannot be reached just now")
        try:
            return self._first(statement, values)
        except psycopg.OperationalError:
            raise StorageUnavailable("the database cannot be reached just now") from None
        finally:
            self._turns.release()

    def _first(self, statement: str, values: Mapping[str, Any]) -> Any:
        if self._idle:
            connection = self._idle.pop()
            try:
                return self._read(connection, statement, values)
            except psycopg.OperationalError:
                if not connection.closed:
                    raise
        fresh = connection_of_its_own(self._engine)
        if fresh is not None:
            return self._read(fresh, statement, values)
        with self._engine.connect() as pooled:
            return pooled.exec_driver_sql(statement, dict(values)).first()

    def _read(self, connection: Bounded, statement: str, values: Mapping[str, Any]) -> Any:
        try:
            cursor = connection.cursor(row_factory=namedtuple_row)
            return cursor.execute(statement.encode(), values).fetchone()
        finally:
            if not connection.closed:
                self._idle.append(connection)
