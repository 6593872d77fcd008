"""The one door: every message, hook or poll answer, is kept here before anyone is told so.

Requests that wait at the same moment in one process share one multi-row INSERT and one commit
(group commit): a flush to disk costs the same for one body as for a hundred.
"""

import hashlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from receiver import telemetry
from receiver.db import connection_of_its_own
from receiver.errors import StorageUnavailable
from receiver.models import PENDING

log = structlog.get_logger(__name__)

# A courier gives us a few seconds; past that an honest 503 is worth more than a late 200.
ACCEPT_SECONDS = 5.0
MOST_AT_ONCE = 200


Identity = tuple[str, str, str, bytes]


@dataclass(frozen=True, slots=True)
class Incoming:
    """A body on its way into the inbox. What could not even be read comes in quarantined."""

    account: str
    topic: str
    kind: str
    trust: str
    body: bytes = field(repr=False)
    received_at: datetime
    outcome: str = PENDING
    reason: str | None = None

    @property
    def identity(self) -> Identity:
        return self.account, self.topic, self.kind, hashlib.sha256(self.body).digest()


@dataclass(frozen=True, slots=True)
class Accepted:
    """A kept message; repeated where the same body was there already."""

    message_id: int
    repeated: bool


# unnest keeps the statement's text the same for any number of rows, so that it is planned once.
# %b sends the bodies as they are, where a text format would double them and have them parsed.
# xmax is 0 in a row that this statement inserted, and not in one that it updated.
KEEP = """
    INSERT INTO messages AS kept (account, topic, kind, trust, body, body_sha256, received_at,
                                  last_seen_at, outcome, reason, processed_at, repetitions)
    SELECT account, topic, kind, trust, body, body_sha256, received_at, received_at, outcome,
           reason, CASE WHEN outcome <> 'pending' THEN received_at END, repetitions
    FROM unnest(%(account)b::text[], %(topic)b::text[], %(kind)b::text[], %(trust)b::text[],
                %(body)b::bytea[], %(body_sha256)b::bytea[], %(received_at)b::timestamptz[],
                %(outcome)b::text[], %(reason)b::text[], %(repetitions)b::integer[])
         AS told (account, topic, kind, trust, body, body_sha256, received_at, outcome, reason,
                  repetitions)
    ON CONFLICT (account, topic, body_sha256) WHERE kind = 'webhook' DO UPDATE
    SET repetitions = kept.repetitions + excluded.repetitions + 1,
        last_seen_at = greatest(kept.last_seen_at, excluded.last_seen_at)
    RETURNING id, account, topic, kind, body_sha256, xmax = 0
"""


class Batch:
    """Messages to be kept by one statement: its values, and what it answers to each of them.

    One statement may not touch a row twice, so equal bodies are counted beforehand; sorted, so
    that two processes that keep the same bodies at once cannot deadlock.
    """

    def __init__(self, messages: Sequence[Incoming]) -> None:
        self._identities = [incoming.identity for incoming in messages]
        rows: dict[Identity, Incoming] = {}
        repetitions: dict[Identity, int] = {}
        for identity, incoming in zip(self._identities, messages, strict=True):
            rows.setdefault(identity, incoming)
            repetitions[identity] = repetitions.get(identity, -1) + 1
        ordered = sorted(rows)
        told = [rows[identity] for identity in ordered]
        self.values: dict[str, list[Any]] = {
            "account": [row.account for row in told],
            "topic": [row.topic for row in told],
            "kind": [row.kind for row in told],
            "trust": [row.trust for row in told],
            "body": [row.body for row in told],
            "body_sha256": [identity[3] for identity in ordered],
            "received_at": [row.received_at for row in told],
            "outcome": [row.outcome for row in told],
            "reason": [row.reason for row in told],
            "repetitions": [repetitions[identity] for identity in ordered],
        }

    def answers(self, kept: Iterable[Sequence[Any]]) -> list[Accepted]:
        """What becomes of each message, in their order; kept: the statement's rows."""
        found = {
            (account, topic, kind, bytes(sha256)): (message_id, is_new)
            for message_id, account, topic, kind, sha256, is_new in kept
        }
        answers, answered = [], set[Identity]()
        for identity in self._identities:
            message_id, is_new = found[identity]
            answers.append(Accepted(message_id, repeated=not is_new or identity in answered))
            answered.add(identity)
        return answers


def keep(session: Session, messages: Sequence[Incoming]) -> list[Accepted]:
    """Insert messages, or count repetitions of hooks; the caller commits.

    A poll answer is always new: whoever polls compares it with the one before and knows better
    whether a state that was told before has come back.
    """
    batch = Batch(messages)
    return batch.answers(session.connection().exec_driver_sql(KEEP, batch.values))


