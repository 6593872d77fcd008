"""Erase the bodies of messages that could not be read and that name an erased order.

Such a message is quarantined (or was, and is discarded), so it is not known which order it is
about, and its body is kept until somebody deals with it. A body is searched for the JSON keys under
which its courier names an order (IdentifierKeys), and erased where one of them has one of the
order's names as its value. Keys matter: an order whose id is `41` is named by `"id": 41`, and not
by `"quantity": 41`.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from receiver.db.bulk import id_in
from receiver.db.models import DISCARDED, QUARANTINED, Message, Order
from receiver.orders.find import select_ids_by_any_name
from receiver.orders.names import courier_reference
from receiver.settings import Account

UNREAD = (QUARANTINED, DISCARDED)
ERASED = "its body was erased with the personal data of an order that it names"

# What may be a name in a body that is not JSON, and how many of them are looked up.
WORD = re.compile(rb"[\w./:@+-]+")
MOST_NAMES = 2_000
SURROGATE = re.compile("[\ud800-\udfff]")

# How many bodies are in memory at once.
ROWS = 20

# The names of an order, by the JSON key that would have them.
NamesByKey = Mapping[str, Collection[str]]


def erase_unread_bodies(
    sessions: sessionmaker[Session], order: Order, field_map: Mapping[str, Any]
) -> None:
    """Erase the bodies of the account's unread messages that name an order.

    No message is locked while bodies are searched, and one that was retried meanwhile is left to
    the workers, who erase it themselves.
    """
    names = names_by_key(order, field_map)
    unread = select(Message.id, Message.body).where(
        Message.account == order.account,
        Message.outcome.in_(UNREAD),
        Message.body.is_not(None),
    )
    with sessions() as session:
        rows = session.execute(unread.execution_options(yield_per=ROWS))
        naming = [message_id for message_id, body in rows if body and is_named(body, names)]
    with sessions.begin() as session:
        _erase_bodies(session, naming)


def erase_if_named_order_is_erased(
    sessions: sessionmaker[Session], account: Account, message_id: int, body: bytes
) -> None:
    """Erase the body of a message that was just quarantined, if it names an erased order."""
    with sessions.begin() as session:
        if names_erased_order(session, account, body):
            _erase_bodies(session, [message_id])


def _erase_bodies(session: Session, message_ids: Collection[int]) -> None:
    unread = (id_in(Message.id, message_ids), Message.outcome.in_(UNREAD))
    locked = select(Message.id).where(*unread).order_by(Message.id).with_for_update()
    session.execute(update(Message).where(Message.id.in_(locked)).values(body=None, reason=ERASED))


def names_erased_order(session: Session, account: Account, body: bytes) -> bool:
    """Return whether a body names an order of the account whose personal data is erased."""
    keys = DRIVERS[account.driver].identifier_keys_with(account.field_map)
    if pairs := _read_pairs(body):
        candidates = [text for key, text in pairs if key in keys.order | keys.reference]
    else:
        candidates = [word.decode() for word in WORD.findall(body)]
    # Half a surrogate pair is in no name that we store.
    names = [name for name in dict.fromkeys(candidates) if not SURROGATE.search(name)]
    wanted = [(account.slug, name) for name in names[:MOST_NAMES]]
    if not wanted:
        return False
    named = Order.id.in_(select_ids_by_any_name(wanted))
    erased = select(Order).where(named, Order.erased_at.is_not(None))
    return any(
        is_named(body, names_by_key(order, account.field_map)) for order in session.scalars(erased)
    )


def names_by_key(order: Order, field_map: Mapping[str, Any]) -> NamesByKey:
    """Return under which JSON keys a body would have which names of an order.

    The driver is the order's own, since its account may be switched off; if that driver is gone
    from the code too, the keys of all drivers count.
    """
    ids = {order.courier_order_id, *order.identifiers.values()}
    references = {order.reference, order.shop_reference, courier_reference(order)} - {None, ""}
    names: dict[str, set[Any]] = defaultdict(set)
    driver = DRIVERS.get(order.courier)
    for candidate in [driver] if driver else DRIVERS.values():
        keys = candidate.identifier_keys_with(field_map)
        all_names = ids | references if candidate.names_orders_by_reference else set()
        for key in keys.order:
            names[key] |= ids | all_names
        for key in keys.reference:
            names[key] |= references | all_names
    return names


def is_named(body: bytes, names: NamesByKey) -> bool:
    """Return whether a body has one of the names under its key, at any depth.

    JSON is read more leniently than from a courier: duplicate keys all count, and numbers count by
    their text. A body that is not JSON, or has no key with a text, names an order where one of the
    names is anywhere in its bytes, plain or escaped. That may erase a body of another order, which
    is better than to keep the address of somebody who was told that it is gone.
    """
    if pairs := _read_pairs(body):
        return any(text in names.get(key, ()) for key, text in pairs)
    all_names = {name for values in names.values() for name in values}
    forms = {form for name in all_names for form in (name, json.dumps(name)[1:-1])}
    return any(form.encode() in body for form in forms)


def _read_pairs(body: bytes) -> list[tuple[str, str]]:
    """Return every key of a JSON body with its text, or with each text of its list; else nothing.

    Without U+0000, as we store texts.
    """
    found: list[tuple[str, str]] = []

    def collect(pairs: list[tuple[str, Any]]) -> None:
        for key, value in pairs:
            texts = value if isinstance(value, list) else [value]
            found.extend((key, text) for text in texts if isinstance(text, str))

    try:
        json.loads(
            body, object_pairs_hook=collect, parse_int=str, parse_float=str, parse_constant=str
        )
    except (ValueError, RecursionError):
        return []
    return [(key.replace("\x00", ""), text.replace("\x00", "")) for key, text in found]
