"""The table `polls` from the asking side: take what is due, give it back, make more of it due.

Whoever asks about an order holds a lease on it. A worker that dies takes its leases with it when
they run out; one that comes back after that finds that its word no longer counts.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import exists, select, text
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in
from receiver.db.models import Order, Poll
from receiver.stats import totals
from receiver.statuses import TERMINAL_STATUSES

log = structlog.get_logger(__name__)

# Longer than any request may take, and than a whole list of pages at an account's pace.
LEASE = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Claim:
    """An order that we may ask about until leased_until, which is also what proves it.

    courier_order_id  the id by which its courier tells of it; until anything was heard of it, the
                      name by which the shop put it on record
    is_courier_id     which of the two it is
    due_at            for when it was planned
    """

    order_id: int
    courier_order_id: str
    is_courier_id: bool
    reference: str | None
    placed_at: datetime
    due_at: datetime
    leased_until: datetime


# MATERIALIZED: taken anew for each row of a join, it would take more than are wanted.
CLAIM = text("""
    WITH due AS MATERIALIZED (
          SELECT order_id, leased_until IS NOT NULL AS was_held FROM polls
          WHERE account = :account AND due_at <= :now
                AND (leased_until IS NULL OR leased_until <= :now)
                AND (CAST(:since AS timestamptz) IS NULL
                     OR (placed_at >= :since AND (unknown_since IS NULL OR EXISTS (
                         SELECT FROM orders WHERE id = order_id AND last_heard_at IS NOT NULL))))
          ORDER BY due_at LIMIT :most
          FOR UPDATE SKIP LOCKED)
    UPDATE polls SET leased_until = :until
    FROM due JOIN orders ON orders.id = due.order_id
    WHERE polls.order_id = due.order_id
    RETURNING polls.order_id, coalesce(identifiers ->> 'id', courier_order_id),
              last_heard_at IS NOT NULL, reference, polls.placed_at, due_at, leased_until,
              was_held
""")


def claim(
    session: Session, account: str, now: datetime, most: int, since: datetime | None = None
) -> list[Claim]:
    """Take up to `most` orders that are due and that nobody asks about, the longest due first.

    since: only those placed since then that a list may tell of.
    """
    values = {"account": account, "now": now, "until": now + LEASE, "most": most, "since": since}
    rows = session.execute(CLAIM, values).all()
    if freed := sum(row.was_held for row in rows):
        log.warning("orders that a dead worker held are free again", account=account, orders=freed)
        totals.add_totals(session, {(totals.MENDED, account, totals.LEASES): freed})
    return [Claim(*row[:-1]) for row in rows]


# An order that its courier said not to know, and never told of, stands on no list of its either.
HEARD_OF = exists().where(Order.id == Poll.order_id, Order.last_heard_at.is_not(None))
LISTABLE = Poll.unknown_since.is_(None) | HEARD_OF


def due(
    session: Session, account: str, now: datetime, most: int, listable: bool = False
) -> Sequence[datetime]:
    """When the orders were placed that are due and free, `most` of them at most.

    listable: only those that a list may tell of.
    """
    found = select(Poll.placed_at).where(
        Poll.account == account,
        Poll.due_at <= now,
        Poll.leased_until.is_(None) | (Poll.leased_until <= now),
    )
    if listable:
        found = found.where(LISTABLE)
    return session.scalars(found.order_by(Poll.due_at).limit(most)).all()


def release(session: Session, claims: Collection[Claim]) -> None:
    """Give orders back that were not asked about: they stay due."""
    for poll in held(session, claims):
        poll.leased_until = None


def held(session: Session, claims: Collection[Claim]) -> Sequence[Poll]:
    """The rows of those claims that still hold, locked."""
    until = {claim.order_id: claim.leased_until for claim in claims}
    rows = session.scalars(
        select(Poll).where(id_in(Poll.order_id, until)).order_by(Poll.order_id).with_for_update()
    )
    return [poll for poll in rows if poll.leased_until == until[poll.order_id]]


def make_due(session: Session, account: str, now: datetime, stopped: bool = False) -> int:
    """Every open order of an account is due now; how many there are.

    Its rows are locked in the order in which those who fold lock them, so that none waits in vain.

    stopped: those that were given up as well.
    """
    result = session.execute(
        text("""
            UPDATE polls
            SET due_at = :now, finished_at = NULL, stopped_at = NULL, stop_reason = NULL,
                quiet = 0, failures = 0, unknown_since = NULL,
                unchanged_for = CASE WHEN :stopped THEN '0' ELSE unchanged_for END
            WHERE order_id IN (
                SELECT order_id FROM polls JOIN orders ON orders.id = order_id
                WHERE polls.account = :account AND orders.status <> ALL(:terminal)
                      AND (due_at > :now OR (:stopped AND stopped_at IS NOT NULL))
                ORDER BY order_id FOR UPDATE OF polls)
            RETURNING order_id
        """),
        {"account": account, "now": now, "terminal": TERMINAL_STATUSES, "stopped": stopped},
    )
    return len(result.all())


def free_from_the_future(session: Session, account: str, now: datetime) -> None:
    """End the leases that no clock which is right can have given."""
    session.execute(
        text("""
            UPDATE polls SET leased_until = NULL
            WHERE order_id IN (SELECT order_id FROM polls
                               WHERE account = :account AND leased_until > :latest
                               ORDER BY order_id FOR UPDATE)
        """),
        {"account": account, "latest": now + LEASE},
    )


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
        {"account": account, "now": now, "terminal": TERMINAL_STATUSES},
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
