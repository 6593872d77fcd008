"""Explain an order: every message, event and detail that made it what it is, page by page.

PostgreSQL cuts the pages: an order with thousands of events or parcels must not block the process
that shows it.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, union
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in
from receiver.db.models import Event, Message, Order
from receiver.db.pagination import EXPLANATION
from receiver.orders import details
from receiver.orders.listing.pages import (
    EVENT_POSITION,
    SHOWN_AT,
    SHOWN_COLUMNS,
    next_offset,
    read_offset,
)
from receiver.orders.order_json import render_event
from receiver.text import count_noun
from receiver.times import rfc3339

Explanation = dict[str, Any]

# A message may be the first to report thousands of events: so many of them are named beside it.
MOST_WORDS = 50

# What the flags of an event mean to people.
FLAG_TEXTS = {
    "time_inferred": "the courier gave no time: the time of arrival is used",
    "clock_skew": "the courier's time was in the future: the time of arrival is used",
    "zone_assumed": "the courier's time had no time zone: the account's zone is used",
    "minute_only": "the courier's time is only exact to the minute",
    "state_disagrees": "the courier's state differs from its newest dated event; the state is used",
    "answered": "the courier's answer to our own request: it may take the order back",
    "of_shipment": "about a shipment, not the order itself: it never takes the order back",
}


# What is shown of a message; its body may be large.
MESSAGE_COLUMNS = (
    *(Message.id, Message.topic, Message.kind, Message.trust, Message.outcome, Message.reason),
    *(Message.received_at, Message.last_seen_at, Message.repetitions, Message.left_out),
)
# All details but those of parcels; and those, by tracking number and name.
OWN_DETAILS = text("SELECT details - 'parcels' FROM orders WHERE id = :order_id")
PARCEL_DETAILS = text("""
    SELECT parcel.key AS tracking_number, detail.key AS name, detail.value AS detail
    FROM orders, jsonb_each(details -> 'parcels') AS parcel, jsonb_each(parcel.value) AS detail
    WHERE id = :order_id ORDER BY parcel.key COLLATE "C", detail.key COLLATE "C"
    LIMIT :most OFFSET :before
""")


def explain_order(session: Session, order: Order, page: Mapping[str, Any]) -> Explanation:
    """Collect what made the order what it is, as ExplanationSchema describes it.

    page: as ExplanationFiltersSchema loads it. Its messages, events and details are returned, and
    all of the rest.
    """
    limit, before = page["limit"], read_offset(page, EXPLANATION)
    known = read_details(session, order)
    setter = find_setter(session, order)
    event_count, ignored = count_events(session, order)
    message_count = count_messages(session, order, known)
    listed = _list_details(session, order, known, before, limit + 1)
    longest = max(message_count - before, event_count - before, len(listed))
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
        "summary": describe_setter(setter, ignored),
        "message_count": message_count,
        "event_count": event_count,
        "messages": read_messages(session, order, known, limit, before),
        "events": read_events(session, order, setter, limit, before),
        "details": listed[:limit],
        "etas": details.list_etas(known),
        "conflicts": order.conflicts,
        "next_cursor": next_offset(longest, page, EXPLANATION),
    }


def read_details(session: Session, order: Order) -> details.KnownDetails:
    """Read the order's details; those of its parcels only where they are few."""
    if details.count_parcels(order) <= details.MOST_PARCELS:
        return order.details
    known: details.KnownDetails = session.scalar(OWN_DETAILS, {"order_id": order.id})
    return known


def find_setter(session: Session, order: Order) -> Any:
    """Return the event that set the status, the last applied one that agrees with it, or None."""
    status = (Event.status == order.status, Event.courier_status == order.courier_status)
    agrees = (Event.order_id == order.id, *status, SHOWN_AT.element == order.status_at)
    latest_first = [column.desc() for column in EVENT_POSITION]
    setter = select(Event.key, Event.courier_status, Event.message_id).where(*agrees, Event.applied)
    return session.execute(setter.order_by(*latest_first).limit(1)).first()


def describe_setter(setter: Any, ignored: int) -> str:
    """Return in a sentence what set the status. ignored: how many events were not applied."""
    if setter is None:
        return "No event with a known status was received yet."
    events = count_noun(ignored, "event was", "events were")
    says = "it says" if ignored == 1 else "each says"
    note = f" {events} not applied; {says} why." if ignored else ""
    return (
        f"Set by the courier's status {setter.courier_status!r} in message {setter.message_id}, the"
        f" latest of all applied events.{note}"
    )


