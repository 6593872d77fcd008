"""Removes orders that have been closed for long: they are archived, where set, and deleted.

With an order go its events, names, polls, changes and the rows of its messages. What it counted for
in its courier's performance stays. What is still to come about it makes a new order: couriers
repeat a webhook for up to three weeks, and orders are kept at least thirty days after the last that
was heard of them.
"""

from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from receiver.db.bulk import array_text, id_in
from receiver.db.models import Order
from receiver.orders.corrections.delete import delete_orders, lock_messages_of_orders
from receiver.orders.names import lock_names_if_free
from receiver.orders.performance.record import settle_orders
from receiver.retention.expired import CLOSED_ORDERS, limited
from receiver.settings import Settings
from workers.upkeep.order_archive import append_orders

OLDEST_CLOSED = text(CLOSED_ORDERS.select_oldest())
# An order that is being registered again is left for the next time.
LOCK_CLOSED = limited(
    CLOSED_ORDERS.select_batch(condition="account <> ALL (CAST(:busy AS text[]))")
)


def remove_orders(
    session: Session, settings: Settings, before: datetime, now: datetime, most: int
) -> int:
    """Archive and delete up to so many orders that have been closed since before that time.

    The archive is flushed to disk before anything is deleted: an order may be in it twice, after a
    crash in between, but is never missing. Return how many there were.

    Raises: OSError where the archive cannot be written.
    """
    if session.scalar(OLDEST_CLOSED, {"before": before}) is None:
        return 0
    # Before any row is locked: a registration that finds the order must not wait for its end.
    busy = lock_names_if_free(session, settings.accounts)
    limits = {"before": before, "busy": array_text(sorted(busy)), "most": most}
    ids = session.scalars(LOCK_CLOSED, limits).all()
    if not ids:
        return 0
    names = session.execute(
        select(Order.account, Order.courier_order_id).where(id_in(Order.id, ids))
    ).all()
    message_ids = lock_messages_of_orders(session, [(row[0], row[1]) for row in names])
    if message_ids is None:
        return 0
    if not settle_orders(session, ids):
        return 0
    if settings.archive_dir is not None:
        append_orders(session, settings.archive_dir, ids, now)
    delete_orders(session, ids, message_ids)
    return len(ids)
