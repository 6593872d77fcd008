"""Drain: take a batch from the inbox, decode each message by itself, refold the orders it touches.

All of a batch is one transaction: orders, events, tours and the messages' outcome are there
together or not at all, so a worker that dies leaves nothing half done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import orjson
import structlog
from sqlalchemy import Select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver import feed, telemetry
from receiver.body import parse
from receiver.couriers import DRIVERS
from receiver.couriers.base import Decoded, Heard
from receiver.db import array, bare, of_ids
from receiver.errors import Undecodable, UnreadableBody
from receiver.etas import lock_tours
from receiver.feed import Changed
from receiver.logs import told
from receiver.models import APPLIED, PARKED, QUARANTINED, Message
from receiver.personal_data import drop_bodies
from receiver.polls import plan
from receiver.progress import pending
from receiver.settings import Account, Settings
from workers.accounts import count
from workers.aliases import further_names
from workers.failures import passes
from workers.refold import Told, refold
from workers.rows import Overtaken
from workers.suspects import (
    DIED_OF_IT,
    MOST_TRIES,
    UNSUSPECTED,
    Care,
    TooLong,
    bounded,
    suspects,
    tried,
)
from workers.tallies import tally
from workers.tour_plans import keep_tours

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a message, and why where that is not plain."""

    outcome: str
    reason: str | None = None
    courier_order_id: str | None = None
    names: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class FoldedBatch:
    """What became of each message by its id, and what else is to be told at the commit."""

    outcomes: dict[int, Outcome]
    changes: Sequence[Changed] = ()
    erased: Sequence[int] = ()
    missed: Mapping[str, int] = field(default_factory=dict)
    fresh: Sequence[Mapping[str, Any]] = ()


# What is read of a message to fold it.
COLUMNS = (
    *(Message.id, Message.account, Message.topic, Message.kind, Message.trust, Message.body),
    *(Message.received_at, Message.retried_at, Message.tries, Message.tried_by),
)
BareMessage = bare(COLUMNS)


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
        log.warning("a batch failed, its messages are tried alone", size=len(ids), **told(failure))
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
                _conclude(session, batch, folded, now)
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
            _conclude(session, batch, folded, now)
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
    return _lock(session, pending().where(of_ids(Message.id, ids)), len(ids))


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
                _conclude(session, *_fold_alone(session, message_id, settings, now), now)
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
            "a message is quarantined", message_id=message_id, **told(failure)
        )
        telemetry.failed(failure, message_id=message_id)
        what = told(failure)
        reason = f"it could not be folded ({what['error']} at {what['where']}): see the log"
        if isinstance(failure, TooLong):
            reason = f"it could not be folded: {failure} (at {what['where']})"
        return batch, FoldedBatch({message_id: Outcome(QUARANTINED, reason)})


def fold_messages(
    session: Session, batch: Sequence[Message], settings: Settings, now: datetime
) -> FoldedBatch:
    """Decode and fold the messages."""
    accounts = settings.accounts
    outcomes: dict[int, Outcome] = {}
    items: list[Told] = []
    plans: list[tuple[Message, Decoded]] = []
    for message in batch:
        try:
            decoded = decode(message, accounts)
        except (Undecodable, UnreadableBody) as undecodable:
            reason = str(undecodable).replace("\x00", "")[:2000]
            outcomes[message.id] = Outcome(QUARANTINED, reason)
            continue
        ids = [snapshot.courier_order_id for snapshot in decoded.orders]
        outcomes[message.id] = Outcome(APPLIED, None, ids[0] if len(ids) == 1 else None)
        items += [Told(message, snapshot) for snapshot in decoded.orders]
        if decoded.tours:
            plans.append((message, decoded))

    lock_tours(session, writing=bool(plans))
    stops = keep_tours(session, plans)
    refolded = refold(session, items, stops, accounts, now)
    plan(session, refolded.news, accounts, settings.poll_interval_factor, now)
    for unknown in refolded.parked:
        outcomes[unknown.message.id] = Outcome(
            PARKED,
            "waits until the shop registers the order",
            unknown.snapshot.courier_order_id,
            sorted(further_names(accounts[unknown.message.account], unknown.snapshot)),
        )
    for stranger in refolded.strange:
        outcomes[stranger.message.id] = Outcome(
            QUARANTINED,
            "the courier's answer is about an order that is not on record:"
            f" {stranger.snapshot.courier_order_id!r}",
        )
    for message_id, courier_order_id in refolded.renamed.items():
        outcomes[message_id] = replace(outcomes[message_id], courier_order_id=courier_order_id)
    return FoldedBatch(outcomes, refolded.changes, refolded.erased, refolded.missed, refolded.fresh)


def decode(message: Message, accounts: Mapping[str, Account]) -> Decoded:
    """Read a message through its courier's driver.

    Raises: Undecodable; UnreadableBody where what is no JSON is tried again.
    """
    account = accounts.get(message.account)
    if account is None:
        raise Undecodable(f"account {message.account!r} is switched off: retry once it is on again")
    driver = DRIVERS[account.driver]
    read = driver.topics[message.topic]
    if message.kind == "poll" and driver.api is not None:
        read = driver.api.decode
    heard = Heard(message.received_at, message.kind, account.field_map)
    return read(parse(message.body or b""), heard)


# One statement for any number of messages, whatever became of each.
CONCLUDE = text("""
    UPDATE messages
    SET outcome = told.outcome, reason = told.reason, processed_at = :now,
        courier_order_id = told.courier_order_id, tries = 0, tried_by = NULL,
        names = CASE WHEN told.names IS NOT NULL
                THEN ARRAY(SELECT json_array_elements_text(CAST(told.names AS json))) END
    FROM unnest(CAST(:id AS bigint[]), CAST(:outcome AS text[]), CAST(:reason AS text[]),
                CAST(:courier_order_id AS text[]), CAST(:names AS text[]))
         AS told (id, outcome, reason, courier_order_id, names)
    WHERE messages.id = told.id
""")


def _conclude(
    session: Session, batch: Sequence[Message], folded: FoldedBatch, now: datetime
) -> None:
    outcomes = folded.outcomes
    session.execute(
        CONCLUDE,
        {
            "now": now,
            "id": array(outcomes),
            "outcome": array(outcome.outcome for outcome in outcomes.values()),
            "reason": array(outcome.reason for outcome in outcomes.values()),
            "courier_order_id": array(it.courier_order_id for it in outcomes.values()),
            "names": array(
                orjson.dumps(it.names).decode() if it.names else None for it in outcomes.values()
            ),
        },
    )
    if folded.erased:
        drop_bodies(session, folded.erased)
    # Last, since from here on the other workers wait for this one's commit.
    count(session, batch, folded.missed, now)
    became = {message_id: outcome.outcome for message_id, outcome in outcomes.items()}
    tally(session, batch, became, folded.fresh, folded.missed, now)
    feed.tell(session, folded.changes, now)
