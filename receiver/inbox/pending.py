"""Pending messages, and whether the workers make progress.

A worker's heartbeat is no proof of progress: a process that is frozen had one a moment ago, and one
that loops has one now. What waits and what was folded, in PostgreSQL, is.
"""

from datetime import datetime

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session

from receiver.db.models import PENDING, AccountState, Message


def read_progress(session: Session, now: datetime) -> tuple[float | None, datetime | None]:
    """Read how far the workers are, by index lookups, however large the tables are.

    Return how many seconds the oldest pending message has waited, None if none is pending; and when
    a batch was last folded, None if none ever was.
    """
    since = pending_since(session)
    folded_at = session.scalar(select(func.max(AccountState.folded_at)))
    # The message may have been received by another host, whose clock is a little ahead.
    waiting = None if since is None else max((now - since).total_seconds(), 0.0)
    return waiting, folded_at


def select_pending() -> Select[Message]:
    """Select all pending messages.

    PENDING is part of the statement's text, not a parameter: the generic plan of a statement that
    is run often could not use the partial index of pending messages.
    """
    return select(Message).where(Message.outcome == literal(PENDING, literal_execute=True))


def pending_since(session: Session) -> datetime | None:
    """Return since when the oldest pending message waits; None if none is pending."""
    since = func.coalesce(Message.retried_at, Message.received_at)
    # New and retried messages each have a partial index that begins with the oldest.
    oldest = [
        session.scalar(
            select_pending().with_only_columns(since).where(kind).order_by(Message.id).limit(1)
        )
        for kind in (Message.retried_at.is_(None), Message.retried_at.is_not(None))
    ]
    return min((at for at in oldest if at is not None), default=None)
