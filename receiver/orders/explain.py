"""Why an order stands where it stands: every message, event and detail, and what decided.

`explain` gathers it, `page` tells it to a person who does not know the code.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from receiver.db.models import Event, Message, Order
from receiver.orders import details
from receiver.orders.fold import sort_position
from receiver.times import rfc3339

Told = dict[str, Any]


def explain(session: Session, order: Order) -> Told:
    """Everything that made the order what it is.

    Shape: {"order", "messages": [...], "events": [...], "details": [...], "etas": [...],
            "conflicts": [...]}; ids of messages are strings throughout.
    """
    events = sorted(
        session.scalars(select(Event).where(Event.order_id == order.id)), key=sort_position
    )
    told_details = list(_details(order))
    named = {event.message_id for event in events}
    named |= {int(detail["message_id"]) for detail in told_details}
    named |= {int(eta["message_id"]) for eta in order.details.get("etas", ())}
    first_told = defaultdict(list)
    for event in events:
        first_told[event.message_id].append(event.courier_status)
    messages = session.scalars(
        select(Message)
        .where(
            or_(
                (Message.account == order.account)
                & (Message.courier_order_id == order.courier_order_id),
                Message.id.in_(named),
            )
        )
        .order_by(Message.received_at, Message.id)
    )
    setter = _setter(order, events)
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
        "messages": [_message(message, first_told[message.id]) for message in messages],
        "events": [_event(event, event is setter) for event in events],
        "details": told_details,
        "etas": details.list_etas(order.details),
        "conflicts": order.conflicts,
    }


def _setter(order: Order, events: Iterable[Event]) -> Event | None:
    """The event that set the status: the last that applied and says what the order says."""
    fits = [
        event
        for event in events
        if event.applied
        and event.status == order.status
        and event.courier_status == order.courier_status
        and event.occurred_at == order.status_at
    ]
    return fits[-1] if fits else None


def _message(message: Message, first_told: list[str]) -> Told:
    return {
        "id": str(message.id),
        "topic": message.topic,
        "kind": message.kind,
        "trust": message.trust,
        "received_at": rfc3339(message.received_at),
        "repetitions": message.repetitions,
        "last_seen_at": rfc3339(message.last_seen_at),
        "outcome": message.outcome,
        "reason": message.reason,
        "first_told": first_told,
    }


def _event(event: Event, set_status: bool) -> Told:
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


def _details(order: Order) -> Iterator[Told]:
    """Every detail with the message that told it; a parcel's under its tracking number."""
    known = order.details
    groups = [("", known.get("details", {})), ("", known.get("identifiers", {}))]
    parcels = sorted(known.get("parcels", {}).items())
    groups += [(f"parcel {tracking_number}: ", told) for tracking_number, told in parcels]
    for prefix, told in groups:
        for name, detail in sorted(told.items()):
            yield {
                "name": f"{prefix}{name}",
                "value": detail["value"],
                "told_at": rfc3339(datetime.fromisoformat(detail["at"])),
                "message_id": detail["message_id"],
            }


FLAGS = {
    "time_inferred": "the courier gave no time, so it counts when we heard of it",
    "clock_skew": "stamped in the future, so it counts when we received it",
    "zone_assumed": "its time had no zone",
    "minute_only": "its time was told to the minute",
    "state_disagrees": "the courier's state is not the one with its newest time; it is believed",
    "pickup_at_unreadable": "its pickup time could not be read",
}