class Waiting:
    """A message on its way in, its sender who waits, and what he is to be told."""

    __slots__ = ("answer", "incoming", "told")

    def __init__(self, incoming: Incoming) -> None:
        self.incoming = incoming
        self.answer: Accepted | BaseException | None = None
        # A bare lock, held until there is an answer: a Future costs as much as all else in accept.
        self.told = threading.Lock()
        self.told.acquire()

    def tell(self, answer: Accepted | BaseException) -> None:
        self.answer = answer
        self.told.release()


class Inbox:
    """Group commit for one process: many callers wait, one thread writes.

    It writes on a connection of its own, and each batch is one statement that is its own
    transaction: one way to PostgreSQL and back, where BEGIN, INSERT, COMMIT and a pool's test of
    its connection would be four. (Behind a pooler it is those four.)
    """

    def __init__(self, engine: Engine, ring: Callable[[], None]) -> None:
        self._engine = engine
        self._ring = ring
        self._waiting: deque[Waiting] = deque()
        self._wanted = threading.Event()
        self._writer: threading.Thread | None = None
        self._start = threading.Lock()
        self._connection: psycopg.Connection[Any] | None = None

    def accept(self, incoming: Incoming) -> Accepted:
        """Keep a message and return once it is committed and flushed; then ring the doorbell.

        Raises: StorageUnavailable where PostgreSQL did not take it within ACCEPT_SECONDS.
        """
        if self._writer is None:
            self._begin()
        waiting = Waiting(incoming)
        self._waiting.append(waiting)
        self._wanted.set()
        if not waiting.told.acquire(timeout=ACCEPT_SECONDS):
            # Taken back, so that a writer that comes round again neither keeps what was refused
            # nor holds it in memory until then.
            with suppress(ValueError):
                self._waiting.remove(waiting)
            raise StorageUnavailable("the message could not be kept in time")
        if isinstance(waiting.answer, Accepted):
            return waiting.answer
        raise waiting.answer or StorageUnavailable("the message could not be kept")

    def _begin(self) -> None:
        # Not in __init__: a thread does not live on in a forked gunicorn worker.
        with self._start:
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, daemon=True)
                self._writer.start()

    def _write(self) -> None:
        while True:
            self._wanted.wait()
            # Cleared before looking: what comes meanwhile sets it again.
            self._wanted.clear()
            while batch := self._take():
                self._keep(batch)
            # Or the last batch would be held for as long as nothing comes after it.
            del batch

    def _take(self) -> list[Waiting]:
        # Whoever is about to come in at this moment still shares the flush: a third more a batch.
        time.sleep(0)
        batch: list[Waiting] = []
        with suppress(IndexError):
            while len(batch) < MOST_AT_ONCE:
                batch.append(self._waiting.popleft())
        return batch

    def _keep(self, batch: list[Waiting]) -> None:
        """Commit one batch and answer those who wait for it, and only those."""
        try:
            with telemetry.span("keep", messages=len(batch)):
                answers = self._commit(Batch([waiting.incoming for waiting in batch]))
        except Exception as failure:  # noqa: BLE001
            # The writer must outlive whatever befell one batch.
            log.error(  # noqa: TRY400 (a traceback would show the bodies)
                "batch not kept", messages=len(batch), error=type(failure).__name__
            )
            telemetry.failed(failure)
            known = isinstance(failure, psycopg.Error | SQLAlchemyError)
            for waiting in batch:
                waiting.tell(
                    StorageUnavailable("the message could not be kept") if known else failure
                )
            return
        for waiting, answer in zip(batch, answers, strict=True):
            waiting.tell(answer)
        if not all(answer.repeated for answer in answers):
            self._ring()

    def _commit(self, batch: Batch) -> list[Accepted]:
        """Keep a batch; where the connection turns out to be lost, on a new one.

        If PostgreSQL had kept it and only its answer was lost, the second time counts as a
        repetition, and the sweep finds what is not rung for.
        """
        if self._connection is not None:
            with suppress(psycopg.OperationalError):
                return self._execute(self._connection, batch)
            if not self._connection.closed:
                raise StorageUnavailable("the message could not be kept")
        self._connection = connection_of_its_own(self._engine)
        if self._connection is not None:
            return self._execute(self._connection, batch)
        with self._engine.begin() as connection:
            return batch.answers(connection.exec_driver_sql(KEEP, batch.values))

    def _execute(self, connection: "psycopg.Connection[Any]", batch: Batch) -> list[Accepted]:
        cursor = connection.cursor(binary=True)
        return batch.answers(cursor.execute(KEEP, batch.values))
