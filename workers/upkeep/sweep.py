"""Sweep: finds messages that no drain came for, because a ring, a job or a process was lost."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from receiver.db.models import Message
from receiver.db.pagination import count_rows
from receiver.inbox.pending import pending_since, read_progress, select_pending

# A drain comes sooner than this to a message that was rung for.
OVERDUE_AFTER = timedelta(seconds=3)
MAX_COUNTED = 1_000


def find_overdue_messages(session: Session, now: datetime) -> dict[str, float] | None:
    """Describe the pending messages if the first of them is overdue; return None otherwise.

    Shape: {"messages": up to MAX_COUNTED, "waiting_seconds": of the first}
    """
    since = pending_since(session)
    if since is None or now - since <= OVERDUE_AFTER:
        return None
    count = count_rows(session, select_pending().with_only_columns(Message.id), MAX_COUNTED)
    return {"messages": count, "waiting_seconds": round((now - since).total_seconds(), 1)}


def is_being_folded(session: Session, now: datetime) -> bool:
    """Whether a batch was folded just now: what is overdue then waits in a backlog."""
    _, folded_at = read_progress(session, now)
    return folded_at is not None and now - folded_at <= OVERDUE_AFTER
