"""Orders by whatever somebody has at hand: the shop's reference, or any name of the courier's.

First the orders that have exactly this name. Then those with a name that begins with it, as far as
the indexes that there are anyway give them at once: a few rows are read from where the name would
stand, in the database's own alphabet, and those that do begin with it are shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from receiver.db.models import Identifier, Order
from receiver.db.pagination import begin_consistent_read, distinct_values
from receiver.orders.find import (
    MOST_ORDERS,
    find_orders,
    find_orders_by_reference,
    load_orders,
)

# How many rows of an index are looked at, and how many orders that begin with a name are shown.
LOOKED_AT = 50
MOST_SHOWN = 20
# With fewer characters nearly everything would begin with it.
LEAST_CHARACTERS = 3
MOST_CHARACTERS = 255


@dataclass(frozen=True, slots=True)
class Found:
    """Orders of this very name, and such with one that begins with it, the newest first.

    more: whether there are others of this very name.
    """

    exact: list[Order]
    more: bool
    beginning: list[Order]


def search(session: Session, name: str) -> Found:
    """Orders that go by a name, or by one that begins with it. The session's first statements."""
    if not 0 < len(name) <= MOST_CHARACTERS or "\x00" in name:
        return Found([], False, [])
    begin_consistent_read(session)
    accounts = distinct_values(session, Order.account)
    groups = [find_orders_by_reference(session, [name]).get(name, [])]
    if accounts:
        groups += find_orders(session, [(account, name) for account in accounts]).values()
    exact = {order.id: order for group in groups for order in group}
    ids: set[int] = set()
    if len(name) >= LEAST_CHARACTERS:
        ids = set(_beginning(session, name, accounts)) - exact.keys()
    newest = sorted(ids, reverse=True)[:MOST_SHOWN]
    loaded = load_orders(session, newest)
    return Found(
        [exact[order_id] for order_id in sorted(exact, reverse=True)][:MOST_ORDERS],
        len(exact) > MOST_ORDERS,
        [loaded[order_id] for order_id in newest],
    )


def _beginning(session: Session, name: str, accounts: list[str]) -> Iterator[int]:
    yield from _from_there(session, name, Order.reference, Order.id)
    for account in accounts:
        own, others = Order.account == account, Identifier.account == account
        yield from _from_there(session, name, Order.courier_order_id, Order.id, own)
        yield from _from_there(session, name, Identifier.value, Identifier.order_id, others)


def _from_there(
    session: Session,
    name: str,
    column: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
    order_id: InstrumentedAttribute[int],
    *conditions: ColumnElement[bool],
) -> list[int]:
    near = select(column, order_id).where(*conditions, column >= name)
    rows = session.execute(near.order_by(column).limit(LOOKED_AT))
    return [row[1] for row in rows if str(row[0]).startswith(name)]
