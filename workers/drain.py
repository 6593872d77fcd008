"""Drain: take a batch from the inbox, decode each message by itself, refold the orders it touches.

All of a batch is one transaction: orders, events, tours and the messages' outcome are there
together or not at all, so a worker that dies leaves nothing half done.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
import structlog
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver import metrics
from receiver.couriers import DRIVERS
from receiver.couriers.base import Decoded, Heard, without_nul
from receiver.errors import Undecodable
from receiver.models import APPLIED, PARKED, PENDING, QUARANTINED, Message
from receiver.settings import Account
from workers.refold import Told, refold
from workers.tour_plans import keep_tours, lock_tours

log = structlog.get_logger(__name__)

BATCH = 200


@dataclass(frozen=True, slots=True)
class Outcome:
    """What becomes of a message, and why where that is not plain."""

    outcome: str
    reason: str | None = None
    courier_order_id: str | None = None


def drain_batch(
    sessions: sessionmaker[Session], accounts: Mapping[str, Account], now: datetime
) -> int:
    """Fold one batch of pending messages; how many there were.

    A message that fails in the company of others is tried alone, and quarantined where it fails
    again: it never stands in the way of the rest.

    Raises: OperationalError where PostgreSQL fails us; nothing is done then.
    """
    with sessions.begin() as session:
        batch = session.scalars(
            select(Message)
            .where(Message.outcome == PENDING)
            .order_by(Message.id)
            .limit(BATCH)
            .with_for_update(skip_locked=True)
        ).all()
        try:
            with session.begin_nested():
                outcomes = fold_messages(session, batch, accounts, now)
        except OperationalError:
            raise
        except Exception:
            log.exception("a batch failed, its messages are tried one by one", size=len(batch))
            outcomes = {}
            for message in batch:
                outcomes |= _alone(session, message, accounts, now)
        _conclude(session, outcomes, now)
        for message in batch:
            if outcomes[message.id].outcome == QUARANTINED:
                metrics.QUARANTINED.labels(message.account).inc()
    return len(batch)


def _alone(
    session: Session, message: Message, accounts: Mapping[str, Account], now: datetime
) -> dict[int, Outcome]:
    try:
        with session.begin_nested():
            return fold_messages(session, [message], accounts, now)
    except OperationalError:
        raise
    except Exception as failure:
        log.exception("a message is quarantined", message_id=message.id)
        reason = f"it could not be folded: {type(failure).__name__}: {failure}"
        return {message.id: Outcome(QUARANTINED, reason[:500].replace("\x00", ""))}


def fold_messages(
    session: Session, batch: Sequence[Message], accounts: Mapping[str, Account], now: datetime
) -> dict[int, Outcome]:
    """Decode and fold the messages, and return the outcome of each by its id."""
    outcomes: dict[int, Outcome] = {}
    told: list[Told] = []
    plans: list[tuple[Message, Decoded]] = []
    for message in batch:
        try:
            decoded = decode(message, accounts)
        except Undecodable as undecodable:
            reason = str(undecodable).replace("\x00", "")[:2000]
            outcomes[message.id] = Outcome(QUARANTINED, reason)
            continue
        ids = [snapshot.courier_order_id for snapshot in decoded.orders]
        outcomes[message.id] = Outcome(APPLIED, None, ids[0] if len(ids) == 1 else None)
        told += [Told(message, snapshot) for snapshot in decoded.orders]
        if decoded.tours:
            plans.append((message, decoded))

    lock_tours(session, writing=bool(plans))
    stops = keep_tours(session, plans)
    for unknown in refold(session, told, stops, accounts, now):
        outcomes[unknown.message.id] = Outcome(
            PARKED,
            "waits until the shop registers the order",
            unknown.snapshot.courier_order_id,
        )
    return outcomes


def decode(message: Message, accounts: Mapping[str, Account]) -> Decoded:
    """Read a message through its courier's driver.

    Raises: Undecodable.
    """
    account = accounts.get(message.account)
    if account is None:
        raise Undecodable(f"account {message.account!r} is switched off: retry once it is on again")
    raw = message.body or b""
    body = orjson.loads(raw)
    if b"\\u0000" in raw:
        body = without_nul(body)
    heard = Heard(message.received_at, message.kind, account.field_map)
    return DRIVERS[account.driver].topics[message.topic](body, heard)


# One statement for any number of messages, whatever became of each.
CONCLUDE = text("""
    UPDATE messages
    SET outcome = told.outcome, reason = told.reason, processed_at = :now,
        courier_order_id = told.courier_order_id
    FROM unnest(CAST(:id AS bigint[]), CAST(:outcome AS text[]), CAST(:reason AS text[]),
                CAST(:courier_order_id AS text[]))
         AS told (id, outcome, reason, courier_order_id)
    WHERE messages.id = told.id
""")


def _conclude(session: Session, outcomes: Mapping[int, Outcome], now: datetime) -> None:
    session.execute(
        CONCLUDE,
        {
            "now": now,
            "id": list(outcomes),
            "outcome": [outcome.outcome for outcome in outcomes.values()],
            "reason": [outcome.reason for outcome in outcomes.values()],
            "courier_order_id": [outcome.courier_order_id for outcome in outcomes.values()],
        },
    )
