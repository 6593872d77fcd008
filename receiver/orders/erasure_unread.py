"""Messages that could not be read: which of them name an order whose personal data is erased.

They are quarantined, or were and are discarded, and it is not known of which order they are; what
they hold is kept until somebody deals with them. So a body is looked through for the keys under
which its courier names an order (couriers.base.Keys), and goes only where one of them has this
order's name. So does one that cannot be read after that.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import select, text, union, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import DISCARDED, QUARANTINED, Identifier, Message, Order
from receiver.orders import details
from receiver.settings import Account

UNREAD = (QUARANTINED, DISCARDED)
ERASED = "its body was erased with the personal data of an order that it names"

# What may be a name where a body is no JSON, and how many of them are looked up.
MAYBE = re.compile(rb"[\w./:@+-]+")
MOST_NAMES = 2_000
SURROGATE = re.compile("[\ud800-\udfff]")

# What is looked through at once: so many rows, and of their bodies no more than a few large ones.
ROWS = 300
BYTES = 8 * 1024 * 1024

STRETCH = text("""
    SELECT id, body FROM (
        SELECT id, body, sum(size) OVER (ORDER BY id) - size AS before FROM (
            SELECT id, body, coalesce(octet_length(body), 0) AS size FROM messages
            WHERE account = :account AND outcome = :outcome AND id > :after
            ORDER BY id LIMIT :rows) AS stretch) AS measured
    WHERE before < :bytes ORDER BY id
""")

# The names of an order, by the key under which a body would have them.
Names = Mapping[str, Collection[str]]


def forget_unread(
    sessions: sessionmaker[Session], order: Order, field_map: Mapping[str, Any]
) -> None:
    """Forget the bodies of the account's unread messages that name an order.

    A stretch at a time, each in a transaction of its own: nothing is held while bodies are looked
    through, and a message that somebody sent back to the workers meanwhile is left to them.
    """
    names = names_of(order, field_map)
    for outcome in UNREAD:
        after = 0
        while stretch := _stretch(sessions, order.account, outcome, after):
            after = stretch[-1][0]
            naming = [message_id for message_id, body in stretch if body and is_named(body, names)]
            if naming:
                with sessions.begin() as session:
                    _forget(session, naming)


def _stretch(
    sessions: sessionmaker[Session], account: str, outcome: str, after: int
) -> list[tuple[int, bytes | None]]:
    values = {"account": account, "outcome": outcome, "after": after, "rows": ROWS, "bytes": BYTES}
    with sessions.begin() as session:
        return [(message_id, body) for message_id, body in session.execute(STRETCH, values)]


def _forget(session: Session, message_ids: Collection[int]) -> None:
    still_unread = (id_in(Message.id, message_ids), Message.outcome.in_(UNREAD))
    locked = select(Message.id).where(*still_unread).order_by(Message.id).with_for_update()
    session.execute(update(Message).where(Message.id.in_(locked)).values(body=None, reason=ERASED))


def forget_where_erased(
    sessions: sessionmaker[Session], contract: Account, message_id: int, body: bytes
) -> None:
    """Forget the body of a message, just quarantined, that names an order without personal data."""
    with sessions.begin() as session:
        if names_erased(session, contract, body):
            _forget(session, [message_id])


def names_erased(session: Session, contract: Account, body: bytes) -> bool:
    """Whether a body names an order of the account whose personal data is erased."""
    keys = DRIVERS[contract.driver].identifier_keys_with(contract.field_map)
    wanted = [(contract.slug, it) for it in _names_in(body, keys.order | keys.reference)]
    if not wanted:
        return False
    named = union(
        select(Order.id).where(pairs_in(Order.account, Order.courier_order_id, wanted)),
        select(Order.id).where(pairs_in(Order.account, Order.reference, wanted)),
        select(Identifier.order_id).where(pairs_in(Identifier.account, Identifier.value, wanted)),
    )
    erased = select(Order).where(Order.id.in_(named), Order.erased_at.is_not(None))
    return any(
        is_named(body, names_of(order, contract.field_map)) for order in session.scalars(erased)
    )


def _names_in(body: bytes, keys: Collection[str]) -> list[str]:
    """What may be names of orders in a body, as is_named reads it."""
    if pairs := _pairs(body):
        names = dict.fromkeys(
            it for key, value in pairs if _kept(key) in keys for it in _texts(value)
        )
    else:
        names = dict.fromkeys(word.decode() for word in MAYBE.findall(body))
    # Half a surrogate pair is in no name that we keep.
    return [it for it in names if it.isascii() or not SURROGATE.search(it)][:MOST_NAMES]


def names_of(order: Order, field_map: Mapping[str, Any]) -> Names:
    """Under which keys a body would have which names of an order.

    The shop's own number is kept apart from the courier's names unless the courier can be asked by
    it: with the others it may look like another order's id. The driver is the order's own, since
    its account may be switched off; where that is gone from the code too, any driver's keys count.
    """
    own = {order.courier_order_id, *order.identifiers.values()}
    told = details.detail_value(order.details or {}, "reference")
    references = {it for it in (order.reference, order.shop_reference, told) if it}
    names: dict[str, set[str]] = defaultdict(set)
    driver = DRIVERS.get(order.courier)
    for it in [driver] if driver else DRIVERS.values():
        keys = it.identifier_keys_with(field_map)
        together = own | references if it.names_orders_by_reference else set()
        for key in keys.order:
            names[key] |= own | together
        for key in keys.reference:
            names[key] |= references | together
    return names


def is_named(body: bytes, names: Names) -> bool:
    """Whether a body has one of the names under its key, however deep that stands.

    JSON is read more leniently than from a courier: any bytes that Python takes for it, a key that
    is there twice, and each number by its own text. What is no JSON, or has no key in it, names an
    order where any of the names stands among its bytes, by itself or as JSON writes it. That may
    erase a body of another order, which is better than to keep the address of somebody who was told
    that it is gone.
    """
    all_names = {it for some in names.values() for it in some}
    if not _may_stand_in(body, all_names):
        return False
    pairs = _pairs(body)
    if not pairs:
        return _stands_in(body, all_names)
    return any(
        it in wanted
        for key, value in pairs
        if (wanted := names.get(_kept(key)))
        for it in _texts(value)
    )


def _pairs(body: bytes) -> list[tuple[str, Any]]:
    """Every key of a body with its value, however deep they stand; none where it is no JSON."""
    pairs: list[tuple[str, Any]] = []
    try:
        json.loads(
            body,
            object_pairs_hook=pairs.extend,
            parse_int=str,
            parse_float=str,
            parse_constant=str,
        )
    except (ValueError, RecursionError):
        return []
    return pairs


def _may_stand_in(body: bytes, names: Collection[str]) -> bool:
    """Whether there is any need to read a body, which takes ten times as long as this.

    Without an escape (but for that of a slash) a text stands in JSON as it is; UTF-16 has zeros.
    """
    plain = body.replace(rb"\/", b"/")
    return b"\\" in plain or b"\0" in plain or any(it.encode() in plain for it in names)


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield _kept(value)
    elif isinstance(value, list):
        for it in value:
            yield from _texts(it)


def _kept(value: str) -> str:
    """A text as we keep it (body.parse)."""
    return value.replace("\x00", "")


def _stands_in(body: bytes, names: Collection[str]) -> bool:
    return any(
        form in body for it in names for form in (it.encode(), json.dumps(it)[1:-1].encode())
    )
