"""Merges what the shop registered into the orders that it turns out to be.

The order under the courier's own id stays, otherwise the one that was registered first. It keeps
all names and registrations, and when the first of the orders was created.
"""

from collections.abc import Sequence
from itertools import chain

from sqlalchemy import delete
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in, update_rows
from receiver.db.models import Identifier, Order, Poll
from receiver.db.order_state import OrderState
from receiver.orders.corrections.shop_values import merge_shop_values
from receiver.orders.names import NameOfKind, current_names
from workers.folding.order_identity import AssignedSnapshots


def merge_registrations(
    locked: Sequence[OrderState], assigned: AssignedSnapshots
) -> tuple[list[OrderState], dict[int, set[NameOfKind]]]:
    """Merge registered orders into others.

    Return the orders that stay, and the names that each of them takes in, by id.
    """
    by_id = {order.id: order for order in locked}
    for order_id, courier_order_id in assigned.respelled.items():
        by_id[order_id].courier_order_id = courier_order_id
    by_key = {order.order_key: order for order in locked}
    names = {}
    for key, merged_ids in assigned.merged.items():
        order, merged = by_key[key], [by_id[order_id] for order_id in merged_ids]
        names[order.id] = {name for each in merged for name in current_names(each)}
        parts = [order, *merged]
        erased_at = (each.erased_at for each in parts if each.erased_at is not None)
        order.erased_at = min(erased_at, default=None)
        merge_shop_values(order, parts)
        order.created_at = min(each.created_at for each in parts)
    gone = {*chain(*assigned.merged.values())}
    return [order for order in locked if order.id not in gone], names


def delete_registrations(
    session: Session, orders: Sequence[OrderState], assigned: AssignedSnapshots
) -> None:
    """Store what the shop gave merged orders, and delete the rows of those that they took in.

    orders: all that are locked.
    """
    merged_ids = [*chain(*assigned.merged.values())]
    if not merged_ids:
        return
    shops_columns = [
        {
            "id": order.id,
            "shop_reference": order.shop_reference,
            "metadata": order.shop_metadata,
            "registrations": order.registrations,
            "corrections": order.corrections,
            "tracking_stopped_at": order.tracking_stopped_at,
            "erased_at": order.erased_at,
            "created_at": order.created_at,
        }
        for order in orders
        if order.order_key in assigned.merged
    ]
    update_rows(session, Order, shops_columns)
    for column in (Identifier.order_id, Poll.order_id, Order.id):
        session.execute(delete(column.class_).where(id_in(column, merged_ids)))
