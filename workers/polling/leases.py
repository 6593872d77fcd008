"""Leases on the rows of `polls`: which orders are due, and who polls them.

A worker polls an order only while it holds a lease on it. The leases of a worker that dies run out;
the result of a worker whose lease has run out is discarded.
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

# Longer than any request, and than a whole list of pages at an account's rate limit.
LEASE_DURATION = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to poll an order until leased_until, which also proves the right.

    courier_order_id  the courier's id; before the first news of the order, the name under which the
                      shop registered it
    is_courier_id     which of the two it is
    due_at            when the poll was due
    """

    order_id: int
    courier_order_id: str
    is_courier_id: bool
    reference: str | None
    placed_at: datetime
    due_at: datetime
    leased_until: datetime


# MATERIALIZED: inlined into the join, the subquery may run once a row and lock more than :limit.
LEASE_ORDERS = text("""
    WITH due AS MATERIALIZED (
          SELECT order_id, leased_until IS NOT NULL AS was_leased FROM polls
          WHERE account = :account AND due_at <= :now
                AND (leased_until IS NULL OR leased_until <= :now)
                AND (CAST(:since AS timestamptz) IS NULL
                     OR (placed_at >= :since AND (unknown_since IS NULL OR EXISTS (
                         SELECT FROM orders WHERE id = order_id AND last_heard_at IS NOT NULL))))
          ORDER BY due_at LIMIT :limit
          FOR UPDATE SKIP LOCKED)
    UPDATE polls SET leased_until = :until
    FROM due JOIN orders ON orders.id = due.order_id
    WHERE polls.order_id = due.order_id
    RETURNING polls.order_id, coalesce(identifiers ->> 'id', courier_order_id),
              last_heard_at IS NOT NULL, reference, polls.placed_at, due_at, leased_until,
              was_leased
""")


def lease_orders(
    session: Session, account: str, now: datetime, limit: int, since: datetime | None = None
) -> list[Lease]:
    """Lease orders that are due and that nobody polls, the longest overdue first.

    since: only those placed since then that a list may contain.
    """
    until = now + LEASE_DURATION
    values = {"account": account, "now": now, "until": until, "limit": limit, "since": since}
    rows = session.execute(LEASE_ORDERS, values).all()
    if expired := sum(row.was_leased for row in rows):
        log.warning("leases_expired", account=account, orders=expired)
        totals.add_totals(session, {(totals.MENDED, account, totals.LEASES): expired})
    return [Lease(*row[:-1]) for row in rows]


# The courier's lists do not contain an order that it said not to know and never reported.
_REPORTED = exists().where(Order.id == Poll.order_id, Order.last_heard_at.is_not(None))


def find_due_orders(
    session: Session, account: str, now: datetime, limit: int, listable: bool = False
) -> Sequence[datetime]:
    """Return when each of the first `limit` orders that are due and not leased was placed.

    listable: only those that a list may contain.
    """
    due = select(Poll.placed_at).where(
        Poll.account == account,
        Poll.due_at <= now,
        Poll.leased_until.is_(None) | (Poll.leased_until <= now),
    )
    if listable:
        due = due.where(Poll.unknown_since.is_(None) | _REPORTED)
    return session.scalars(due.order_by(Poll.due_at).limit(limit)).all()


def release_leases(session: Session, leases: Collection[Lease]) -> None:
    """End leases on orders that were not polled; they stay due."""
    for poll in lock_leased_polls(session, leases):
        poll.leased_until = None


def lock_leased_polls(session: Session, leases: Collection[Lease]) -> Sequence[Poll]:
    """Lock and return the rows of the leases that have not been taken by another worker."""
    until = {lease.order_id: lease.leased_until for lease in leases}
    rows = session.scalars(
        select(Poll).where(id_in(Poll.order_id, until)).order_by(Poll.order_id).with_for_update()
    )
    return [poll for poll in rows if poll.leased_until == until[poll.order_id]]


def make_open_orders_due(
    session: Session, account: str, now: datetime, stopped: bool = False
) -> int:
    """Make every open order of an account due now, and return how many there are.

    stopped: also those whose polling has stopped.
    """
    # Locked in the same order as by a drain, so that the two do not deadlock.
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


def end_future_leases(session: Session, account: str, now: datetime) -> None:
    """End the leases that only a clock that was ahead can have given."""
    session.execute(
        text("""
            UPDATE polls SET leased_until = NULL
            WHERE order_id IN (SELECT order_id FROM polls
                               WHERE account = :account AND leased_until > :latest
                               ORDER BY order_id FOR UPDATE)
        """),
        {"account": account, "latest": now + LEASE_DURATION},
    )


def add_missing_polls(session: Session, account: str, now: datetime) -> int:
    """Start polling the open orders from before the account could be polled; return how many."""
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


def restore_lost_polls(session: Session, account: str, now: datetime) -> int:
    """Make orders due whose polling has neither a next time nor an end; return how many."""
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
