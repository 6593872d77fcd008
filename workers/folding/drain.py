"""Drain: folds the pending messages of the inbox, a batch at a time.

A batch is one transaction: orders, events, tours and the outcomes of messages are written together
or not at all, so a worker that dies leaves nothing half done. If a batch fails, its messages are
folded one by one, and those that fail again are quarantined.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from rq.timeouts import BaseTimeoutException
from sqlalchemy import Select, func
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.bulk import id_in, row_class
from receiver.db.models import APPLIED, QUARANTINED, Message
from receiver.db.revision import OUTDATED_SCHEMA, newest_revision, read_revision
from receiver.inbox.pending import select_pending
from receiver.logs import failure_fields
from receiver.orders.erasure import names_erased_order
from receiver.settings import Settings
from workers.folding import poison
from workers.folding.cpu_limit import CpuLimitExceeded, limit_cpu
from workers.folding.message_folding import fold_messages, record_outcomes
from workers.folding.order_store import ConcurrentChange
from workers.folding.poison import CrashGuard
from workers.folding.refold import FoldedBatch, Outcome

log = structlog.get_logger(__name__)

# So many messages share the statements and the commit of a batch; its log line has to stay below
# the 16 kB that Docker does not split.
BATCH = 300
# Of a batch, at most so many messages that were sent back.
SENT_BACK = 50
# How long to wait for more messages after a batch that was smaller than any that is limited.
PAUSE_SECONDS = 0.02
# A larger body is folded alone, so that no other message waits for its commit, and another worker
# can go on with the rest meanwhile: tens of thousands of parcels take half a second.
LARGE_BYTES = 131_072
# CPU seconds. A batch needs a fraction of one unless its bodies are huge; those are folded one by
# one then.
BATCH_SECONDS = 20.0
ALONE_SECONDS = 10.0

# Classes of SQLSTATE that say nothing about a message: connection, deadlock, resources, locks held,
# operator intervention, system. Any other error is the statement's own.
TRANSIENT_SQLSTATES = ("08", "40", "53", "55", "57", "58")
# The exception to operator intervention: the statement took too long.
QUERY_CANCELED = "57014"

# The columns of a message that folding needs.
COLUMNS = (
    *(Message.id, Message.account, Message.topic, Message.kind, Message.trust, Message.body),
    *(Message.received_at, Message.retried_at, Message.tries, Message.tried_by, Message.request),
)
MessageRow = row_class(COLUMNS)
# The length of a body is known without reading it.
IS_LARGE = func.coalesce(func.octet_length(Message.body), 0) > LARGE_BYTES


def drain_batch(
    sessions: sessionmaker[Session],
    settings: Settings,
    now: datetime,
    guard: CrashGuard | None = None,
) -> int:
    """Fold one batch of pending messages, and return how many messages there were.

    If the batch was not full, suspects (see poison.py) and one large message follow, each alone.
    guard: this process's, None for one that never marks messages.

    Raises: OperationalError where PostgreSQL fails; nothing has been done then.
    """
    guard = guard or CrashGuard(batches=0)
    with poison.Marks(sessions, guard) as marks:
        return _Drain(sessions, settings, now, guard, marks).drain_batch()


def drain_inbox(
    sessions: sessionmaker[Session],
    settings: Settings,
    guard: CrashGuard,
    seconds: float,
    ring_feed: Callable[[], None],
    stop: threading.Event,
) -> bool:
    """Fold batches until no more messages come, or for so long; return whether some may be left.

    After a small batch it waits a moment for more. So while messages keep coming, they are folded
    several at a time, and the cost of an RQ job, which is that of a batch, is paid only once.

    ring_feed: called after each batch. stop: set when the process is to stop.
    """
    started, folded, left = time.monotonic(), 0, False
    while size := drain_batch(sessions, settings, datetime.now(UTC), guard):
        folded += size
        ring_feed()
        if left := time.monotonic() - started > seconds:
            break
        if size < SENT_BACK:
            stop.wait(PAUSE_SECONDS)
    if folded:
        log.info("inbox_drained", messages=folded, seconds=round(time.monotonic() - started, 3))
    return left


@dataclass
class _Drain:
    """A batch with what is needed to fold it.

    ids: its messages, set before any of them is read. large: a large message to fold after them.
    """

    sessions: sessionmaker[Session]
    settings: Settings
    now: datetime
    guard: CrashGuard
    marks: poison.Marks
    ids: Sequence[int] = ()
    large: Sequence[int] = ()

    def drain_batch(self) -> int:
        suspects: Sequence[int] = ()
        try:
            suspects = self._fold_batch()
        except Exception as error:
            if self._is_transient(error) or not self.ids:
                raise
            log.warning("batch_failed", size=len(self.ids), **failure_fields(error))
            # Each in its own transaction: locks taken message by message in one transaction would
            # be in no order, and two workers could deadlock.
            for message_id in self.ids:
                self._fold_alone(message_id)
        if self.guard.batches:
            suspects, self.large = [*suspects, *self.large], []
        for message_id in self.large:
            self._fold_alone(message_id)
        size = len(self.ids) + len(self.large)
        size += sum(self._try_suspect(message_id) for message_id in suspects)
        self.guard.batch_done(size)
        return size

    def _fold_batch(self) -> Sequence[int]:
        """Fold a batch, all or nothing; return the suspects to try if it was not full."""
        marked, folded = False, FoldedBatch()
        while True:
            try:
                with self.sessions.begin() as session, limit_cpu(BATCH_SECONDS):
                    batch = _lock_ids(session, self.ids) if marked else lock_batch(session)
                    self.ids = [message.id for message in batch]
                    if not marked and self.guard.must_mark(batch):
                        self.marks.add(session, self.ids)
                        marked = True
                        continue
                    is_full = len(self.ids) >= BATCH
                    suspects = [] if is_full else poison.find_suspects(session, exclude=self.ids)
                    self.large = [] if is_full else find_large(session)
                    if batch:
                        folded = fold_messages(session, batch, self.settings, self.now)
                        record_outcomes(session, batch, folded, self.now)
                self.marks.clear(self.ids)
            except ConcurrentChange:
                # The order exists now, so this ends, at the latest with the last new order.
                continue
            if self.ids:
                outcomes = {key: outcome.outcome for key, outcome in folded.outcomes.items()}
                log.info(
                    "batch_folded",
                    messages=len(batch),
                    accounts=sorted({message.account for message in batch}),
                    orders={key: one.courier_order_id for key, one in folded.outcomes.items()},
                    not_applied={key: name for key, name in outcomes.items() if name != APPLIED},
                )
            return suspects

    def _try_suspect(self, message_id: int) -> bool:
        """Fold or quarantine a suspect; return whether it was free."""
        with self.sessions.begin() as session:
            batch = _lock_ids(session, [message_id])
            if not batch:
                return False
            by_another = batch[0].tried_by != self.guard.name
            if by_another and poison.is_alive(session, batch[0].tried_by):
                return False
            is_poison = batch[0].tries >= poison.MAX_TRIES and by_another
            if is_poison:
                log.error("message_quarantined", message_id=message_id, cause="workers ended")
                folded = _quarantine(session, batch, Outcome(QUARANTINED, poison.POISON_REASON))
                record_outcomes(session, batch, folded, self.now)
            else:
                self.marks.add(session, [message_id])
        if not is_poison:
            self._fold_alone(message_id)
        return True

    def _fold_alone(self, message_id: int) -> None:
        """Fold one message in its own transaction; if that fails, quarantine it."""
        while True:
            try:
                with self.sessions.begin() as session:
                    batch = _lock_ids(session, [message_id])
                    try:
                        with session.begin_nested(), limit_cpu(ALONE_SECONDS):
                            folded = fold_messages(session, batch, self.settings, self.now)
                    except Exception as error:
                        if self._is_transient(error):
                            raise
                        folded = _quarantine(session, batch, _report_failure(error, message_id))
                    record_outcomes(session, batch, folded, self.now)
                # None where another process looks at it just now: the mark is taken back then.
                self.marks.clear(message.id for message in batch)
                return
            except ConcurrentChange:
                continue

    def _is_transient(self, error: Exception) -> bool:
        """Whether an error says nothing about the messages; also where `release` was forgotten."""
        sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
        if sqlstate not in OUTDATED_SCHEMA:
            return is_transient(error)
        with self.sessions() as session:
            revision = read_revision(session)
        return revision is None or revision < newest_revision()


def _quarantine(session: Session, batch: Sequence[Message], outcome: Outcome) -> FoldedBatch:
    """Return what a message that cannot be folded came to; an erased order's loses its body."""
    erased = [
        message.id
        for message in batch
        if names_erased_order(session, message.account, message.body, message.request)
    ]
    return FoldedBatch({message.id: outcome for message in batch}, erased=erased)


