"""Adds what ended orders count for to the daily sums of couriers' performance.

One process at a time does, whichever comes first. Orders that nobody has recorded are found by the
change feed, in which each order's newest change stays: those that ended before this version was
installed, and those that an older worker folds beside it.
"""

import time

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.locks import PERFORMANCE_LOCK, try_lock
from receiver.db.models import Change, Cursor
from receiver.orders.performance.record import count_recorded_orders, record_unrecorded_orders

# Rows per transaction: of the feed, and of orders that are added to the sums.
CHANGES = 1000
ORDERS = 2000
# Up to which change the feed has been searched.
CURSOR = "performance"


def count_performance(sessions: sessionmaker[Session], seconds: float) -> None:
    """Bring the sums up to date, for about so many seconds; the rest waits for the next time."""
    deadline = time.monotonic() + seconds
    has_more = True
    while has_more and time.monotonic() < deadline:
        with sessions.begin() as session:
            if not try_lock(session, PERFORMANCE_LOCK):
                return
            has_more = _search_feed(session)
            has_more = count_recorded_orders(session, ORDERS) == ORDERS or has_more


def _search_feed(session: Session) -> bool:
    """Record the unrecorded orders of the next part of the feed; return whether there is more."""
    cursor = session.get(Cursor, CURSOR)
    if cursor is None:
        cursor = Cursor(name=CURSOR, position=0)
        session.add(cursor)
    part = select(Change.seq, Change.order_id).where(Change.seq > cursor.position)
    changes = session.execute(part.order_by(Change.seq).limit(CHANGES)).all()
    if changes:
        record_unrecorded_orders(session, {change.order_id for change in changes})
        cursor.position = changes[-1].seq
    return len(changes) == CHANGES
