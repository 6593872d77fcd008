"""The table `polls` from the asking side: take what is due, and write down how a look came out.

Whoever asks about an order holds a lease on it. A worker that dies takes its leases with it when
they run out; one that comes back after that finds that its word no longer counts.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from receiver.db import of_ids
from receiver.inbox import Incoming, keep
from receiver.models import Message, Order, Poll
from receiver.polls import standing
from receiver.schedule import Rhythm, Schedule, next_look
from receiver.statuses import VOCABULARY

# Longer than any request may take, and than a whole list of pages at an account's pace.
LEASE = timedelta(seconds=120)

# How soon an order is tried again that could not be looked at, for no fault of its own.
AGAIN = Rhythm(timedelta(seconds=30), timedelta(minutes=30))

# An order that the courier does not know is given up after so many looks that found nothing.
LOOKS_FOR_UNKNOWN = 3

TERMINAL = [status.name for status in VOCABULARY.values() if status.terminal]


@dataclass(frozen=True, slots=True)
class Claim:
    """An order that we may ask about until leased_until, which is also what proves it."""

    order_id: int
    courier_order_id: str
    reference: str | None
    placed_at: datetime
    leased_until: datetime


CLAIM = text("""
    UPDATE polls SET leased_until = :until
    FROM (SELECT order_id FROM polls
          WHERE account = :account AND due_at <= :now
                AND (leased_until IS NULL OR leased_until <= :now)
                AND (CAST(:since AS timestamptz) IS NULL OR placed_at >= :since)
          ORDER BY due_at LIMIT :most
          FOR UPDATE SKIP LOCKED) AS due
    JOIN orders ON orders.id = due.order_id
    WHERE polls.order_id = due.order_id
    RETURNING polls.order_id, courier_order_id, reference, polls.placed_at, leased_until
