"""Find orders by a name or by reference.

Names are looked up in three steps, and a step only where those before it found nothing: the exact
courier's id, the exact further names, the names without regard to capitals, dashes and surrounding
blanks. Further names are the rows of `identifiers`. References have the last two of these steps.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, LiteralString, TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, undefer

from receiver.db.bulk import id_in
from receiver.db.models import NAME, REFERENCE, TOUR, Order, spelling
from receiver.db.pagination import IndexValues, distinct_values, select_pages
from receiver.errors import AmbiguousIdentifier, UnknownOrder
from receiver.orders.names import spell
from receiver.text import storable_name

# How many orders of one reference, or of one ambiguous name, a lookup shows.
MOST_ORDERS = 10
# How many rows of one spelling are read: an order may have a name in several spellings.
MOST_SPELLED = 1000

Name = tuple[str, str]
Key = TypeVar("Key")

# From (account, name) to orders: `order_id`, the newest first within a step. LATERAL, and each with
# a LIMIT, so that the indexes are used whatever PostgreSQL believes of the tables.
_ASKED: LiteralString = "unnest(%(accounts)s::text[], %(names)s::text[]) AS asked (account, name)"
_OWN: LiteralString = """
    SELECT id FROM orders WHERE orders.account = asked.account AND courier_order_id = asked.name
"""
_EXACT: LiteralString = f"""
    SELECT order_id FROM identifiers
    WHERE identifiers.account = asked.account AND value = asked.name AND kind = '{NAME}'
"""  # noqa: S608 (all of it stands here)
_SPELLED: LiteralString = f"""
    SELECT order_id FROM identifiers
    WHERE identifiers.account = asked.account
      AND {spelling("value")} = {spelling("asked.name")} AND {spelling("asked.name")} <> ''
"""  # noqa: S608
STEPS: LiteralString = f"""
    LATERAL (
        ({_OWN} LIMIT 1)
        UNION ALL
        ({_EXACT} AND NOT EXISTS ({_OWN}) ORDER BY order_id DESC LIMIT %(most)s)
        UNION ALL
        (SELECT DISTINCT order_id FROM (
             {_SPELLED} AND kind = '{NAME}' AND NOT EXISTS ({_OWN}) AND NOT EXISTS ({_EXACT})
             ORDER BY order_id DESC LIMIT {MOST_SPELLED}
         ) AS spelled ORDER BY order_id DESC LIMIT %(most)s)
    ) AS found (order_id)
"""  # noqa: S608
FOUND: LiteralString = f"{_ASKED} CROSS JOIN {STEPS}"
IDS: LiteralString = f"SELECT asked.account, asked.name, order_id FROM {FOUND}"  # noqa: S608
# All orders that a name may mean, whatever its spelling, also by the kinds of names that lookups
# leave out.
MEANT: LiteralString = f"""
    SELECT asked.account, asked.name, order_id
    FROM {_ASKED} CROSS JOIN LATERAL (
        SELECT id FROM ({_OWN}) AS own
        UNION
        ({_SPELLED} AND kind = ANY (%(kinds)s::text[])
         ORDER BY order_id DESC LIMIT {MOST_SPELLED})
    ) AS meant (order_id)