def page(told: Told) -> str:
    """The story as plain text, for a terminal or a ticket."""
    order = told["order"]
    reference = f", your reference {order['reference']}" if order["reference"] else ""
    since = f" since {_at(order['status_at'])}" if order["status_at"] else ""
    lines = [
        f"Order {order['courier_order_id']} of {order['account']}{reference}",
        f"Status: {order['status']}{since}"
        + (f", because {order['reason']}" if order["reason"] else ""),
        f"  {because(told)}",
        "",
        f"What the courier sent ({len(told['messages'])} messages, in the order of arrival):",
        *(f"  {line}" for line in table(map(_message_row, told["messages"]))),
        "",
        "What happened, by the courier's clock:",
        *(f"  {line}" for line in table(map(_event_row, told["events"]))),
    ]
    if told["etas"]:
        lines += ["", "When it was to arrive, as told over time:"]
        lines += [f"  {line}" for line in table(map(_eta_row, told["etas"]))]
    if told["details"]:
        lines += ["", "Where the details come from:"]
        lines += [f"  {line}" for line in table(map(_detail_row, told["details"]))]
    lines += ["", "Conflicts:" if told["conflicts"] else "Conflicts: none"]
    lines += [f"  {line}" for line in table(map(_conflict_row, told["conflicts"]))]
    return "\n".join(map(clean, lines)) + "\n"


def because(told: Told) -> str:
    """What decided, in a sentence."""
    setter = next((event for event in told["events"] if event["set_status"]), None)
    if setter is None:
        return "Nothing that we understand was heard of it yet."
    later = [event for event in told["events"] if not event["applied"]]
    ignored = f" What does not count below ({len(later)}) says why." if later else ""
    return (
        f"Set by the courier's word {setter['courier_status']!r}, told by message"
        f" {setter['message_id']}: of all that counts, it happened last.{ignored}"
    )


def _message_row(message: Told) -> list[str]:
    again = message["repetitions"]
    told = ", ".join(dict.fromkeys(message["first_told"]))
    outcome = f"first to tell: {told}" if told else "told nothing new"
    if message["outcome"] != "applied":
        outcome = f"{message['outcome']}: {message['reason'] or 'not read yet'}"
    elif message["topic"] != "orders":
        outcome = "a plan: tells when, never a status"
    times = {0: "", 1: "came once more"}.get(again, f"came {again} times more")
    return [
        f"message {message['id']}",
        _at(message["received_at"]),
        f"{message['kind']}, {message['trust']}",
        outcome,
        times,
    ]


def _event_row(event: Told) -> list[str]:
    counts = "counts" if event["applied"] else f"does not count: {event['not_applied_why']}"
    if event["set_status"]:
        counts = "counts, and set the status"
    notes = [counts, *(FLAGS.get(flag, flag) for flag in event["flags"])]
    if event["reason"]:
        notes.insert(0, event["reason"])
    if event["parcel"]:
        notes.insert(0, f"parcel {event['parcel']}")
    return [
        _at(event["occurred_at"]),
        f"{event['courier_status']} -> {event['status']}",
        f"message {event['message_id']}",
        "; ".join(notes),
    ]


def _eta_row(eta: Told) -> list[str]:
    return [f"told {_at(eta['updated_at'])}", _at(eta["to"]), eta["source"]]


def _detail_row(detail: Told) -> list[str]:
    return [detail["name"], str(detail["value"]), f"message {detail['message_id']}"]


def _conflict_row(conflict: Told) -> list[str]:
    state = "open"
    if conflict["closed_at"]:
        state = f"closed {_at(conflict['closed_at'])} by {conflict['closed_by']}"
        state += f": {conflict['note']}" if conflict["note"] else ""
    elif conflict["settled_at"]:
        state = f"settled by what happened {_at(conflict['settled_at'])}"
    return [conflict["id"], _at(conflict["occurred_at"]), conflict["kind"], state]


def _at(time: str | None) -> str:
    return f"{time[:10]} {time[11:19]}" if time else "?"


def table(rows: Iterable[list[str]]) -> list[str]:
    """Rows as lines with aligned columns."""
    told = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*told, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in told
    ]


def clean(line: str) -> str:
    """Text that cannot break a line or steer a terminal, whatever a courier put into it."""
    return "".join(char if char.isprintable() else "?" for char in line)
