"""The backlog: how many messages wait, how fast they are processed, and when none will be left.

Counting half a million rows takes too long for an alert. New messages are processed in the order of
their ids, so all that lies far behind the oldest one still waits: this module counts the index in
chunks, remembers the chunks, and counts anew only the oldest chunk and what has arrived since. One
look takes at most LOOK_SECONDS; until all chunks are counted, the depth is a lower bound.
"""

import threading
import time
from collections import deque
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.db.models import Count, Message
from receiver.inbox.pending import select_pending
from receiver.stats.totals import PROCESSED

CHUNK = 3_000
# A chunk takes some milliseconds: the last one may begin just before this.
LOOK_SECONDS = 0.02
# The rates are those of the last so many seconds, and of at least so many.
RATE_WITHIN, RATE_LEAST = 60.0, 4.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """The pending messages at one moment.

    depth: how many there are, those sent back for another try included; at least so many where
    `is_exact` is False.
    processed_per_second, left: None where not known; left also where the backlog does not shrink.
    """

    depth: int
    is_exact: bool
    processed_per_second: float | None = None
    left: timedelta | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """seconds: of the monotonic clock. processed: messages ever processed."""

    seconds: float
    processed: float
    depth: int
    is_exact: bool


class BacklogMeter:
    """Measures the backlog for one process; it is more exact, the more often it is asked."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Each chunk's last id, and how many of its messages waited when it was counted.
        self._chunks: deque[tuple[int, int]] = deque()
        self._looks: deque[_Look] = deque()

    def measure(self, session: Session) -> Backlog:
        """Count what waits, in LOOK_SECONDS and a chunk."""
        with self._lock:
            depth, is_exact = self._count(session)
            processed = session.scalar(
                select(func.coalesce(func.sum(Count.value), 0)).where(Count.name == PROCESSED)
            )
            now = _Look(time.monotonic(), float(processed or 0), depth, is_exact)
            while self._looks and now.seconds - self._looks[0].seconds > RATE_WITHIN:
                self._looks.popleft()
            self._looks.append(now)
            return self._rate(self._looks[0], now)

    def _count(self, session: Session) -> tuple[int, bool]:
        ends_at = time.monotonic() + LOOK_SECONDS
        sent_back, _ = _count_chunk(session, sent_back=True)
        is_exact = sent_back < CHUNK
        self._recount_oldest(session)
        while True:
            after = self._chunks[-1][0] if self._chunks else 0
            count, last_id = _count_chunk(session, after=after)
            if count < CHUNK or last_id is None:
                # Not remembered: messages with ids among these may still be on their way.
                return sum(known for _, known in self._chunks) + count + sent_back, is_exact
            self._chunks.append((last_id, count))
            if time.monotonic() >= ends_at:
                return sum(known for _, known in self._chunks) + sent_back, False

    def _recount_oldest(self, session: Session) -> None:
        """Drop the chunks that are processed, and count the one that is being processed."""
        oldest = select_pending().where(Message.retried_at.is_(None))
        first_id = session.scalar(
            oldest.with_only_columns(Message.id).order_by(Message.id).limit(1)
        )
        while self._chunks and (first_id is None or self._chunks[0][0] < first_id):
            self._chunks.popleft()
        if self._chunks and first_id is not None:
            last_id, _ = self._chunks[0]
            count, _ = _count_chunk(session, after=first_id - 1, until=last_id)
            self._chunks[0] = last_id, count

    @staticmethod
    def _rate(first: _Look, now: _Look) -> Backlog:
        seconds = now.seconds - first.seconds
        if now is first or seconds < RATE_LEAST:
            return Backlog(now.depth, now.is_exact)
        processed = max(0.0, now.processed - first.processed) / seconds
        left = None
        if now.depth == 0:
            left = timedelta(0)
        elif first.is_exact and now.is_exact and first.depth > now.depth:
            left = timedelta(seconds=now.depth * seconds / (first.depth - now.depth))
        return Backlog(now.depth, now.is_exact, processed, left)


def _count_chunk(
    session: Session, sent_back: bool = False, after: int = 0, until: int | None = None
) -> tuple[int, int | None]:
    """Count up to CHUNK messages that follow an id; return how many, and the last one's id."""
    kind = Message.retried_at.is_not(None) if sent_back else Message.retried_at.is_(None)
    rows = select_pending().with_only_columns(Message.id).where(kind, Message.id > after)
    if until is not None:
        rows = rows.where(Message.id <= until)
    chunk = rows.order_by(Message.id).limit(CHUNK).subquery()
    count, last_id = session.execute(select(func.count(), func.max(chunk.c.id))).one()
    return count, last_id


def describe_depth(backlog: Backlog) -> str:
    """Return the depth for people: `512,345` or `40,000 or more`."""
    return f"{backlog.depth:,}" + ("" if backlog.is_exact else " or more")