"""  # noqa: S608


def find_order(session: Session, account: str, name: str, lock: bool = False) -> Order:
    """Find the one order of an account that has this name, with its polling.

    lock: lock its row until the transaction ends.

    Raises: UnknownOrder; AmbiguousIdentifier where several orders have the name.
    """
    found = _find_ids(session, [(account, name)], MOST_ORDERS + 1)
    orders = load_orders(session, [order_id for _, order_id in found], lock and len(found) == 1)
    refuse_other_than_one(list(orders.values()), account, name)
    return next(iter(orders.values()))


def find_orders(session: Session, names: Collection[Name]) -> dict[Name, list[Order]]:
    """Find the orders of each (account, name), as find_order() does; what has none is left out.

    Where several orders have a name, all are returned, the newest first: up to MOST_ORDERS, and
    one more where there are more.
    """
    return _group(session, _find_ids(session, names, MOST_ORDERS + 1))


def find_orders_by_reference(
    session: Session, references: Collection[str], left_out: Collection[str] = ()
) -> dict[str, list[Order]]:
    """Find the orders of each reference, the newest first: up to MOST_ORDERS, and one more.

    left_out: without the orders of these accounts.
    """
    wanted: IndexValues = {Order.reference: sorted(set(references))}
    conditions = [Order.account.not_in(left_out)] if left_out else []
    ids = select_pages(Order.id, wanted, MOST_ORDERS + 1, *conditions)
    found = [(reference, order_id) for reference, order_id in session.execute(ids)]
    if missing := {*references} - {reference for reference, _ in found}:
        found += find_ids_of_spelled_references(session, missing, left_out)
    return {
        reference: orders[: MOST_ORDERS + 1] for reference, orders in _group(session, found).items()
    }


def find_ids_of_spelled_references(
    session: Session, references: Collection[str], left_out: Collection[str] = ()
) -> list[tuple[str, int]]:
    """Return the pairs of a reference and the id of each order that has it in some spelling.

    left_out: without the orders of these accounts.
    """
    accounts = {*distinct_values(session, Order.account)} - {*left_out}
    pairs = [(account, reference) for account in accounts for reference in references]
    meant = [
        (reference, order_id)
        for (_, reference), order_id in find_meant(session, pairs, (NAME, REFERENCE))
    ]
    if not meant:
        return []
    # An identifier may be a reference that the order has no more, or its name.
    rows = select(Order.id, Order.reference).where(id_in(Order.id, {each for _, each in meant}))
    spelled = {order_id: spell(name) for order_id, name in session.execute(rows) if name}
    return [(name, order_id) for name, order_id in meant if spelled.get(order_id) == spell(name)]


def find_orders_of_accounts(
    session: Session, names: Collection[str], left_out: Collection[str] = ()
) -> dict[str, list[Order]]:
    """Find the orders of each name in all accounts but those left out, as find_orders() does."""
    ids = find_ids_of_accounts(session, names, MOST_ORDERS + 1, left_out=left_out)
    return _group(session, ids)


def find_ids_of_accounts(
    session: Session,
    names: Collection[str],
    most: int,
    account: str | None = None,
    left_out: Collection[str] = (),
) -> list[tuple[str, int]]:
    """Return the pairs of a name and an order's id.

    account: None for all accounts but those left out.
    """
    accounts = [account] if account is not None else distinct_values(session, Order.account)
    pairs = {(each, name) for each in accounts if each not in left_out for name in names}
    return [(name, order_id) for (_, name), order_id in _find_ids(session, pairs, most)]


def find_meant(
    session: Session, names: Collection[Name], kinds: Collection[str] = (NAME, REFERENCE, TOUR)
) -> list[tuple[Name, int]]:
    """Return the pairs of an (account, name) and the id of each order that it may mean."""
    return _fetch_ids(session, MEANT, names, kinds=list(kinds))


def load_orders(
    session: Session, ids: Collection[int], lock: bool = False, details: bool = False
) -> Mapping[int, Order]:
    """Load orders by their ids, with their polling.

    lock: lock their rows until the transaction ends, in the order of the ids.
    details: load what is loaded only when it is used otherwise, too.
    """
    if not ids:
        return {}
    rows = select(Order).options(joinedload(Order.poll)).where(id_in(Order.id, ids))
    if lock:
        # An order that was loaded before is not shown as it was before it was locked.
        rows = rows.order_by(Order.id).with_for_update(of=Order, key_share=True)
        rows = rows.execution_options(populate_existing=True)
    if details:
        rows = rows.options(undefer(Order.details))
    return {order.id: order for order in session.scalars(rows)}


def _find_ids(session: Session, names: Collection[Name], most: int) -> list[tuple[Name, int]]:
    return _fetch_ids(session, IDS, names, most=most)


def _fetch_ids(
    session: Session, statement: LiteralString, names: Collection[Name], **values: Any
) -> list[tuple[Name, int]]:
    given: dict[Name, list[Name]] = defaultdict(list)
    for name in names:
        given[storable_name(name[0]), storable_name(name[1])].append(name)
    if not given:
        return []
    accounts, texts = map(list, zip(*given, strict=True))
    values |= {"accounts": accounts, "names": texts}
    rows = session.connection().exec_driver_sql(statement, values)
    return [(name, order_id) for account, text, order_id in rows for name in given[account, text]]


def _group(session: Session, pairs: Iterable[tuple[Key, int]]) -> dict[Key, list[Order]]:
    ids: dict[Key, set[int]] = defaultdict(set)
    for key, order_id in pairs:
        ids[key].add(order_id)
    orders = load_orders(session, {order_id for each in ids.values() for order_id in each})
    return {
        key: [orders[order_id] for order_id in sorted(found, reverse=True) if order_id in orders]
        for key, found in ids.items()
    }


def refuse_other_than_one(orders: Sequence[Any], account: str, name: str) -> None:
    """Raises: UnknownOrder; AmbiguousIdentifier."""
    if not orders:
        raise UnknownOrder(f"account {account!r} has no order {name!r}")
    if len(orders) > 1:
        ids = ", ".join(sorted(repr(order.courier_order_id) for order in orders[:MOST_ORDERS]))
        more = " and more" if len(orders) > MOST_ORDERS else ""
        raise AmbiguousIdentifier(
            f"several orders of account {account!r} have the name {name!r}:"
            f" use the courier_order_id of one: {ids}{more}"
        )
