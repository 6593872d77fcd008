"""Find an order by the courier's id or by any further name that the courier gave it."""

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload

from receiver.db.models import Identifier, Order
from receiver.errors import AmbiguousIdentifier, UnknownOrder


def find_order(session: Session, account: str, order_id: str, lock: bool = False) -> Order:
    """An account's order by the courier's id, or by any other identifier the courier gave it.

    lock: hold its row until the transaction ends.

    Raises: UnknownOrder; AmbiguousIdentifier where several orders share the identifier.
    """
    refuse_nul(account, order_id)
    orders = select(Order).options(joinedload(Order.poll))
    orders = orders.with_for_update(of=Order, key_share=True) if lock else orders
    order = session.scalar(
        orders.where(Order.account == account, Order.courier_order_id == order_id)
    )
    if order is not None:
        return order
    named = select(Identifier.order_id).where(
        Identifier.account == account, Identifier.value == order_id
    )
    found = session.scalars(orders.where(Order.id.in_(named)).limit(2)).all()
    refuse_other_than_one(len(found), account, order_id)
    return found[0]


def refuse_nul(account: str, order_id: str) -> None:
    """PostgreSQL keeps no such text. Raises: UnknownOrder."""
    if "\x00" in account + order_id:
        raise UnknownOrder("no order has an id with U+0000 in it")


def refuse_other_than_one(found: int, account: str, order_id: str) -> None:
    """So many orders were found by this name. Raises: UnknownOrder; AmbiguousIdentifier."""
    if not found:
        raise UnknownOrder(f"account {account!r} has no order {order_id!r}")
    if found > 1:
        raise AmbiguousIdentifier(
            f"several orders of account {account!r} carry {order_id!r}: ask by courier_order_id"
        )
