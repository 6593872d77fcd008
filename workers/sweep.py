"""Sweep: find what was forgotten, because a ring, a job or a process was lost."""

from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.models import PENDING, Message

# A message that waits longer than a drain takes to come was not rung for.
FORGOTTEN_AFTER = timedelta(seconds=3)


def forgotten(session: Session, now: datetime) -> bool:
    """Whether any message waits that nobody seems to come for."""
    # The oldest by id stands at the start of the partial index over pending messages.
    oldest = session.scalar(
        select(Message.received_at).where(Message.outcome == PENDING).order_by(Message.id).limit(1)
    )
    return oldest is not None and now - oldest > FORGOTTEN_AFTER
