"""Finds the order that each snapshot of a batch is about (receiver/orders/matching.py)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import pairs_in
from receiver.db.models import Message, Order
from receiver.db.order_state import OrderState
from receiver.orders.matching import (
    COURIERS_ID,
    GivenNames,
    OrderKey,
    find_silent_orders,
    match_orders,
)
from receiver.orders.names import lock_names
from receiver.settings import Account
from workers.folding.order_store import ConcurrentChange


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
    respelled    of those stored, orders whose id was registered in another spelling, with the
                 courier's
    merged       per order, the ids of registered orders that turn out to be the same
    parked       snapshots that wait until the shop registers their order
    unrequested  poll answers about orders that are not stored
    """

    by_order: dict[OrderKey, list[ReceivedSnapshot]]
    order_ids: dict[OrderKey, int]
    renamed: dict[int, str] = field(default_factory=dict)
    respelled: dict[int, str] = field(default_factory=dict)
    merged: dict[OrderKey, list[int]] = field(default_factory=dict)
    parked: list[ReceivedSnapshot] = field(default_factory=list)
    unrequested: list[ReceivedSnapshot] = field(default_factory=list)


def assign_snapshots(
    session: Session, received: Sequence[ReceivedSnapshot], accounts: Mapping[str, Account]
) -> AssignedSnapshots:
    """Find the order of each snapshot. received: in the order of the messages."""
    by_order = _group_by_order(received)
    ids = _find_ids(session, by_order)
    given: dict[OrderKey, GivenNames] = {key: GivenNames() for key in by_order}
    for item in received:
        given[item.order_key].add(accounts[item.message.account].driver, item.snapshot)
    if unknown := by_order.keys() - ids.keys():
        # Under the lock, which a registration that was just committed has released. All accounts at
        # once: a batch of registrations locks several as well, and both must do it in one order.
        lock_names(session, {account for account, _ in by_order}, False)
        ids |= _find_ids(session, unknown)
    silent = find_silent_orders(session, given)
    if silent and not unknown:
        lock_names(session, {account for account, _ in silent}, False)
        silent = find_silent_orders(session, given)
    matches = match_orders(session, given, ids.keys(), silent)
    assigned = AssignedSnapshots(by_order, ids, merged=matches.merged)
    assigned.respelled = {order_id: name for (_, name), order_id in matches.respelled.items()}
    ids |= matches.respelled
    if names := matches.order_ids:
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
    parked = sorted(key for key in unknown - unrequested if accounts[key[0]].parks_unknown_orders)
    assigned.parked = [item for key in parked for item in by_order.pop(key)]
    assigned.unrequested = [item for key in sorted(unrequested) for item in by_order.pop(key)]
    return assigned


def check_assignment(assigned: AssignedSnapshots, locked: Iterable[OrderState]) -> None:
    """Check that snapshots still belong to the orders that are locked now.

    Raises: ConcurrentChange where another worker's snapshot of another id took the order meanwhile.
    """
    orders = {order.order_key: order for order in locked}
    silent = {order.id for order in locked if order.last_heard_at is None}
    if not silent.issuperset([*assigned.respelled, *chain(*assigned.merged.values())]):
        raise ConcurrentChange
    for item in (item for items in assigned.by_order.values() for item in items):
        if item.courier_id is not None:
            order = orders.get(item.order_key)
            if order is None:
                raise ConcurrentChange
            if order.last_heard_at and order.identifiers.get(COURIERS_ID) != item.courier_id:
                raise ConcurrentChange


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
