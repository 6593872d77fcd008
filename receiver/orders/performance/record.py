"""Store what ended orders count for, and add it to the sums of their days.

Whoever changes an order records it in the same transaction, in a row of the order's own: so no two
workers wait for each other. One process at a time (PERFORMANCE_LOCK) adds new rows to the sums.
"""

from collections.abc import Collection, Iterable
from itertools import groupby
from operator import attrgetter
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.orm import Session

from receiver.db.bulk import array_text, id_in, insert_rows, row_class
from receiver.db.locks import PERFORMANCE_LOCK, try_lock
from receiver.db.models import Event, Order, OrderPerformance
from receiver.orders.names import is_sample
from receiver.orders.performance.counters import end_day, list_counters
from receiver.statuses import TERMINAL_STATUSES

REPLACE = """(order_id) DO UPDATE
    SET day = excluded.day, counters = excluded.counters, counted = false,
        replaced_day = CASE WHEN known.counted THEN known.day ELSE known.replaced_day END,
        replaced_counters =
            CASE WHEN known.counted THEN known.counters ELSE known.replaced_counters END
    WHERE (known.day, known.counters) IS DISTINCT FROM (excluded.day, excluded.counters)
"""

# The columns that list_counters() reads; of the details, which may be megabytes, the ETAs.
ORDER_COLUMNS = (
    *(Order.id, Order.account, Order.courier, Order.courier_order_id, Order.created_at),
    *(Order.status, Order.courier_status, Order.status_at, Order.milestones, Order.promised),
    func.jsonb_build_object("etas", func.coalesce(Order.details["etas"], text("'[]'"))).label(
        "details"
    ),
)
EVENT_COLUMNS = (
    *(Event.order_id, Event.status, Event.courier_status, Event.occurred_at, Event.told_at),
    *(Event.received_at, Event.kind, Event.parcel, Event.flags, Event.applied),
)
EventRow = row_class(EVENT_COLUMNS)

# The rows of these orders are locked, so nobody changes them meanwhile.
ADD_TO_DAYS = text("""
    WITH changed AS (
        SELECT * FROM order_performance
        WHERE order_id = ANY (CAST(:ids AS bigint[])) AND NOT counted
    ), added AS (
        INSERT INTO daily_performance AS known (account, day, sample, counter, count)
        SELECT account, day, sample, counter, sum(step) FROM (
            SELECT account, day, sample, unnest(counters), 1 FROM changed
            UNION ALL
            SELECT account, replaced_day, sample, unnest(replaced_counters), -1 FROM changed
        ) AS steps (account, day, sample, counter, step)
        GROUP BY account, day, sample, counter HAVING sum(step) <> 0
        ON CONFLICT (account, day, sample, counter) DO UPDATE
        SET count = known.count + excluded.count
    ), forgotten AS (
        DELETE FROM order_performance USING changed
        WHERE order_performance.order_id = changed.order_id AND changed.counters = '{}'
    )
    UPDATE order_performance SET counted = true, replaced_day = NULL, replaced_counters = NULL
    FROM changed
    WHERE order_performance.order_id = changed.order_id AND changed.counters <> '{}'
""")


def record_orders(session: Session, orders: Iterable[tuple[Any, Collection[Any]]]) -> None:
    """Record what orders count for now; the caller has locked them.

    orders: each order that has ended, or had before, with the rows of all its events.
    """
    insert_rows(session, OrderPerformance, _rows(orders), REPLACE)


def record_unrecorded_orders(session: Session, order_ids: Collection[int]) -> None:
    """Record those of some orders that have ended and were not recorded yet.

    They ended before this version was installed, or were folded by an older worker beside it.
    Nobody needs to lock them: whoever changes one meanwhile records it, and that row counts.
    """
    unrecorded = (
        select(*ORDER_COLUMNS)
        .where(id_in(Order.id, order_ids), Order.status.in_(TERMINAL_STATUSES))
        .where(~select(OrderPerformance).where(OrderPerformance.order_id == Order.id).exists())
    )
    orders = session.execute(unrecorded).all()
    if not orders:
        return
    ids = [order.id for order in orders]
    rows = session.connection().execute(
        select(*EVENT_COLUMNS).where(id_in(Event.order_id, ids)).order_by(Event.order_id)
    )
    by_order = groupby((EventRow(*row) for row in rows), attrgetter("order_id"))
    events = {order_id: list(of_order) for order_id, of_order in by_order}
    insert_rows(
        session, OrderPerformance, _rows((order, events.get(order.id, ())) for order in orders)
    )


def forget_orders(session: Session, orders: Collection[Order]) -> None:
    """Count some orders no longer, because they are deleted as if they had never been.

    Also one that was not recorded yet gets a row, or record_unrecorded_orders(), which may have
    read it already, would record it once it is gone. The next count removes the row.
    """
    rows: list[dict[str, Any]] = [
        {
            "order_id": order.id,
            "account": order.account,
            "sample": is_sample(order.courier_order_id),
            "day": None,
            "counters": [],
        }
        for order in sorted(orders, key=attrgetter("id"))
    ]
    insert_rows(session, OrderPerformance, rows, REPLACE)


def settle_orders(session: Session, order_ids: Collection[int]) -> bool:
    """Leave what some orders count for in the sums for good, because retention removes them.

    The caller has locked them. Return False, without doing anything, where another process adds to
    the sums at this moment.
    """
    if not try_lock(session, PERFORMANCE_LOCK):
        return False
    record_unrecorded_orders(session, order_ids)
    _add_to_days(session, order_ids)
    session.execute(delete(OrderPerformance).where(id_in(OrderPerformance.order_id, order_ids)))
    return True


def count_recorded_orders(session: Session, most: int) -> int:
    """Add up to so many orders to the sums of their days, and return how many there were.

    The caller holds PERFORMANCE_LOCK. What a worker is changing at this moment is left for later.
    """
    new = select(OrderPerformance.order_id).where(~OrderPerformance.counted)
    locked = new.order_by(OrderPerformance.order_id).limit(most).with_for_update(skip_locked=True)
    ids = session.scalars(locked).all()
    if ids:
        _add_to_days(session, ids)
    return len(ids)


def _add_to_days(session: Session, order_ids: Collection[int]) -> None:
    session.execute(ADD_TO_DAYS, {"ids": array_text(order_ids)})


def _rows(orders: Iterable[tuple[Any, Collection[Any]]]) -> list[dict[str, Any]]:
    rows = [
        {
            "order_id": order.id,
            "account": order.account,
            "sample": is_sample(order.courier_order_id),
            "day": end_day(order),
            "counters": list_counters(order, events),
        }
        for order, events in orders
    ]
    return sorted(rows, key=lambda row: row["order_id"])
