"""Erase personal data: names, phone numbers, e-mail and street addresses.

It is in the bodies of messages and what is stored beside them, on labels that came inside them, in
the proofs of events (who signed), and may be in the shop's metadata or in a reason that somebody
wrote. The status and the timeline contain none and stay; `ordertrail rebuild` takes the events of a
message without a body as they are stored.

A message that could not be read is quarantined (or was, and is discarded), and it is not known
which order it is about. It counts as naming an order where one of the order's names, of at least
SHORTEST_NAME characters, is a whole word or a whole JSON string of it. That may erase the body of
another order, which is better than to keep the address of a person who was promised that it is
gone. The same goes for a message about several orders of which one could not be read: where even
its id could not, only what comes after the erasure is searched.
"""

import json
import re
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote_plus

import orjson
from sqlalchemy import ColumnElement, Select, null, or_, select, union, update
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit
from receiver.changes.feed import record_changes
from receiver.changes.order_version import (
    EVENTS,
    OrderChange,
    changed_names,
    copy_shown,
    touch_order,
)
from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import (
    APPLIED,
    DISCARDED,
    NAME,
    PENDING,
    QUARANTINED,
    REFERENCE,
    Event,
    Message,
    Order,
)
from receiver.orders.corrections.shop_values import read_shop_values, set_shop_values
from receiver.orders.find import find_meant, find_order
from receiver.orders.labels import delete_labels
from receiver.orders.names import list_names, spell
from receiver.queue.doorbell import Bells
from receiver.text import storable_name

# A reason that is a code of the courier's, such as `recipient_not_home`: anything else was written
# by a person.
CODE = re.compile(r"[a-z0-9_.:-]+|[A-Z0-9_.:-]+")

UNREAD = (QUARANTINED, DISCARDED)
UNREAD_ERASED = "its body was erased with the personal data of an order that it names"
# A shorter name is too often a quantity or a house number.
SHORTEST_NAME = 4
# How many names of a body are looked up, and how many bodies are in memory at once.
MOST_NAMES = 10_000
ROWS = 20
WORD = re.compile(r"[\w./:@+-]+")
FORM_VALUE = re.compile(r"=([^&=\s]+)")
# Up to the next quote, which begins another one: so no quote that is missing hides a string.
STRING = re.compile(r'"((?:[^"\\]|\\.)*)', re.DOTALL)


def erase_personal_data(
    sessions: sessionmaker[Session], bells: Bells, account: str, order_id: str, now: datetime
) -> None:
    """Erase an order's personal data, and store none that is still to come.

    First the order, then its messages in further transactions: a worker that folds a message locks
    it and waits for its order, so nobody may lock the order and wait for its messages. A message
    that is pending in between is folded after the first transaction and loses its body there.

    Raises: UnknownOrder, AmbiguousIdentifier.
    """
    with sessions.begin() as session:
        order = find_order(session, account, order_id, lock=True)
        record_changes(session, erase_from_orders(session, [order], now), now)
        names = list_names(session, [order])[order.id]
        audit.record_action(
            session, audit.ERASE, account=order.account, courier_order_id=order.courier_order_id
        )
    with sessions.begin() as session:
        read = select_messages_of([order], Message.outcome != PENDING)
        drop_bodies(session, session.scalars(read).all())
    _erase_unread_bodies(sessions, order.account, names)
    bells.feed()


def erase_from_orders(
    session: Session, orders: Collection[Order], now: datetime
) -> list[OrderChange | None]:
    """Erase the personal data in locked orders and their events; return what changed."""
    personal = defaultdict(list)
    for event in session.scalars(
        select(Event).where(
            id_in(Event.order_id, [order.id for order in orders]),
            or_(Event.proofs != [], Event.reason.is_not(None)),
        )
    ):
        if event.proofs or event.reason != _code_or_none(event.reason):
            personal[event.order_id].append(event)
    before = {order.id: copy_shown(order) for order in orders}
    delete_labels(session, orders)
    changes = []
    for order in orders:
        order.erased_at = order.erased_at or now
        order.reason = _code_or_none(order.reason)
        set_shop_values(order, *read_shop_values(order))
        for event in personal[order.id]:
            event.proofs, event.reason = [], _code_or_none(event.reason)
            event.reason_source = event.reason_source if event.reason else None
        changed = changed_names(before[order.id], order) + ([EVENTS] if personal[order.id] else [])
        changes.append(touch_order(order, changed, now))
    return changes


def erase_merged_orders(
    session: Session, order_ids: Collection[int], now: datetime
) -> tuple[list[OrderChange | None], Sequence[int]]:
    """Erase what is stored of orders that a fold has just merged with an erased registration.

    Return what changed, and the ids of the messages whose bodies must not be kept. A message that
    is pending, or that another transaction holds, is left: its fold finds the order erased.
    """
    meant = select(Order).where(id_in(Order.id, order_ids)).order_by(Order.id)
    # A fold writes orders without the session.
    orders = session.scalars(meant.execution_options(populate_existing=True)).all()
    about = select(Message.id).where(
        Message.id.in_(select_messages_of(orders, Message.outcome != PENDING))
    )
    message_ids = session.scalars(about.with_for_update(skip_locked=True)).all()
    return erase_from_orders(session, orders, now), message_ids