def count_events(session: Session, order: Order) -> tuple[int, int]:
    """Count the events, and those that were not applied."""
    counts = select(func.count(), func.count().filter(~Event.applied))
    total, ignored = session.execute(counts.where(Event.order_id == order.id)).one()
    return total, ignored


def read_events(
    session: Session, order: Order, setter: Any, limit: int, before: int
) -> list[dict[str, Any]]:
    """Read a page of all events, the oldest first, as ExplainedEventSchema describes them."""
    events = select(*SHOWN_COLUMNS).where(Event.order_id == order.id)
    rows = session.execute(events.order_by(*EVENT_POSITION).limit(limit).offset(before))
    return [
        {
            **render_event(row),
            "message_id": str(row.message_id),
            "set_status": setter is not None and row.key == setter.key,
        }
        for row in rows
    ]


def _select_message_ids(order: Order, known: details.KnownDetails) -> Any:
    """Select the ids of the messages about an order, and of others that gave an event or detail.

    A message about several orders is known only by what it gave.
    """
    about = (Message.account == order.account, Message.courier_order_id == order.courier_order_id)
    return union(
        select(Message.id).where(*about),
        select(Event.message_id).where(Event.order_id == order.id),
        select(Message.id).where(id_in(Message.id, details.list_message_ids(known))),
    )


def count_messages(session: Session, order: Order, known: details.KnownDetails) -> int:
    """Count the messages that read_messages() has pages of."""
    kept = select(func.count()).where(Message.id.in_(_select_message_ids(order, known)))
    return session.scalar(kept) or 0


def read_messages(
    session: Session,
    order: Order,
    known: details.KnownDetails,
    limit: int,
    before: int,
    newest_first: bool = False,
) -> list[dict[str, Any]]:
    """Read a page of the messages, in order of arrival, as ExplainedMessageSchema has them."""
    arrival = (Message.received_at, Message.id)
    rows = session.execute(
        select(*MESSAGE_COLUMNS)
        .where(Message.id.in_(_select_message_ids(order, known)))
        .order_by(*(column.desc() if newest_first else column.asc() for column in arrival))
        .limit(limit)
        .offset(before)
    ).all()
    words = _first_reported_words(session, order, [row.id for row in rows])
    return [
        {
            "id": str(row.id),
            "topic": row.topic,
            "kind": row.kind,
            "trust": row.trust,
            "outcome": row.outcome,
            "reason": row.reason,
            "received_at": rfc3339(row.received_at),
            "last_seen_at": rfc3339(row.last_seen_at),
            "repetitions": row.repetitions,
            "left_out": row.left_out,
            "first_told": words[row.id],
        }
        for row in rows
    ]


def _first_reported_words(
    session: Session, order: Order, message_ids: Sequence[int]
) -> dict[int, list[str]]:
    number = func.row_number().over(partition_by=Event.message_id, order_by=EVENT_POSITION)
    reports = (
        select(Event.message_id, Event.courier_status, number.label("number"))
        .where(Event.order_id == order.id, id_in(Event.message_id, message_ids))
        .subquery()
    )
    words: dict[int, list[str]] = defaultdict(list)
    rows = select(reports.c.message_id, reports.c.courier_status).order_by(reports.c.number)
    for message_id, word in session.execute(rows.where(reports.c.number <= MOST_WORDS)):
        words[message_id].append(word)
    return words


def _list_details(
    session: Session, order: Order, known: details.KnownDetails, before: int, most: int
) -> list[dict[str, Any]]:
    """List details with their messages: the order's own, then each parcel's under its number."""
    groups = [known.get("details", {}), known.get("identifiers", {})]
    own = [_detail(name, detail) for group in groups for name, detail in sorted(group.items())]
    listed = own[before : before + most]
    if len(listed) < most:
        values = {"before": max(before - len(own), 0), "most": most - len(listed)}
        listed += [
            _detail(f"parcel {row.tracking_number}: {row.name}", row.detail)
            for row in session.execute(PARCEL_DETAILS, {"order_id": order.id, **values})
        ]
    return listed


def _detail(name: str, detail: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "value": detail["value"],
        "told_at": rfc3339(datetime.fromisoformat(detail["at"])),
        "message_id": detail["message_id"],
    }
