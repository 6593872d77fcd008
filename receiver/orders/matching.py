"""Match what a courier's message is about with the orders that are stored.

An order has several names, and the shop may have registered it under another one than the courier's
messages use, or under two of them: Tiramizoo's messages name an order by its uuid, shops often keep
its identifier or its tracking code. A registered order that no message was about yet is silent: a
message that gives it a name takes it.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import LiteralString

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import array_text, pairs_in
from receiver.db.models import (
    NAME,
    PARKED,
    PENDING,
    REFERENCE,
    Identifier,
    Message,
    Order,
    spelling,
)
from receiver.orders.names import snapshot_names, spell
from receiver.settings import Account

# (account, courier's id)
OrderKey = tuple[str, str]

# The kind of the identifier that holds the id of the courier's messages, where an order has another
# courier_order_id.
COURIERS_ID = "id"

SILENT: LiteralString = f"""
    SELECT asked.account, asked.name, silent.id, silent.courier_order_id
    FROM unnest(%(accounts)s::text[], %(names)s::text[]) AS asked (account, name)
    CROSS JOIN LATERAL (
        SELECT id, courier_order_id FROM orders
        WHERE orders.account = asked.account AND last_heard_at IS NULL
          AND {spelling("courier_order_id")} = {spelling("asked.name")}
        ORDER BY id LIMIT 10
    ) AS silent
"""  # noqa: S608 (all of it stands here)


@dataclass
class GivenNames:
    """The names that messages give an order.

    references: only with a courier that can be polled by the shop's number. With the others it may
    look like the id of another order.
    """

    names: set[str] = field(default_factory=set)
    references: set[str] = field(default_factory=set)

    def add(self, courier: str, snapshot: Snapshot) -> None:
        """Add the names in a snapshot."""
        by_reference = DRIVERS[courier].names_orders_by_reference
        for name, kind in snapshot_names(snapshot):
            if kind == NAME:
                self.names.add(name)
            elif kind == REFERENCE and by_reference:
                self.references.add(name)

    @property
    def all(self) -> set[str]:
        return self.names | self.references


@dataclass(frozen=True, slots=True)
class SilentOrder:
    """An order that the shop registered and that no message was about yet."""

    id: int
    courier_order_id: str


@dataclass
class Matches:
    """Which stored orders messages are about that are not about the order with exactly their id.

    order_ids  per key of messages, the courier_order_id of the stored order
    respelled  of these, the orders whose id was registered in another spelling, by the key
    merged     per (account, courier_order_id) of an order, silent orders that turn out to be it
    """

    order_ids: dict[OrderKey, str] = field(default_factory=dict)
    respelled: dict[OrderKey, int] = field(default_factory=dict)
    merged: dict[OrderKey, list[int]] = field(default_factory=dict)


def find_silent_orders(
    session: Session, given: Mapping[OrderKey, GivenNames]
) -> dict[OrderKey, list[SilentOrder]]:
    """Find the silent orders that were registered under one of the names: by (account, name).

    Left out are those that messages are about by exactly their id.
    """
    asked = {(account, name) for (account, _), names in given.items() for name in names.all}
    found: dict[OrderKey, list[SilentOrder]] = {}
    if asked:
        accounts, names = map(array_text, zip(*asked, strict=True))
        values = {"accounts": accounts, "names": names}
        for row in session.connection().exec_driver_sql(SILENT, values):
            if (row.account, row.courier_order_id) not in given:
                silent = SilentOrder(row.id, row.courier_order_id)
                found.setdefault((row.account, row.name), []).append(silent)
    return found


def match_orders(
    session: Session,
    given: Mapping[OrderKey, GivenNames],
    stored: Collection[OrderKey],
    silent: Mapping[OrderKey, list[SilentOrder]],
) -> Matches:
    """Find out which orders messages are about. given: in the order of the messages.

    stored: the keys that are orders' own. A silent order goes to the first key that it fits, as if
    each message had come by itself. The shop's reference alone never makes two orders one.
    """
    matches = Matches()
    known = _find_by_couriers_id(session, given.keys() - {*stored})
    taken: set[int] = set()

    def fitting(account: str, names: Collection[str]) -> list[SilentOrder]:
        fits = {
            order
            for name in names
            for order in silent.get((account, name), ())
            if order.id not in taken
        }
        return sorted(fits, key=lambda order: order.id)

    for key, names in given.items():
        account, courier_id = key
        fits = fitting(account, names.names)
        own_id = courier_id if key in stored else known.get(key)
        if own_id is None and not fits:
            fits = fitting(account, names.references)
            fits = fits if len(fits) == 1 else []
        if own_id is None and fits:
            kept = min(fits, key=lambda o: (spell(o.courier_order_id) != spell(courier_id), o.id))
            fits.remove(kept)
            taken.add(kept.id)
            own_id = kept.courier_order_id
            if spell(own_id) == spell(courier_id):
                matches.respelled[key] = kept.id
                own_id = courier_id
        if own_id is None:
            continue
        if own_id != courier_id:
            matches.order_ids[key] = own_id
        if fits:
            matches.merged.setdefault((account, own_id), []).extend(order.id for order in fits)
            taken.update(order.id for order in fits)
    return matches


def _find_by_couriers_id(session: Session, keys: Collection[OrderKey]) -> dict[OrderKey, str]:
    """Return the courier_order_id of orders that were found to have a courier's id before."""
    if not keys:
        return {}
    rows = session.execute(
        select(Identifier.account, Identifier.value, Order.courier_order_id, Order.identifiers)
        .join(Order, Order.id == Identifier.order_id)
        .where(pairs_in(Identifier.account, Identifier.value, keys))
    )
    # An order's other names are no ids of messages, and may look like another order's.
    return {
        (account, value): courier_order_id
        for account, value, courier_order_id, identifiers in rows
        if identifiers.get(COURIERS_ID) == value
    }


def is_known(session: Session, account: Account, snapshot: Snapshot) -> bool:
    """Return whether there is an order that a message of a snapshot is about."""
    key = account.slug, snapshot.courier_order_id
    own = select(Order.id).where(Order.account == key[0], Order.courier_order_id == key[1])
    if session.scalar(own) is not None:
        return True
    given = {key: GivenNames()}
    given[key].add(account.driver, snapshot)
    matches = match_orders(session, given, (), find_silent_orders(session, given))
    return key in matches.order_ids or key in matches.respelled


def parked_names(courier: str, snapshot: Snapshot) -> list[str]:
    """Return the spellings of the names by which the shop may register a parked message's order."""
    given = GivenNames()
    given.add(courier, snapshot)
    return sorted(map(spell, given.all))


def release_parked(session: Session, account: str, names: Collection[str]) -> None:
    """Make parked messages pending that are about an order with one of the names."""
    # Messages that an earlier release parked have their names as they were spelled.
    spelled = sorted({*names, *map(spell, names)})
    session.execute(
        update(Message)
        .where(
            Message.account == account,
            Message.outcome == PARKED,
            or_(Message.courier_order_id.in_(names), Message.names.overlap(spelled)),
        )
        .values(outcome=PENDING, reason=None, processed_at=None, retried_at=None)
    )
