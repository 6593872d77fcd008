"""How far the change feed was pushed to the shop: read it, move it, try again now.

workers/pushing/ sends the pushes. The shop's place in the feed is a row of `feed_pushes`, so that
it outlives every process.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.db.bulk import insert_rows
from receiver.db.models import Change, FeedPush
from receiver.db.pagination import CHANGES, count_rows, write_cursor

SHOP = "shop"
# Instead of a cursor: before the oldest change that is kept.
BEGINNING = "beginning"


@dataclass(frozen=True, slots=True)
class PushProgress:
    """The shop's place in the feed, and how the last attempt to push to it ended.

    cursor: of the last change that the shop accepted, as GET /v1/changes has it.
    batch_cursor: of the last change of the batch that was sent and not accepted; None: none was.
    waiting: changes that it has not accepted yet, counted up to MOST_COUNTED; waiting_since: when
    the oldest of them happened; lag: how long that is ago, zero where none waits.
    The other fields are those of receiver.db.models.FeedPush.
    """

    cursor: str
    batch_cursor: str | None
    waiting: int
    waiting_since: datetime | None
    lag: timedelta
    placed_at: datetime
    attempted_at: datetime | None
    accepted_at: datetime | None
    result: str | None
    detail: str | None
    failures: int
    failing_since: datetime | None
    next_attempt_at: datetime | None


def read_push_progress(session: Session, now: datetime) -> PushProgress | None:
    """Return the shop's place in the feed; None before the first push."""
    row = session.get(FeedPush, SHOP)
    if row is None:
        return None
    missing = select(Change.changed_at).where(Change.seq > row.position)
    since = session.scalar(missing.order_by(Change.seq).limit(1))
    return PushProgress(
        cursor=write_cursor(row.position, kind=CHANGES),
        batch_cursor=write_cursor(row.batch_end, kind=CHANGES) if row.batch_end else None,
        waiting=count_rows(session, missing),
        waiting_since=since,
        lag=max(now - since, timedelta(0)) if since else timedelta(0),
        placed_at=row.placed_at,
        attempted_at=row.attempted_at,
        accepted_at=row.accepted_at,
        result=row.result,
        detail=row.detail,
        failures=row.failures,
        failing_since=row.failing_since,
        next_attempt_at=row.next_attempt_at,
    )


def lock_feed_push(session: Session, now: datetime) -> FeedPush:
    """Lock and return the shop's row; made here at first, with the newest change as its place.

    So the first push has what is committed after this, and nothing from before.
    """
    locked = select(FeedPush).where(FeedPush.name == SHOP).with_for_update()
    row = session.scalar(locked)
    if row is None:
        first = {"name": SHOP, "position": feed.latest_change(session), "placed_at": now}
        insert_rows(session, FeedPush, [first])
        row = session.scalars(locked).one()
    return row


def move_feed_push(sessions: sessionmaker[Session], where: str, now: datetime) -> PushProgress:
    """Set the place in the feed from which the shop gets changes, and push there at once.

    where: the cursor of a change that the shop has, feed.NOW, or BEGINNING. A batch that is on its
    way is not stopped, but a different one follows it.

    Raises: InvalidCursor.
    """
    with sessions.begin() as session:
        after = None if where == BEGINNING else where
        position = feed.find_start(session, after, "from")
        row = lock_feed_push(session, now)
        row.position, row.placed_at = position, now
        row.batch_id = row.batch_end = None
        _forget_failures(row)
        session.flush()
        return _read(session, now)


def retry_feed_push(sessions: sessionmaker[Session], now: datetime) -> PushProgress:
    """Have the next attempt made now, and not after its pause."""
    with sessions.begin() as session:
        lock_feed_push(session, now).next_attempt_at = None
        session.flush()
        return _read(session, now)


def _forget_failures(row: FeedPush) -> None:
    row.failures, row.failing_since, row.next_attempt_at = 0, None, None


def _read(session: Session, now: datetime) -> PushProgress:
    progress = read_push_progress(session, now)
    assert progress is not None  # noqa: S101 (the caller has locked the row)
    return progress
