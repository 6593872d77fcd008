"""Sweep: find what was forgotten, because a ring, a job or a process was lost."""

from datetime import datetime, timedelta

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session

from receiver.models import PENDING, Message

# A message that waits longer than a drain takes to come was not rung for.
FORGOTTEN_AFTER = timedelta(seconds=3)


def pending() -> Select[Message]:
    """All messages that wait for a worker.

    PENDING stands in the statement's text: a plan for any outcome whatever, as PostgreSQL makes of
    a statement that it sees often, could not use the index that holds the pending ones alone.
    """
    return select(Message).where(Message.outcome == literal(PENDING, literal_execute=True))


def forgotten(session: Session, now: datetime) -> bool:
    """Whether any message waits that nobody seems to come for."""
    since = func.coalesce(Message.retried_at, Message.received_at)
    # New ones and those sent back: the oldest of each stands at the start of a partial index.
    oldest = [
        session.scalar(pending().with_only_columns(since).where(kind).order_by(Message.id).limit(1))
        for kind in (Message.retried_at.is_(None), Message.retried_at.is_not(None))
    ]
    return any(at is not None and now - at > FORGOTTEN_AFTER for at in oldest)
