"""An order has several names, and a shop may register it by another than the courier's hooks use.

Tiramizoo's hooks name an order by its uuid; shops in the wild keep its identifier or their own
external id. Whatever name came first stays the order's courier_order_id, and the others find it.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import pairs_in
from receiver.db.models import Identifier, Order
from receiver.settings import Account

OrderKey = tuple[str, str]
# Under which name an order shows the id that its courier's messages use, where it has another.
COURIERS_ID = "id"


def known_by(
    session: Session,
    told: Sequence[tuple[Account, Snapshot]],
    known: Collection[OrderKey],
) -> dict[OrderKey, str]:
    """For orders that are not known by the id in a message: the id of the order that is meant.

    That is one whose courier's id this was found to be, or one that the shop put on
    record by one of the names in the message and that nothing was heard of yet. Where several fit,
    none is meant; where one fits several, the first that was told of is, as if each message had
    come by itself.

    told: in the order in which it came. known: those that are known by the ids in the messages.
    """
    names_of: dict[OrderKey, set[str]] = defaultdict(set)
    for account, snapshot in told:
        key = (account.slug, snapshot.courier_order_id)
        if key not in known:
            names_of[key] |= further_names(account, snapshot)
    if not names_of:
        return {}
    meant: dict[OrderKey, set[str]] = defaultdict(set)
    for account_slug, name, courier_order_id, identifiers in session.execute(
        select(Identifier.account, Identifier.value, Order.courier_order_id, Order.identifiers)
        .join(Order, Order.id == Identifier.order_id)
        .where(pairs_in(Identifier.account, Identifier.value, list(names_of)))
    ):
        # Its other names are no ids that messages use, and may look like another order's.
        if identifiers.get(COURIERS_ID) == name:
            meant[account_slug, name].add(courier_order_id)
    candidates = [(slug, name) for (slug, _), names in names_of.items() for name in names]
    if candidates:
        own = (Order.account, Order.courier_order_id)
        rows = session.execute(
            select(*own).where(pairs_in(*own, candidates), Order.last_heard_at.is_(None))
        )
        unheard = {(slug, name) for slug, name in rows} - {*known}
        for key, names in names_of.items():
            if key in meant:
                continue
            fits = {name for name in names if (key[0], name) in unheard}
            meant[key] = fits
            if len(fits) == 1:
                unheard -= {(key[0], name) for name in fits}
    return {key: next(iter(ids)) for key, ids in meant.items() if len(ids) == 1}


def belongs(order: Order, courier_order_id: str) -> bool:
    """Whether a locked order is still the one that is meant by an id that its courier uses, and not
    become another's since known_by() looked.
    """
    return order.last_heard_at is None or order.identifiers.get(COURIERS_ID) == courier_order_id


def further_names(account: Account, snapshot: Snapshot) -> set[str]:
    """The names of an order beside the courier's id; the shop's own number among them only where
    the courier can be asked by it, and so keeps it apart from its own.
    """
    names = {*snapshot.identifiers.values()}
    if DRIVERS[account.driver].names_orders_by_reference and snapshot.reference is not None:
        names.add(snapshot.reference)
    return names


def under(courier_order_id: str, snapshot: Snapshot) -> Snapshot:
    """What was told, under the id by which we know the order."""
    if snapshot.courier_order_id == courier_order_id:
        return snapshot
    names: Mapping[str, str] = {COURIERS_ID: snapshot.courier_order_id, **snapshot.identifiers}
    return replace(snapshot, courier_order_id=courier_order_id, identifiers=names)
