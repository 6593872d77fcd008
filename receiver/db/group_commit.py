"""Group commit: what many requests of a process want at the same moment becomes one statement.

A round trip to PostgreSQL, and a flush to disk, cost nearly the same for one row as for a hundred.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, LiteralString, TypeVar

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from receiver.background_thread import BackgroundThread
from receiver.db.engine import BEHIND_POOLER

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_BATCH_SIZE = 200


class _Request(Generic[Item, Result]):
    """An item that waits for its batch, and what became of it."""

    __slots__ = ("done", "error", "item", "result")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.result: Result | None = None
        self.error: BaseException | None = None
        # A lock that is held until there is a result: a Future costs as much as the rest of accept.
        self.done = threading.Lock()
        self.done.acquire()


class Batcher(Generic[Item, Result]):
    """Collect items from many threads and process them in batches, on one thread.

    process: from a batch of items to their results, in the same order. What it raises is raised to
    everybody who waits for that batch, and to nobody else.
    """

    def __init__(self, name: str, process: Callable[[Sequence[Item]], Sequence[Result]]) -> None:
        self._process = process
        self._waiting: deque[_Request[Item, Result]] = deque()
        self._thread = BackgroundThread(name, self._run)

    def __len__(self) -> int:
        """Return how many items wait for the next batch."""
        return len(self._waiting)

    def submit(self, item: Item, seconds: float) -> Result:
        """Wait for the result of the item.

        Raises: TimeoutError after `seconds`; what its batch failed with.
        """
        request: _Request[Item, Result] = _Request(item)
        self._waiting.append(request)
        self._thread.wake()
        if not request.done.acquire(timeout=seconds):
            # Withdrawn, so that it is neither processed nor kept in memory after the refusal.
            with suppress(ValueError):
                self._waiting.remove(request)
            raise TimeoutError
        if request.error is not None:
            try:
                raise request.error
            finally:
                # The error and this frame would hold each other, and the item, until the next
                # garbage collection.
                del request
        return request.result  # type: ignore[return-value] # it is there now

    def _run(self) -> None:
        while batch := self._take_batch():
            self._process_batch(batch)

    def _take_batch(self) -> list[_Request[Item, Result]]:
        # Let the threads run that are about to submit: their items make batches a third larger.
        time.sleep(0)
        batch: list[_Request[Item, Result]] = []
        with suppress(IndexError):
            while len(batch) < MAX_BATCH_SIZE:
                batch.append(self._waiting.popleft())
        return batch

    def _process_batch(self, batch: list[_Request[Item, Result]]) -> None:
        try:
            results = self._process([request.item for request in batch])
            pairs = list(zip(batch, results, strict=True))
        except Exception as error:  # noqa: BLE001 (raised to everybody who waits for it)
            for request in batch:
                request.error = error
                request.done.release()
            # The error holds this frame, and would hold every item with it.
            del batch, request
            return
        for request, result in pairs:
            request.result = result
            request.done.release()


class AutocommitPool:
    """Connections on which each statement is a transaction of its own, in one round trip.

    BEGIN, statement and COMMIT are three. (Behind a pooler it takes those, and the settings.) The
    pool is not the engine's, so sessions that occupy all connections of that one delay nobody here.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._pool = engine.pool.recreate()
        event.listen(self._pool, "connect", _prefer_generic_plans)
        event.listen(engine, "engine_disposed", lambda _: self.close())

    def close(self) -> None:
        """Close the connections that run no statement just now."""
        self._pool.dispose()

    def fetch_all(
        self, statement: LiteralString, values: dict[str, Any], retry: bool = True
    ) -> Sequence[Any]:
        """Run a statement and return its rows; on a new connection if the first one is lost.

        The statement may then run twice, since only its answer may have been lost. Rows have their
        columns as attributes. retry: False for one try only.

        Raises: errors of psycopg and SQLAlchemy.
        """
        for is_last_try in (False, True) if retry else (True,):
            pooled = self._pool.connect()
            try:
                if pooled.info[BEHIND_POOLER]:
                    with self._engine.begin() as transaction:
                        return transaction.exec_driver_sql(statement, values).all()
                return _execute(pooled.dbapi_connection, statement, values)
            except psycopg.OperationalError as error:
                connection: Any = pooled.dbapi_connection
                if connection.closed:
                    pooled.invalidate(error)
                if not connection.closed or is_last_try:
                    raise
            finally:
                pooled.close()
        raise AssertionError


def _prefer_generic_plans(connection: Any, entry: ConnectionPoolEntry) -> None:
    """Plan each prepared statement once: planning a batch of reads takes longer than running it.

    PostgreSQL would plan it again for every array, since it overestimates their lengths.
    """
    if not entry.info[BEHIND_POOLER]:
        connection.execute("SET SESSION plan_cache_mode = force_generic_plan")
        connection.commit()


def _execute(connection: Any, statement: LiteralString, values: dict[str, Any]) -> Sequence[Any]:
    connection.autocommit = True
    try:
        cursor = connection.cursor(binary=True, row_factory=namedtuple_row)
        return cursor.execute(statement, values).fetchall()  # type: ignore[no-any-return]
    finally:
        if not connection.closed:
            connection.autocommit = False
