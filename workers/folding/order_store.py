"""Reads and writes the orders of a batch: one statement per table, whatever the batch's size.

Rows are read by the session's connection: the session itself would make tuples of them once more,
which takes a tenth of a drain's time.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any

from sqlalchemy import ColumnElement, delete, select, text, tuple_, type_coerce
from sqlalchemy.orm import Session
from sqlalchemy.types import NULLTYPE

from receiver.db.bulk import id_in, insert_rows, update_rows
from receiver.db.models import Event, Order
from receiver.db.order_state import ORDER_COLUMNS, OrderState
from receiver.orders.matching import OrderKey
from receiver.orders.timeline import StoredEvent

# The columns that are left to the shop, and those that a fold never changes.
SHOPS_COLUMNS = {
    *("shop_reference", "shop_metadata", "registrations", "corrections", "tracking_stopped_at"),
    "erased_at",
}
CONSTANT_COLUMNS = {"account", "courier", "created_at"}
# Columns that few orders have a value in, which may be megabytes: written where they change.
RARE_COLUMNS = ["further_parcels", "further_parcel_count"]
NEW_COLUMNS = [name for name in ORDER_COLUMNS if name not in {*SHOPS_COLUMNS, *RARE_COLUMNS}]
FOLDED_COLUMNS = [name for name in NEW_COLUMNS if name not in CONSTANT_COLUMNS]

# Events need the ids of new orders before those are inserted.
NEXT_IDS = text("""
    SELECT nextval(pg_get_serial_sequence('orders', 'id')) FROM generate_series(1, :count)
""")

# psycopg has made lists of the arrays; SQLAlchemy would make them again, value by value.
EVENT_COLUMNS_READ = [type_coerce(column, NULLTYPE) for column in Event.__table__.columns]
EVENT_COLUMNS = [column.name for column in Event.__table__.columns if not column.primary_key]
REPLACE_EVENT = "(order_id, key) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in EVENT_COLUMNS
)


class ConcurrentChange(Exception):
    """Another transaction has created an order of ours, or given it to another id of its courier.

    The batch must be folded again, with that order as it is now.
    """


def lock_orders(
    session: Session, *conditions: ColumnElement[bool], limit: int | None = None
) -> list[OrderState]:
    """Lock and load orders by id, in one sorted statement so that workers cannot deadlock.

    The lock is the weakest that will do: whoever writes a row that refers to an order (a poll's,
    which this transaction may need next) must not have to wait for it.
    """
    rows = session.connection().execute(
        select(*(getattr(Order, name) for name in ORDER_COLUMNS))
        .where(*conditions)
        .order_by(Order.id)
        .limit(limit)
        .with_for_update(key_share=True)
    )
    return [OrderState(*row) for row in rows.all()]


def new_orders(
    session: Session, keys: Sequence[OrderKey], couriers: Sequence[str], now: datetime
) -> list[OrderState]:
    """Make the orders of these keys, each with its courier; insert_orders stores them."""
    ids = session.scalars(NEXT_IDS, {"count": len(keys)}) if keys else ()
    return [
        OrderState(order_id, account, courier, courier_order_id, now, now)
        for order_id, (account, courier_order_id), courier in zip(ids, keys, couriers, strict=True)
    ]


def insert_orders(session: Session, orders: Sequence[OrderState]) -> None:
    """Insert new orders, which are sorted by key.

    Raises: ConcurrentChange where another transaction has created one of them.
    """
    if insert_rows(session, Order, _rows(orders, NEW_COLUMNS)) < len(orders):
        raise ConcurrentChange
    rare = [order for order in orders if order.further_parcels]
    update_rows(session, Order, _rows(rare, ["id", *RARE_COLUMNS]))


def update_orders(
    session: Session, orders: Sequence[OrderState], before: Mapping[int, OrderState]
) -> None:
    """Write what a fold has changed in locked orders. before: copies of them, by id."""
    changed = [order for order in orders if order != before[order.id]]
    update_rows(session, Order, _rows(changed, FOLDED_COLUMNS))
    rare = [order for order in changed if order.further_parcels != before[order.id].further_parcels]
    update_rows(session, Order, _rows(rare, ["id", *RARE_COLUMNS]))


def _rows(orders: Sequence[OrderState], columns: Sequence[str]) -> list[dict[str, Any]]:
    values = attrgetter(*columns)
    return [dict(zip(columns, values(order), strict=True)) for order in orders]


def load_events(session: Session, order_ids: Collection[int]) -> dict[int, dict[str, Event]]:
    """Load the stored events of orders: by order's id, then by key."""
    found: dict[int, dict[str, Event]] = defaultdict(dict)
    if order_ids:
        events = select(*EVENT_COLUMNS_READ).where(id_in(Event.order_id, order_ids))
        for row in session.connection().execute(events).all():
            event = StoredEvent(*row)
            found[event.order_id][event.key] = event
    return found


def write_events(session: Session, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert or replace events."""
    insert_rows(session, Event, rows, REPLACE_EVENT)


def delete_events(session: Session, keys: Sequence[tuple[int, str]]) -> None:
    """Delete events by order's id and key."""
    if keys:
        session.execute(delete(Event).where(tuple_(Event.order_id, Event.key).in_(keys)))
