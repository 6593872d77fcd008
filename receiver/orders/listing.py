"""List orders by filters, newest first, and the events and parcels of one order.

No list of orders sorts or reads much more than the page that is asked for, see db/pagination.py.
The pages of one order are cut by PostgreSQL, so that an order with thousands of events or parcels
does not block the process that shows it.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Date,
    Select,
    any_,
    case,
    func,
    literal,
    literal_column,
    select,
    text,
)
from sqlalchemy.orm import Session

from receiver import statuses
from receiver.couriers.snapshot import MINUTE_ONLY, STATE_DISAGREES
from receiver.db.bulk import id_in
from receiver.db.models import Event, Order, Poll
from receiver.db.pagination import (
    EVENTS,
    PARCELS,
    Column,
    IndexValues,
    begin_consistent_read,
    count_rows,
    distinct_values,
    read_cursor,
    select_page_ids,
    select_pages,
    write_cursor,
)
from receiver.orders.find import find_ids_of_accounts, find_ids_of_spelled_references
from receiver.orders.fold import REPEATED_OBSERVATION
from receiver.settings import Settings

# The day of an order's last change, as the index orders_updated_idx spells it.
UPDATED_ON = literal_column("((orders.updated_at AT TIME ZONE 'UTC')::date)", Date)

# How many orders are read at most to filter by a value and by the time of the last change.
FEW = 5000

Filters = Mapping[str, Any]

NOT_LISTED = {"details", "further_parcels", "conflicts", "registrations", "corrections"}
ORDER_COLUMNS: list[Any] = [
    column.class_attribute
    for column in Order.__mapper__.column_attrs
    if column.key not in NOT_LISTED
]
ROWS = select(
    *ORDER_COLUMNS,
    Poll.due_at,
    Poll.polled_at,
    func.coalesce(Poll.failures, 0).label("failures"),
    Poll.unknown_since,
    Poll.stopped_at,
    Poll.stop_reason,
).outerjoin(Poll, Poll.order_id == Order.id)


def list_orders(session: Session, settings: Settings, filters: Filters) -> dict[str, Any]:
    """List orders, the newest first. Must begin the transaction.

    filters: as OrderFiltersSchema loads them; without `test` those of test accounts are left out.
    Shape: {"orders": [a row with the columns of an order and of its polling], "next_cursor"}
    """
    limit = filters["limit"]
    before = read_cursor(filters["cursor"]) if "cursor" in filters else None
    begin_consistent_read(session)
    left_out = settings.left_out_accounts(filters.get("test", False))
    ids = select_order_ids(session, filters, before, limit + 1, left_out).subquery()
    rows = session.execute(ROWS.join(ids, Order.id == ids.c.id).order_by(Order.id.desc())).all()
    return {
        "orders": rows[:limit],
        "next_cursor": write_cursor(rows[limit - 1].id) if len(rows) > limit else None,
    }


# sort_position() of orders/fold, for PostgreSQL.
RANKS = {status.name: status.rank for status in statuses.VOCABULARY.values()}
EVENT_POSITION: tuple[ColumnElement[Any], ...] = (
    Event.occurred_at.expression,
    literal(STATE_DISAGREES) == any_(Event.flags.expression),
    case(RANKS, value=Event.status, else_=RANKS[statuses.UNKNOWN]),
    Event.step.expression,
    Event.key.collate("C"),
)

# When an event is shown to have happened: couriers.snapshot.Event.shown_at, for PostgreSQL.
SHOWN_AT = case(
    (
        literal(MINUTE_ONLY) == any_(Event.flags.expression),
        func.least(Event.told_at, Event.occurred_at),
    ),
    else_=Event.occurred_at,
).label("occurred_at")
SHOWN_COLUMNS = [
    SHOWN_AT if column.key == "occurred_at" else column for column in Event.__table__.columns
]

PARCEL_PAGE = text("""
    SELECT parcel FROM orders,
        jsonb_array_elements(parcels || further_parcels) WITH ORDINALITY AS list (parcel, number)
    WHERE id = :order_id AND number > :before ORDER BY number LIMIT :most
""")


def list_events(session: Session, order: Order, page: Filters) -> dict[str, Any]:
    """List an order's events, the oldest first, also those not applied; repetitions left out.

    page: as EventFiltersSchema loads it.
    """
    limit, before = page["limit"], read_offset(page, EVENTS)
    events = session.execute(
        select(*SHOWN_COLUMNS)
        .where(
            Event.order_id == order.id, Event.not_applied_why.is_distinct_from(REPEATED_OBSERVATION)
        )
        .order_by(*EVENT_POSITION)
        .offset(before)
        .limit(limit + 1)
    ).all()
    return {"events": events[:limit], "next_cursor": next_offset(len(events), page, EVENTS)}


def list_parcels(session: Session, order: Order, page: Filters) -> dict[str, Any]:
    """List an order's parcels by tracking number. page: as ParcelFiltersSchema loads it."""
    limit = page["limit"]
    parcels = read_parcels(session, order, limit + 1, read_offset(page, PARCELS))
    return {"parcels": parcels[:limit], "next_cursor": next_offset(len(parcels), page, PARCELS)}


