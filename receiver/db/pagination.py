"""Lists, newest first, that stay fast with every filter, the cursors of their pages, and counts.

PostgreSQL reads an index in the order of its last column only where every column before it is fixed
to one value. Where a filter leaves a column open, PostgreSQL would sort every matching row, or walk
down the ids past millions that do not match. So a list is the union of one short range for each
combination of values, none longer than a page.
"""

import base64
import binascii
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, cast, func, literal, select, true, tuple_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session

from receiver.errors import InvalidCursor

Column = ColumnElement[Any] | InstrumentedAttribute[Any]
# The values that are wanted of each column of an index before the id.
IndexValues = Mapping[Column, Sequence[Any]]

HIGHEST_ID = 2**63 - 1
# The most rows that a page may have.
MOST_LISTED = 200
# Past this a larger number would say the same and cost more.
MOST_COUNTED = 10_000

# A cursor is a letter for its list, so that no list takes another's, and a number. It is opaque to
# clients, so that its content can change.
CONFLICTS = "k"
ORDERS = "o"
CHANGES = "c"
MESSAGES = "m"
AUDIT = "a"
# Of the lists that belong to one order the number is how many entries came before.
PARCELS = "p"
EVENTS = "e"
EXPLANATION = "x"
_CURSOR = re.compile(rb"([a-z])([0-9]{1,18})")


def write_cursor(number: int, kind: str = ORDERS) -> str:
    """Return the cursor of the page that follows the row with this number."""
    return base64.urlsafe_b64encode(f"{kind}{number}".encode()).decode().rstrip("=")


def read_cursor(cursor: str, kind: str = ORDERS, name: str = "cursor") -> int:
    """Return the number in a cursor. name: the parameter's name, for the message.

    Raises: InvalidCursor.
    """
    try:
        content = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (ValueError, binascii.Error):
        content = b""
    match = _CURSOR.fullmatch(content)
    number = int(match[2]) if match else 0
    # Compared with the cursor as we write it, because decoding skips foreign characters.
    if not match or write_cursor(number, kind) != cursor.rstrip("="):
        raise InvalidCursor(
            f"{name} is not a cursor of this list: send the next_cursor of an earlier response",
            name,
        )
    return number


def begin_consistent_read(session: Session) -> None:
    """Have all statements of the session's transaction, which starts here, see one moment."""
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})


def select_page_ids(
    row_id: InstrumentedAttribute[int],
    values: IndexValues,
    limit: int,
    *conditions: ColumnElement[bool],
    after: int | None = None,
    lowest: int = 0,
    oldest_first: bool = False,
) -> Select[int]:
    """Select the ids of the newest rows whose columns have one of the values each.

    after: only rows that follow this id in the list.
    lowest: only rows from this id on.
    """
    within: dict[str, Any] = {"after": after, "lowest": lowest, "oldest_first": oldest_first}
    found = select_pages(row_id, values, limit, *conditions, **within)
    found_id = found.selected_columns.id
    ordered = found.with_only_columns(found_id).limit(limit)
    return ordered.order_by(found_id.asc() if oldest_first else found_id.desc())


def select_pages(
    row_id: InstrumentedAttribute[int],
    values: IndexValues,
    limit: int,
    *conditions: ColumnElement[bool],
    after: int | None = None,
    lowest: int = 0,
    oldest_first: bool = False,
    columns: Sequence[Column] = (),
) -> Select[Any]:
    """Select one page for each combination of values: the values and its newest ids.

    columns: what else to select of each row.

    Written as a range of the index in its whole order: with `=` and an order by id alone PostgreSQL
    may read the primary key instead, where it believes that no value is rare.
    """
    lists = [
        func.unnest(cast(list(wanted), ARRAY(column.type)))
        .table_valued("value")
        .render_derived(f"any_{number}")
        for number, (column, wanted) in enumerate(values.items())
    ]
    combination = [values_of_column.c.value for values_of_column in lists]
    key = tuple_(*values, row_id)
    if oldest_first:
        previous = max(after or 0, lowest - 1)
        begin = tuple_(*combination, literal(previous, BigInteger)) < key
        within = [begin, tuple_(*values) <= tuple_(*combination)]
        order = [column.asc() for column in (*values, row_id)]
    else:
        before_id = HIGHEST_ID if after is None else after
        begin = key < tuple_(*combination, literal(before_id, BigInteger))
        within = [begin, key >= tuple_(*combination, literal(lowest, BigInteger))]
        order = [column.desc() for column in (*values, row_id)]
    page = (
        select(row_id.label("id"), *columns)
        .where(*within, *conditions)
        .order_by(*order)
        .limit(limit)
        .lateral("page")
    )
    combinations: Any = lists[0]
    for further in lists[1:]:
        combinations = combinations.join(further, true())
    return select(*combination, *page.c).select_from(combinations.join(page, true()))


def count_rows(session: Session, rows: Select[Any], limit: int = MOST_COUNTED) -> int:
    """Count the rows of a statement, up to a limit, so that it stays quick."""
    limited = rows.limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(limited)) or 0


def distinct_values(session: Session, column: InstrumentedAttribute[str]) -> list[str]:
    """Return the distinct values of a column, by one read of its index for each of them."""
    return list(session.connection().scalars(_select_distinct(column)))


@functools.cache
def _select_distinct(column: InstrumentedAttribute[str]) -> Select[tuple[str]]:
    """Return the statement, made once for each column: that takes longer than to run it."""
    first = select(func.min(column).label("value")).cte("seen", recursive=True)
    following = select(func.min(column)).where(column > first.c.value).scalar_subquery()
    seen = first.union_all(select(following).where(first.c.value.is_not(None)))
    return select(seen.c.value).where(seen.c.value.is_not(None))
