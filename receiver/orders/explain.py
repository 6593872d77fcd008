"""Explain an order: every message, event and detail that made it what it is."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import and_, or_, select
from sqlalchemy.orm import Session

from receiver.db.models import Event, Message, Order
from receiver.orders import details
from receiver.orders.fold import sort_position
from receiver.text import count_noun

Explanation = dict[str, Any]

# What the flags of an event mean to people.
FLAG_TEXTS = {
    "time_inferred": "the courier gave no time: the time of arrival is used",
    "clock_skew": "the courier's time was in the future: the time of arrival is used",
    "zone_assumed": "the courier's time had no time zone: the account's zone is used",
    "minute_only": "the courier's time is only exact to the minute",
    "state_disagrees": "the courier's state differs from its newest dated event; the state is used",
    "pickup_at_unreadable": "the pickup time could not be read",
}


def explain_order(session: Session, order: Order) -> Explanation:
    """Collect everything that made the order what it is, for ExplanationSchema to dump.

    Shape: {"order", "messages": [...], "events": [...], "details": [...], "etas": [...],
            "conflicts": [...]}
    """
    events = sorted(
        session.execute(select(*Event.__table__.columns).where(Event.order_id == order.id)),
        key=sort_position,
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
    # The body may be large.
    shown = [column for column in Message.__table__.columns if column.key != "body"]
    messages = session.execute(
        select(*shown)
        .where(or_(about_order, Message.id.in_(message_ids)))
        .order_by(Message.received_at, Message.id)
    )
    # The status was set by the last applied event that agrees with the order.
    status = (order.status, order.courier_status, order.status_at)
    setters = [
        event.key
        for event in events
        if event.applied and (event.status, event.courier_status, event.occurred_at) == status
    ]
    return {
        "order": order,
        "messages": [
            {**message._asdict(), "first_told": first_told[message.id]} for message in messages
        ],
        "events": [
            {
                **event._asdict(),
                "parcel": event.parcel or None,
                "set_status": event.key in setters[-1:],
            }
            for event in events
        ],
        "details": order_details,
        "etas": details.list_etas(order.details),
        "conflicts": order.conflicts,
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
                "told_at": datetime.fromisoformat(detail["at"]),
                "message_id": detail["message_id"],
            }


def describe_setter(explanation: Explanation) -> str:
    """Return in a sentence what set the status. explanation: as ExplanationSchema dumps it."""
    setter = next((event for event in explanation["events"] if event["set_status"]), None)
    if setter is None:
        return "No event with a known status was received yet."
    ignored = sum(not event["applied"] for event in explanation["events"])
    events = count_noun(ignored, "event was", "events were")
    note = f" {events} not applied; each says why." if ignored else ""
    return (
        f"Set by the courier's status {setter['courier_status']!r} in message"
        f" {setter['message_id']}, the latest of all applied events.{note}"
    )
