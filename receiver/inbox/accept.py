"""The one door: every message, hook or poll answer, is kept here before anyone is told so.

Requests that wait at the same moment in one process share one multi-row INSERT and one commit
(group commit): a flush to disk costs the same for one body as for a hundred.
"""

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString

import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.db.group_commit import AutocommitPool, Batcher
from receiver.db.models import PENDING
from receiver.errors import StorageUnavailable

log = structlog.get_logger(__name__)

# A courier gives us a few seconds; past that an honest 503 is worth more than a late 200.
ACCEPT_SECONDS = 5.0


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
INSERT = """
    INSERT INTO messages AS kept (account, topic, kind, trust, body, body_sha256, received_at,
                                  last_seen_at, outcome, reason, processed_at, repetitions)
    SELECT account, topic, kind, trust, body, body_sha256, received_at, received_at, outcome,
           reason, CASE WHEN outcome <> 'pending' THEN received_at END, repetitions
    FROM unnest(%(account)b::text[], %(topic)b::text[], %(kind)b::text[], %(trust)b::text[],
                %(body)b::bytea[], %(body_sha256)b::bytea[], %(received_at)b::timestamptz[],
                %(outcome)b::text[], %(reason)b::text[], %(repetitions)b::integer[])
         AS told (account, topic, kind, trust, body, body_sha256, received_at, outcome, reason,
                  repetitions)
    ON CONFLICT (account, topic, body_sha256) WHERE kind = 'webhook'
"""
# xmax is 0 in a row that this statement inserted, and not in one that it updated.
ANSWER = " RETURNING id, account, topic, kind, body_sha256, xmax = 0"
KEEP = f"""{INSERT} DO UPDATE
    SET repetitions = kept.repetitions + excluded.repetitions + 1,
        last_seen_at = greatest(kept.last_seen_at, excluded.last_seen_at) {ANSWER}"""  # noqa: S608
KEEP_NEW = f"{INSERT} DO NOTHING {ANSWER}"


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

    def answers(self, kept: Iterable[Sequence[Any]]) -> list[Accepted | None]:
        """What becomes of each message, in their order: None where the statement left it alone.

        kept: the statement's rows.
        """
        found = {
            (account, topic, kind, bytes(sha256)): (message_id, is_new)
            for message_id, account, topic, kind, sha256, is_new in kept
        }
        answers: list[Accepted | None] = []
        answered = set[Identity]()
        for identity in self._identities:
            if identity not in found:
                answers.append(None)
                continue
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
    answers = batch.answers(session.connection().exec_driver_sql(KEEP, batch.values))
    return [answer for answer in answers if answer is not None]


class Inbox:
    """Group commit for one process: what comes at one moment is one statement, one transaction.

    Repetitions are counted apart: a worker may be folding the message just then, or hang over it,
    and holds its row; those whose messages are new must not wait for that.
    """

    def __init__(self, engine: Engine, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._pool = AutocommitPool(engine)
        self._new: Batcher[Incoming, Accepted | None] = Batcher(
            "accept", lambda messages: self._keep(KEEP_NEW, messages)
        )
        self._repeated: Batcher[Incoming, Accepted | None] = Batcher(
            "accept_repeated", lambda messages: self._keep(KEEP, messages)
        )

    def accept(self, incoming: Incoming) -> Accepted:
        """Keep a message and return once it is committed and flushed; then ring the doorbell.

        Raises: StorageUnavailable where PostgreSQL did not take it within ACCEPT_SECONDS.
        """
        ends_at = time.monotonic() + ACCEPT_SECONDS
        try:
            answer = self._new.submit(incoming, ACCEPT_SECONDS)
            if answer is None:
                answer = self._repeated.submit(incoming, max(0, ends_at - time.monotonic()))
        except TimeoutError:
            answer = None
        if answer is None:
            raise StorageUnavailable("the message could not be kept in time")
        return answer

    def _keep(
        self, statement: LiteralString, messages: Sequence[Incoming]
    ) -> list[Accepted | None]:
        """Commit a batch.

        If PostgreSQL had kept it and only its answer was lost, a second time counts as a
        repetition, and the sweep finds what is not rung for.
        """
        try:
            batch = Batch(messages)
            answers = batch.answers(self._pool.fetch_all(statement, batch.values))
        except Exception as failure:
            log.error(  # noqa: TRY400 (a traceback would show the bodies)
                "batch not kept", messages=len(messages), error=type(failure).__name__
            )
            if isinstance(failure, psycopg.Error | SQLAlchemyError):
                raise StorageUnavailable("the message could not be kept") from None
            raise
        if not all(answer is None or answer.repeated for answer in answers):
            self._ring()
        return answers
