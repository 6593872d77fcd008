"""The change feed: which order changed in what, numbered so that a reader misses none.

A number that a transaction takes early can become visible after a higher one, and a reader would
have passed it. So numbers are given as the last thing before the commit, one writer at a time:
PostgreSQL lets go of the lock only once the commit can be seen, so whoever sees a number sees every
lower one that will ever be. Numbers that a rollback took are missing, and nobody waits for them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from redis import Redis
from sqlalchemy import RowMapping, func, inspect, select, text
from sqlalchemy.orm import Session
from sqlalchemy.orm.base import PASSIVE_NO_INITIALIZE

from receiver.db.bulk import insert_rows
from receiver.db.models import Change, Order
from receiver.db.order_state import AnyOrder
from receiver.db.pagination import CHANGES, read_cursor, write_cursor
from receiver.errors import InvalidCursor
from receiver.queue.doorbell import Doorbell

# The first thing that is told of an order, and that its timeline has new or different events.
CREATED = "created"
EVENTS = "events"

# Instead of a cursor: leave out all that was told so far.
NOW = "now"

# Where a writer announces over Redis that there is news. It says no more than that.
CHANNEL = "ordertrail:changes"

# Any number that nothing else locks.
FEED_LOCK = 7_203_118_404

# What an order shows of itself, and under which name. The rest is how we keep it, or when we last
# looked: a message that repeats what is known changes neither version nor feed.
SHOWN = {
    name: name
    for name in (
        "identifiers",
        "reference",
        "status",
        "courier_status",
        "status_at",
        "reason",
        "needs_attention",
        "source",
        "tracking_url",
        "eta",
        "label_url",
        "pickup_at",
        "parcels",
        "milestones",
        "conflicts",
    )
} | {"shop_metadata": "metadata"}


@dataclass(frozen=True, slots=True)
class Changed:
    """An order that changed, and the names of what is different."""

    order: AnyOrder
    names: tuple[str, ...]


def what_changed(order: Order) -> list[str]:
    """The names of what differs from what is stored; only to be asked before it is written."""
    state = inspect(order)
    # Not by `attrs`, which makes an object of every attribute each time.
    return [
        shown
        for name, shown in SHOWN.items()
        if state.get_history(name, PASSIVE_NO_INITIALIZE).has_changes()
    ]


LOCK = text("SELECT pg_advisory_xact_lock(:key)")


def tell(session: Session, changes: Collection[Changed], now: datetime) -> None:
    """Number the changes. The last statement of a transaction: others wait for its commit.

    Whoever holds the lock waits for no other, as long as nothing is locked after it: so writers
    cannot deadlock over it. The caller commits, then announces.
    """
    if not changes:
        return
    session.flush()
    session.execute(LOCK, {"key": FEED_LOCK})
    rows = [
        {
            "order_id": change.order.id,
            "version": change.order.version,
            "status": change.order.status,
            "changed": list(change.names),
            "changed_at": now,
        }
        for change in changes
    ]
    insert_rows(session, Change, rows)


def announce(redis: Redis) -> None:
    """Tell those who wait that there is news; after the commit.

    Raises: RedisError; whoever waits then sees it a second later.
    """
    redis.publish(CHANNEL, b"")


def announcer(redis: Redis) -> Doorbell:
    """A bell that announces news, so that Redis never delays whoever has some."""
    return Doorbell(redis, announce, name="change_feed")


def page(session: Session, after: int, limit: int) -> Sequence[RowMapping]:
    """The changes after a number, with the names of the order as it is now."""
    statement = (
        select(
            Change.seq,
            Change.version,
            Change.status,
            Change.changed,
            Change.changed_at,
            Order.account,
            Order.courier_order_id,
            Order.reference,
        )
        .join(Order, Order.id == Change.order_id)
        .where(Change.seq > after)
        .order_by(Change.seq)
        .limit(limit)
    )
    return session.execute(statement).mappings().all()


def begin(session: Session, after: str | None, limit: int) -> tuple[int, Sequence[RowMapping]]:
    """Where a reader stands, and the changes after that.

    after: a cursor, `now`, or None for the beginning.

    Raises: InvalidCursor.
    """
    if after == NOW:
        return latest(session), []
    number = 0 if after is None else read_cursor(after, CHANGES, "after")
    rows = page(session, number, limit)
    if not rows and number and is_ahead(session, number):
        raise InvalidCursor("after lies ahead of every change: begin anew, without it", "after")
    return number, rows


def told(after: int, rows: Sequence[RowMapping]) -> dict[str, Any]:
    """A page of changes as schemas.ChangePage shows it. after: where the reader stood before it."""
    found = [{**row, "cursor": write_cursor(row["seq"], kind=CHANGES)} for row in rows]
    return {
        "changes": found,
        "next_cursor": found[-1]["cursor"] if found else write_cursor(after, kind=CHANGES),
    }


def latest(session: Session) -> int:
    """The highest number that can be seen; 0 where nothing was told yet."""
    return session.scalar(select(func.max(Change.seq))) or 0


LAST_GIVEN = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM changes_seq_seq")


def is_ahead(session: Session, number: int) -> bool:
    """Whether a number was never given out: by us it was not, or before a backup was restored.

    The sequence knows, also where the changes themselves were dropped since.
    """
    last_given: int = session.execute(LAST_GIVEN).scalar_one()
    return number > last_given