""")


def claim(
    session: Session, account: str, now: datetime, most: int, since: datetime | None = None
) -> list[Claim]:
    """Take up to `most` orders that are due and that nobody asks about, the longest due first.

    since: only those placed since then.
    """
    values = {"account": account, "now": now, "until": now + LEASE, "most": most, "since": since}
    return [Claim(*row) for row in session.execute(CLAIM, values)]


def due(session: Session, account: str, now: datetime, most: int) -> Sequence[datetime]:
    """When the orders were placed that are due and free, `most` of them at most."""
    return session.scalars(
        select(Poll.placed_at)
        .where(
            Poll.account == account,
            Poll.due_at <= now,
            Poll.leased_until.is_(None) | (Poll.leased_until <= now),
        )
        .order_by(Poll.due_at)
        .limit(most)
    ).all()


def release(session: Session, claims: Collection[Claim]) -> None:
    """Give orders back that were not asked about: they stay due."""
    for poll in _held(session, claims):
        poll.leased_until = None


def _held(session: Session, claims: Collection[Claim]) -> Sequence[Poll]:
    """The rows of those claims that still hold, locked."""
    until = {claim.order_id: claim.leased_until for claim in claims}
    rows = session.scalars(
        select(Poll).where(of_ids(Poll.order_id, until)).order_by(Poll.order_id).with_for_update()
    )
    return [poll for poll in rows if poll.leased_until == until[poll.order_id]]


def record(
    session: Session,
    answers: Mapping[Claim, Incoming],
    schedule: Schedule,
    factor: float,
) -> int:
    """Keep what the courier answered, and plan the next look at each order; how many were kept.

    An answer equal to the one before is only noted, unless anything else was heard in between.
    An answer that could not be read counts as none, and is kept to be looked into.
    """
    incoming_of = {claim.order_id: incoming for claim, incoming in answers.items()}
    polls = _held(session, answers)
    # Read after the rows of `polls` are locked: whoever folds an order writes its row of them.
    orders = {
        order.id: order
        for order in session.scalars(select(Order).where(of_ids(Order.id, incoming_of)))
    }
    before = _digests(session, [poll.answer_id for poll in polls if poll.answer_id is not None])
    news: list[Poll] = []
    again: dict[int, datetime] = {}
    for poll in polls:
        incoming, order = incoming_of[poll.order_id], orders[poll.order_id]
        poll.leased_until = None
        asked_at = incoming.received_at
        same = poll.answer_id is not None and before.get(poll.answer_id) == _digest(incoming.body)
        if not same:
            news.append(poll)
        elif poll.answer_id is not None:
            again[poll.answer_id] = asked_at
        if incoming.reason is not None:
            _not_answered(poll, asked_at, factor)
            continue
        _answered(poll, order, asked_at, schedule, factor)
        if same:
            poll.confirmed_at = asked_at
            if poll.unchanged_for >= schedule.give_up * factor and poll.due_at is not None:
                days = f"{schedule.give_up.days} days"
                _stop(poll, asked_at, f"given up: {days} without news")
    kept = keep(session, [incoming_of[poll.order_id] for poll in news])
    for poll, answer in zip(news, kept, strict=True):
        poll.answer_id = answer.message_id
    _seen_again(session, again)
    return len(kept)


def _answered(
    poll: Poll, order: Order, asked_at: datetime, schedule: Schedule, factor: float
) -> None:
    """Plan the next look as if nothing was new; folding the answer starts anew if there was."""
    since = max(filter(None, (poll.polled_at, order.last_heard_at)), default=poll.placed_at)
    planned = next_look(schedule, standing(order, poll.polled_at, poll.quiet), factor)
    if planned is not None and order.status not in TERMINAL:
        # Only as long as was planned: while we could not ask, silence says nothing.
        poll.unchanged_for += max(min(planned, asked_at) - since, timedelta())
    poll.quiet += 1
    poll.failures = 0
    poll.polled_at = asked_at
    poll.due_at = next_look(schedule, standing(order, asked_at, poll.quiet), factor)
    poll.finished_at = asked_at if poll.due_at is None else None


def _not_answered(poll: Poll, now: datetime, factor: float) -> None:
    poll.due_at = now + AGAIN.after(poll.failures) * factor
    poll.failures += 1


def try_again(session: Session, claims: Collection[Claim], now: datetime, factor: float) -> None:
    """These could not be looked at, and it says nothing about them."""
    for poll in _held(session, claims):
        poll.leased_until = None
        _not_answered(poll, now, factor)


def not_known(
    session: Session, claim: Claim, schedule: Schedule, now: datetime, factor: float
) -> None:
    """The courier does not know an order: not yet, or no more.

    Just placed it may not be there yet, and one answer may be a courier's bad hour.
    """
    for poll in _held(session, [claim]):
        poll.leased_until = None
        poll.polled_at = now
        if session.scalar(select(Order.status).where(Order.id == poll.order_id)) in TERMINAL:
            poll.due_at, poll.finished_at = None, now
            continue
        wait = schedule.silence.after(poll.failures)
        if schedule.until_accepted is not None:
            wait = min(wait, schedule.until_accepted.after(poll.failures))
        poll.failures += 1
        poll.due_at = now + wait * factor
        is_new = now - poll.placed_at < schedule.unknown_for * factor
        if not is_new and poll.failures >= LOOKS_FOR_UNKNOWN:
            _stop(poll, now, "given up: the courier does not know this order")


def _stop(poll: Poll, now: datetime, reason: str) -> None:
    poll.due_at = None
    poll.stopped_at = now
    poll.stop_reason = reason


def _digest(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _digests(session: Session, message_ids: Collection[int]) -> dict[int, bytes]:
    if not message_ids:
        return {}
    rows = session.execute(
        select(Message.id, Message.body_sha256).where(of_ids(Message.id, message_ids))
    )
    return {message_id: bytes(digest) for message_id, digest in rows}


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


def make_due(session: Session, account: str, now: datetime, stopped: bool = False) -> int:
    """Every open order of an account is due now; how many there are.

    Its rows are locked in the order in which those who fold lock them, so that none waits in vain.

    stopped: those that were given up as well.
    """
    result = session.execute(
        text("""
            UPDATE polls
            SET due_at = :now, finished_at = NULL, stopped_at = NULL, stop_reason = NULL
            WHERE order_id IN (
                SELECT order_id FROM polls JOIN orders ON orders.id = order_id
                WHERE polls.account = :account AND orders.status <> ALL(:terminal)
                      AND (due_at > :now OR (:stopped AND stopped_at IS NOT NULL))
                ORDER BY order_id FOR UPDATE OF polls)
            RETURNING order_id
        """),
        {"account": account, "now": now, "terminal": TERMINAL, "stopped": stopped},
    )
    return len(result.all())


def adopt(session: Session, account: str, now: datetime) -> int:
    """Take the open orders under polling that came before the account could be polled."""
    result = session.execute(
        text("""
            INSERT INTO polls (order_id, account, placed_at, due_at)
            SELECT id, account, created_at, :now FROM orders
            WHERE account = :account AND status <> ALL(:terminal)
                  AND NOT EXISTS (SELECT FROM polls WHERE polls.order_id = orders.id)
            ON CONFLICT DO NOTHING
            RETURNING order_id
        """),
        {"account": account, "now": now, "terminal": TERMINAL},
    )
    return len(result.all())


def mend(session: Session, account: str, now: datetime) -> int:
    """Make orders due that are neither due nor finished nor given up: their plan was lost."""
    lost = session.scalars(
        select(Poll)
        .where(
            Poll.account == account,
            Poll.due_at.is_(None),
            Poll.finished_at.is_(None),
            Poll.stopped_at.is_(None),
        )
        .order_by(Poll.order_id)
        .with_for_update(skip_locked=True)
    ).all()
    for poll in lost:
        poll.due_at = now
    return len(lost)
