"""Accept messages: every webhook and every poll answer enters the inbox here.

Webhooks that wait at the same moment in one process share one multi-row INSERT and one commit
(group commit): a flush to disk costs the same for one body as for a hundred.
"""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, LiteralString

import orjson
import psycopg
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from receiver.db.group_commit import AutocommitPool, Batcher
from receiver.db.models import PENDING
from receiver.errors import StorageUnavailable
from receiver.inbox.storage_check import ACCEPT_SECONDS, StorageCheck, name_fault
from receiver.logs import exception_fields, failure_fields

log = structlog.get_logger(__name__)

# Account, topic, kind and the SHA-256 of what the courier said.
Identity = tuple[str, str, str, bytes]
# The same statement without and with the column `request`.
Statements = Mapping[bool, LiteralString]


@dataclass(frozen=True, slots=True)
class IncomingMessage:
    """A body on its way into the inbox. One that cannot be parsed comes in quarantined.

    request: what is kept beside the body, as in Message.request.
    """

    account: str
    topic: str
    kind: str
    trust: str
    body: bytes = field(repr=False)
    received_at: datetime
    outcome: str = PENDING
    reason: str | None = None
    request: Mapping[str, Any] | None = None

    @property
    def body_sha256(self) -> bytes:
        """The SHA-256 of the body, and of `request` where there is one."""
        said = self.body
        if self.request is not None:
            said += b"\0" + orjson.dumps(self.request, option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(said).digest()

    @property
    def identity(self) -> Identity:
        return self.account, self.topic, self.kind, self.body_sha256


@dataclass(frozen=True, slots=True)
class Accepted:
    """A stored message; repeated where the same body was stored before."""

    message_id: int
    repeated: bool


def _insert_statement(on_conflict: LiteralString, keeps_request: bool) -> LiteralString:
    """Return the INSERT. keeps_request: whether a message has a request; a column costs time."""
    column, value, parameter = (
        (", request", ", request::jsonb", ", %(request)b::text[]") if keeps_request else ("",) * 3
    )
    # unnest keeps the statement's text the same for any number of rows, so that it is planned once.
    # %b sends the bodies as they are, where a text format would double them and have them parsed.
    # xmax is 0 in a row that this statement inserted, and not in one that it updated.
    return f"""
        INSERT INTO messages AS stored (account, topic, kind, trust, body, body_sha256, received_at,
                                        last_seen_at, outcome, reason, processed_at, repetitions
                                        {column})
        SELECT account, topic, kind, trust, body, body_sha256, received_at, received_at, outcome,
               reason, CASE WHEN outcome <> 'pending' THEN received_at END, repetitions {value}
        FROM unnest(%(account)b::text[], %(topic)b::text[], %(kind)b::text[], %(trust)b::text[],
                    %(body)b::bytea[], %(body_sha256)b::bytea[], %(received_at)b::timestamptz[],
                    %(outcome)b::text[], %(reason)b::text[], %(repetitions)b::integer[] {parameter})
             AS incoming (account, topic, kind, trust, body, body_sha256, received_at, outcome,
                          reason, repetitions {column})
        ON CONFLICT (account, topic, body_sha256) WHERE kind = 'webhook' {on_conflict}
        RETURNING id, account, topic, kind, body_sha256, xmax = 0
    """  # noqa: S608 (all of it stands here)


def _insert_statements(on_conflict: LiteralString) -> Statements:
    return {kept: _insert_statement(on_conflict, kept) for kept in (False, True)}


INSERT_OR_COUNT = _insert_statements("""DO UPDATE
    SET repetitions = stored.repetitions + excluded.repetitions + 1,
        last_seen_at = greatest(stored.last_seen_at, excluded.last_seen_at)
""")
INSERT_NEW = _insert_statements("DO NOTHING")


def store_messages(session: Session, messages: Sequence[IncomingMessage]) -> list[Accepted]:
    """Store messages in the transaction of the caller, who commits and rings.

    A repeated webhook is counted. A poll answer is always new: the poller compares it with the one
    before, and knows whether a state has come back.
    """
    stored = _insert(session.connection().exec_driver_sql, INSERT_OR_COUNT, messages)
    return [accepted for accepted in stored if accepted is not None]


class Inbox:
    """The entrance for the webhooks of one process, with group commit.

    Repetitions have a batch of their own: a worker may hold a repeated message's row while it
    folds it, and new messages must not wait for that.
    """

    def __init__(self, engine: Engine, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._pool = AutocommitPool(engine)
        self.storage = StorageCheck(self._pool)
        self._new: Batcher[IncomingMessage, Accepted | None] = Batcher(
            "accept", lambda messages: self._commit(INSERT_NEW, messages)
        )
        self._repeated: Batcher[IncomingMessage, Accepted | None] = Batcher(
            "accept_repeated", lambda messages: self._commit(INSERT_OR_COUNT, messages)
        )

    def accept(self, message: IncomingMessage) -> Accepted:
        """Store a message, return once it is committed and flushed, and ring the doorbell.

        Raises: StorageUnavailable where PostgreSQL did not store it within ACCEPT_SECONDS.
        """
        ends_at = time.monotonic() + ACCEPT_SECONDS
        try:
            accepted = self._new.submit(message, ACCEPT_SECONDS)
            if accepted is None:
                accepted = self._repeated.submit(message, max(0, ends_at - time.monotonic()))
        except TimeoutError:
            accepted = None
        if accepted is None:
            raise StorageUnavailable("the message could not be stored in time")
        return accepted

    def _commit(
        self, statements: Statements, messages: Sequence[IncomingMessage]
    ) -> list[Accepted | None]:
        """Store a batch in a transaction of its own, and ring for new messages.

        If PostgreSQL commits and only its answer is lost, the retry counts as a repetition, and
        the sweep finds the messages for which nobody rang.
        """
        began_at = time.monotonic()
        try:
            accepted = _insert(self._pool.fetch_all, statements, messages)
        except Exception as error:
            self.storage.note_failure(error)
            is_database = isinstance(error, psycopg.Error | SQLAlchemyError)
            what = exception_fields(error) if is_database else failure_fields(error)
            fault = name_fault(error)
            log.error("batch_failed", messages=len(messages), fault=fault, **what)  # noqa: TRY400 (a traceback would show bodies)
            if is_database:
                raise StorageUnavailable("the message could not be stored") from None
            raise
        # A statement that stored nothing has not waited for a flush.
        if any(one is not None for one in accepted):
            self.storage.note_success(time.monotonic() - began_at)
        if any(one is not None and not one.repeated for one in accepted):
            self._ring()
        return accepted


def _insert(
    fetch_all: Callable[..., Iterable[Any]],
    statements: Statements,
    messages: Sequence[IncomingMessage],
) -> list[Accepted | None]:
    """Store messages by one statement, and return what became of each: None where it is not new.

    One statement may not touch a row twice, so equal bodies are counted before it; and they are
    sorted, so that two processes that store the same bodies at once cannot deadlock.
    """
    identities = [message.identity for message in messages]
    counts = Counter(identities)
    first = dict(zip(reversed(identities), reversed(messages), strict=True))
    ordered = sorted(first)
    names = ("account", "topic", "kind", "trust", "body", "received_at", "outcome", "reason")
    values: dict[str, list[Any]] = {
        name: [getattr(first[identity], name) for identity in ordered] for name in names
    }
    values["body_sha256"] = [identity[3] for identity in ordered]
    values["repetitions"] = [counts[identity] - 1 for identity in ordered]
    requests = [first[identity].request for identity in ordered]
    keeps_request = any(request is not None for request in requests)
    if keeps_request:
        values["request"] = [_to_json(request) for request in requests]
    stored = {
        (account, topic, kind, bytes(sha256)): Accepted(message_id, repeated=not is_new)
        for message_id, account, topic, kind, sha256, is_new in fetch_all(
            statements[keeps_request], values
        )
    }
    accepted: list[Accepted | None] = []
    for identity in identities:
        accepted.append(stored.get(identity))
        if identity in stored:
            stored[identity] = Accepted(stored[identity].message_id, repeated=True)
    return accepted


def _to_json(request: Mapping[str, Any] | None) -> str | None:
    return None if request is None else orjson.dumps(request).decode()
