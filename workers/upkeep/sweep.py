"""Sweep: finds messages that no drain came for, because a ring, a job or a process was lost."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from receiver.db.models import Message
from receiver.db.pagination import count_rows
from receiver.inbox.pending import pending_since, select_pending
from receiver.stats import totals

# A drain comes sooner than this to a message that was rung for.
OVERDUE_AFTER = timedelta(seconds=3)
MAX_COUNTED = 1_000


@dataclass(frozen=True, slots=True)
class OverdueMessages:
    """How many messages wait (counted up to MAX_COUNTED), and how long the first one has waited."""

    messages: int
    waiting_seconds: float


def find_overdue_messages(session: Session, now: datetime) -> OverdueMessages | None:
    """Return the pending messages if the first of them is overdue, otherwise None."""
    since = pending_since(session)
    if since is None or now - since <= OVERDUE_AFTER:
        return None
    count = count_rows(session, select_pending().with_only_columns(Message.id), MAX_COUNTED)
    return OverdueMessages(count, round((now - since).total_seconds(), 1))


def count_repeated_ring(session: Session) -> None:
    """Count a ring for overdue messages in the totals; the caller commits."""
    totals.add_totals(session, {(totals.MENDED, "", totals.RINGS): 1})
