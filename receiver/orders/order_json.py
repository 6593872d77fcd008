"""The JSON of an order, its events and tours: the only one, for the API, command line and console.

Plain functions, because dumping a page through its schema takes twenty times as long, during which
the process answers nobody else.
"""

import hashlib
from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from receiver.db.models import Tour
from receiver.orders.corrections.shop_values import ACTIVE, STOPPED
from receiver.orders.details import MOST_PARCELS, count_parcels
from receiver.orders.names import is_sample
from receiver.statuses import find_status
from receiver.times import rfc3339

SOURCE = ("kind", "trust", "message_id", "received_at")
PROMISED = ("from", "to")
ETA = ("from", "to", "source", "updated_at")
PARCEL = ("tracking_number", "tracking_url", "courier_name", "status")


def render_order(order: Any, poll: Any) -> dict[str, Any]:
    """Render an order as OrderSchema describes it.

    order: an Order, or a row with its columns.
    poll: its Poll or None; or a row with its columns.
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
        "source": _pick(order.source, SOURCE),
        "tracking_url": order.tracking_url,
        "eta": _pick(order.eta, ETA),
        "promised": _pick(order.promised, PROMISED),
        "label_url": order.label_url,
        "pickup_at": rfc3339(order.pickup_at),
        "parcels": [_pick(parcel, PARCEL) for parcel in order.parcels[:MOST_PARCELS]],
        "parcel_count": count_parcels(order),
        # jsonb sorts names by length; people read milestones by time.
        "milestones": dict(sorted(order.milestones.items(), key=itemgetter(1))),
        "polling": {
            "next_poll_at": rfc3339(poll.due_at) if poll else None,
            "last_polled_at": rfc3339(poll.polled_at) if poll else None,
            "failures": poll.failures if poll else 0,
            "unknown_since": rfc3339(poll.unknown_since) if poll else None,
            "stopped_at": rfc3339(poll.stopped_at) if poll else None,
            "stop_reason": poll.stop_reason if poll else None,
        },
        "tracking": ACTIVE if order.tracking_stopped_at is None else STOPPED,
        "sample": is_sample(order.courier_order_id),
        "last_heard_at": rfc3339(order.last_heard_at),
        "metadata": order.shop_metadata,
        "version": order.version,
        "created_at": rfc3339(order.created_at),
        "updated_at": rfc3339(order.updated_at),
    }


def render_order_page(page: Mapping[str, Any]) -> dict[str, Any]:
    """Render a page of list_orders() as OrderPageSchema describes it."""
    return {**page, "orders": [render_order(row, row) for row in page["orders"]]}


def render_event(event: Any) -> dict[str, Any]:
    """Render what EventFields describes of a row of `events`."""
    return {
        "occurred_at": rfc3339(event.occurred_at),
        "received_at": rfc3339(event.received_at),
        "status": event.status,
        "courier_status": event.courier_status,
        "reason": event.reason,
        # The whole order.
        "parcel": event.parcel or None,
        "applied": event.applied,
        "not_applied_why": event.not_applied_why,
        "flags": event.flags,
    }


def render_timeline(page: Mapping[str, Any]) -> dict[str, Any]:
    """Render a page of list_events() as TimelineSchema describes it."""
    return {**page, "events": [_render_timeline_event(event) for event in page["events"]]}


def _render_timeline_event(event: Any) -> dict[str, Any]:
    source = {"kind": event.kind, "trust": event.trust, "message_id": str(event.message_id)}
    return {**render_event(event), "source": source, "proofs": event.proofs}


def render_tour(tour: Tour) -> dict[str, Any]:
    """Render a tour as TourSchema describes it."""
    return {
        "account": tour.account,
        "tour_id": tour.tour_id,
        "courier_name": tour.courier_name,
        "pick_up_at": rfc3339(tour.pick_up_at),
        "window_from": rfc3339(tour.window_from),
        "window_to": rfc3339(tour.window_to),
        "stops": tour.stops,
        "received_at": rfc3339(tour.received_at),
    }


def _pick(values: Mapping[str, Any] | None, names: tuple[str, ...]) -> dict[str, Any] | None:
    return None if values is None else {name: values[name] for name in names if name in values}


def order_etag(order: Any, poll: Any) -> str:
    """Return the ETag of an order: it covers what render_order() shows of it and of its polling.

    order, poll: as for render_order(); or a row of read_version() as both.
    """
    polled: tuple[Any, ...] = (None, None, 0, None, None, None)
    if poll:
        times = (poll.due_at, poll.polled_at, poll.unknown_since, poll.stopped_at)
        due_at, polled_at, unknown_since, stopped_at = map(rfc3339, times)
        polled = due_at, polled_at, poll.failures, unknown_since, stopped_at, poll.stop_reason
    # All that changes without a new version.
    unversioned = (rfc3339(order.last_heard_at), *polled)
    digest = hashlib.blake2b(repr(unversioned).encode(), digest_size=6).hexdigest()
    return f"{order.id}-{order.version}-{digest}"
