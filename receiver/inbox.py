"""The one door: every message, hook or poll answer, is kept here before anyone is told so.

Requests that wait at the same moment in one process share one multi-row INSERT and one commit
(group commit): a flush to disk costs the same for one body as for a hundred.
"""

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Overdue
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

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


Waiting = tuple[Incoming, "Future[Accepted]"]

# unnest keeps the statement's text the same for any number of rows, so that it is planned once.
# xmax is 0 in a row that this statement inserted, and not in one that it updated.
KEEP = text("""
    INSERT INTO messages AS kept (account, topic, kind, trust, body, body_sha256, received_at,
                                  last_seen_at, outcome, reason, processed_at, repetitions)
    SELECT account, topic, kind, trust, body, body_sha256, received_at, received_at, outcome,
           reason, CASE WHEN outcome <> 'pending' THEN received_at END, repetitions
    FROM unnest(CAST(:account AS text[]), CAST(:topic AS text[]), CAST(:kind AS text[]),
                CAST(:trust AS text[]), CAST(:body AS bytea[]), CAST(:body_sha256 AS bytea[]),
                CAST(:received_at AS timestamptz[]), CAST(:outcome AS text[]),
                CAST(:reason AS text[]), CAST(:repetitions AS integer[]))
         AS told (account, topic, kind, trust, body, body_sha256, received_at, outcome, reason,
                  repetitions)
    ON CONFLICT (account, topic, body_sha256) WHERE kind = 'webhook' DO UPDATE
    SET repetitions = kept.repetitions + excluded.repetitions + 1,
        last_seen_at = greatest(kept.last_seen_at, excluded.last_seen_at)
    RETURNING id, account, topic, kind, body_sha256, xmax = 0 AS is_new
""")


def keep(session: Session, batch: Sequence[Incoming]) -> list[Accepted]:
    """Insert the batch, or count repetitions of hooks; the caller commits.

    A poll answer is always new: whoever polls compares it with the one before and knows better
    whether a state that was told before has come back.

    One statement may not touch a row twice, so equal bodies of one batch are counted beforehand;
    sorted, so that two processes that keep the same bodies at once cannot deadlock.
    """
    rows: dict[Identity, Incoming] = {}
    repetitions: dict[Identity, int] = {}
    identities = [incoming.identity for incoming in batch]
    for identity, incoming in zip(identities, batch, strict=True):
        rows.setdefault(identity, incoming)
        repetitions[identity] = repetitions.get(identity, -1) + 1
    ordered = sorted(rows.items())
    kept = session.execute(
        KEEP,
        {
            "account": [row.account for _, row in ordered],
            "topic": [row.topic for _, row in ordered],
            "kind": [row.kind for _, row in ordered],
            "trust": [row.trust for _, row in ordered],
            "body": [row.body for _, row in ordered],
            "body_sha256": [identity[3] for identity, _ in ordered],
            "received_at": [row.received_at for _, row in ordered],
            "outcome": [row.outcome for _, row in ordered],
            "reason": [row.reason for _, row in ordered],
            "repetitions": [repetitions[identity] for identity, _ in ordered],
        },
    )
    found = {
        (row.account, row.topic, row.kind, bytes(row.body_sha256)): (row.id, row.is_new)
        for row in kept
    }
    answers, answered = [], set[Identity]()
    for identity in identities:
        message_id, is_new = found[identity]
        answers.append(Accepted(message_id, repeated=not is_new or identity in answered))
        answered.add(identity)
    return answers


class Inbox:
    """Group commit for one process: many callers wait, one thread writes."""

    def __init__(self, sessions: sessionmaker[Session], ring: Callable[[], None]) -> None:
        self._sessions = sessions
        self._ring = ring
        self._waiting: deque[Waiting] = deque()
        self._changed = threading.Condition()
        self._writer: threading.Thread | None = None

    def accept(self, incoming: Incoming) -> Accepted:
        """Keep a message and return once it is committed and flushed; then ring the doorbell.

        Raises: StorageUnavailable where PostgreSQL did not take it within ACCEPT_SECONDS.
        """
        waiting: Waiting = (incoming, Future())
        with self._changed:
            # Not in __init__: a thread does not live on in a forked gunicorn worker.
            if self._writer is None:
                self._writer = threading.Thread(target=self._write, daemon=True)
                self._writer.start()
            self._waiting.append(waiting)
            self._changed.notify()
        try:
            return waiting[1].result(timeout=ACCEPT_SECONDS)
        except Overdue:
            # Taken back, so that a writer that comes round again neither keeps what was refused
            # nor holds it in memory until then.
            waiting[1].cancel()
            with self._changed, suppress(ValueError):
                self._waiting.remove(waiting)
            raise StorageUnavailable("the message could not be kept in time") from None

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                size = min(len(self._waiting), MOST_AT_ONCE)
                batch = [self._waiting.popleft() for _ in range(size)]
            live = [pair for pair in batch if pair[1].set_running_or_notify_cancel()]
            if live:
                self._keep(live)
            # Or the last batch would be held for as long as nothing comes after it.
            del batch, live

    def _keep(self, batch: list[Waiting]) -> None:
        """Commit one batch and answer those who wait for it, and only those."""
        try:
            with self._sessions.begin() as session:
                answers = keep(session, [incoming for incoming, _ in batch])
        except Exception as failure:  # noqa: BLE001
            # The writer must outlive whatever befell one batch.
            log.error(  # noqa: TRY400 (a traceback would show the bodies)
                "batch not kept", messages=len(batch), error=type(failure).__name__
            )
            known = isinstance(failure, SQLAlchemyError)
            for _, answer in batch:
                answer.set_exception(
                    StorageUnavailable("the message could not be kept") if known else failure
                )
            return
        for (_, answer), accepted in zip(batch, answers, strict=True):
            answer.set_result(accepted)
        if not all(accepted.repeated for accepted in answers):
            self._ring()
