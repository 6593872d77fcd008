"""Lists, newest first, that stay fast whatever they are narrowed by.

PostgreSQL reads an index in the order of its last column only where each column before it is fixed
to one value. Where a filter leaves one open, it would sort all that fits, or walk down the ids past
millions that do not. So a list is put together from one short walk for each combination of
values, none longer than a page.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, cast, func, literal, select, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session

Column = ColumnElement[Any] | InstrumentedAttribute[Any]
# What each column of an index before the id may be.
Values = Mapping[Column, Sequence[Any]]

HIGHEST_ID = 2**63 - 1
# What one page may have.
MOST_LISTED = 200


def snapshot(session: Session) -> None:
    """Let all that the session's transaction reads be of one moment. Its first statement."""
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def walk(
    row_id: InstrumentedAttribute[int],
    values: Values,
    most: int,
    *conditions: ColumnElement[bool],
    beyond: int | None = None,
    oldest_first: bool = False,
) -> Select[int]:
    """The ids of the newest rows whose columns have one of the values each.

    beyond: only those that come after this id.
    """
    found = each(row_id, values, most, *conditions, beyond=beyond, oldest_first=oldest_first)
    found_id = found.selected_columns.id
    ordered = found.with_only_columns(found_id).limit(most)
    return ordered.order_by(found_id.asc() if oldest_first else found_id.desc())


def are_fewer(
    session: Session, row_id: InstrumentedAttribute[int], values: Values, most: int
) -> bool:
    """Whether fewer than `most` rows have these values, by reading no more than that."""
    found = each(row_id, values, most).limit(most).subquery()
    return (session.scalar(select(func.count()).select_from(found)) or 0) < most


def each(
    row_id: InstrumentedAttribute[int],
    values: Values,
    most: int,
    *conditions: ColumnElement[bool],
    beyond: int | None = None,
    oldest_first: bool = False,
    shown: Sequence[Column] = (),
) -> Select[Any]:
    """For each combination of values: these, the ids of its newest rows, and what else is shown.

    Said as a range of the index and in its whole order: for `=` and an order by id alone PostgreSQL
    may take the primary key instead, where it believes that no value is rare.
    """
    told = [
        func.unnest(cast(list(those), ARRAY(column.type)))
        .table_valued("value")
        .render_derived(f"any_{number}")
        for number, (column, those) in enumerate(values.items())
    ]
    wanted = [it.c.value for it in told]
    place, limit = tuple_(*values, row_id), HIGHEST_ID if beyond is None else beyond
    if oldest_first:
        after = tuple_(*wanted, literal(beyond or 0, BigInteger)) < place
        within = [after, tuple_(*values) <= tuple_(*wanted)]
        order = [column.asc() for column in (*values, row_id)]
    else:
        before = place < tuple_(*wanted, literal(limit, BigInteger))
        within = [before, tuple_(*values) >= tuple_(*wanted)]
        order = [column.desc() for column in (*values, row_id)]
    page = (
        select(row_id.label("id"), *shown)
        .where(*within, *conditions)
        .order_by(*order)
        .limit(most)
        .lateral("page")
    )
    combinations: Any = told[0]
    for it in told[1:]:
        combinations = combinations.join(it, true())
    return select(*wanted, *page.c).select_from(combinations.join(page, true()))


def distinct(session: Session, column: InstrumentedAttribute[str]) -> list[str]:
    """The values that a column has, by one look into its index for each of them."""
    first = select(func.min(column).label("value")).cte("seen", recursive=True)
    following = select(func.min(column)).where(column > first.c.value).scalar_subquery()
    seen = first.union_all(select(following).where(first.c.value.is_not(None)))
    return list(session.scalars(select(seen.c.value).where(seen.c.value.is_not(None))))
