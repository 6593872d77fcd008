"""The names of an order: the courier's id, its further identifiers, its parcels, and references."""

from collections.abc import Collection, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import id_in, insert_rows
from receiver.db.locks import take_lock, try_lock
from receiver.db.models import NAME, REFERENCE, SAMPLE_SPELLING, TOUR, Identifier
from receiver.db.order_state import AnyOrder
from receiver.orders import details
from receiver.text import storable_name

# A detail, and not a column: only tour plans need it.
TOUR_DETAIL = "tour_identifier"

KEEP_FIRST_KIND = """(account, value, order_id) DO UPDATE SET kind = excluded.kind
    WHERE excluded.kind < known.kind
"""

# A name and its kind.
NameOfKind = tuple[str, str]


def spell(name: str) -> str:
    """Return what a name has in common with its other spellings, as spelling() does in SQL."""
    return name.strip(" ").replace("-", "").lower()


def is_sample(name: str) -> bool:
    """Return whether a name is reserved for sample orders, such as ORDERTRAIL-SAMPLE-1.

    An order is a sample where its courier_order_id is such a name, and nothing else makes it one.
    A sample has no other names than these, and other orders have none of them: so no message can
    make a sample of another order, and no sample is found by a name of another order.
    """
    # The first letter is looked at first: every name of every message is asked about.
    return name.lstrip(" -")[:1] in "oO" and spell(name).startswith(SAMPLE_SPELLING)


def find_reference(order: AnyOrder, known: details.KnownDetails) -> str | None:
    """Return the reference of an order: the shop's own, or what its courier reported.

    A sample that was reported under the reference of another order does not show it.
    """
    reported: str | None = details.detail_value(known, "reference")
    if reported and is_sample(order.courier_order_id) and not is_sample(reported):
        reported = None
    return order.shop_reference or reported


def snapshot_names(snapshot: Snapshot) -> set[NameOfKind]:
    """Return the names of an order that a snapshot gives."""
    names = {snapshot.courier_order_id, *snapshot.identifiers.values(), *snapshot.parcels}
    given = {
        *((name, NAME) for name in names),
        *([(snapshot.reference, REFERENCE)] if snapshot.reference else []),
        *([(tour, TOUR)] if (tour := snapshot.details.get(TOUR_DETAIL)) else []),
    }
    return _keep_own(snapshot.courier_order_id, given)


def current_names(order: AnyOrder) -> set[NameOfKind]:
    """Return the names that an order has now; it may have had others before."""
    known = order.details or {}
    names = {order.courier_order_id, *order.identifiers.values(), *known.get("parcels", {})}
    references = {order.reference, order.shop_reference, details.detail_value(known, "reference")}
    tour = details.detail_value(known, TOUR_DETAIL)
    current = {
        *((name, NAME) for name in names),
        *((reference, REFERENCE) for reference in references if reference),
        *([(tour, TOUR)] if tour else []),
    }
    return _keep_own(order.courier_order_id, current)


def _keep_own(courier_order_id: str, names: set[NameOfKind]) -> set[NameOfKind]:
    """Leave out names that only a sample may have; or those that a sample may not."""
    kept = is_sample(courier_order_id)
    return {(name, kind) for name, kind in names if is_sample(name) is kept}


def store_names(session: Session, names: Iterable[tuple[AnyOrder, Collection[NameOfKind]]]) -> None:
    """Store names of orders."""
    rows: dict[tuple[str, str, int], str] = {}
    for order, given in names:
        for name, kind in given:
            key = order.account, name, order.id
            rows[key] = min(kind, rows.get(key, kind))
    columns = ("account", "value", "order_id", "kind")
    sorted_rows = [dict(zip(columns, (*key, rows[key]), strict=True)) for key in sorted(rows)]
    insert_rows(session, Identifier, sorted_rows, KEEP_FIRST_KIND)


def list_names(session: Session, orders: Collection[AnyOrder]) -> dict[int, set[str]]:
    """Return every name that each order ever had, references included, by the order's id."""
    stored = select(Identifier.order_id, Identifier.value).where(
        id_in(Identifier.order_id, [order.id for order in orders]), Identifier.kind != TOUR
    )
    names = {order.id: {order.courier_order_id} for order in orders}
    for order_id, name in session.execute(stored):
        names[order_id].add(name)
    return names


def lock_names(session: Session, accounts: Collection[str], registering: bool) -> None:
    """Keep a registration and a message from creating one order twice, under two names.

    Two concurrent transactions would not see each other's rows: there would be two orders for
    good, or a message parked just after the registration that should release it. Transactions that
    only fold share the lock. Must be called before any row of an order is locked.
    """
    for account in sorted(accounts):
        take_lock(session, _names_lock(account), shared=not registering)


def lock_names_if_free(session: Session, accounts: Collection[str]) -> set[str]:
    """Do what lock_names() does for folding, without waiting for a registration.

    Return the accounts in which an order is being registered now: their names are not locked.
    """
    return {slug for slug in sorted(accounts) if not try_lock(session, _names_lock(slug), True)}


def _names_lock(account: str) -> str:
    return f"names of {storable_name(account)}"
