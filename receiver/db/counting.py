"""Counting rows up to a limit, so that a count stays quick however many rows there are."""

from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

# Past this a larger number would say the same and cost more.
MOST_COUNTED = 10_000


def count_rows(session: Session, rows: Select[Any], limit: int = MOST_COUNTED) -> int:
    """Count the rows of a statement, up to a limit."""
    limited = rows.limit(limit).subquery()
    return session.scalar(select(func.count()).select_from(limited)) or 0
