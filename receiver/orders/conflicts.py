"""Conflicts of an order: found by the fold, settled by a later fact, or closed by a person.

They are stored on the order, each with an id that is derived from the event it is about.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import cast, func, select
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit
from receiver.changes.feed import record_changes
from receiver.changes.order_version import changed_names, copy_shown, touch_order
from receiver.db.models import Order
from receiver.db.order_state import AnyOrder
from receiver.db.pagination import CONFLICTS, read_cursor, write_cursor
from receiver.errors import UnknownConflict
from receiver.orders.find import find_order
from receiver.orders.fold import Conflict
from receiver.queue.doorbell import Bells
from receiver.settings import Settings
from receiver.statuses import find_status
from receiver.times import rfc3339

ConflictJson = dict[str, Any]

# How many conflicts are kept of an order, the newest: an earlier one is settled by then.
MOST_CONFLICTS = 50
# Two conflicts of one kind that are less apart than this are one.
SAME_CONFLICT = timedelta(minutes=1)


def merge_conflicts(known: Iterable[ConflictJson], found: Sequence[Conflict]) -> list[ConflictJson]:
    """Combine the conflicts that the fold found with how people closed those already known.

    One that a person closed stays closed: also where it is not found for a while, or where the same
    contradiction is found in an event whose time is known better.
    Shape: {"id", "kind", "occurred_at", "settled_at", "closed_at", "closed_by", "note"}
    """
    closed = [conflict for conflict in known if conflict["closed_at"] is not None]
    missing = {conflict["id"]: conflict for conflict in closed}
    merged = []
    for conflict in found[-MOST_CONFLICTS:]:
        conflict_id = hashlib.sha256(conflict.event_key.encode()).hexdigest()[:12]
        closing = next((one for one in closed if _is_same(one, conflict_id, conflict)), {})
        missing.pop(closing.get("id", conflict_id), None)
        merged.append(
            {
                "id": conflict_id,
                "kind": conflict.kind,
                "occurred_at": rfc3339(conflict.occurred_at),
                "settled_at": rfc3339(conflict.settled_at),
                **{name: closing.get(name) for name in ("closed_at", "closed_by", "note")},
            }
        )
    return [*merged, *missing.values()]


def _is_same(closed: ConflictJson, conflict_id: str, found: Conflict) -> bool:
    if closed["id"] == conflict_id:
        return True
    apart = abs(datetime.fromisoformat(closed["occurred_at"]) - found.occurred_at)
    return closed["kind"] == found.kind and apart < SAME_CONFLICT


def is_open(conflict: ConflictJson) -> bool:
    """Return whether a conflict is neither settled nor closed."""
    return conflict["settled_at"] is None and conflict["closed_at"] is None


def any_open(conflicts: Iterable[ConflictJson]) -> bool:
    """Return whether a person has to look."""
    return any(map(is_open, conflicts))


def needs_attention(order: AnyOrder) -> bool:
    """Return whether a person should look into an order whose courier has reported it.

    Nobody should while the shop has stopped its tracking.
    """
    if order.tracking_stopped_at is not None:
        return False
    return find_status(order.status).attention or any_open(order.conflicts)


OPEN_CONFLICT = func.jsonb_path_exists(
    Order.conflicts, cast("$[*] ? (@.settled_at == null && @.closed_at == null)", JSONPATH)
)


def list_conflicts(
    session: Session, settings: Settings, filters: Mapping[str, Any]
) -> dict[str, Any]:
    """List open conflicts with their orders, the newest order first.

    filters: as schemas.ConflictFilters loads them; limit counts orders. Without `test` the orders
        of test accounts are left out.
    """
    limit = filters["limit"]
    statement = select(Order).where(Order.conflicts != [], OPEN_CONFLICT)
    left_out = settings.left_out_accounts(filters.get("test", False))
    if left_out:
        statement = statement.where(Order.account.not_in(left_out))
    if "account" in filters:
        statement = statement.where(Order.account == filters["account"])
    if "cursor" in filters:
        statement = statement.where(Order.id < read_cursor(filters["cursor"], CONFLICTS))
    orders = session.scalars(statement.order_by(Order.id.desc()).limit(limit + 1)).all()
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


def close_conflict(
    sessions: sessionmaker[Session],
    bells: Bells,
    account: str,
    order_id: str,
    conflict_id: str,
    remark: Mapping[str, str],
    now: datetime,
) -> ConflictJson:
    """Record that a person dealt with a conflict, and return it; closing it again updates the note.

    remark: {"by", "note"}

    Raises: UnknownOrder, AmbiguousIdentifier; UnknownConflict.
    """
    with sessions.begin() as session:
        order = find_order(session, account, order_id, lock=True)
        if all(conflict["id"] != conflict_id for conflict in order.conflicts):
            raise UnknownConflict(
                f"order {order.courier_order_id!r} has no conflict {conflict_id!r}"
            )
        before = copy_shown(order)
        closing = {"closed_at": rfc3339(now), "closed_by": remark["by"], "note": remark["note"]}
        order.conflicts = [
            conflict | closing if conflict["id"] == conflict_id else conflict
            for conflict in order.conflicts
        ]
        order.needs_attention = needs_attention(order)
        changed = changed_names(before, order)
        record_changes(session, [touch_order(order, changed, now)], now)
        audit.record_action(
            session, audit.CLOSE, account=order.account, courier_order_id=order.courier_order_id
        )
    bells.feed()
    return next(conflict for conflict in order.conflicts if conflict["id"] == conflict_id)
