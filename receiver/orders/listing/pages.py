"""List orders by filters, newest first, and the events and parcels of one order.

The pages of one order are cut by PostgreSQL, so that an order with thousands of events or parcels
does not block the process that shows it.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, any_, case, func, literal, select, text
from sqlalchemy.orm import Session

from receiver import statuses
from receiver.couriers.snapshot import MINUTE_ONLY, STATE_DISAGREES
from receiver.db.models import Event, Order, Poll
from receiver.db.pagination import EVENTS, PARCELS, begin_consistent_read, read_cursor, write_cursor
from receiver.orders.fold import REPEATED_OBSERVATION
from receiver.orders.listing.filters import Filters, select_order_ids
from receiver.settings import Settings

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
