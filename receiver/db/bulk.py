"""Statements about many rows, whose text is the same for any number of rows.

Rows go to PostgreSQL as one JSON text and ids as one array, so a statement is planned once and
costs a tenth of one statement, or one VALUES list, per row. PostgreSQL also allows no more than
65,535 parameters, and a tour plan may name more orders.
"""

from collections import namedtuple
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import BigInteger, ColumnElement, Text, any_, cast, func, literal, select, text
from sqlalchemy import tuple_ as sql_tuple
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.types import NULLTYPE

from receiver.db.models import Base

Column = InstrumentedAttribute[Any]
Rows = Sequence[Mapping[str, Any]]


def insert_rows(
    session: Session,
    model: type[Base],
    rows: Rows,
    on_conflict: str = "DO NOTHING",
    **parameters: object,
) -> int:
    """Insert rows in their order, and return how many were inserted or updated.

    Sort the rows by their key: two processes that insert the same rows then wait for each other
    instead of deadlocking.

    rows: by column name, all with the same columns; an `id` that is given is used.
    on_conflict: what follows ON CONFLICT; the stored row is called `known`, the new one `excluded`.
    parameters: of on_conflict.
    """
    if not rows:
        return 0
    table, names = model.__tablename__, ", ".join(rows[0])
    statement = text(f"""
        INSERT INTO {table} AS known ({names}) OVERRIDING SYSTEM VALUE
        SELECT {names} FROM json_populate_recordset(CAST(NULL AS {table}), :rows)
        ON CONFLICT {on_conflict}
    """)  # noqa: S608 (names of our own tables and columns)
    return session.connection().execute(statement, {"rows": _to_json(rows), **parameters}).rowcount


def update_rows(session: Session, model: type[Base], rows: Rows, key: str = "id") -> int:
    """Set the rows' columns in the stored rows with the same key; return how many there were.

    rows: by column name, all with the same columns; the caller holds locks on the stored rows.
    """
    if not rows:
        return 0
    table = model.__tablename__
    assignments = ", ".join(f"{name} = new.{name}" for name in rows[0] if name != key)
    statement = text(f"""
        UPDATE {table} SET {assignments}
        FROM json_populate_recordset(CAST(NULL AS {table}), :rows) AS new
        WHERE {table}.{key} = new.{key}
    """)  # noqa: S608 (names of our own tables and columns)
    return session.connection().execute(statement, {"rows": _to_json(rows)}).rowcount


def _to_json(rows: Rows) -> str:
    return orjson.dumps(rows, default=_interval).decode()


def _interval(value: object) -> str:
    if isinstance(value, timedelta):
        return f"{value.total_seconds():f} seconds"
    raise TypeError


def id_in(column: Column, ids: Collection[int]) -> ColumnElement[bool]:
    """Return the condition that a column is one of the ids."""
    return column == any_(cast(_array(ids), ARRAY(BigInteger)))


def pairs_in(
    first: Column, second: Column, pairs: Collection[tuple[str, str]]
) -> ColumnElement[bool]:
    """Return the condition that two text columns together are one of the pairs (at least one)."""
    arrays = [cast(_array(values), ARRAY(Text)) for values in zip(*pairs, strict=True)]
    return sql_tuple(first, second).in_(select(*map(func.unnest, arrays)))


def _array(values: Iterable[str | int]) -> ColumnElement[Any]:
    # Without a type (NULLTYPE), or PostgreSQL would parse the text again for each row it compares.
    return literal(array_text(values), NULLTYPE)


def array_text(values: Iterable[str | int]) -> str:
    """Return the text of an array, to be cast: psycopg takes fifteen times as long for a list."""
    return "{" + ",".join(map(_element, values)) + "}"


def _element(value: str | int) -> str:
    if isinstance(value, int):
        return str(value)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def row_class(columns: Iterable[Any]) -> Callable[..., Any]:
    """Return a class of plain rows with these columns, in their order.

    Reading an attribute of SQLAlchemy's rows takes nine times as long, and making an object of the
    session three times.
    """
    return namedtuple("Row", [column.key for column in columns])  # noqa: PYI024 (no fixed names)
