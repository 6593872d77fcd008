"""Finds the order that a snapshot is about.

An order has several names, and a shop may register it under another one than the courier's
webhooks use: Tiramizoo's webhooks name an order by its uuid, shops often keep its identifier or
their own external id. The name that came first stays the order's courier_order_id; the others lead
to it.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import pairs_in
from receiver.db.models import Identifier, Message, Order
from receiver.db.order_state import OrderState
from receiver.orders.names import lock_names
from receiver.settings import Account
from workers.folding.order_store import ConcurrentChange, OrderKey

# The kind of the identifier that holds the id of the courier's messages, where an order has another
# courier_order_id.
COURIERS_ID = "id"


@dataclass(frozen=True, slots=True)
class ReceivedSnapshot:
    """A snapshot with its message.

    courier_id: the id in the message, where the snapshot was renamed to the id of its stored order.
    """

    message: Message
    snapshot: Snapshot
    courier_id: str | None = None

    @property
    def order_key(self) -> OrderKey:
        return self.message.account, self.snapshot.courier_order_id


@dataclass
class AssignedSnapshots:
    """The snapshots of a batch by the order that they are about.

    by_order     of orders that are stored or will be created
    order_ids    the ids of those that are stored
    renamed      per message, the courier_order_id of an order that is stored under another id
    parked       snapshots that wait until the shop registers their order
    unrequested  poll answers about orders that are not stored
    """

    by_order: dict[OrderKey, list[ReceivedSnapshot]]
    order_ids: dict[OrderKey, int]
    renamed: dict[int, str] = field(default_factory=dict)
    parked: list[ReceivedSnapshot] = field(default_factory=list)
    unrequested: list[ReceivedSnapshot] = field(default_factory=list)


def assign_snapshots(
    session: Session, received: Sequence[ReceivedSnapshot], accounts: Mapping[str, Account]
) -> AssignedSnapshots:
    """Find the order of each snapshot. received: in the order of the messages."""
    by_order = _group_by_order(received)
    ids = _find_ids(session, by_order)
    lock_names(session, {account for account, _ in by_order.keys() - ids.keys()}, False)
    assigned = AssignedSnapshots(by_order, ids)
    if names := _find_other_names(session, received, accounts, ids):
        assigned.renamed = {
            item.message.id: names[item.order_key] for item in received if item.order_key in names
        }
        by_order = assigned.by_order = _group_by_order(
            _rename_order(item, names[item.order_key]) if item.order_key in names else item
            for item in received
        )
        ids |= _find_ids(session, {(slug, name) for (slug, _), name in names.items()})

    unknown = by_order.keys() - ids.keys()
    # Only a webhook creates an order: nobody requested a poll of one that is not stored.
    unrequested = {
        key for key in unknown if all(item.message.kind != "webhook" for item in by_order[key])
    }
    parking = {key for key in unknown - unrequested if accounts[key[0]].parks_unknown_orders}
    # Under the lock: a registration has either been committed by now, or will find what we park.
    registered = _find_ids(session, parking)
    ids |= registered
    parked = sorted(parking - registered.keys())
    assigned.parked = [item for key in parked for item in by_order.pop(key)]
    assigned.unrequested = [item for key in sorted(unrequested) for item in by_order.pop(key)]
    return assigned


def check_assignment(assigned: AssignedSnapshots, locked: Iterable[OrderState]) -> None:
    """Check that renamed snapshots still belong to the orders that are locked now.

    Raises: ConcurrentChange where another worker's snapshot of another id took the order meanwhile.
    """
    orders = {order.order_key: order for order in locked}
    for item in (item for items in assigned.by_order.values() for item in items):
        if item.courier_id is not None:
            order = orders[item.order_key]
            if order.last_heard_at and order.identifiers.get(COURIERS_ID) != item.courier_id:
                raise ConcurrentChange


def further_names(account: Account, snapshot: Snapshot) -> set[str]:
    """Return the names of an order beside the courier's id.

    The shop's own number is one of them only where it names the order at the courier too.
    """
    names = {*snapshot.identifiers.values()}
    if DRIVERS[account.driver].names_orders_by_reference and snapshot.reference is not None:
        names.add(snapshot.reference)
    return names


def rename_order(snapshot: Snapshot, courier_order_id: str) -> Snapshot:
    """Return the snapshot under the id by which its order is stored; its own becomes a name."""
    if snapshot.courier_order_id == courier_order_id:
        return snapshot
    identifiers = {COURIERS_ID: snapshot.courier_order_id, **snapshot.identifiers}
    return replace(snapshot, courier_order_id=courier_order_id, identifiers=identifiers)


def _rename_order(item: ReceivedSnapshot, courier_order_id: str) -> ReceivedSnapshot:
    renamed = rename_order(item.snapshot, courier_order_id)
    return ReceivedSnapshot(item.message, renamed, item.snapshot.courier_order_id)


def _group_by_order(received: Iterable[ReceivedSnapshot]) -> dict[OrderKey, list[ReceivedSnapshot]]:
    by_order: dict[OrderKey, list[ReceivedSnapshot]] = defaultdict(list)
    for item in received:
        by_order[item.order_key].append(item)
    return by_order


def _find_ids(session: Session, keys: Collection[OrderKey]) -> dict[OrderKey, int]:
    """Return the ids of those orders that are stored."""
    if not keys:
        return {}
    columns = (Order.account, Order.courier_order_id)
    found = session.execute(select(*columns, Order.id).where(pairs_in(*columns, keys)))
    return {(account, name): order_id for account, name, order_id in found}


def _find_other_names(
    session: Session,
    received: Sequence[ReceivedSnapshot],
    accounts: Mapping[str, Account],
    stored: Collection[OrderKey],
) -> dict[OrderKey, str]:
    """Return the courier_order_id under which orders are stored that are not known by their id.

    That is an order which was found to have this courier's id before, or one that the shop
    registered under one of the names in the message and that no message was about yet. Where
    several orders fit, none is meant; where one order fits several ids, it is the first of them, as
    if each message had come by itself.
    """
    names_of: dict[OrderKey, set[str]] = defaultdict(set)
    for item in received:
        if item.order_key not in stored:
            names_of[item.order_key] |= further_names(accounts[item.message.account], item.snapshot)
    if not names_of:
        return {}
    found: dict[OrderKey, set[str]] = defaultdict(set)
    for slug, value, courier_order_id, identifiers in session.execute(
        select(Identifier.account, Identifier.value, Order.courier_order_id, Order.identifiers)
        .join(Order, Order.id == Identifier.order_id)
        .where(pairs_in(Identifier.account, Identifier.value, list(names_of)))
    ):
        # An order's other names are no ids of messages, and may look like another order's.
        if identifiers.get(COURIERS_ID) == value:
            found[slug, value].add(courier_order_id)
    candidates = [(slug, name) for (slug, _), names in names_of.items() for name in names]
    if candidates:
        columns = (Order.account, Order.courier_order_id)
        rows = session.execute(
            select(*columns).where(pairs_in(*columns, candidates), Order.last_heard_at.is_(None))
        )
        silent = {(slug, name) for slug, name in rows} - {*stored}
        for key, names in names_of.items():
            if key in found:
                continue
            fits = {name for name in names if (key[0], name) in silent}
            found[key] = fits
            if len(fits) == 1:
                silent -= {(key[0], name) for name in fits}
    return {key: next(iter(names)) for key, names in found.items() if len(names) == 1}
