"""The change feed: which order changed and how, numbered so that a reader misses no change.

If a transaction took its number early, the number could become visible after a higher one, and a
reader would already be past it. So numbers are assigned as the last thing before the commit, by one
writer at a time: PostgreSQL releases the lock only once the commit is visible, so whoever sees a
number sees every lower one that will ever exist. Numbers of a rollback are missing for good.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any

from redis import Redis
from sqlalchemy import ColumnElement, RowMapping, func, select, text
from sqlalchemy.orm import Session

from receiver.changes.order_version import OrderChange
from receiver.db.bulk import insert_rows
from receiver.db.locks import FEED_LOCK, take_lock
from receiver.db.models import Change, Order
from receiver.db.pagination import CHANGES, read_cursor, write_cursor
from receiver.errors import InvalidCursor

# Instead of a cursor: skip all changes so far.
NOW = "now"

# The Redis channel on which a writer announces that there are new changes. The message is empty.
CHANNEL = "ordertrail:changes"

LAST_ASSIGNED = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM changes_seq_seq")


def record_changes(session: Session, changes: Iterable[OrderChange | None], now: datetime) -> None:
    """Write the changes to the feed. Must be the last statement of a transaction.

    Other writers wait for its commit. As long as nothing is locked after this, whoever holds the
    feed's lock waits for nobody, so writers cannot deadlock. The caller commits, then announces.
    """
    rows = [
        {
            "order_id": change.order.id,
            "version": change.order.version,
            "status": change.order.status,
            "changed": list(change.names),
            "changed_at": now,
        }
        for change in changes
        if change is not None
    ]
    if not rows:
        return
    session.flush()
    take_lock(session, FEED_LOCK)
    insert_rows(session, Change, rows)


def announce_changes(redis: Redis) -> None:
    """Wake the readers that wait for changes; call it after the commit.

    Raises: RedisError; readers then see the changes within a second.
    """
    redis.publish(CHANNEL, b"")


def read_changes(
    session: Session, after: int, limit: int, *conditions: ColumnElement[bool]
) -> Sequence[RowMapping]:
    """Read the changes after a number that meet the conditions, with the orders' present names."""
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
        .where(Change.seq > after, *conditions)
        .order_by(Change.seq)
        .limit(limit)
    )
    return session.execute(statement).mappings().all()


def read_on(
    session: Session, after: int, limit: int, left_out: Collection[str] = ()
) -> tuple[int, Sequence[RowMapping]]:
    """Read as read_changes() does, and return where the reader is before these changes.

    Where all that there is was left out, the reader is behind it, and does not read it again.
    left_out: the accounts whose changes are.
    """
    # Before the changes, which then include all up to here.
    latest = latest_change(session) if left_out else after
    conditions = [Order.account.not_in(left_out)] if left_out else []
    rows = read_changes(session, after, limit, *conditions)
    return after if rows else max(after, latest), rows


def start_reading(
    session: Session,
    after: str | None,
    limit: int,
    name: str = "after",
    left_out: Collection[str] = (),
) -> tuple[int, Sequence[RowMapping]]:
    """Return the number at which a reader starts, and the changes after it.

    after: a cursor, NOW, or None for the beginning. name: the parameter's name, for messages.
    left_out: without the changes of these accounts.

    Raises: InvalidCursor.
    """
    if after == NOW:
        return latest_change(session), []
    number = 0 if after is None else read_cursor(after, CHANGES, name)
    start, rows = read_on(session, number, limit, left_out)
    # A number that was never assigned, or only before a backup was restored. The sequence knows it
    # even if the changes themselves have been deleted.
    if not rows and number > session.scalar(LAST_ASSIGNED):
        raise InvalidCursor(
            f"{name} is newer than every change (was a backup restored?): start again without it",
            name,
        )
    return start, rows


def render_changes(after: int, rows: Sequence[RowMapping]) -> dict[str, Any]:
    """Return a page of changes for ChangePageSchema. after: the number at which the reader was."""
    changes = [{**row, "cursor": write_cursor(row["seq"], kind=CHANGES)} for row in rows]
    return {
        "changes": changes,
        "next_cursor": changes[-1]["cursor"] if changes else write_cursor(after, kind=CHANGES),
    }


def latest_change(session: Session) -> int:
    """Return the highest visible number; 0 while the feed is empty."""
    return session.scalar(select(func.max(Change.seq))) or 0
