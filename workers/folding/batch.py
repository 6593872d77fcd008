"""What a batch of messages comes to: each decoded by itself, the orders they touch folded anew.

Whoever took the batch (drain) decides what is tried together and what alone, and commits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from receiver.changes import feed
from receiver.changes.feed import Changed
from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Decoded, MessageContext
from receiver.db.bulk import update_rows
from receiver.db.models import APPLIED, PARKED, QUARANTINED, Message
from receiver.errors import Undecodable, UnreadableBody
from receiver.inbox.json_body import parse_body
from receiver.orders.erasure import drop_bodies
from receiver.orders.erasure_unread import ERASED, names_erased
from receiver.orders.poll_plan import plan_polls
from receiver.orders.tour_etas import lock_tours
from receiver.settings import Account, Settings
from workers.folding.fold_stats import tally
from workers.folding.order_identity import further_names
from workers.folding.refold import Told, refold
from workers.folding.tour_plans import keep_tours
from workers.polling.circuit_breaker import count


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


def fold_messages(
    session: Session, batch: Sequence[Message], settings: Settings, now: datetime
) -> FoldedBatch:
    """Decode and fold the messages."""
    accounts = settings.accounts
    outcomes: dict[int, Outcome] = {}
    items: list[Told] = []
    plans: list[tuple[Message, Decoded]] = []
    of_erased: list[int] = []
    for message in batch:
        try:
            decoded = decode(message, accounts)
        except (Undecodable, UnreadableBody) as undecodable:
            reason = str(undecodable).replace("\x00", "")[:2000]
            contract = accounts.get(message.account)
            if contract and names_erased(session, contract, message.body or b""):
                of_erased.append(message.id)
                reason = ERASED
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
    plan_polls(session, refolded.news, accounts, settings.poll_interval_factor, now)
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
    erased = [*refolded.erased, *of_erased]
    return FoldedBatch(outcomes, refolded.changes, erased, refolded.missed, refolded.fresh)


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
    heard = MessageContext(message.received_at, message.kind, account.field_map)
    return read(parse_body(message.body or b""), heard)


def conclude(
    session: Session, batch: Sequence[Message], folded: FoldedBatch, now: datetime
) -> None:
    """Write down what became of each message, and tell whoever waits for it; the caller commits."""
    outcomes = folded.outcomes
    rows = [
        {
            "id": message_id,
            "outcome": outcome.outcome,
            "reason": outcome.reason,
            "processed_at": now,
            "courier_order_id": outcome.courier_order_id,
            "names": list(outcome.names) if outcome.names else None,
            "tries": 0,
            "tried_by": None,
        }
        for message_id, outcome in outcomes.items()
    ]
    update_rows(session, Message, rows)
    if folded.erased:
        drop_bodies(session, folded.erased)
    # Last, since from here on the other workers wait for this one's commit.
    count(session, batch, folded.missed, now)
    became = {message_id: outcome.outcome for message_id, outcome in outcomes.items()}
    tally(session, batch, became, folded.fresh, folded.missed, now)
    feed.tell(session, folded.changes, now)
