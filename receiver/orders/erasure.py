"""What is known of people: names, phone numbers, e-mail and street addresses, and its erasure.

It stands in the bodies of messages, in the proofs of events (who signed), and perhaps in what the
shop noted or somebody wrote as a reason. The status and the timeline hold none of it and stay;
`ordertrail rebuild` takes the events of a message without a body as they are stored.
"""

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import ColumnElement, Select, or_, select, union, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
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
from receiver.orders.erasure_unread import forget_unread
from receiver.orders.find import find_order
from receiver.queue.bells import Bells
from receiver.settings import Settings

# A reason that is one word of a courier's, as `recipient_not_home`: all else somebody wrote.
WORD = re.compile(r"[a-z0-9_.:-]+|[A-Z0-9_.:-]+")


def without_people(snapshot: Snapshot) -> Snapshot:
    """What a message told, less whose signatures and photos it showed, and what somebody wrote."""
    events = tuple(
        replace(event, proofs=frozenset(), reason=impersonal(event.reason))
        for event in snapshot.events
    )
    return replace(snapshot, events=events)


def impersonal(reason: str | None) -> str | None:
    """A reason where it cannot hold anything of people."""
    return reason if reason and WORD.fullmatch(reason) else None


def drop_bodies(session: Session, message_ids: Collection[int]) -> None:
    """Forget the bodies of messages that have been folded."""
    session.execute(update(Message).where(id_in(Message.id, message_ids)).values(body=None))


def erase_personal_data(
    sessions: sessionmaker[Session],
    settings: Settings,
    bells: Bells,
    account: str,
    order_id: str,
    now: datetime,
) -> None:
    """Erase an order's personal data, and keep none that is still to come.

    The order first and its messages in transactions after it: whoever folds a message holds it and
    waits for its order, so nobody may hold the order and wait for its messages. A message that is
    pending in between is folded after the first, and loses its body there; once more is harmless.

    Raises: UnknownOrder, AmbiguousIdentifier.
    """
    with sessions.begin() as session:
        order = find_order(session, account, order_id, lock=True)
        feed.record_changes(session, forget(session, [order], now), now)
    with sessions.begin() as session:
        drop_bodies(session, session.scalars(told_of([order], Message.outcome != PENDING)).all())
    contract = settings.accounts.get(order.account)
    forget_unread(sessions, order, contract.field_map if contract else {})
    bells.feed()


def forget(session: Session, orders: Collection[Order], now: datetime) -> list[OrderChange | None]:
    """Forget what locked orders and their events hold of people; what changed by that."""
    personal = defaultdict(list)
    for event in session.scalars(
        select(Event).where(
            id_in(Event.order_id, [it.id for it in orders]),
            or_(Event.proofs != [], Event.reason.is_not(None)),
        )
    ):
        if event.proofs or event.reason != impersonal(event.reason):
            personal[event.order_id].append(event)
    changes = []
    for order in orders:
        order.erased_at = order.erased_at or now
        for event in personal[order.id]:
            event.proofs, event.reason = [], impersonal(event.reason)
        before = copy_shown(order)
        order.shop_metadata, order.reason = {}, impersonal(order.reason)
        changed = changed_names(before, order)
        changes.append(
            touch_order(order, [*changed, *([EVENTS] if personal[order.id] else [])], now)
        )
    return changes


def told_of(orders: Collection[Order], *conditions: ColumnElement[bool]) -> Select[int]:
    """The messages that told of these orders, by id: as their own, or as the first of an event."""
    own = (Message.account, Message.courier_order_id)
    names = [(order.account, order.courier_order_id) for order in orders]
    first = select(Event.message_id).where(id_in(Event.order_id, [it.id for it in orders]))
    kept = (Message.body.is_not(None), *conditions)
    named = select(Message.id).where(pairs_in(*own, names), Message.topic == "orders", *kept)
    return select(union(named, select(Message.id).where(Message.id.in_(first), *kept)).subquery())
