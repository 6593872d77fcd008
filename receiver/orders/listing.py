"""Reading orders as the API and the command line show them: a page of them, a timeline."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.db.cursors import read_cursor, write_cursor
from receiver.db.models import Event, Order
from receiver.db.pagination import snapshot
from receiver.orders.filters import matching
from receiver.orders.fold import REPEATED_OBSERVATION, sort_position
from receiver.orders.lookup import load


def page(session: Session, filters: dict[str, Any]) -> dict[str, Any]:
    """Orders, the newest first. The session's first statements.

    filters: as schemas.OrderFilters gives them.
    """
    limit = filters["limit"]
    before = read_cursor(filters["cursor"]) if "cursor" in filters else None
    snapshot(session)
    ids = session.scalars(matching(session, filters, before, limit + 1)).all()
    found = load(session, ids[:limit])
    return {
        "orders": [found[order_id] for order_id in ids[:limit]],
        "next_cursor": write_cursor(ids[limit - 1]) if len(ids) > limit else None,
    }


def timeline(session: Session, order: Order) -> dict[str, Any]:
    """An order's events, the oldest first, with what did not count; repetitions left out."""
    events = session.scalars(
        select(Event).where(
            Event.order_id == order.id, Event.not_applied_why.is_distinct_from(REPEATED_OBSERVATION)
        )
    ).all()
    return {"events": sorted(events, key=sort_position)}
