"""Select the orders that match filters, the newest first, for lists and downloads.

No list of orders sorts or reads much more than the page that is asked for, see db/pagination.py.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Date, Select, func, literal_column, select
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in
from receiver.db.models import Order
from receiver.db.pagination import (
    HIGHEST_ID,
    Column,
    IndexValues,
    count_rows,
    distinct_values,
    select_page_ids,
    select_pages,
)
from receiver.orders.find import find_ids_of_accounts, find_ids_of_spelled_references
from receiver.statuses import find_status

# The days, in UTC, on which an order was created and changed last, as the indexes spell them.
CREATED_ON = literal_column("((orders.created_at AT TIME ZONE 'UTC')::date)", Date)
UPDATED_ON = literal_column("((orders.updated_at AT TIME ZONE 'UTC')::date)", Date)

# How many orders are read at most to filter by a value and by the time of the last change.
FEW = 5000

Filters = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TimeRange:
    """A range of times: `since` is in it, `until` is not; None: it has no such end."""

    since: datetime | None
    until: datetime | None

    def conditions(self, column: Column) -> list[ColumnElement[bool]]:
        """Return the conditions that a column's time is in the range."""
        since = [] if self.since is None else [column >= self.since]
        return since if self.until is None else [*since, column < self.until]

    def list_days(self, session: Session, day: ColumnElement[date]) -> list[date] | None:
        """Return the days on which the range and the orders overlap; None: all orders are in it.

        day: the day of the column, as an index has it.
        """
        if self.since is None and self.until is None:
            return None
        ends = select(func.min(day), func.max(day)).select_from(Order)
        first, last = session.execute(ends).one()
        if first is None:
            return []  # type: ignore[unreachable]
        start = date.min if self.since is None else self.since.astimezone(UTC).date()
        end = date.max if self.until is None else self.until.astimezone(UTC).date()
        if start < first and last < end:
            return None
        start, end = max(start, first), min(end, last)
        return [start + timedelta(days=number) for number in range((end - start).days + 1)]


def select_order_ids(
    session: Session,
    filters: Filters,
    before: int | None,
    most: int,
    left_out: Collection[str] = (),
) -> Select[int]:
    """Select the ids of the newest orders that match.

    filters: as OrderFiltersSchema loads them, without the position and the size of the page.
    before: only those with a lower id. left_out: without the orders of these accounts.
    """
    created = TimeRange(filters.get("created_since"), filters.get("created_until"))
    updated = TimeRange(filters.get("updated_since"), filters.get("updated_until"))
    lowest, highest = _find_id_range(session, created)
    after = highest + 1 if before is None else min(before, highest + 1)
    wanted = _values_by_column(session, filters, left_out)
    is_wanted = [column.in_(values) for column, values in wanted.items()]
    is_created, is_updated = (
        created.conditions(Order.created_at),
        updated.conditions(Order.updated_at),
    )
    if filters.keys() & {"reference", "tracking_number"}:
        names = _name_conditions(session, filters, left_out)
        return _select_range(lowest, after, most, *names, *is_wanted, *is_created, *is_updated)
    days = updated.list_days(session, UPDATED_ON)
    if wanted:
        values = _index_values(session, wanted)
        if days is None:
            return select_page_ids(Order.id, values, most, *is_created, after=after, lowest=lowest)
        few = select_pages(Order.id, values, FEW, *is_created, after=after, lowest=lowest)
        if count_rows(session, few, FEW) < FEW:
            return _select_few(values, most, updated, *is_created, after=after, lowest=lowest)
    if days is None:
        return _select_range(lowest, after, most, *is_created)
    conditions = (*is_wanted, *is_created, *is_updated)
    return select_page_ids(
        Order.id, {UPDATED_ON: days}, most, *conditions, after=after, lowest=lowest
    )


def _select_range(
    lowest: int, after: int, most: int, *conditions: ColumnElement[bool]
) -> Select[int]:
    within = Order.id >= lowest, Order.id < after
    return select(Order.id).where(*within, *conditions).order_by(Order.id.desc()).limit(most)