def erase_from_snapshot(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without its label, signatures, photos, and reasons that a person wrote."""
    events = tuple(
        replace(event, proofs=frozenset(), reason=_code_or_none(event.reason))
        for event in snapshot.events
    )
    return replace(snapshot, events=events, label=None)


def _code_or_none(reason: str | None) -> str | None:
    return reason if reason and CODE.fullmatch(reason) else None


def drop_bodies(session: Session, message_ids: Collection[int]) -> None:
    """Delete the bodies of messages that have been folded, and what was said beside them."""
    dropped = update(Message).where(id_in(Message.id, message_ids))
    session.execute(dropped.values(body=None, request=null()))


def select_messages_of(orders: Collection[Order], *conditions: ColumnElement[bool]) -> Select[int]:
    """Select the ids of the messages with a body that are about orders, or first reported an event.

    Three indexes, so a union.
    """
    columns = (Message.account, Message.courier_order_id)
    names = [(order.account, order.courier_order_id) for order in orders]
    by_account: dict[str, list[str]] = defaultdict(list)
    for account, name in names:
        by_account[account].append(name)
    first = select(Event.message_id).where(id_in(Event.order_id, [order.id for order in orders]))
    kept = (Message.body.is_not(None), *conditions)
    named = select(Message.id).where(pairs_in(*columns, names), Message.topic == "orders", *kept)
    shared = [
        select(Message.id).where(
            Message.account == account,
            Message.outcome == APPLIED,
            Message.names.is_not(None),
            Message.names.overlap(ids),
            *kept,
        )
        for account, ids in by_account.items()
    ]
    reported = select(Message.id).where(Message.id.in_(first), *kept)
    return select(union(named, reported, *shared).subquery())


def _erase_unread_bodies(
    sessions: sessionmaker[Session], account: str, order_names: Collection[str]
) -> None:
    """Erase the bodies of the account's unread messages that name an order.

    No message is locked while bodies are searched, and one that was retried meanwhile is left to
    the workers, who erase it themselves.
    """
    unread = select(Message.id, Message.body, Message.request).where(
        Message.account == account, Message.outcome.in_(UNREAD), Message.body.is_not(None)
    )
    named = {*map(spell, order_names)}
    with sessions() as session:
        rows = session.execute(unread.execution_options(yield_per=ROWS))
        ids = [
            message_id
            for message_id, body, request in rows
            if not named.isdisjoint(map(spell, _names_in_message(body, request)))
        ]
    with sessions.begin() as session:
        _drop_unread_bodies(session, ids)


def erase_if_named_order_is_erased(
    sessions: sessionmaker[Session],
    account: str,
    message_id: int,
    body: bytes,
    request: Mapping[str, Any] | None,
) -> None:
    """Erase the body of a message that was just quarantined, if it names an erased order."""
    with sessions.begin() as session:
        if names_erased_order(session, account, body, request):
            _drop_unread_bodies(session, [message_id])


def erase_unread_answer(
    session: Session, order: Order, message_id: int, body: bytes, request: Mapping[str, Any] | None
) -> None:
    """Erase the body of an unreadable answer to a poll of an order, if that is erased.

    And where the answer names another one that is. The message is stored in this transaction.
    """
    if order.erased_at is not None or names_erased_order(session, order.account, body, request):
        _drop_unread_bodies(session, [message_id])


def _drop_unread_bodies(session: Session, message_ids: Collection[int]) -> None:
    unread = (id_in(Message.id, message_ids), Message.outcome.in_(UNREAD))
    locked = select(Message.id).where(*unread).order_by(Message.id).with_for_update()
    erased = {"body": None, "request": null(), "reason": UNREAD_ERASED}
    session.execute(update(Message).where(Message.id.in_(locked)).values(erased))


def names_erased_order(
    session: Session, account: str, body: bytes | None, request: Mapping[str, Any] | None
) -> bool:
    """Return whether an unreadable message names an order of the account that is erased."""
    found = sorted(_names_in_message(body, request))
    names = [(account, name) for name in found[:MOST_NAMES]]
    ids = [order_id for _, order_id in find_meant(session, names, (NAME, REFERENCE))]
    erased = select(Order.id).where(id_in(Order.id, ids), Order.erased_at.is_not(None))
    return bool(ids) and session.scalar(erased.limit(1)) is not None


def _names_in_message(body: bytes | None, request: Mapping[str, Any] | None) -> set[str]:
    """Return what may be the name of an order in a body, or in what is stored beside it."""
    return find_names(body or b"") | (find_names(orjson.dumps(request)) if request else set())


def find_names(body: bytes) -> set[str]:
    """Return what may be the name of an order in a body: its words and its JSON strings.

    And the values of a form, in which any character may be encoded.
    """
    text = body.decode(json.detect_encoding(body), "replace")
    names = {*WORD.findall(text), *map(_unescape, STRING.findall(text))}
    if "=" in text:
        names.update(map(unquote_plus, FORM_VALUE.findall(text)))
    # A half of a surrogate pair is not printable, and in no name that PostgreSQL stores.
    return {name for name in names if len(name) >= SHORTEST_NAME and name.isprintable()}


def _unescape(string: str) -> str:
    try:
        # As names are stored.
        return storable_name(str(json.loads(f'"{string}"')))
    except ValueError:
        return string
