"""One order as the API shows it, by a plain function.

schemas.Order is what describes it, and shows orders everywhere else; through marshmallow one order
costs more than finding it. A test compares the two.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any, LiteralString

from receiver.db.cursors import write_cursor
from receiver.db.pagination import HIGHEST_ID, MOST_LISTED
from receiver.orders.find import refuse_nul, refuse_other_than_one
from receiver.orders.read_batching import QuickReads
from receiver.statuses import find_status
from receiver.times import rfc3339

SOURCE = ("kind", "trust", "message_id", "received_at")
ETA = ("from", "to", "source", "updated_at")
PARCEL = ("tracking_number", "tracking_url", "courier_name", "status")

COLUMNS = """
    orders.id, orders.account, courier, courier_order_id, identifiers, reference, status,
    courier_status, status_at, reason, needs_attention, source, tracking_url, eta, label_url,
    pickup_at, parcels, milestones, last_heard_at, metadata AS shop_metadata, version,
    created_at, updated_at, due_at, polled_at, coalesce(failures, 0) AS failures, stopped_at,
    stop_reason
"""
WITH_POLLS = "LEFT JOIN polls ON polls.order_id = orders.id"
# By the courier's id, and by any other name that the courier gave: one order, or two to tell that
# there are several.
OWN = "WHERE orders.account = asked.account AND courier_order_id = asked.name LIMIT 1"
NAMED = """
    JOIN (SELECT order_id AS named_id FROM identifiers
          WHERE identifiers.account = asked.account AND value = asked.name LIMIT 2) AS named
    ON named_id = orders.id
"""
# By the shop's own reference, the newest first: one more than a page may have. Said as a range of
# the index and in its whole order, for the reason that listing.each() gives.
REFERENCED = f"""
    WHERE reference >= asked.name AND (reference, orders.id) <= (asked.name, {HIGHEST_ID})
    ORDER BY reference DESC, orders.id DESC LIMIT {MOST_LISTED + 1}
"""


def _statement(columns: LiteralString, *rest: LiteralString) -> LiteralString:
    return f"SELECT {columns} FROM orders {' '.join(rest)}"  # noqa: S608 (all of it stands here)


VERSION = _statement("id, version", OWN)
VERSION_OF_NAMED = _statement("id, version", NAMED, "LIMIT 2")
ORDER = _statement(COLUMNS, WITH_POLLS, OWN)
NAMED_ORDER = _statement(COLUMNS, NAMED, WITH_POLLS, "LIMIT 2")
REFERENCED_ORDERS = _statement(COLUMNS, WITH_POLLS, REFERENCED)


def tag_of(reads: QuickReads, account: str, name: str) -> str:
    """The ETag of an order, without the rest of it.

    Raises: UnknownOrder; AmbiguousIdentifier.
    """
    row, own = _found(reads, VERSION, VERSION_OF_NAMED, account, name)
    return order_etag(row.version, None if own else row.id)


def order_row(reads: QuickReads, account: str, name: str) -> tuple[Any, str]:
    """An order and its polling in one row, for `shown`, and its ETag.

    Raises: UnknownOrder; AmbiguousIdentifier.
    """
    row, own = _found(reads, ORDER, NAMED_ORDER, account, name)
    return row, order_etag(row.version, None if own else row.id)


def _found(
    reads: QuickReads, own: LiteralString, named: LiteralString, account: str, name: str
) -> tuple[Any, bool]:
    refuse_nul(account, name)
    if rows := reads.rows(own, account, name):
        return rows[0], True
    rows = reads.rows(named, account, name)
    refuse_other_than_one(len(rows), account, name)
    return rows[0], False


def order_etag(version: int, order_id: int | None) -> str:
    """The ETag of an order: its version. order_id: where it was asked for by another name than its
    own, for such a name may come to mean another order.
    """
    return str(version) if order_id is None else f"{order_id}-{version}"


def of_reference(reads: QuickReads, reference: str, limit: int) -> dict[str, Any]:
    """The first page of a reference's orders, as order_reading.page() would find them."""
    rows = reads.rows(REFERENCED_ORDERS, "", reference)
    return {
        "orders": [render_order(row, row) for row in rows[:limit]],
        "next_cursor": write_cursor(rows[limit - 1].id) if len(rows) > limit else None,
    }


def render_order(order: Any, poll: Any) -> dict[str, Any]:
    """An order as schemas.Order shows it.

    order, poll: a row as ORDER gives it, for both; or an order and its poll.
    """
    status = find_status(order.status)
    return {
        "account": order.account,
        "courier": order.courier,
        "courier_order_id": order.courier_order_id,
        "identifiers": order.identifiers,
        "reference": order.reference,
        "status": order.status,
        "status_group": status.group,
        "courier_status": order.courier_status,
        "status_at": rfc3339(order.status_at),
        "reason": order.reason,
        "is_terminal": status.terminal,
        "needs_attention": order.needs_attention,
        "source": _part(order.source, SOURCE),
        "tracking_url": order.tracking_url,
        "eta": _part(order.eta, ETA),
        "label_url": order.label_url,
        "pickup_at": rfc3339(order.pickup_at),
        "parcels": [_part(parcel, PARCEL) for parcel in order.parcels],
        "milestones": dict(sorted(order.milestones.items(), key=itemgetter(1))),
        "polling": {
            "next_poll_at": rfc3339(poll.due_at),
            "last_polled_at": rfc3339(poll.polled_at),
            "failures": poll.failures,
            "stopped_at": rfc3339(poll.stopped_at),
            "stop_reason": poll.stop_reason,
        },
        "last_heard_at": rfc3339(order.last_heard_at),
        "metadata": order.shop_metadata,
        "version": order.version,
        "created_at": rfc3339(order.created_at),
        "updated_at": rfc3339(order.updated_at),
    }


def _part(told: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return None if told is None else {name: told[name] for name in names if name in told}
