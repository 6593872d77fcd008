"""Download all orders of a list, as CSV or as NDJSON, page by page.

Each page is a transaction of its own: a slow reader holds none open, and needs the memory of one
page. So a row shows its order as it was when its page was read. An order that is created meanwhile
is not in the download; all others that match all the time are in it, once.
"""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Order
from receiver.db.pagination import begin_consistent_read, read_cursor
from receiver.orders.listing.filters import Filters, select_order_ids
from receiver.settings import Settings
from receiver.statuses import find_status
from receiver.times import rfc3339

CSV = "csv"
NDJSON = "ndjson"
FORMATS = (CSV, NDJSON)

# How many orders are read at once.
PAGE_SIZE = 500

COLUMNS = (
    *("account", "courier_order_id", "reference", "status", "status_group", "status_at", "reason"),
    *("needs_attention", "created_at", "updated_at", "eta_from", "eta_to"),
    *("tracking_numbers", "tracking_url"),
)
STORED = (
    *(Order.id, Order.account, Order.courier_order_id, Order.reference, Order.status),
    *(Order.status_at, Order.reason, Order.needs_attention, Order.created_at, Order.updated_at),
    *(Order.eta, Order.parcels, Order.tracking_url),
)

# A spreadsheet takes a cell that begins with one of these for a formula (OWASP, CSV injection).
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001


def export_orders(
    sessions: sessionmaker[Session], settings: Settings, filters: Filters, format_: str
) -> Iterator[bytes]:
    """Render all orders that match, newest first, a page at a time.

    filters: as OrderFiltersSchema loads them; `limit` does not count, `cursor` is where to start.
    format_: CSV or NDJSON, see render_csv() and render_ndjson().

    Raises: InvalidCursor, before the first page.
    """
    render: Callable[[Sequence[Any]], bytes] = render_csv if format_ == CSV else render_ndjson
    left_out = settings.left_out_accounts(filters.get("test", False))
    before = read_cursor(filters["cursor"]) if "cursor" in filters else None
    head = f"{','.join(COLUMNS)}\r\n".encode() if format_ == CSV else b""
    while True:
        with sessions() as session:
            begin_consistent_read(session)
            ids = select_order_ids(session, filters, before, PAGE_SIZE, left_out).subquery()
            statement = select(*STORED).join(ids, Order.id == ids.c.id).order_by(Order.id.desc())
            rows = session.execute(statement).all()
        yield head + render(rows)
        if len(rows) < PAGE_SIZE:
            return
        head, before = b"", rows[-1].id


def render_ndjson(rows: Sequence[Any]) -> bytes:
    """Render orders as NDJSON: an object in each line, with COLUMNS as its names."""
    return b"".join(orjson.dumps(_pick_values(row)) + b"\n" for row in rows)


def render_csv(rows: Sequence[Any]) -> bytes:
    r"""Render orders as CSV (RFC 4180): COLUMNS, lines that end with \r\n, no values as nothing.

    The tracking numbers are separated by spaces. A text that a spreadsheet would take for a formula
    gets an apostrophe before it; NDJSON has all texts unchanged.
    """
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\r\n")
    writer.writerows(map(_format_cell, _pick_values(row).values()) for row in rows)
    return lines.getvalue().encode()


def _pick_values(row: Any) -> dict[str, Any]:
    eta = row.eta or {}
    return {
        "account": row.account,
        "courier_order_id": row.courier_order_id,
        "reference": row.reference,
        "status": row.status,
        "status_group": find_status(row.status).group,
        "status_at": rfc3339(row.status_at),
        "reason": row.reason,
        "needs_attention": row.needs_attention,
        "created_at": rfc3339(row.created_at),
        "updated_at": rfc3339(row.updated_at),
        "eta_from": eta.get("from"),
        "eta_to": eta.get("to"),
        "tracking_numbers": [
            parcel["tracking_number"] for parcel in row.parcels if parcel["tracking_number"]
        ],
        "tracking_url": row.tracking_url,
    }


def _format_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = " ".join(value) if isinstance(value, list) else str(value)
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
