"""The names of an order: the courier's id, its further identifiers, and references."""

from collections.abc import Collection

from sqlalchemy.orm import Session

from receiver.db.locks import take_lock
from receiver.db.order_state import AnyOrder
from receiver.orders import details


def list_names(order: AnyOrder) -> set[str]:
    """Return every name by which a message or a tour plan may mean an order.

    The courier's own reference is among them also where the shop registered another.
    """
    known = {order.courier_order_id, order.reference, courier_reference(order)}
    return {name for name in (*known, *(order.identifiers or {}).values()) if name is not None}


def courier_reference(order: AnyOrder) -> str | None:
    """Return the reference that the courier reports."""
    reference: str | None = details.detail_value(order.details or {}, "reference")
    return reference


def shadowed_reference(order: AnyOrder) -> str | None:
    """Return the courier's own reference where the shop registered another; it stays a name."""
    reference = courier_reference(order)
    return None if reference in {order.reference, order.courier_order_id} else reference


def lock_names(session: Session, accounts: Collection[str], registering: bool) -> None:
    """Keep a registration and a message from creating one order twice, under two names.

    Two concurrent transactions would not see each other's rows: there would be two orders for
    good, or a message parked just after the registration that should release it. Transactions that
    only fold share the lock. Must be called before any row of an order is locked.
    """
    for account in sorted(accounts):
        take_lock(session, f"names of {account}", shared=not registering)
