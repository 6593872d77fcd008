"""Rows of a batch written by one statement a table, however many there are.

They go as one JSON text that PostgreSQL takes apart: such a statement is the same for any number
of rows, so it is planned once, and costs a tenth of what a statement or a VALUES list per row does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from receiver.db.models import Event, Order

Rows = Sequence[Mapping[str, Any]]


def _from_json(table: str, names: str) -> str:
    return f"SELECT {names} FROM json_populate_recordset(CAST(NULL AS {table}), :rows)"  # noqa: S608


# The texts are made of the models' names alone.
# What an order shows or knows by its messages; the rest stays as it was put on record.
LEARNT: tuple[str, ...] = (
    *("reference", "identifiers", "status", "courier_status", "status_at", "reason"),
    *("needs_attention", "source", "milestones", "conflicts", "tracking_url", "label_url"),
    *("pickup_at", "eta", "parcels", "details", "last_heard_at", "version", "updated_at"),
)
NEW = ("id", "account", "courier", "courier_order_id", "created_at", *LEARNT)
ORDERS = text(f"""
    UPDATE orders SET {", ".join(f"{name} = told.{name}" for name in LEARNT)}
    FROM json_populate_recordset(CAST(NULL AS orders), :rows) AS told WHERE orders.id = told.id
""")  # noqa: S608

_new = ", ".join(NEW)
# In the order of the rows, so that two workers that meet the same new orders wait in turn.
NEW_ORDERS = text(f"""
    INSERT INTO orders ({_new}) OVERRIDING SYSTEM VALUE {_from_json("orders", _new)}
    ON CONFLICT DO NOTHING
""")

IDENTIFIERS = text(f"""
    INSERT INTO identifiers (account, value, order_id)
    {_from_json("identifiers", "account, value, order_id")} ON CONFLICT DO NOTHING
""")

_event = [column.name for column in Event.__table__.columns]
_told = [column.name for column in Event.__table__.columns if not column.primary_key]
EVENTS = text(f"""
    INSERT INTO events ({", ".join(_event)}) {_from_json("events", ", ".join(_event))}
    ON CONFLICT (order_id, key) DO UPDATE
    SET {", ".join(f"{name} = excluded.{name}" for name in _told)}
""")  # noqa: S608


class Overtaken(Exception):
    """Somebody else put one of our new orders on record first, or filled one that was put on record
    under another name: what is not committed has to be done anew, with that order as it is now.
    """


def insert_orders(session: Session, orders: Sequence[Order]) -> None:
    """Put new orders on record, in one write each: whole, as folded.

    orders: sorted by account and courier's id.

    Raises: Overtaken.
    """
    if orders:
        rows = [{name: getattr(order, name) for name in NEW} for order in orders]
        done = session.connection().execute(NEW_ORDERS, _json(rows))
        if done.rowcount < len(rows):
            raise Overtaken


def write_orders(session: Session, orders: Sequence[Order]) -> None:
    """Write locked orders as they are now."""
    if orders:
        names = ("id", *LEARNT)
        rows = [{name: getattr(order, name) for name in names} for order in orders]
        session.execute(ORDERS, _json(rows))


def write_identifiers(session: Session, rows: Rows) -> None:
    """Insert further names of orders."""
    if rows:
        session.execute(IDENTIFIERS, _json(rows))


def write_events(session: Session, rows: Rows) -> None:
    """Insert or replace event rows."""
    if rows:
        session.execute(EVENTS, _json(rows))


def _json(rows: Rows) -> dict[str, str]:
    return {"rows": orjson.dumps(rows).decode()}
