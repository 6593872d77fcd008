"""GET /v1/changes: the change feed, for services that follow the orders instead of polling them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.orm import Session

from receiver.changes import feed
from receiver.errors import StorageUnavailable
from receiver.schemas.history import ChangeFiltersSchema, ChangePageSchema
from receiver.stats import counters
from receiver.web.api.blueprint import ApiBlueprint
from receiver.web.context import app_context

changes = ApiBlueprint("changes", "The change feed: every change of every order.")

# A change wakes all waiting clients of a process at once. Only this many of them read at the same
# time, so that database connections remain for webhooks.
READERS = threading.BoundedSemaphore(4)
# How long a client may wait for its turn to read: as long as it may wait for changes.
READ_SECONDS = 30.0


@changes.get("/changes")
@changes.arguments(ChangeFiltersSchema, location="query")
@changes.response(200, ChangePageSchema)
@changes.problem(
    503,
    "Too many clients are waiting for changes.",
    "too many clients are waiting for changes: retry later, or omit wait",
    "too_many_waiting",
)
def follow_changes(filters: dict[str, Any]) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Read the changes of all orders, oldest first.

    To read on, send `next_cursor` as `after`, also after an empty response. No change is left out,
    and the versions of an order come in their order. Store the cursor after you have processed the
    changes before it: if you read again from an older cursor, you get some changes twice. With
    `wait` the service answers as soon as there is a change, or with an empty list after that many
    seconds. The changes of test accounts are left out unless `test=true` is given; a cursor is one
    of both.
    """
    limit, ends_at = filters["limit"], time.monotonic() + filters["wait"]
    app = app_context()
    left_out = app.settings.left_out_accounts(filters.get("test", False))
    with _reading_session() as session:
        after, rows = feed.start_reading(session, filters.get("after"), limit, left_out=left_out)
    # A change that is left out wakes the reader, too.
    while not rows and (seconds := ends_at - time.monotonic()) > 0:
        if not app.feed_waiters.wait(after, seconds):
            break
        before = after
        with _reading_session() as session:
            after, rows = feed.read_on(session, before, limit, left_out)
        if after == before:
            break
    if rows:
        age = datetime.now(UTC) - rows[0]["changed_at"]
        counters.FEED_AGE.observe(max(0.0, age.total_seconds()))
    # A client that got a cached answer would never move on.
    return feed.render_changes(after, rows), 200, {"Cache-Control": "no-store"}


@contextmanager
def _reading_session() -> Iterator[Session]:
    if not READERS.acquire(timeout=READ_SECONDS):
        raise StorageUnavailable("the changes could not be read in time: retry in a few seconds")
    try:
        with app_context().sessions() as session:
            yield session
    finally:
        READERS.release()