def _report_failure(error: Exception, message_id: int) -> Outcome:
    # No traceback: it may show the contents of the message.
    what = failure_fields(error)
    log.error("message_quarantined", message_id=message_id, **what)
    where = f"{what['error']} at {what['where']}"
    reason = f"the message could not be processed ({where}): see the workers' log"
    if isinstance(error, CpuLimitExceeded):
        reason = f"the message could not be processed: {error} (at {what['where']})"
    return Outcome(QUARANTINED, reason)


def is_transient(error: Exception) -> bool:
    """Return whether an error says nothing about the messages and will pass by itself.

    PostgreSQL was lost, restarted or deadlocked; RQ's time for the job is over; or another worker
    changed an order.
    """
    if isinstance(error, BaseTimeoutException | ConcurrentChange):
        return True
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if not isinstance(error, OperationalError):
        return False
    sqlstate = getattr(error.orig, "sqlstate", None) or ""
    return sqlstate.startswith(TRANSIENT_SQLSTATES) and sqlstate != QUERY_CANCELED


def lock_batch(session: Session) -> Sequence[Message]:
    """Lock the next batch for this transaction, without messages that another worker has locked.

    New messages come first, the oldest first. If they do not fill the batch, some follow that were
    sent back: few, so that messages that arrive meanwhile do not wait long.
    """
    messages = select_pending().where(poison.IS_NO_SUSPECT)
    batch = _lock(session, messages.where(Message.retried_at.is_(None), ~IS_LARGE), BATCH)
    if len(batch) < BATCH:
        limit = min(SENT_BACK, BATCH - len(batch))
        batch = [*batch, *_lock(session, messages.where(Message.retried_at.is_not(None)), limit)]
    return batch


def find_large(session: Session) -> list[int]:
    """Return the id of the oldest large message that is new and no other worker's, if any.

    After a batch that was not full there are few others to look at.
    """
    large = select_pending().where(poison.IS_NO_SUSPECT, Message.retried_at.is_(None), IS_LARGE)
    oldest = large.with_only_columns(Message.id).order_by(Message.id).limit(1)
    return list(session.scalars(oldest.with_for_update(skip_locked=True)))


def _lock_ids(session: Session, ids: Sequence[int]) -> Sequence[Message]:
    return _lock(session, select_pending().where(id_in(Message.id, ids)), len(ids))


def _lock(session: Session, messages: Select[Message], limit: int) -> Sequence[Message]:
    rows = session.connection().execute(
        messages.with_only_columns(*COLUMNS)
        .order_by(Message.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    return [MessageRow(*row) for row in rows.all()]
