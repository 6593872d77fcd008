"""Which orders we know: find one by any of its names, register one, release what waited for it."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import JSONPATH, insert
from sqlalchemy.orm import Session, joinedload

from receiver import statuses
from receiver.changes.feed import CREATED, Changed, tell, what_changed
from receiver.couriers import DRIVERS
from receiver.db.models import PARKED, PENDING, Identifier, Message, Order
from receiver.errors import AmbiguousIdentifier, UnknownOrder
from receiver.orders import details
from receiver.orders.tour_etas import add_etas, lock_tours


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


OPEN_CONFLICT = func.jsonb_path_exists(
    Order.conflicts,
    cast("$[*] ? (@.settled_at == null && @.closed_at == null)", JSONPATH),
)


def in_conflict(
    session: Session, account: str | None, limit: int, before: int | None = None
) -> Sequence[Order]:
    """Orders with an open conflict, the newest first; before: only those with a lower id."""
    orders = select(Order).where(Order.conflicts != [], OPEN_CONFLICT)
    if account is not None:
        orders = orders.where(Order.account == account)
    if before is not None:
        orders = orders.where(Order.id < before)
    return session.scalars(orders.order_by(Order.id.desc()).limit(limit)).all()


def shadowed_reference(order: Order) -> str | None:
    """The courier's own reference, where the shop registered another: still a name of the order."""
    told: str | None = details.value(order.details or {}, "reference")
    return None if told in {order.reference, order.courier_order_id} else told


def lock_names(session: Session, accounts: Collection[str], registering: bool) -> None:
    """Keep an order that the shop puts on record and one that a message makes known from missing
    each other: they may be one order by two names.

    Two transactions at once would each not see what the other writes, and there would be two orders
    for good, or a message parked just after the registration that should release it. Those that
    only fold do not wait for one another. Taken before any row of an order is locked.
    """
    lock = func.pg_advisory_xact_lock if registering else func.pg_advisory_xact_lock_shared
    for account in sorted(accounts):
        session.execute(select(lock(func.hashtextextended(f"names of {account}", 0))))


def _known_as(session: Session, account: str, courier: str, order_id: str) -> str:
    """The id of the order that goes by this name, if one alone does; else the name itself.

    The shop's own number counts only with a courier that can be asked by it: with the others it
    may look like an id of theirs.
    """
    own = select(Order.courier_order_id).where(Order.account == account)
    if session.scalar(own.where(Order.courier_order_id == order_id)) is not None:
        return order_id
    named = (
        select(Order)
        .join(Identifier, Identifier.order_id == Order.id)
        .where(Identifier.account == account, Identifier.value == order_id)
        .limit(2)
    )
    api = DRIVERS[courier].api
    by_reference = api is not None and api.show_by_reference is not None
    found = {
        order.courier_order_id
        for order in session.scalars(named)
        if by_reference or order_id in order.identifiers.values()
    }
    if by_reference:
        found.update(session.scalars(own.where(Order.reference == order_id).limit(2)))
    return found.pop() if len(found) == 1 else order_id


def register(
    session: Session,
    account: str,
    courier: str,
    courier_order_id: str,
    now: datetime,
    reference: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> tuple[Order, bool]:
    """Put an order of the shop's on record and return it with whether it is new to us.

    What the shop gives counts over what the courier tells. Messages that were parked for the
    order go back to the workers. The caller commits at once, then rings.
    """
    lock_tours(session, writing=False)
    lock_names(session, [account], registering=True)
    name = courier_order_id
    courier_order_id = _known_as(session, account, courier, name)
    created = session.scalar(
        insert(Order)
        .values(
            account=account,
            courier=courier,
            courier_order_id=courier_order_id,
            status=statuses.PENDING,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Order.id)
    )
    order = session.scalars(
        select(Order)
        .options(joinedload(Order.poll))
        .where(Order.account == account, Order.courier_order_id == courier_order_id)
        .with_for_update(of=Order, key_share=True)
        # Not as it was when its name was looked up, before it was locked.
        .execution_options(populate_existing=True)
    ).one()
    # Without autoflush: whether an order changed is only to be told before it is written.
    with session.no_autoflush:
        if reference is not None:
            order.shop_reference = order.reference = reference
        # Metadata may be of people, and of an erased order none of that is kept any more.
        if metadata is not None and order.erased_at is None:
            order.shop_metadata = metadata
        add_etas(session, [order])
        changed = [*([CREATED] if created else []), *what_changed(order)]
    if told := shadowed_reference(order):
        session.execute(
            insert(Identifier)
            .values(account=account, value=told, order_id=order.id)
            .on_conflict_do_nothing()
        )
    if changed and created is None:
        order.version += 1
        order.updated_at = now
    session.execute(
        update(Message)
        .where(
            Message.account == account,
            Message.outcome == PARKED,
            or_(Message.courier_order_id == courier_order_id, Message.names.contains([name])),
        )
        .values(outcome=PENDING, reason=None, processed_at=None, retried_at=None)
    )
    tell(session, [Changed(order, tuple(changed))] if changed else [], now)
    return order, created is not None
