"""Conflicts of an order: found by the fold, settled by a later fact, or closed by a person.

They stand on the order, each with an id that lives as long as the event it is about.
"""

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from receiver.changes.feed import Changed, tell, what_changed
from receiver.db.cursors import CONFLICTS, read_cursor, write_cursor
from receiver.db.models import Order
from receiver.errors import UnknownConflict
from receiver.orders.find import in_conflict
from receiver.orders.fold import Conflict
from receiver.statuses import VOCABULARY
from receiver.times import rfc3339

Shown = dict[str, Any]


def merge(known: Iterable[Shown], found: Sequence[Conflict]) -> list[Shown]:
    """The conflicts that the fold found, with what persons said of those that were known.

    Shape: {"id", "kind", "occurred_at", "settled_at", "closed_at", "closed_by", "note"}
    """
    said = {conflict["id"]: conflict for conflict in known}
    return [_show(conflict, said.get(_id(conflict), {})) for conflict in found]


def is_open(conflict: Shown) -> bool:
    """Neither settled nor closed."""
    return conflict["settled_at"] is None and conflict["closed_at"] is None


def any_open(conflicts: Iterable[Shown]) -> bool:
    """Whether a person has to look."""
    return any(map(is_open, conflicts))


def page(session: Session, filters: dict[str, Any]) -> dict[str, Any]:
    """Open conflicts with their orders, the newest order first.

    filters: as schemas.ConflictFilters gives them; limit counts orders.
    """
    before = read_cursor(filters["cursor"], CONFLICTS) if "cursor" in filters else None
    limit = filters["limit"]
    orders = in_conflict(session, filters.get("account"), limit + 1, before)
    return {
        "conflicts": [
            {
                **conflict,
                "account": order.account,
                "courier_order_id": order.courier_order_id,
                "reference": order.reference,
                "status": order.status,
            }
            for order in orders[:limit]
            for conflict in order.conflicts
            if is_open(conflict)
        ],
        "next_cursor": (
            write_cursor(orders[limit - 1].id, kind=CONFLICTS) if len(orders) > limit else None
        ),
    }


def close(
    session: Session, order: Order, conflict_id: str, by: str, note: str, now: datetime
) -> Shown:
    """Write down that a person dealt with a conflict; closing it again changes the note.

    order is locked by the caller, who commits at once.
    Raises: UnknownConflict.
    """
    if all(conflict["id"] != conflict_id for conflict in order.conflicts):
        raise UnknownConflict(f"order {order.courier_order_id!r} has no conflict {conflict_id!r}")
    word = {"closed_at": rfc3339(now), "closed_by": by, "note": note}
    order.conflicts = [
        conflict | word if conflict["id"] == conflict_id else conflict
        for conflict in order.conflicts
    ]
    order.needs_attention = VOCABULARY[order.status].attention or any_open(order.conflicts)
    changed = what_changed(order)
    order.version += 1
    order.updated_at = now
    tell(session, [Changed(order, tuple(changed))], now)
    return next(conflict for conflict in order.conflicts if conflict["id"] == conflict_id)


def _id(conflict: Conflict) -> str:
    return hashlib.sha256(conflict.event_key.encode()).hexdigest()[:12]


def _show(conflict: Conflict, said: Shown) -> Shown:
    return {
        "id": _id(conflict),
        "kind": conflict.kind,
        "occurred_at": rfc3339(conflict.occurred_at),
        "settled_at": rfc3339(conflict.settled_at),
        "closed_at": said.get("closed_at"),
        "closed_by": said.get("closed_by"),
        "note": said.get("note"),
    }
