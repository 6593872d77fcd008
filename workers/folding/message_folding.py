"""Decodes the messages of a batch, each by itself, and folds the orders that they are about.

The caller (drain.py) decides which messages are folded together, and commits.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime

from sqlalchemy.orm import Session

from receiver.changes import feed
from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Decoded, LeftOut
from receiver.db.bulk import update_rows
from receiver.db.models import APPLIED, PARKED, QUARANTINED, Message
from receiver.errors import Undecodable, UnreadableBody
from receiver.inbox.content import parse_content
from receiver.orders.erasure import UNREAD_ERASED, drop_bodies, names_erased_order
from receiver.orders.matching import parked_names
from receiver.orders.poll_plan import plan_polls
from receiver.orders.tour_etas import lock_tours
from receiver.settings import Account, Settings
from workers.folding.order_identity import AssignedSnapshots, ReceivedSnapshot, assign_snapshots
from workers.folding.refold import FoldedBatch, Outcome, refold_orders
from workers.folding.statistics import record_statistics
from workers.folding.tour_plans import store_tours


def fold_messages(
    session: Session, batch: Sequence[Message], settings: Settings, now: datetime
) -> FoldedBatch:
    """Decode the messages and fold their orders.

    Raises: ConcurrentChange where the batch must be folded again.
    """
    accounts = settings.accounts
    outcomes: dict[int, Outcome] = {}
    received: list[ReceivedSnapshot] = []
    plans: list[tuple[Message, Decoded]] = []
    erased: list[int] = []
    left_out: dict[int, Sequence[LeftOut]] = {}
    unread: dict[int, Sequence[str]] = {}
    for message in batch:
        try:
            decoded = decode_message(message, accounts)
        except (Undecodable, UnreadableBody) as error:
            reason = str(error).replace("\x00", "")[:2000]
            if names_erased_order(session, message.account, message.body, message.request):
                erased.append(message.id)
                reason = UNREAD_ERASED
            outcomes[message.id] = Outcome(QUARANTINED, reason)
            continue
        ids = {snapshot.courier_order_id for snapshot in decoded.orders}
        outcomes[message.id] = Outcome(APPLIED, None, ids.pop() if len(ids) == 1 else None)
        received += [ReceivedSnapshot(message, snapshot) for snapshot in decoded.orders]
        if decoded.left_out:
            left_out[message.id] = decoded.left_out
        if decoded.unread:
            unread[message.id] = decoded.unread
        if decoded.tours:
            plans.append((message, decoded))

    lock_tours(session, writing=bool(plans))
    stops = store_tours(session, plans)
    assigned = assign_snapshots(session, received, accounts)
    folded = refold_orders(session, assigned, stops, accounts, now)
    plan_polls(session, folded.news, accounts, settings.poll_interval_factor, now)
    _park_messages(outcomes, assigned, accounts)
    _name_orders(outcomes, assigned)
    _name_unread_orders(outcomes, unread)
    folded.outcomes = outcomes
    folded.erased += erased
    folded.erased += [
        message.id
        for message in batch
        if message.id in unread
        and outcomes[message.id].outcome == APPLIED
        and names_erased_order(session, message.account, message.body, message.request)
    ]
    folded.left_out = left_out
    return folded


def _name_orders(outcomes: dict[int, Outcome], assigned: AssignedSnapshots) -> None:
    """Say in the outcomes which orders the messages are about, and quarantine those about none."""
    applied: dict[int, set[str]] = defaultdict(set)
    for (_, courier_order_id), items in assigned.by_order.items():
        for item in items:
            applied[item.message.id].add(courier_order_id)
    for item in assigned.unrequested:
        # Of an answer about several orders, those that are registered are applied.
        if item.message.id not in applied:
            outcomes[item.message.id] = Outcome(
                QUARANTINED,
                "the courier's answer is about an order that is not registered:"
                f" {item.snapshot.courier_order_id!r}",
            )
    for message_id, courier_order_id in assigned.renamed.items():
        if outcomes[message_id].courier_order_id is not None:
            outcomes[message_id] = replace(outcomes[message_id], courier_order_id=courier_order_id)
    for message_id, ids in applied.items():
        outcome = outcomes[message_id]
        if outcome.courier_order_id is None and outcome.names is None:
            outcomes[message_id] = replace(outcome, names=sorted(ids))


def _name_unread_orders(outcomes: dict[int, Outcome], unread: Mapping[int, Sequence[str]]) -> None:
    """Say which orders the applied messages name that were left out: an erasure looks for them."""
    for message_id, ids in unread.items():
        outcome = outcomes[message_id]
        if outcome.outcome == APPLIED:
            known = outcome.names or [outcome.courier_order_id or ""]
            names = sorted({*known, *ids} - {""})
            outcomes[message_id] = replace(outcome, names=names)


def _park_messages(
    outcomes: dict[int, Outcome], assigned: AssignedSnapshots, accounts: Mapping[str, Account]
) -> None:
    """Make the outcome of messages about unknown orders PARKED, with the names of all of those.

    Whichever of them is registered first makes the message pending again.
    """
    names: dict[int, set[str]] = defaultdict(set)
    for item in assigned.parked:
        names[item.message.id] |= {
            *parked_names(accounts[item.message.account].driver, item.snapshot)
        }
    for message_id, known in names.items():
        outcomes[message_id] = Outcome(
            PARKED,
            "waits until the shop registers the order",
            outcomes[message_id].courier_order_id,
            sorted(known),
        )


def decode_message(message: Message, accounts: Mapping[str, Account]) -> Decoded:
    """Decode a message by its courier's driver.

    Raises: Undecodable; UnreadableBody where the body is not what its topic declares.
    """
    account = accounts.get(message.account)
    if account is None:
        raise Undecodable(
            f"account {message.account!r} is off (no secrets): retry once it is on again"
        )
    driver = DRIVERS[account.driver]
    topic = driver.topics.get(message.topic)
    if topic is None:
        raise Undecodable(
            f"account {message.account!r} is of courier {driver.name!r} now, which has no webhooks"
            f" of topic {message.topic!r}"
        )
    decode, body_kind = topic.decode, topic.body
    if message.kind == "poll" and driver.api is not None:
        decode, body_kind = driver.api.decode, driver.api.answer_body
    context = account.message_context(message.received_at, message.kind)
    if message.request is not None:
        context = replace(context, **message.request)
    return decode(parse_content(message.body or b"", body_kind), context)


def record_outcomes(
    session: Session, batch: Sequence[Message], folded: FoldedBatch, now: datetime
) -> None:
    """Write the outcome of each message, statistics and the change feed; the caller commits."""
    rows = [
        {
            "id": message_id,
            "outcome": outcome.outcome,
            "reason": outcome.reason,
            "courier_order_id": outcome.courier_order_id,
            "names": outcome.names,
            "processed_at": now,
            "tries": 0,
            "tried_by": None,
        }
        for message_id, outcome in folded.outcomes.items()
    ]
    update_rows(session, Message, rows)
    if folded.left_out:
        left_out_rows = [
            {"id": message_id, "left_out": [asdict(item) for item in left_out]}
            for message_id, left_out in folded.left_out.items()
        ]
        update_rows(session, Message, left_out_rows)
    if folded.erased:
        drop_bodies(session, folded.erased)
    # These come last: from here on the other workers wait for this one's commit.
    record_statistics(session, batch, folded, now)
    feed.record_changes(session, folded.changes, now)
