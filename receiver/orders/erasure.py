"""Erase personal data: names, phone numbers, e-mail and street addresses.

It is in the bodies of messages, in the proofs of events (who signed), and may be in the shop's
metadata or in a reason that somebody wrote. The status and the timeline contain none and stay;
`ordertrail rebuild` takes the events of a message without a body as they are stored.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Select, or_, select, union, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes.feed import record_changes
from receiver.changes.order_changes import (
    EVENTS,
    OrderChange,
    changed_names,
    copy_shown,
    touch_order,
)
from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import PENDING, Event, Message, Order
from receiver.orders.erasure_unread import erase_unread_bodies
from receiver.orders.find import find_order
from receiver.queue.bells import Bells
from receiver.settings import Settings

# A reason that is a code of the courier's, such as `recipient_not_home`: anything else was written
# by a person.
CODE = re.compile(r"[a-z0-9_.:-]+|[A-Z0-9_.:-]+")


def erase_personal_data(
    sessions: sessionmaker[Session],
    settings: Settings,
    bells: Bells,
    account: str,
    order_id: str,
    now: datetime,
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
    with sessions.begin() as session:
        read = select_messages_of([order], Message.outcome != PENDING)
        drop_bodies(session, session.scalars(read).all())
    contract = settings.accounts.get(order.account)
    erase_unread_bodies(sessions, order, contract.field_map if contract else {})
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
    changes = []
    for order in orders:
        before = copy_shown(order)
        order.erased_at = order.erased_at or now
        order.shop_metadata, order.reason = {}, _code_or_none(order.reason)
        for event in personal[order.id]:
            event.proofs, event.reason = [], _code_or_none(event.reason)
        changed = changed_names(before, order) + ([EVENTS] if personal[order.id] else [])
        changes.append(touch_order(order, changed, now))
    return changes


def erase_from_snapshot(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without signatures, photos, and reasons that a person wrote."""
    events = tuple(
        replace(event, proofs=frozenset(), reason=_code_or_none(event.reason))
        for event in snapshot.events
    )
    return replace(snapshot, events=events)


def _code_or_none(reason: str | None) -> str | None:
    return reason if reason and CODE.fullmatch(reason) else None


def drop_bodies(session: Session, message_ids: Collection[int]) -> None:
    """Delete the bodies of messages that have been folded."""
    session.execute(update(Message).where(id_in(Message.id, message_ids)).values(body=None))


def select_messages_of(orders: Collection[Order], *conditions: ColumnElement[bool]) -> Select[int]:
    """Select the ids of the messages with a body that are about orders, or first reported an event.

    Two indexes, so a union.
    """
    columns = (Message.account, Message.courier_order_id)
    names = [(order.account, order.courier_order_id) for order in orders]
    first = select(Event.message_id).where(id_in(Event.order_id, [order.id for order in orders]))
    kept = (Message.body.is_not(None), *conditions)
    named = select(Message.id).where(pairs_in(*columns, names), Message.topic == "orders", *kept)
    return select(union(named, select(Message.id).where(Message.id.in_(first), *kept)).subquery())
