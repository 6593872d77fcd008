"""GET /v1/changes: the change feed, for services that follow the orders instead of polling them."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from flask import Response
from sqlalchemy.orm import Session

from receiver.accounts.known_accounts import require_known_account
from receiver.changes import feed
from receiver.errors import StorageUnavailable
from receiver.schemas.history import ChangeFiltersSchema, ChangePageSchema
from receiver.stats import counters
from receiver.web.api.blueprint import ApiBlueprint, json_answer
from receiver.web.context import app_context
from receiver.web.openapi.components import UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE

changes = ApiBlueprint("changes", "The change feed: every change of every order.")

# A change wakes all waiting clients of a process at once. Only this many of them read at the same
# time, so that database connections remain for webhooks.
READERS = threading.BoundedSemaphore(4)
# How long a client may wait for its turn to read: as long as it may wait for changes.
READ_SECONDS = 30.0
# How long a client that waits for some changes only is left alone after others came.
FILTER_SECONDS = 0.2


@changes.get("/changes")
@changes.arguments(ChangeFiltersSchema, location="query")
@changes.response(200, ChangePageSchema)
@changes.problem(404, UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE, "account_not_found")
@changes.problem(
    503,
    "Too many clients are waiting for changes.",
    "too many clients are waiting for changes: retry later, or omit wait",
    "too_many_waiting",
)
def follow_changes(filters: dict[str, Any]) -> Response:
    """Read the changes of all orders, oldest first.

    To read on, send `next_cursor` as `after`, also after an empty response. No change is left out,
    and the versions of an order come in their order. Store the cursor after you have processed the
    changes before it: if you read again from an older cursor, you get some changes twice. With
    `wait` the service answers as soon as there is a change, or with an empty list after that many
    seconds. The changes of test accounts are left out unless `test=true` is given; a cursor is one
    of both.

    With filters the cursor also moves over changes that do not match. Where many of them follow one
    another, a page may have fewer changes than `limit`, or none, though there are more.
    """
    app = app_context()
    left_out = app.settings.left_out_accounts(filters.get("test", False))
    limit, ends_at = filters["limit"], time.monotonic() + filters["wait"]
    with _reading_session() as session:
        require_known_account(session, app.settings, filters.get("account"))
        start = feed.find_start(session, filters.get("after"))
        page = feed.read_page(session, start, limit, filters, left_out)
    while not page.rows and page.at_end and (seconds := ends_at - time.monotonic()) > 0:
        if not app.feed_waiters.wait(page.position, seconds):
            break
        with _reading_session() as session:
            page = feed.read_page(session, page.position, limit, filters, left_out)
        if not page.rows:
            # Changes of others may come by the hundred: they are read together.
            time.sleep(FILTER_SECONDS)
    if page.rows:
        age = datetime.now(UTC) - page.rows[0]["changed_at"]
        counters.FEED_AGE.observe(max(0.0, age.total_seconds()))
    answer = json_answer(feed.render_changes(page.position, page.rows))
    # A client that got a cached answer would never move on.
    answer.headers["Cache-Control"] = "no-store"
    return answer


@contextmanager
def _reading_session() -> Iterator[Session]:
    if not READERS.acquire(timeout=READ_SECONDS):
        raise StorageUnavailable("the changes could not be read in time: retry in a few seconds")
    try:
        with app_context().sessions() as session:
            yield session
    finally:
        READERS.release()
