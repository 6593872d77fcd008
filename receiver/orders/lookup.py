"""Many orders at once, by reference or by name, in a few statements however many they are."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

from sqlalchemy import Text, cast, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session, joinedload

from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import Identifier, Order
from receiver.db.pagination import each

# How many orders of one reference, or of one ambiguous identifier, a lookup shows.
MOST_ORDERS = 10

Name = tuple[str, str]
Key = TypeVar("Key")


def by_reference(session: Session, references: Collection[str]) -> dict[str, list[Order]]:
    """The orders of each reference, the newest first, one more than MOST_ORDERS where there are."""
    found = each(Order.id, {Order.reference: sorted(set(references))}, MOST_ORDERS + 1)
    rows = session.execute(found)
    return _load(session, [(reference, order_id) for reference, order_id in rows])


def by_name(session: Session, names: Collection[Name]) -> dict[Name, list[Order]]:
    """The orders of each (account, courier_order_id or further identifier).

    As with `find`, the courier's own id counts over identifiers; several orders of one identifier
    are all there, the newest first, one more than MOST_ORDERS where there are.
    """
    own = select(Order.account, Order.courier_order_id, Order.id).where(
        pairs_in(Order.account, Order.courier_order_id, names)
    )
    found = {(account, name): order_id for account, name, order_id in session.execute(own)}
    pairs = list(found.items())
    if others := set(names) - found.keys():
        accounts, values = (cast(list(told), ARRAY(Text)) for told in zip(*others, strict=True))
        asked = (
            func.unnest(accounts, values).table_valued("account", "value").render_derived("asked")
        )
        page = (
            select(Identifier.order_id)
            .where(Identifier.account == asked.c.account, Identifier.value == asked.c.value)
            .order_by(Identifier.order_id.desc())
            .limit(MOST_ORDERS + 1)
            .lateral("page")
        )
        rows = session.execute(
            select(asked.c.account, asked.c.value, page.c.order_id).select_from(
                asked.join(page, true())
            )
        )
        pairs += [((account, value), order_id) for account, value, order_id in rows]
    return _load(session, pairs)


def _load(session: Session, pairs: Iterable[tuple[Key, int]]) -> dict[Key, list[Order]]:
    ids: dict[Key, list[int]] = defaultdict(list)
    for key, order_id in pairs:
        ids[key].append(order_id)
    orders = load(session, {order_id for each in ids.values() for order_id in each})
    return {
        key: [orders[order_id] for order_id in sorted(each, reverse=True) if order_id in orders]
        for key, each in ids.items()
    }


def load(session: Session, ids: Collection[int]) -> Mapping[int, Order]:
    """Orders by their ids, as the API shows them."""
    if not ids:
        return {}
    rows = select(Order).options(joinedload(Order.poll)).where(id_in(Order.id, ids))
    return {order.id: order for order in session.scalars(rows)}
