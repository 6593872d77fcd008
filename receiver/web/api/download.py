"""Send a list of orders as a file while it is read, in constant memory."""

import threading
from collections.abc import Iterator
from typing import Any

from flask import Response

from receiver.accounts.known_accounts import require_known_account
from receiver.errors import StorageUnavailable
from receiver.orders.listing.export import CSV, NDJSON, export_orders
from receiver.web.context import app_context

# The format of a download by its media type.
FORMATS = {"text/csv": CSV, "application/x-ndjson": NDJSON}
MEDIA_TYPES = {CSV: "text/csv; charset=utf-8; header=present", NDJSON: "application/x-ndjson"}

# Only this many downloads of a process read a page at the same time: a page takes tens of
# milliseconds, during which the process answers nobody else.
READERS = threading.BoundedSemaphore(2)
# How long a download may wait for its turn to read.
READ_SECONDS = 60.0


def answer_download(filters: dict[str, Any], format_: str) -> Response:
    """Answer a request with all orders that match, as a file.

    The first page is read before the answer begins, so that what goes wrong until then has an
    answer of its own. What goes wrong later raises out of the body: gunicorn then closes the
    connection without the last chunk, so that no client takes the file for a whole one.

    filters: as OrderFiltersSchema loads them. format_: CSV or NDJSON.
    Raises: UnknownAccount; InvalidCursor.
    """
    app = app_context()
    with app.sessions() as session:
        require_known_account(session, app.settings, filters.get("account"))
    parts = _take_turns(export_orders(app.sessions, app.settings, filters, format_))
    answer = Response(_chain(next(parts), parts), content_type=MEDIA_TYPES[format_])
    answer.headers.set("Content-Disposition", "attachment", filename=f"orders.{format_}")
    answer.vary.add("Accept")
    return answer


def _chain(first: bytes, parts: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from parts


def _take_turns(parts: Iterator[bytes]) -> Iterator[bytes]:
    while True:
        if not READERS.acquire(timeout=READ_SECONDS):
            raise StorageUnavailable("too many downloads are read: retry in a few seconds")
        try:
            part = next(parts, None)
        finally:
            READERS.release()
        if part is None:
            return
        yield part
