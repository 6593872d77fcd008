"""The history of what came in, to learn from it what is usual.

A row of `tallies` is five minutes of one account, by the time at which the messages arrived.
Workers write them with each batch (workers/folding/statistics.py), so that they add up over
processes.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import delete
from sqlalchemy.orm import Session

from receiver.db.models import Tally

BUCKET = timedelta(minutes=5)
# Four weeks to learn from (receiver/accounts/learned_silence.py), and one more to look at.
KEPT_FOR = timedelta(weeks=5)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def start_of_step(at: datetime, step: timedelta = BUCKET) -> datetime:
    """Return the start of the step in which a time lies."""
    return EPOCH + (at - EPOCH) // step * step


def delete_old_history(session: Session, now: datetime) -> None:
    """Delete what is older than KEPT_FOR."""
    session.execute(delete(Tally).where(Tally.at < now - KEPT_FOR))
