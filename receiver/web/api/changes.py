"""GET /v1/changes: the change feed, for services that follow along instead of asking again."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from receiver.changes import feed
from receiver.errors import StorageUnavailable
from receiver.schemas.fields import ProblemSchema
from receiver.schemas.timeline import ChangeFiltersSchema, ChangePageSchema
from receiver.stats import counters
from receiver.web.api.blueprint import Routes
from receiver.web.context import app_context

changes = Routes("changes", __name__, description="What changed, for those who follow along")

# One change wakes every reader of a process at the same moment. So many of them read at a time:
# fewer than there are connections, of which the couriers' hooks need some as well.
READING = threading.BoundedSemaphore(4)
# For a turn to read; as long as a reader may have to wait for news anyway.
READ_SECONDS = 30.0


@changes.get("/changes")
@changes.arguments(ChangeFiltersSchema, location="query")
@changes.response(200, ChangePageSchema)
@changes.alt_response(503, schema=ProblemSchema, description="Too many readers wait just now")
def follow_changes(asked: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """What changed, oldest first. Go on with `after` = `next_cursor`, also after an empty answer.

    Every change comes once after its cursor and none is left out, however many write: an order's
    versions come in their order. Keep the cursor once you have dealt with what came before it; who
    goes on from an older one sees some changes again. With `wait` the answer is held until there
    is news, and is an empty list where there is none.
    """
    limit, wait = asked["limit"], asked["wait"]
    with _reading() as session:
        after, rows = feed.begin(session, asked.get("after"), limit)
    if not rows and wait and app_context().watcher.wait(after, wait):
        with _reading() as session:
            rows = feed.page(session, after, limit)
    if rows:
        age = datetime.now(UTC) - rows[0]["changed_at"]
        counters.FEED_AGE.observe(max(0.0, age.total_seconds()))
    # A cache that would give an answer twice would stop its reader.
    return feed.told(after, rows), 200, {"Cache-Control": "no-store"}


@contextmanager
def _reading() -> Iterator[Session]:
    if not READING.acquire(timeout=READ_SECONDS):
        raise StorageUnavailable("the changes could not be read in time")
    try:
        with app_context().sessions() as session:
            yield session
    finally:
        READING.release()
