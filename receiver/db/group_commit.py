"""What many requests of one process ask for at the same moment is asked for once.

A way to PostgreSQL and back, and a flush to disk, cost nearly the same for one as for a hundred.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Generic, LiteralString, TypeVar

import psycopg
from psycopg.rows import namedtuple_row, tuple_row
from sqlalchemy import Engine

from receiver.db.bounded import Bounded
from receiver.db.engine import connection_of_its_own

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MOST_AT_ONCE = 200
# After so many seconds without use a connection may have gone dead, and nobody was told.
IDLE_SECONDS = 1.0


class Waiting(Generic[Item, Answer]):
    """What somebody asks for, and what it comes to."""

    __slots__ = ("answer", "failure", "item", "told")

    def __init__(self, item: Item) -> None:
        self.item = item
        self.answer: Answer | None = None
        self.failure: BaseException | None = None
        # A bare lock, held until there is an answer: a Future costs as much as all else in accept.
        self.told = threading.Lock()
        self.told.acquire()


class Together(Generic[Item, Answer]):
    """Many ask and wait, one thread does what they ask for, batch by batch.

    do: from a batch to its answers, one an item and in their order. What it raises is raised to
    all who wait for that batch, and to nobody else.
    """

    def __init__(self, do: Callable[[Sequence[Item]], Sequence[Answer]]) -> None:
        self._do = do
        self._waiting: deque[Waiting[Item, Answer]] = deque()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()

    def __len__(self) -> int:
        """How many wait for the next batch."""
        return len(self._waiting)

    def ask(self, item: Item, seconds: float) -> Answer:
        """The answer, once there is one.

        Raises: TimeoutError after `seconds`; what the batch came to grief of.
        """
        if self._thread is None:
            self._begin()
        waiting: Waiting[Item, Answer] = Waiting(item)
        self._waiting.append(waiting)
        self._wanted.set()
        if not waiting.told.acquire(timeout=seconds):
            # Taken back, so that a thread that comes round again neither does what was refused nor
            # holds it in memory until then.
            with suppress(ValueError):
                self._waiting.remove(waiting)
            raise TimeoutError
        if waiting.failure is not None:
            try:
                raise waiting.failure
            finally:
                # Or the failure would hold this frame, and the frame it: and the body until the
                # collector comes.
                del waiting
        return waiting.answer  # type: ignore[return-value] # there is one now

    def _begin(self) -> None:
        # Not in __init__: a thread does not live on in a forked gunicorn worker.
        with self._start:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            # Cleared before looking: what comes meanwhile sets it again.
            self._wanted.clear()
            while batch := self._take():
                self._answer(batch)
            # Or the last batch would be held for as long as nothing comes after it.
            del batch

    def _take(self) -> list[Waiting[Item, Answer]]:
        # Whoever is about to come at this moment is still of the batch: a third more of them.
        time.sleep(0)
        batch: list[Waiting[Item, Answer]] = []
        with suppress(IndexError):
            while len(batch) < MOST_AT_ONCE:
                batch.append(self._waiting.popleft())
        return batch

    def _answer(self, batch: list[Waiting[Item, Answer]]) -> None:
        try:
            answers = self._do([waiting.item for waiting in batch])
            answered = list(zip(batch, answers, strict=True))
        except Exception as failure:  # noqa: BLE001
            # The thread must outlive whatever befell one batch.
            for waiting in batch:
                waiting.failure = failure
                waiting.told.release()
            # Or the failure would hold all of them through this frame, and they it.
            del batch, waiting
            return
        for waiting, answer in answered:
            waiting.answer = answer
            waiting.told.release()


class OwnConnection:
    """A connection for one thread, on which each statement is its own transaction.

    One way to PostgreSQL and back, where BEGIN, the statement, COMMIT and a pool's test of its
    connection would be four. (Behind a pooler it is those four.) It is tested only where it was
    idle.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Bounded | None = None
        self._answered_at = 0.0

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def rows(
        self, statement: LiteralString, values: dict[str, Any], named: bool = False
    ) -> Sequence[Any]:
        """The rows of a statement; where the connection turns out to be lost, on a new one.

        So a statement may be carried out twice, where only its answer was lost. named: rows whose
        columns are attributes.

        Raises: psycopg's and SQLAlchemy's errors.
        """
        if self._connection is not None:
            try:
                if time.monotonic() - self._answered_at > IDLE_SECONDS:
                    self._connection.ping()
                return self._execute(self._connection, statement, values, named)
            except psycopg.OperationalError:
                if not self._connection.closed:
                    raise
        self._connection = connection_of_its_own(self._engine)
        if self._connection is not None:
            return self._execute(self._connection, statement, values, named)
        with self._engine.begin() as connection:
            return connection.exec_driver_sql(statement, values).all()

    def _execute(
        self, connection: Bounded, statement: LiteralString, values: dict[str, Any], named: bool
    ) -> Sequence[Any]:
        cursor = connection.cursor(binary=True, row_factory=namedtuple_row if named else tuple_row)
        rows = cursor.execute(statement, values).fetchall()
        self._answered_at = time.monotonic()
        return rows
