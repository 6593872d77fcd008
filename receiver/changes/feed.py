"""The change feed: which order changed and how, numbered so that a reader misses no change.

If a transaction took its number early, the number could become visible after a higher one, and a
reader would already be past it. So numbers are assigned as the last thing before the commit, by one
writer at a time: PostgreSQL releases the lock only once the commit is visible, so whoever sees a
number sees every lower one that will ever exist. Numbers of a rollback are missing for good.
"""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from redis import Redis
from sqlalchemy import ColumnElement, RowMapping, case, func, or_, select, text
from sqlalchemy.orm import Session

from receiver.changes.order_version import OrderChange
from receiver.db.bulk import insert_rows
from receiver.db.locks import FEED_LOCK, take_lock
from receiver.db.models import Change, Order
from receiver.db.pagination import CHANGES, read_cursor, write_cursor
from receiver.errors import InvalidCursor
from receiver.statuses import UNKNOWN, VOCABULARY, find_status
from receiver.times import rfc3339

# Instead of a cursor: skip all changes so far.
NOW = "now"

# The Redis channel on which a writer announces that there are new changes. The message is empty.
CHANNEL = "ordertrail:changes"

# How many changes are read at once for a reader that filters them, and for how long at most.
CHUNK = 5000
READ_SECONDS = 2.0

Filters = Mapping[str, Any]

# After the change, where that is stored; see Change.
REFERENCE = case(
    (Change.reference.is_(None), Order.reference), else_=func.nullif(Change.reference, "")
).label("reference")

LAST_ASSIGNED = text("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM changes_seq_seq")


def record_changes(session: Session, changes: Iterable[OrderChange | None], now: datetime) -> None:
    """Write the changes to the feed. Must be the last statement of a transaction.

    Other writers wait for its commit. As long as nothing is locked after this, whoever holds the
    feed's lock waits for nobody, so writers cannot deadlock. The caller commits, then announces.
    """
    rows = [
        {
            "order_id": change.order_id,
            "version": change.version,
            "status": change.status,
            "changed": list(change.names),
            "changed_at": now,
            "reference": change.reference or "",
            "status_at": change.status_at,
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


@dataclass(frozen=True, slots=True)
class ChangePage:
    """Changes that a reader wants, and how far the feed was read for them.

    position: the number up to which all that the reader wants is in `rows`.
    at_end: whether the feed had no further changes.
    """

    rows: Sequence[RowMapping]
    position: int
    at_end: bool


def read_changes(
    session: Session, after: int, limit: int, *conditions: ColumnElement[bool]
) -> Sequence[RowMapping]:
    """Read the changes after a number that meet the conditions, with the orders' present names."""
    statement = (
        select(
            Change.seq,
            Change.version,
            Change.status,
            Change.status_at,
            Change.changed,
            Change.changed_at,
            Order.account,
            Order.courier_order_id,
            REFERENCE,
        )
        .join(Order, Order.id == Change.order_id)
        .where(Change.seq > after, *conditions)
        .order_by(Change.seq)
        .limit(limit)
    )
    return session.execute(statement).mappings().all()


def read_page(
    session: Session,
    after: int,
    limit: int,
    filters: Filters = MappingProxyType({}),
    left_out: Collection[str] = (),
) -> ChangePage:
    """Read the next changes after a number that match the filters.

    It moves on over changes that do not match, for READ_SECONDS at most: then the page may have
    fewer changes than `limit`, or none, though there are more.

    filters: {"account"?, "status_group"?: [groups], "changed"?: [names]}; all of them must match.
    left_out: without the changes of these accounts.
    """
    conditions = _conditions(filters, left_out)
    if not conditions:
        rows = read_changes(session, after, limit)
        return ChangePage(rows, rows[-1]["seq"] if rows else after, len(rows) < limit)
    found: list[RowMapping] = []
    ends_at = time.monotonic() + READ_SECONDS
    while True:
        chunk = select(Change.seq).where(Change.seq > after).order_by(Change.seq).limit(CHUNK)
        range_ = chunk.subquery()
        count, last = session.execute(select(func.count(), func.max(range_.c.seq))).one()
        if not count:
            return ChangePage(found, after, at_end=True)
        found += read_changes(session, after, limit - len(found), Change.seq <= last, *conditions)
        if len(found) == limit:
            return ChangePage(found, found[-1]["seq"], at_end=False)
        after = last
        if count < CHUNK or time.monotonic() > ends_at:
            return ChangePage(found, after, at_end=count < CHUNK)


def _conditions(filters: Filters, left_out: Collection[str]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if left_out:
        conditions.append(Order.account.not_in(left_out))
    if "account" in filters:
        conditions.append(Order.account == filters["account"])
    if "status_group" in filters:
        groups = filters["status_group"]
        known = [status.name for status in VOCABULARY.values() if status.group in groups]
        # Those that a newer release stored, and this one does not know, are of the group `unknown`.
        strange = [Change.status.not_in(list(VOCABULARY))] if UNKNOWN in groups else []
        conditions.append(or_(Change.status.in_(known), *strange))
    if "changed" in filters:
        conditions.append(Change.changed.overlap(filters["changed"]))
    return conditions


def find_start(session: Session, after: str | None, name: str = "after") -> int:
    """Return the number at which a reader starts.

    after: a cursor, NOW, or None for the beginning. name: the parameter's name, for messages.

    Raises: InvalidCursor.
    """
    if after == NOW:
        return latest_change(session)
    number = 0 if after is None else read_cursor(after, CHANGES, name)
    # A number that was never assigned, or only before a backup was restored. The sequence knows it
    # even if the changes themselves have been deleted.
    if number > latest_change(session) and number > (session.scalar(LAST_ASSIGNED) or 0):
        raise InvalidCursor(
            f"{name} is newer than every change (was a backup restored?): start again without it",
            name,
        )
    return number


def render_changes(position: int, rows: Sequence[RowMapping]) -> dict[str, Any]:
    """Return a page of changes as ChangePageSchema describes it: the JSON of API, CLI and push.

    position: the number at which the reader is after these changes.
    """
    return {
        "changes": [_render_change(row) for row in rows],
        "next_cursor": write_cursor(position, kind=CHANGES),
    }


def _render_change(row: RowMapping) -> dict[str, Any]:
    return {
        "id": str(row["seq"]),
        "cursor": write_cursor(row["seq"], kind=CHANGES),
        "account": row["account"],
        "courier_order_id": row["courier_order_id"],
        "reference": row["reference"],
        "version": row["version"],
        "status": row["status"],
        "status_group": find_status(row["status"]).group,
        "status_at": rfc3339(row["status_at"]),
        "changed": row["changed"],
        "changed_at": rfc3339(row["changed_at"]),
    }


def latest_change(session: Session) -> int:
    """Return the highest visible number; 0 while the feed is empty."""
    return session.scalar(select(func.max(Change.seq))) or 0
