"""Sweep: find what was forgotten, because a ring, a job or a process was lost."""

from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from receiver.progress import waiting_since

# A message that waits longer than a drain takes to come was not rung for.
FORGOTTEN_AFTER = timedelta(seconds=3)


def forgotten(session: Session, now: datetime) -> bool:
    """Whether any message waits that nobody seems to come for."""
    since = waiting_since(session)
    return since is not None and now - since > FORGOTTEN_AFTER
