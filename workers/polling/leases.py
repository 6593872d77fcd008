"""Leases on the rows of `polls`: which orders are due, and who polls them.

A worker polls an order only while it holds a lease on it. The leases of a worker that dies run out;
the result of a worker whose lease has run out is discarded.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import structlog
from sqlalchemy import ColumnElement, exists, func, literal_column, or_, select, update
from sqlalchemy.orm import Session

from receiver.couriers.polling import OrderNames
from receiver.db.bulk import id_in
from receiver.db.models import Order, Poll
from receiver.db.pagination import count_rows
from receiver.stats import totals

log = structlog.get_logger(__name__)

# Longer than any request, and than a whole list of pages at an account's rate limit.
LEASE_DURATION = timedelta(seconds=120)
# Earlier than any order.
BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

# How many orders a page of a courier's list has.
PAGE_SIZE = 100
# Fewer due orders are always polled one by one.
MIN_LISTED = 4
# An order that only the list can show was placed with its courier before it was registered, nobody
# knows how long: the list goes back further each time that it was not found.
LOOK_BACK, LOOK_BACK_FACTOR, LONGEST_LOOK_BACK = timedelta(hours=1), 4, timedelta(days=7)

# How many due orders are considered for one list, and how many starting points are compared.
MAX_LISTED = 2_000
MAX_CUTS = 16

# Of the parcels that are shown first: no courier is asked by more than a few of them.
TRACKING_NUMBERS: ColumnElement[Any] = literal_column(
    "jsonb_path_query_array(parcels, '$[*].tracking_number')"
)


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to poll an order until leased_until, which also proves the right.

    names   what is known of the order
    due_at  when the poll was due
    """

    order_id: int
    names: OrderNames
    due_at: datetime
    leased_until: datetime

    @property
    def courier_order_id(self) -> str:
        """The courier's id; before the first news of the order, the name that the shop gave."""
        return self.names.courier_order_id

    @property
    def is_courier_id(self) -> bool:
        return self.names.is_courier_id


def find_due_orders(
    session: Session,
    account: str,
    now: datetime,
    limit: int,
    since: datetime | None = None,
    listed_name: str | None = None,
) -> Sequence[datetime]:
    """Return when each of the first `limit` orders that are due and not leased was placed.

    since, listed_name: only those that a list since then may contain.
    """
    due = select(Poll.placed_at).where(*_due(account, now, since, listed_name))
    return session.scalars(due.order_by(Poll.due_at).limit(limit)).all()


def plan_list(
    session: Session, account: str, now: datetime, listed_name: str | None
) -> datetime | None:
    """Return since when to list the due orders, None if polling one by one takes fewest requests.

    A list contains every order placed since a time. So the newest of the due orders are fetched by
    list, as far back as that takes fewer requests than polling each, and the older ones one by one.
    An order that only a list can show is fetched by list in any case.
    """
    since = _plan_shortest(session, account, now, listed_name)
    if listed_name is None:
        return since
    due = _due(account, now, None, None)
    only_listed = select(Poll.placed_at, Poll.failures).where(*due, _is_only_listed(listed_name))
    looks_back = [
        placed_at - min(LOOK_BACK * LOOK_BACK_FACTOR ** min(failures, 9), LONGEST_LOOK_BACK)
        for placed_at, failures in session.execute(only_listed.limit(MAX_LISTED))
    ]
    return min([*looks_back, *([since] if since else [])], default=None)


def _plan_shortest(
    session: Session, account: str, now: datetime, listed_name: str | None
) -> datetime | None:
    due = find_due_orders(session, account, now, MAX_LISTED, BEGINNING, listed_name)
    newest = sorted(due, reverse=True)
    if len(newest) <= MIN_LISTED:
        return None
    fewest, since = len(newest), None
    for listed in range(len(newest), MIN_LISTED - 1, -ceil(len(newest) / MAX_CUTS)):
        oldest = newest[listed - 1]
        placed = select(Poll.order_id).where(Poll.account == account, Poll.placed_at >= oldest)
        pages = ceil(count_rows(session, placed, listed * PAGE_SIZE) / PAGE_SIZE)
        if pages + len(newest) - listed < fewest:
            fewest, since = pages + len(newest) - listed, oldest
    return since


def lease_orders(
    session: Session,
    account: str,
    now: datetime,
    limit: int,
    since: datetime | None = None,
    listed_name: str | None = None,
) -> list[Lease]:
    """Lease orders that are due and that nobody polls, the longest overdue first.

    since, listed_name: only those that a list since then may contain.
    """
    chosen = (
        select(Poll.order_id, Poll.leased_until.is_not(None).label("was_leased"))
        .where(*_due(account, now, since, listed_name))
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
            Order.identifiers,
            TRACKING_NUMBERS,
            Order.shop_metadata,
            Poll.due_at,
            Poll.leased_until,
            chosen.c.was_leased,
        ),
        execution_options={"synchronize_session": False},
    ).all()
    if expired := sum(row.was_leased for row in rows):
        log.warning("leases_expired", account=account, orders=expired)
        totals.add_totals(session, {(totals.MENDED, account, totals.LEASES): expired})
    return [
        Lease(order_id, _order_names(*names), due_at, leased_until)
        for order_id, *names, due_at, leased_until, _was_leased in rows
    ]


def _order_names(
    courier_order_id: str,
    is_courier_id: bool,
    reference: str | None,
    identifiers: dict[str, str],
    tracking_numbers: list[str | None],
    metadata: dict[str, str],
) -> OrderNames:
    numbers = [number for number in tracking_numbers if number]
    return OrderNames(courier_order_id, is_courier_id, reference, identifiers, numbers, metadata)


def _due(
    account: str, now: datetime, since: datetime | None, listed_name: str | None
) -> list[ColumnElement[bool]]:
    """Return the conditions of orders that are due and free; since: as lease_orders() has it."""
    # Only a clock that was ahead can have given a lease for longer than LEASE_DURATION.
    latest = now + 2 * LEASE_DURATION
    is_free = or_(Poll.leased_until.is_(None), Poll.leased_until <= now, Poll.leased_until > latest)
    conditions = [Poll.account == account, Poll.due_at <= now, is_free]
    if since is not None:
        # A list does not contain an order that the courier said not to know and never reported.
        reported = exists().where(Order.id == Poll.order_id, Order.last_heard_at.is_not(None))
        may_be_listed = Poll.unknown_since.is_(None) | reported
        if listed_name is not None:
            may_be_listed |= _is_only_listed(listed_name)
        conditions += [Poll.placed_at >= since, may_be_listed]
    return conditions


def _is_only_listed(listed_name: str) -> ColumnElement[bool]:
    """Return the condition of orders that are only known by such a name so far.

    One that also has the shop's number is asked about by that first.
    """
    return exists().where(
        Order.id == Poll.order_id,
        Order.last_heard_at.is_(None),
        Order.reference.is_(None) | Poll.unknown_since.is_not(None),
        Order.courier_order_id.regexp_match(f"^\\s*{listed_name}\\s*$", flags="i"),
    )


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
