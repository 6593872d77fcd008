"""One order as the API shows it, by a plain function.

schemas.Order is what describes it, and shows orders everywhere else; through marshmallow one order
costs more than finding it. A test compares the two.
"""

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from receiver.couriers.base import rfc3339
from receiver.quick import QuickReads
from receiver.statuses import VOCABULARY

SOURCE = ("kind", "trust", "message_id", "received_at")
ETA = ("from", "to", "source", "updated_at")
PARCEL = ("tracking_number", "tracking_url", "courier_name", "status")

# Of the order that QuickReads was asked for, by the courier's id alone: its other names are looked
# up by registry.find().
VERSION = """
    SELECT version FROM orders
    WHERE orders.account = asked.account AND courier_order_id = asked.order_id
"""
ORDER = """
    SELECT orders.account, courier, courier_order_id, identifiers, reference, status,
           courier_status, status_at, reason, needs_attention, source, tracking_url, eta, label_url,
           pickup_at, parcels, milestones, last_heard_at, metadata AS shop_metadata, version,
           created_at, updated_at, due_at, polled_at, coalesce(failures, 0) AS failures, stopped_at,
           stop_reason
    FROM orders LEFT JOIN polls ON order_id = orders.id
    WHERE orders.account = asked.account AND courier_order_id = asked.order_id
"""


def version_of(reads: QuickReads, account: str, order_id: str) -> int | None:
    """The version of an order; None where none has this id of its courier's."""
    row = reads.first(VERSION, account, order_id)
    return None if row is None else int(row.version)


def order_row(reads: QuickReads, account: str, order_id: str) -> Any:
    """An order and its polling in one row, for `shown`; None where none has this id."""
    return reads.first(ORDER, account, order_id)


def shown(order: Any, poll: Any) -> dict[str, Any]:
    """An order as schemas.Order shows it.

    order, poll: a row as ORDER gives it, for both; or an order and its poll.
    """
    status = VOCABULARY[order.status]
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
