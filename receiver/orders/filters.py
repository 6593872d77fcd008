"""Which orders the filters of a list mean: a statement that gives their ids, newest first.

None of them sorts, or reads, much more than the page that is asked for, see listing.py.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Date, Select, func, literal_column, select
from sqlalchemy.orm import Session

from receiver import statuses
from receiver.db.models import Order
from receiver.db.pagination import Column, Values, are_fewer, distinct, each, walk

# The day of an order's last change, as orders_updated_idx spells it.
UPDATED_ON = literal_column("((orders.updated_at AT TIME ZONE 'UTC')::date)", Date)

# So many orders are looked through at once, where a list is narrowed both by what they are and by
# when they changed.
FEW = 5000

Filters = Mapping[str, Any]


def matching(session: Session, filters: Filters, before: int | None, most: int) -> Select[int]:
    """The ids of the newest orders that fit. before: only those with a lower id."""
    conditions: list[ColumnElement[bool]] = []
    wanted = _wanted(filters)
    narrowed = [column.in_(values) for column, values in wanted.items()]
    days = _days(session, filters["updated_since"]) if "updated_since" in filters else None
    if days is not None:
        conditions.append(Order.updated_at >= filters["updated_since"])
    if "reference" in filters:
        conditions += [Order.reference == filters["reference"], *narrowed]
    elif wanted:
        values: Values = {
            Order.status: wanted.get(Order.status, list(statuses.VOCABULARY)),
            Order.account: wanted.get(Order.account) or distinct(session, Order.account),
            Order.needs_attention: wanted.get(Order.needs_attention, [True, False]),
        }
        if days is None:
            return walk(Order.id, values, most, beyond=before)
        if are_fewer(session, Order.id, values, FEW):
            # All of them, and only then those that changed since: asked for both at once,
            # PostgreSQL may rather read all that changed since, once for each combination.
            found = each(Order.id, values, FEW, beyond=before, shown=[Order.updated_at])
            _, _, _, order_id, updated_at = found.selected_columns
            since = found.where(updated_at >= filters["updated_since"])
            return since.with_only_columns(order_id).order_by(order_id.desc()).limit(most)
        conditions += narrowed
        return walk(Order.id, {UPDATED_ON: days}, most, *conditions, beyond=before)
    elif days is not None:
        return walk(Order.id, {UPDATED_ON: days}, most, *conditions, beyond=before)
    if before is not None:
        conditions.append(Order.id < before)
    return select(Order.id).where(*conditions).order_by(Order.id.desc()).limit(most)


def _wanted(filters: Filters) -> dict[Column, Sequence[Any]]:
    wanted: dict[Column, Sequence[Any]] = {
        column: [filters[column.key]]
        for column in (Order.account, Order.status, Order.needs_attention)
        if column.key in filters
    }
    if "status_group" in filters:
        group = statuses.statuses_of_group(filters["status_group"])
        wanted[Order.status] = [it for it in wanted.get(Order.status, group) if it in group]
    return wanted


def _days(session: Session, since: datetime) -> list[date] | None:
    """The days, since then, on which orders changed last; None where they are all."""
    ends = select(func.min(UPDATED_ON), func.max(UPDATED_ON)).select_from(Order)
    first, last = session.execute(ends).one()
    started = since.astimezone(UTC).date()
    if first is not None and started >= first:  # type: ignore[redundant-expr] # none: no orders
        return [started + timedelta(days=n) for n in range((last - started).days + 1)]
    return None
