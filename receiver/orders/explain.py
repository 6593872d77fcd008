"""Explain an order: every message, event and detail that made it what it is."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from receiver.db.models import Event, Message, Order
from receiver.orders import details
from receiver.orders.fold import sort_position
from receiver.times import rfc3339

Explanation = dict[str, Any]

# What the flags of an event mean to people.
FLAG_TEXTS = {
    "time_inferred": "the courier gave no time, so the time when we received it counts",
    "clock_skew": "its time was in the future, so the time when we received it counts",
    "zone_assumed": "its time had no zone",
    "minute_only": "its time is known to the minute only",
    "state_disagrees": "the courier's state is not the one with its newest time; the state counts",
    "pickup_at_unreadable": "its pickup time could not be read",
}

# All that is shown of a message; its body may be large.
MESSAGE_COLUMNS = (
    Message.id,
    Message.topic,
    Message.kind,
    Message.trust,
    Message.received_at,
    Message.repetitions,
    Message.last_seen_at,
    Message.outcome,
    Message.reason,
)


def explain_order(session: Session, order: Order) -> Explanation:
    """Collect everything that made the order what it is.

    Shape: {"order", "messages": [...], "events": [...], "details": [...], "etas": [...],
            "conflicts": [...]}; ids of messages are strings throughout.
    """
    events = sorted(
        session.scalars(select(Event).where(Event.order_id == order.id)), key=sort_position
    )
    order_details = list(_list_details(order))
    message_ids = {event.message_id for event in events}
    etas = order.details.get("etas", ())
    message_ids |= {int(source["message_id"]) for source in (*order_details, *etas)}
    first_told = defaultdict(list)
    for event in events:
        first_told[event.message_id].append(event.courier_status)
    about_order = and_(
        Message.account == order.account, Message.courier_order_id == order.courier_order_id
    )
    messages = session.execute(
        select(*MESSAGE_COLUMNS)
        .where(or_(about_order, Message.id.in_(message_ids)))
        .order_by(Message.received_at, Message.id)
    )
    setter = _find_setter(order, events)
    return {
        "order": {
            "account": order.account,
            "courier_order_id": order.courier_order_id,
            "reference": order.reference,
            "identifiers": order.identifiers,
            "status": order.status,
            "courier_status": order.courier_status,
            "status_at": rfc3339(order.status_at),
            "reason": order.reason,
            "needs_attention": order.needs_attention,
        },
        "messages": [_render_message(message, first_told[message.id]) for message in messages],
        "events": [_render_event(event, event is setter) for event in events],
        "details": order_details,
        "etas": details.list_etas(order.details),
        "conflicts": order.conflicts,
    }


def _find_setter(order: Order, events: Sequence[Event]) -> Event | None:
    """Return the event that set the status: the last applied one that agrees with the order."""
    for event in reversed(events):
        if event.applied and (event.status, event.courier_status, event.occurred_at) == (
            order.status,
            order.courier_status,
            order.status_at,
        ):
            return event
    return None


def _render_message(message: Any, first_told: list[str]) -> dict[str, Any]:
    return {
        **message._asdict(),
        "id": str(message.id),
        "received_at": rfc3339(message.received_at),
        "last_seen_at": rfc3339(message.last_seen_at),
        "first_told": first_told,
    }


def _render_event(event: Event, set_status: bool) -> dict[str, Any]:
    return {
        "occurred_at": rfc3339(event.occurred_at),
        "received_at": rfc3339(event.received_at),
        "courier_status": event.courier_status,
        "status": event.status,
        "reason": event.reason,
        "parcel": event.parcel or None,
        "message_id": str(event.message_id),
        "applied": event.applied,
        "not_applied_why": event.not_applied_why,
        "set_status": set_status,
        "flags": event.flags,
    }


def _list_details(order: Order) -> Iterator[dict[str, Any]]:
    """Yield every detail with its message; a parcel's under its tracking number."""
    known = order.details
    groups = [("", known.get("details", {})), ("", known.get("identifiers", {}))]
    parcels = sorted(known.get("parcels", {}).items())
    groups += [(f"parcel {tracking_number}: ", parcel) for tracking_number, parcel in parcels]
    for prefix, group in groups:
        for name, detail in sorted(group.items()):
            yield {
                "name": f"{prefix}{name}",
                "value": detail["value"],
                "told_at": rfc3339(datetime.fromisoformat(detail["at"])),
                "message_id": detail["message_id"],
            }


def describe_setter(explanation: Explanation) -> str:
    """Return in a sentence what set the status."""
    setter = next((event for event in explanation["events"] if event["set_status"]), None)
    if setter is None:
        return "No event that we have a status for was received yet."
    ignored = sum(not event["applied"] for event in explanation["events"])
    note = f" Events that were not applied say why ({ignored})." if ignored else ""
    return (
        f"Set by the courier's status {setter['courier_status']!r} in message"
        f" {setter['message_id']}: of all applied events it happened last.{note}"
    )