def _select_few(
    values: IndexValues,
    most: int,
    updated: TimeRange,
    *conditions: ColumnElement[bool],
    **within: Any,
) -> Select[int]:
    """Select of few orders those that changed in time.

    First all of them, then those that changed in time: asked for both at once, PostgreSQL may read
    all that changed in time, once for each combination of values.
    """
    found = select_pages(Order.id, values, FEW, *conditions, columns=[Order.updated_at], **within)
    order_id, updated_at = found.selected_columns.id, found.selected_columns.updated_at
    in_time = found.where(*updated.conditions(updated_at)).with_only_columns(order_id)
    return in_time.order_by(order_id.desc()).limit(most)


def _find_id_range(session: Session, created: TimeRange) -> tuple[int, int]:
    """Return the lowest and the highest id of the orders that were created in a range of times.

    Ids nearly follow the times, so a list reads little else between the two. Not quite, since an
    order that takes in an earlier registration of itself is as old as that.
    """
    days = created.list_days(session, CREATED_ON)
    if days is None:
        return 0, HIGHEST_ID - 1
    ends = []
    for oldest_first, best in ((True, func.min), (False, func.max)):
        pages = select_pages(
            Order.id,
            {CREATED_ON: days},
            1,
            *created.conditions(Order.created_at),
            oldest_first=oldest_first,
        ).subquery()
        ends.append(session.scalar(select(best(pages.c.id))))
    lowest, highest = ends
    return (1, 0) if lowest is None or highest is None else (lowest, highest)


def _name_conditions(
    session: Session, filters: Filters, left_out: Collection[str]
) -> list[ColumnElement[bool]]:
    conditions = []
    if "tracking_number" in filters:
        name, account = filters["tracking_number"], filters.get("account")
        ids = {order_id for _, order_id in find_ids_of_accounts(session, [name], FEW, account)}
        conditions.append(id_in(Order.id, ids))
    if "reference" in filters:
        conditions.append(_has_reference(session, filters["reference"], left_out))
    return conditions


def _has_reference(
    session: Session, reference: str, left_out: Collection[str]
) -> ColumnElement[bool]:
    """Return the condition of having a reference: in its exact spelling, where an order has it.

    left_out: the orders of these accounts do not count.
    """
    exact = Order.reference == reference
    counts = Order.account.not_in(left_out)
    if session.scalar(select(Order.id).where(exact, counts).limit(1)) is not None:
        return exact
    spelled = find_ids_of_spelled_references(session, [reference], left_out)
    return Order.id.in_([order_id for _, order_id in spelled])


def _values_by_column(
    session: Session, filters: Filters, left_out: Collection[str]
) -> dict[Column, Sequence[Any]]:
    """Return the values that filters allow, by column.

    A stored status may be one that this release does not know; it is of the group `unknown`.
    """
    wanted: dict[Column, Sequence[Any]] = {
        column: [filters[column.key]]
        for column in (Order.account, Order.needs_attention)
        if column.key in filters
    }
    if left_out:
        accounts = wanted.get(Order.account) or distinct_values(session, Order.account)
        wanted[Order.account] = [slug for slug in accounts if slug not in left_out]
    if "status" in filters:
        wanted[Order.status] = filters["status"]
    if "status_group" in filters:
        names = wanted.get(Order.status) or distinct_values(session, Order.status)
        groups = filters["status_group"]
        wanted[Order.status] = [name for name in names if find_status(name).group in groups]
    return wanted


def _index_values(session: Session, wanted: Mapping[Column, Sequence[Any]]) -> IndexValues:
    """Return the values of the index orders_listed_idx, of which some columns are narrowed."""
    stored: dict[Column, Any] = {
        column: wanted[column] if column in wanted else distinct_values(session, column)
        for column in (Order.status, Order.account)
    }
    return {**stored, Order.needs_attention: wanted.get(Order.needs_attention, [True, False])}
