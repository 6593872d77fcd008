"""Find orders: by a name that the courier gave, by reference, or by the beginning of either."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, LiteralString, TypeVar

from sqlalchemy import ColumnElement, CompoundSelect, select, true, union
from sqlalchemy.orm import Session, joinedload

from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import Identifier, Order
from receiver.db.pagination import begin_consistent_read, distinct_values, select_pages
from receiver.errors import AmbiguousIdentifier, UnknownOrder

# How many orders of one reference, or of one ambiguous name, a lookup shows.
MOST_ORDERS = 10

# A search by the beginning of a name: how many rows of an index are read, how many orders are
# returned, and how many characters the beginning must have.
ROWS_READ = 50
MOST_BEGINNING = 20
LEAST_CHARACTERS = 3
MOST_CHARACTERS = 255

Name = tuple[str, str]
Key = TypeVar("Key")

# From names to the ids of their orders. The courier's own id comes first: only where no order has
# it, further names are looked up, the newest order first. LATERAL, and each with a LIMIT, so that
# the indexes are used whatever PostgreSQL believes of the tables.
FOUND: LiteralString = """
    unnest(%(accounts)s::text[], %(names)s::text[]) AS asked (account, name)
    CROSS JOIN LATERAL (
        (SELECT id AS order_id, TRUE AS by_own_id FROM orders
         WHERE orders.account = asked.account AND courier_order_id = asked.name LIMIT 1)
        UNION ALL
        (SELECT order_id, FALSE FROM identifiers
         WHERE identifiers.account = asked.account AND value = asked.name
           AND NOT EXISTS (SELECT FROM orders AS own WHERE own.account = asked.account
                           AND own.courier_order_id = asked.name)
         ORDER BY order_id DESC LIMIT %(most)s)
    ) AS found
"""
IDS: LiteralString = f"SELECT asked.account, asked.name, order_id FROM {FOUND}"  # noqa: S608


def find_order(session: Session, account: str, name: str, lock: bool = False) -> Order:
    """Find the one order of an account that has this name, with its polling.

    lock: lock its row until the transaction ends.

    Raises: UnknownOrder; AmbiguousIdentifier where several orders have the name.
    """
    refuse_nul(account, name)
    ids = [order_id for _, order_id in _find_ids(session, [(account, name)], 2)]
    orders = load_orders(session, ids, lock)
    refuse_other_than_one(len(orders), account, name)
    return next(iter(orders.values()))


def find_orders(session: Session, names: Collection[Name]) -> dict[Name, list[Order]]:
    """Find the orders of each (account, name), as find_order() does; what has none is left out.

    Where several orders have a name, all are returned, the newest first: up to MOST_ORDERS, and
    one more where there are more.
    """
    return _group(session, _find_ids(session, names, MOST_ORDERS + 1))


def find_orders_by_reference(
    session: Session, references: Collection[str]
) -> dict[str, list[Order]]:
    """Find the orders of each reference, the newest first: up to MOST_ORDERS, and one more."""
    ids = select_pages(Order.id, {Order.reference: sorted(set(references))}, MOST_ORDERS + 1)
    return _group(session, ((reference, order_id) for reference, order_id in session.execute(ids)))


def select_ids_by_any_name(names: Collection[Name]) -> CompoundSelect[int]:
    """Select the ids of all orders with one of the (account, name), the reference included."""
    account = Order.account
    return union(
        select(Order.id).where(pairs_in(account, Order.courier_order_id, names)),
        select(Order.id).where(pairs_in(account, Order.reference, names)),
        select(Identifier.order_id).where(pairs_in(Identifier.account, Identifier.value, names)),
    )


def load_orders(session: Session, ids: Collection[int], lock: bool = False) -> Mapping[int, Order]:
    """Load orders by their ids, with their polling."""
    if not ids:
        return {}
    rows = select(Order).options(joinedload(Order.poll)).where(id_in(Order.id, ids))
    if lock:
        # An order that was loaded before is not shown as it was before it was locked.
        rows = rows.with_for_update(of=Order, key_share=True).execution_options(
            populate_existing=True
        )
    return {order.id: order for order in session.scalars(rows)}


def _find_ids(session: Session, names: Collection[Name], most: int) -> list[tuple[Name, int]]:
    if not names:
        return []
    accounts, values = map(list, zip(*set(names), strict=True))
    asked = {"accounts": accounts, "names": values, "most": most}
    rows = session.connection().exec_driver_sql(IDS, asked)
    return [((account, name), order_id) for account, name, order_id in rows]


def _group(session: Session, pairs: Iterable[tuple[Key, int]]) -> dict[Key, list[Order]]:
    ids: dict[Key, list[int]] = defaultdict(list)
    for key, order_id in pairs:
        ids[key].append(order_id)
    orders = load_orders(session, {order_id for each in ids.values() for order_id in each})
    return {
        key: [orders[order_id] for order_id in sorted(found, reverse=True) if order_id in orders]
        for key, found in ids.items()
    }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """Orders that have a name, and orders with a name that begins with it, the newest first.

    more: whether more orders have exactly this name.
    """

    exact: list[Order]
    more: bool
    beginning: list[Order]


def search_orders(session: Session, text: str) -> SearchResult:
    """Find orders of all accounts by a name or its beginning. Must begin the transaction."""
    if not 0 < len(text) <= MOST_CHARACTERS or "\x00" in text:
        return SearchResult([], False, [])
    begin_consistent_read(session)
    accounts = distinct_values(session, Order.account)
    groups = [
        *find_orders_by_reference(session, [text]).values(),
        *find_orders(session, [(account, text) for account in accounts]).values(),
    ]
    exact = {order.id: order for group in groups for order in group}
    beginning = _find_beginning(session, text, accounts) if len(text) >= LEAST_CHARACTERS else set()
    newest = sorted(beginning - exact.keys(), reverse=True)[:MOST_BEGINNING]
    loaded = load_orders(session, newest)
    return SearchResult(
        [exact[order_id] for order_id in sorted(exact, reverse=True)][:MOST_ORDERS],
        len(exact) > MOST_ORDERS,
        [loaded[order_id] for order_id in newest],
    )


def _find_beginning(session: Session, text: str, accounts: list[str]) -> set[int]:
    """Return the ids of the rows that begin with the text, among the next rows of each index.

    The database's collation may sort other rows between them, so only those that are read are
    found; an index for prefixes would cost every write.
    """
    indexes: list[tuple[Any, Any, ColumnElement[bool]]] = [(Order.reference, Order.id, true())]
    for account in accounts:
        indexes += [
            (Order.courier_order_id, Order.id, Order.account == account),
            (Identifier.value, Identifier.order_id, Identifier.account == account),
        ]
    found: set[int] = set()
    for column, order_id, condition in indexes:
        following = select(column, order_id).where(condition, column >= text)
        rows = session.execute(following.order_by(column).limit(ROWS_READ))
        found |= {row[1] for row in rows if row[0].startswith(text)}
    return found


def refuse_nul(account: str, name: str) -> None:
    """PostgreSQL stores no such text. Raises: UnknownOrder."""
    if "\x00" in account + name:
        raise UnknownOrder("no order has an id that contains U+0000")


def refuse_other_than_one(count: int, account: str, name: str) -> None:
    """Raises: UnknownOrder; AmbiguousIdentifier."""
    if not count:
        raise UnknownOrder(f"account {account!r} has no order {name!r}")
    if count > 1:
        raise AmbiguousIdentifier(
            f"several orders of account {account!r} have the identifier {name!r}:"
            " use the courier_order_id of one"
        )
