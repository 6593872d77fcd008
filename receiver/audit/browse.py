"""List the audit log."""

from typing import Any

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from receiver.db.models import AuditEntry
from receiver.db.pagination import AUDIT, begin_consistent_read, read_cursor, write_cursor

EQUAL = ("account", "courier_order_id", "who", "action")


def list_entries(session: Session, filters: dict[str, Any]) -> dict[str, Any]:
    """List the entries that match all filters, the newest first. Must begin the transaction.

    filters: as AuditFiltersSchema loads them.
    Shape: {"entries": [AuditEntry], "next_cursor"}
    """
    limit = filters["limit"]
    begin_consistent_read(session)
    conditions = [getattr(AuditEntry, name) == filters[name] for name in EQUAL if name in filters]
    if "since" in filters:
        conditions.append(AuditEntry.at >= filters["since"])
    if "until" in filters:
        conditions.append(AuditEntry.at < filters["until"])
    position = tuple_(AuditEntry.at, AuditEntry.id)
    if "cursor" in filters:
        last = session.get(AuditEntry, read_cursor(filters["cursor"], AUDIT))
        if last is None:
            # It is past its term, and so are those that were older.
            return {"entries": [], "next_cursor": None}
        conditions.append(position < tuple_(last.at, last.id))
    statement = select(AuditEntry).where(*conditions)
    ordered = statement.order_by(AuditEntry.at.desc(), AuditEntry.id.desc()).limit(limit + 1)
    entries = session.scalars(ordered).all()
    more = len(entries) > limit
    return {
        "entries": entries[:limit],
        "next_cursor": write_cursor(entries[limit - 1].id, AUDIT) if more else None,
    }
