"""Leases on the rows of `polls`: which orders are due, and who polls them.

A worker polls an order only while it holds a lease on it. The leases of a worker that dies run out;
the result of a worker whose lease has run out is discarded.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, exists, func, select, text, update
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in
from receiver.db.models import Order, Poll
from receiver.stats import totals
from receiver.statuses import TERMINAL_STATUSES

log = structlog.get_logger(__name__)

# Longer than any request, and than a whole list of pages at an account's rate limit.
LEASE_DURATION = timedelta(seconds=120)
# Earlier than any order.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

Conditions = Sequence[ColumnElement[bool]]
# The session holds none of the rows that these statements update.
NO_SYNC = {"synchronize_session": False}


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


def lease_orders(
    session: Session, account: str, now: datetime, limit: int, since: datetime | None = None
) -> list[Lease]:
    """Lease orders that are due and that nobody polls, the longest overdue first.

    since: only those that a list since then may contain.
    """
    chosen = (
        select(Poll.order_id, Poll.leased_until.is_not(None).label("was_leased"))
        .where(*_due(account, now), *_listable(since))
        .order_by(Poll.due_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
        .cte("chosen")
        # Inlined into the join, the subquery may run once a row and lock more than `limit`.
        .prefix_with("MATERIALIZED")
    )
    rows = session.execute(
        update(Poll)
        .where(Poll.order_id == chosen.c.order_id, Order.id == chosen.c.order_id)
        .values(leased_until=now + LEASE_DURATION)
        .returning(
            Poll.order_id,
            func.coalesce(Order.identifiers["id"].astext, Order.courier_order_id),
            Order.last_heard_at.is_not(None),
            Order.reference,
            Poll.placed_at,
            Poll.due_at,
            Poll.leased_until,
            chosen.c.was_leased,
        ),
        execution_options=NO_SYNC,
    ).all()
    if expired := sum(row.was_leased for row in rows):
        log.warning("leases_expired", account=account, orders=expired)
        totals.add_totals(session, {(totals.MENDED, account, totals.LEASES): expired})
    return [Lease(*row[:-1]) for row in rows]


def find_due_orders(
    session: Session, account: str, now: datetime, limit: int, listable: bool = False
) -> Sequence[datetime]:
    """Return when each of the first `limit` orders that are due and not leased was placed.

    listable: only those that a list may contain.
    """
    due = select(Poll.placed_at).where(
        *_due(account, now), *_listable(BEGINNING if listable else None)
    )
    return session.scalars(due.order_by(Poll.due_at).limit(limit)).all()


def _due(account: str, now: datetime) -> Conditions:
    free = Poll.leased_until.is_(None) | (Poll.leased_until <= now)
    return [Poll.account == account, Poll.due_at <= now, free]


def _listable(since: datetime | None) -> Conditions:
    """A list does not contain an order that the courier said not to know and never reported."""
    if since is None:
        return []
    reported = exists().where(Order.id == Poll.order_id, Order.last_heard_at.is_not(None))
    return [Poll.placed_at >= since, Poll.unknown_since.is_(None) | reported]


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
    wanted = Poll.due_at > now
    values: dict[str, Any] = {"due_at": now, "quiet": 0, "failures": 0}
    if stopped:
        wanted |= Poll.stopped_at.is_not(None)
        values["unchanged_for"] = timedelta()
    cleared = ("finished_at", "stopped_at", "stop_reason", "unknown_since")
    is_open = exists().where(Order.id == Poll.order_id, Order.status.not_in(TERMINAL_STATUSES))
    return _update_polls(session, account, [wanted, is_open], **values, **dict.fromkeys(cleared))


def end_future_leases(session: Session, account: str, now: datetime) -> None:
    """End the leases that only a clock that was ahead can have given."""
    future = [Poll.leased_until > now + LEASE_DURATION]
    _update_polls(session, account, future, leased_until=None)


def restore_lost_polls(session: Session, account: str, now: datetime) -> int:
    """Make orders due whose polling has neither a next time nor an end; return how many."""
    lost = [column.is_(None) for column in (Poll.due_at, Poll.finished_at, Poll.stopped_at)]
    return _update_polls(session, account, lost, due_at=now)


def _update_polls(session: Session, account: str, where: Conditions, **values: Any) -> int:
    """Update rows, locked in the same order as by a drain, so that the two do not deadlock."""
    locked = select(Poll.order_id).where(Poll.account == account, *where)
    locked = locked.order_by(Poll.order_id).with_for_update()
    changed = update(Poll).where(Poll.order_id.in_(locked)).values(values).returning(Poll.order_id)
    return len(session.execute(changed, execution_options=NO_SYNC).all())


def add_missing_polls(session: Session, account: str, now: datetime) -> int:
    """Start polling the open orders from before the account could be polled; return how many."""
    added = session.execute(
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
    return len(added.all())
