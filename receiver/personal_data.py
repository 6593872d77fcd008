"""What is known of people: names, phone numbers, e-mail and street addresses, and its erasure.

It stands in the bodies of messages, in the proofs of events (who signed), and perhaps in what the
shop noted. The status and the timeline hold none of it and stay; `ordertrail rebuild` takes the
events of a message without a body as they are stored.
"""

import json
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime

from sqlalchemy import select, text, update
from sqlalchemy.orm import Session, sessionmaker

from receiver import feed
from receiver.couriers.base import Snapshot
from receiver.db import of_ids
from receiver.models import PENDING, Event, Message
from receiver.registry import find


def without_people(snapshot: Snapshot) -> Snapshot:
    """What a message told, less whose signatures and photos it showed."""
    events = tuple(replace(event, proofs=frozenset()) for event in snapshot.events)
    return replace(snapshot, events=events)


def drop_bodies(session: Session, message_ids: Collection[int]) -> None:
    """Forget the bodies of messages that have been folded."""
    session.execute(update(Message).where(of_ids(Message.id, message_ids)).values(body=None))


def erase(sessions: sessionmaker[Session], account: str, order_id: str, now: datetime) -> None:
    """Erase an order's personal data, and keep none that is still to come.

    In two transactions: whoever folds a message holds it and waits for its order, so nobody may
    hold the order and wait for its messages. A message that is pending in between is folded after
    the first, and loses its body there; once more is harmless.

    Raises: UnknownOrder, AmbiguousIdentifier.
    """
    with sessions.begin() as session:
        order = find(session, account, order_id, lock=True)
        if order.erased_at is None:
            order.erased_at = now
        signed = session.scalars(
            select(Event).where(Event.order_id == order.id, Event.proofs != [])
        ).all()
        for event in signed:
            event.proofs = []
        changed = (["metadata"] if order.shop_metadata else []) + (["events"] if signed else [])
        order.shop_metadata = {}
        if changed:
            order.version += 1
            order.updated_at = now
            feed.tell(session, [feed.Changed(order, tuple(changed))], now)
        first_told = set(
            session.scalars(select(Event.message_id).where(Event.order_id == order.id))
        )
    with sessions.begin() as session:
        own = session.scalars(
            select(Message.id).where(
                Message.account == order.account,
                Message.courier_order_id == order.courier_order_id,
                Message.topic == "orders",
                Message.outcome != PENDING,
            )
        )
        drop_bodies(session, first_told | set(own))
        for name in {order.courier_order_id, *order.identifiers.values()}:
            session.execute(FORGET_UNREAD, {"account": order.account, "name": _quoted(name)})


# What could not be read is not known to be about an order, but names it.
FORGET_UNREAD = text("""
    UPDATE messages SET body = NULL
    WHERE account = :account AND outcome IN ('quarantined', 'discarded')
          AND position(CAST(:name AS bytea) IN body) > 0
""")


def _quoted(name: str) -> bytes:
    return json.dumps(name).encode()
