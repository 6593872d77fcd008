"""Sweep: find what was forgotten, because a ring, a job or a process was lost, and say so.

Next polls and leases that were lost are mended where each account's orders are asked about
(claims.py, recovery.py); all of it is counted as `mended`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.db.models import Message
from receiver.inbox.pending import pending, waiting_since
from receiver.stats import totals

# A message that waits longer than a drain takes to come was not rung for.
FORGOTTEN_AFTER = timedelta(seconds=3)
# Counted no further.
MOST_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Messages that nobody seems to come for: how many, and for how long the first waits."""

    messages: int
    waiting_seconds: float


def forgotten(session: Session, now: datetime) -> Forgotten | None:
    """What waits too long, None where nothing does."""
    since = waiting_since(session)
    if since is None or now - since <= FORGOTTEN_AFTER:
        return None
    waits = pending().with_only_columns(Message.id).limit(MOST_COUNTED).subquery()
    count = session.scalar(select(func.count()).select_from(waits)) or 0
    return Forgotten(count, round((now - since).total_seconds(), 1))


def mended(session: Session) -> None:
    """Count a ring for what was forgotten; the caller commits."""
    totals.add_totals(session, {(totals.MENDED, "", totals.RINGS): 1})
