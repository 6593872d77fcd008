"""Drain: take a batch from the inbox and fold it; what fails in company is tried alone.

All of a batch is one transaction: orders, events, tours and the messages' outcome are there
together or not at all, so a worker that dies leaves nothing half done.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import Select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.bulk import id_in, row_class
from receiver.db.models import APPLIED, QUARANTINED, Message
from receiver.inbox.pending import pending
from receiver.logs import exception_fields
from receiver.settings import Settings
from workers.folding.batch import FoldedBatch, Outcome, conclude, fold_messages
from workers.folding.bulk_write import Overtaken
from workers.folding.poison import (
    DIED_OF_IT,
    MOST_TRIES,
    UNSUSPECTED,
    Care,
    TooLong,
    bounded,
    suspects,
    tried,
)
from workers.folding.transient_errors import passes

log = structlog.get_logger(__name__)

# What a batch costs by itself (statements, a commit) is shared by so many messages; the log's line
# about it has to stay below the 16 kB that Docker leaves in one piece.
BATCH = 300
# Of a batch, at most so many messages that were sent back.
SENT_BACK = 50
# Seconds of computing. A batch needs a fraction of one, unless its bodies are huge: those are then
# read one by one.
BATCH_SECONDS = 20.0
ALONE_SECONDS = 10.0


# What is read of a message to fold it.
COLUMNS = (
    *(Message.id, Message.account, Message.topic, Message.kind, Message.trust, Message.body),
    *(Message.received_at, Message.retried_at, Message.tries, Message.tried_by),
)
BareMessage = row_class(COLUMNS)


def drain_batch(
    sessions: sessionmaker[Session], settings: Settings, now: datetime, care: Care | None = None
) -> int:
    """Fold one batch of pending messages; how many there were.

    A message that fails in the company of others is tried alone, and quarantined where it fails
    again: it never stands in the way of the rest. Where there is no whole batch, those follow of
    which a process may have died.

    care: how carefully this process reads.

    Raises: OperationalError where PostgreSQL fails us; nothing is done then.
    """
    care = care or Care(batches=0)
    size, suspected = _drain_together(sessions, settings, now, care)
    for message_id in suspected:
        size += _drain_suspect(sessions, message_id, settings, now, care)
    care.went_well(size)
    return size


def _drain_together(
    sessions: sessionmaker[Session], settings: Settings, now: datetime, care: Care
) -> tuple[int, Sequence[int]]:
    """Fold a batch; how many messages it had, and the suspects to try where it was no whole one."""
    ids: list[int] = []
    try:
        suspected = _fold_together(sessions, settings, now, care, ids)
    except Exception as failure:
        if passes(failure) or not ids:
            raise
        log.warning(
            "a batch failed, its messages are tried alone",
            size=len(ids),
            **exception_fields(failure),
        )
        # Each in a transaction of its own: locks taken message by message in one transaction
        # would stand in no order, and two workers could deadlock.
        for message_id in ids:
            _alone(sessions, message_id, settings, now)
        suspected = ()
    return len(ids), suspected


def _fold_together(
    sessions: sessionmaker[Session],
    settings: Settings,
    now: datetime,
    care: Care,
    ids: list[int],
) -> Sequence[int]:
    """Fold a batch, all or nothing; the suspects to try where it was no whole one.

    ids: becomes the messages' ids before any of them is read.
    """
    marked = False
    while True:
        try:
            with sessions.begin() as session, bounded(BATCH_SECONDS):
                batch = _lock_ids(session, ids) if marked else claim(session)
                ids[:] = [message.id for message in batch]
                if not marked and care.marks(batch):
                    tried(session, ids, care)
                    marked = True
                    continue
                suspected = suspects(session, but=ids) if len(ids) < BATCH else ()
                folded = fold_messages(session, batch, settings, now)
                conclude(session, batch, folded, now)
            if ids:
                log.info("batch", **_in_short(batch, folded))
            return suspected
        except Overtaken:
            # The order is on record now, so this ends: at the latest with the last new order.
            continue


def _in_short(batch: Sequence[Message], folded: FoldedBatch) -> dict[str, Any]:
    """A batch in one line: each message by its id, with the order that it led to, and what became
    of those that led to none.
    """
    outcomes = folded.outcomes
    return {
        "messages": len(batch),
        "accounts": sorted({message.account for message in batch}),
        "orders": {it: told.courier_order_id for it, told in outcomes.items()},
        "not_applied": {
            it: told.outcome for it, told in outcomes.items() if told.outcome != APPLIED
        },
    }


def _drain_suspect(
    sessions: sessionmaker[Session], message_id: int, settings: Settings, now: datetime, care: Care
) -> bool:
    """Try a message alone of which a process may have died; whether it was ours to try."""
    with sessions.begin() as session:
        batch = _lock_ids(session, [message_id])
        if not batch:
            return False
        hopeless = batch[0].tries >= MOST_TRIES and batch[0].tried_by != care.name
        if hopeless:
            log.error("a message is quarantined: processes died of it", message_id=message_id)
            folded = FoldedBatch({message_id: Outcome(QUARANTINED, DIED_OF_IT)})
            conclude(session, batch, folded, now)
        else:
            tried(session, [message_id], care)
    if not hopeless:
        _alone(sessions, message_id, settings, now)
    return True


def claim(session: Session) -> Sequence[Message]:
    """Lock the next batch for this transaction, less what another worker holds.

    New messages first, the oldest first. Where they are no whole batch, some follow that were sent
    back: few, so that what comes in meanwhile does not wait for long.
    """
    unsuspected = pending().where(UNSUSPECTED)
    batch = _lock(session, unsuspected.where(Message.retried_at.is_(None)), BATCH)
    if len(batch) < BATCH:
        most = min(SENT_BACK, BATCH - len(batch))
        batch = [*batch, *_lock(session, unsuspected.where(Message.retried_at.is_not(None)), most)]
    return batch


def _lock_ids(session: Session, ids: Sequence[int]) -> Sequence[Message]:
    return _lock(session, pending().where(id_in(Message.id, ids)), len(ids))


def _lock(session: Session, messages: Select[Message], most: int) -> Sequence[Message]:
    rows = session.execute(
        messages.with_only_columns(*COLUMNS)
        .order_by(Message.id)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    return [BareMessage(*row) for row in rows]


def _alone(
    sessions: sessionmaker[Session], message_id: int, settings: Settings, now: datetime
) -> None:
    while True:
        try:
            with sessions.begin() as session:
                conclude(session, *_fold_alone(session, message_id, settings, now), now)
            return
        except Overtaken:
            continue


def _fold_alone(
    session: Session, message_id: int, settings: Settings, now: datetime
) -> tuple[Sequence[Message], FoldedBatch]:
    """Fold a message alone; one that fails again is to be quarantined."""
    batch = _lock(session, pending().where(Message.id == message_id), 1)
    try:
        with session.begin_nested(), bounded(ALONE_SECONDS):
            return batch, fold_messages(session, batch, settings, now)
    except Exception as failure:
        if passes(failure):
            raise
        log.error(  # noqa: TRY400 (a traceback may show what the message holds)
            "a message is quarantined", message_id=message_id, **exception_fields(failure)
        )
        what = exception_fields(failure)
        reason = f"it could not be folded ({what['error']} at {what['where']}): see the log"
        if isinstance(failure, TooLong):
            reason = f"it could not be folded: {failure} (at {what['where']})"
        return batch, FoldedBatch({message_id: Outcome(QUARANTINED, reason)})