def read_parcels(session: Session, order: Order, limit: int, before: int) -> Sequence[Any]:
    """Read so many of an order's parcels, by tracking number. before: how many to skip."""
    values = {"order_id": order.id, "before": before, "most": limit}
    return session.scalars(PARCEL_PAGE, values).all()


def read_offset(page: Filters, kind: str) -> int:
    """Return how many entries come before the page. Raises: InvalidCursor."""
    return read_cursor(page["cursor"], kind) if "cursor" in page else 0


def next_offset(found: int, page: Filters, kind: str) -> str | None:
    """Return the cursor of the next page. found: how many were found, with one after the page."""
    limit: int = page["limit"]
    return write_cursor(read_offset(page, kind) + limit, kind) if found > limit else None


def select_order_ids(
    session: Session,
    filters: Filters,
    before: int | None,
    most: int,
    left_out: Collection[str] = (),
) -> Select[int]:
    """Select the ids of the newest orders that fit.

    before: only those with a lower id. left_out: without the orders of these accounts.
    """
    conditions: list[ColumnElement[bool]] = []
    wanted = _values_by_column(session, filters, left_out)
    narrowed = [column.in_(values) for column, values in wanted.items()]
    days = _days_since(session, filters["updated_since"]) if "updated_since" in filters else None
    if days is not None:
        conditions.append(Order.updated_at >= filters["updated_since"])
    if "tracking_number" in filters:
        name, account = filters["tracking_number"], filters.get("account")
        ids = {order_id for _, order_id in find_ids_of_accounts(session, [name], FEW, account)}
        conditions.append(id_in(Order.id, ids))
    if filters.keys() & {"reference", "tracking_number"}:
        if "reference" in filters:
            conditions.append(_has_reference(session, filters["reference"]))
        conditions += narrowed
    elif wanted:
        values: IndexValues = {
            Order.status: wanted.get(Order.status, list(statuses.VOCABULARY)),
            Order.account: wanted[Order.account]
            if Order.account in wanted
            else distinct_values(session, Order.account),
            Order.needs_attention: wanted.get(Order.needs_attention, [True, False]),
        }
        if days is None:
            return select_page_ids(Order.id, values, most, after=before)
        if count_rows(session, select_pages(Order.id, values, FEW), FEW) < FEW:
            # First all of them, then those that changed since: asked for both at once, PostgreSQL
            # may read all that changed since, once for each combination.
            found = select_pages(Order.id, values, FEW, after=before, columns=[Order.updated_at])
            _, _, _, order_id, updated_at = found.selected_columns
            since = found.where(updated_at >= filters["updated_since"])
            return since.with_only_columns(order_id).order_by(order_id.desc()).limit(most)
        conditions += narrowed
        return select_page_ids(Order.id, {UPDATED_ON: days}, most, *conditions, after=before)
    elif days is not None:
        return select_page_ids(Order.id, {UPDATED_ON: days}, most, *conditions, after=before)
    if before is not None:
        conditions.append(Order.id < before)
    return select(Order.id).where(*conditions).order_by(Order.id.desc()).limit(most)


def _has_reference(session: Session, reference: str) -> ColumnElement[bool]:
    """Return the condition of having a reference: in its exact spelling, where an order has it."""
    exact = Order.reference == reference
    if session.scalar(select(Order.id).where(exact).limit(1)) is not None:
        return exact
    spelled = find_ids_of_spelled_references(session, [reference])
    return Order.id.in_([order_id for _, order_id in spelled])


def _values_by_column(
    session: Session, filters: Filters, left_out: Collection[str]
) -> dict[Column, Sequence[Any]]:
    wanted: dict[Column, Sequence[Any]] = {
        column: [filters[column.key]]
        for column in (Order.account, Order.status, Order.needs_attention)
        if column.key in filters
    }
    if left_out:
        accounts = wanted.get(Order.account) or distinct_values(session, Order.account)
        wanted[Order.account] = [slug for slug in accounts if slug not in left_out]
    if "status_group" in filters:
        wanted[Order.status] = [
            status.name
            for status in statuses.VOCABULARY.values()
            if status.group == filters["status_group"]
            and status.name in wanted.get(Order.status, statuses.VOCABULARY)
        ]
    return wanted


def _days_since(session: Session, since: datetime) -> list[date] | None:
    """Return the days since then on which orders last changed; None where that is every day."""
    ends = select(func.min(UPDATED_ON), func.max(UPDATED_ON)).select_from(Order)
    first, last = session.execute(ends).one()
    started = since.astimezone(UTC).date()
    if first is not None and started >= first:  # type: ignore[redundant-expr] # none: no orders
        return [started + timedelta(days=n) for n in range((last - started).days + 1)]
    return None
