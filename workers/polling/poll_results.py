"""How a look at an order came out: what is kept of it, and when the next one is."""

import hashlib
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from receiver.couriers.schedule import Backoff, Schedule, plan_next_poll
from receiver.db.bulk import id_in
from receiver.db.models import Message, Order, Poll
from receiver.inbox.accept import Incoming, keep
from receiver.orders.poll_plan import needs_confirmation, poll_state
from receiver.settings import Account
from receiver.statuses import TERMINAL_STATUSES
from workers.polling.leases import Claim, held

# How soon an order is tried again that could not be looked at, for no fault of its own.
AGAIN = Backoff(timedelta(seconds=30), timedelta(minutes=30))


def record(
    session: Session,
    told_of: Mapping[Claim, Incoming],
    schedule: Schedule,
    factor: float,
    same: Callable[[bytes, Incoming], bool],
) -> int:
    """Keep what the courier answered, and plan the next look at each order; how many were kept.

    An answer that tells the same as the one before is only noted, unless anything else was heard
    in between. An answer that could not be read counts as none, and is kept to be looked into.

    same: whether an answer tells what this body told.
    """
    of = {claim.order_id: (claim, incoming) for claim, incoming in told_of.items()}
    polls = held(session, told_of)
    # Read after the rows of `polls` are locked: whoever folds an order writes its row of them.
    orders = _orders(session, of)
    before = _messages(session, [poll.answer_id for poll in polls if poll.answer_id is not None])
    news: list[Poll] = []
    again: dict[int, datetime] = {}
    for poll in polls:
        claim, incoming = of[poll.order_id]
        asked_at = incoming.received_at
        if poll.answer_id is None or not _is_same(before.get(poll.answer_id), incoming, same):
            news.append(poll)
        else:
            again[poll.answer_id] = poll.confirmed_at = asked_at
        poll.leased_until = None
        if incoming.reason is not None:
            _not_answered(poll, asked_at, factor)
        else:
            poll.failures, poll.unknown_since = 0, None
            _looked(poll, claim, orders[poll.order_id], asked_at, schedule, factor)
            if poll.unchanged_for >= schedule.give_up * factor and poll.due_at is not None:
                # Folding the answer takes this back where it tells anything new.
                _stop(poll, asked_at, f"given up: {schedule.give_up.days} days without news")
    kept = keep(session, [of[poll.order_id][1] for poll in news])
    for poll, answer in zip(news, kept, strict=True):
        poll.answer_id = answer.message_id
    _seen_again(session, again)
    return len(kept)


def _looked(
    poll: Poll,
    claim: Claim,
    order: Order,
    asked_at: datetime,
    schedule: Schedule,
    factor: float,
    may_be_over: bool = True,
) -> None:
    """Plan the next look as if nothing was new; folding an answer starts anew if there was.

    may_be_over: whether the end of an order that is at its end can be believed.
    """
    since = max(filter(None, (poll.polled_at, order.last_heard_at)), default=poll.placed_at)
    planned = plan_next_poll(schedule, poll_state(order, poll.polled_at, poll.quiet), factor)
    poll.polled_at = asked_at
    if poll.due_at != claim.due_at:
        # Planned anew while we asked: a hook came, or somebody wants to know.
        return
    if planned is not None and order.status not in TERMINAL_STATUSES:
        # Only as long as was planned: while we could not ask, silence says nothing.
        poll.unchanged_for += max(min(planned, asked_at) - since, timedelta())
    poll.quiet += 1
    poll.due_at = plan_next_poll(schedule, poll_state(order, asked_at, poll.quiet), factor)
    if not may_be_over and order.status in TERMINAL_STATUSES:
        poll.due_at = asked_at + schedule.default.delay(poll.quiet) * factor
    poll.finished_at = asked_at if poll.due_at is None else None


def _not_answered(poll: Poll, now: datetime, factor: float) -> None:
    poll.polled_at = now
    poll.due_at = now + AGAIN.delay(poll.failures) * factor
    poll.failures += 1


def try_again(session: Session, claims: Collection[Claim], now: datetime, factor: float) -> None:
    """These could not be looked at, and it says nothing about them."""
    for poll in held(session, claims):
        poll.leased_until = None
        _not_answered(poll, now, factor)


def not_known(
    session: Session,
    claim: Claim,
    account: Account,
    schedule: Schedule,
    asked_at: datetime,
    factor: float,
) -> None:
    """The courier says that it does not know an order: not yet, no more, or by a mistake of its.

    One that nothing was ever heard of is given up once that has been so for schedule.unknown_for;
    one that the courier told of before, like any other without news.
    """
    for poll in held(session, [claim]):
        order = _orders(session, [poll.order_id])[poll.order_id]
        doubted = needs_confirmation(order, account)
        poll.leased_until = None
        poll.failures += 1
        poll.unknown_since = poll.unknown_since or asked_at
        _looked(poll, claim, order, asked_at, schedule, factor, may_be_over=not doubted)
        if poll.due_at is None:
            poll.unknown_since = None
            continue
        patience = schedule.unknown_for * factor
        is_new = asked_at - max(poll.unknown_since, poll.placed_at) < patience
        if not is_new and (order.last_heard_at is None or doubted):
            _stop(poll, asked_at, "given up: the courier does not know this order")
        elif poll.unchanged_for >= schedule.give_up * factor:
            _stop(poll, asked_at, f"given up: {schedule.give_up.days} days without news")


def _stop(poll: Poll, now: datetime, reason: str) -> None:
    poll.due_at = None
    poll.stopped_at = now
    poll.stop_reason = reason


def _orders(session: Session, order_ids: Collection[int]) -> dict[int, Order]:
    rows = session.scalars(select(Order).where(id_in(Order.id, order_ids)))
    return {order.id: order for order in rows}


def _is_same(
    before: Any,
    incoming: Incoming,
    same: Callable[[bytes, Incoming], bool],
) -> bool:
    if before is None:
        return False
    if bytes(before.body_sha256) == hashlib.sha256(incoming.body).digest():
        return True
    return before.body is not None and same(bytes(before.body), incoming)


def _messages(session: Session, message_ids: Collection[int]) -> dict[int, Any]:
    kept = select(Message.id, Message.body_sha256, Message.body)
    rows = session.execute(kept.where(id_in(Message.id, message_ids))) if message_ids else ()
    return {row[0]: row for row in rows}


# A message that is being folded just now stays uncounted: its worker waits for our rows of `polls`.
SEEN_AGAIN = text("""
    UPDATE messages
    SET repetitions = repetitions + 1, last_seen_at = greatest(last_seen_at, told.at)
    FROM unnest(CAST(:id AS bigint[]), CAST(:at AS timestamptz[])) AS told (id, at)
    WHERE messages.id = told.id
          AND messages.id IN (SELECT id FROM messages WHERE id = ANY(:id) FOR UPDATE SKIP LOCKED)
""")


def _seen_again(session: Session, again: Mapping[int, datetime]) -> None:
    if again:
        session.execute(SEEN_AGAIN, {"id": list(again), "at": list(again.values())})
