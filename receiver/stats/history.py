"""The history of what came in, for charts and for learning what is usual.

A row of `tallies` is five minutes of one account, by the time at which the messages arrived.
Workers write them with each batch (workers/folding/statistics.py), so that they add up over
processes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from receiver.db.models import Tally

BUCKET = timedelta(minutes=5)
# Four weeks to learn from (receiver/alerts/learned_silence.py), and one more to look at.
KEPT_FOR = timedelta(weeks=5)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Point:
    """What came in within a step that begins at `at`.

    wait: seconds from arrival until folded; lag: seconds from an event until its webhook arrived;
    None where nothing was measured.
    """

    at: datetime
    hooks: int = 0
    answers: int = 0
    missed: int = 0
    quarantined: int = 0
    parked: int = 0
    events: int = 0
    mean_wait: float | None = None
    longest_wait: float | None = None
    mean_lag: float | None = None
    longest_lag: float | None = None


def start_of_step(at: datetime, step: timedelta = BUCKET) -> datetime:
    """Return the start of the step in which a time lies."""
    return EPOCH + (at - EPOCH) // step * step


def read_history(
    session: Session,
    since: datetime,
    until: datetime,
    step: timedelta = BUCKET,
    account: str | None = None,
) -> list[Point]:
    """Return what came in from `since` to `until`: one point for every step, oldest first.

    step: a multiple of BUCKET. account: only this one; None: the sum of all.
    """
    first = start_of_step(since, step)
    at = func.date_bin(step, Tally.at, first)
    messages = func.sum(Tally.hooks + Tally.answers)
    counts = (Tally.hooks, Tally.answers, Tally.missed, Tally.quarantined, Tally.parked)
    rows = session.execute(
        select(
            at,
            *map(func.sum, (*counts, Tally.events)),
            func.sum(Tally.waited) / func.nullif(messages, 0),
            func.max(Tally.longest_wait).filter(Tally.hooks + Tally.answers > 0),
            func.sum(Tally.lag) / func.nullif(func.sum(Tally.lagged), 0),
            func.max(Tally.longest_lag).filter(Tally.lagged > 0),
        )
        .where(Tally.at >= first, Tally.at < until)
        .where(*([] if account is None else [Tally.account == account]))
        .group_by(at)
    )
    points = {row[0]: Point(*row) for row in rows}
    steps = -((first - until) // step)
    starts = (first + number * step for number in range(steps))
    return [points.get(start) or Point(start) for start in starts]


def delete_old_history(session: Session, now: datetime) -> int:
    """Delete what is older than KEPT_FOR, and return the number of rows."""
    deleted = session.execute(
        delete(Tally).where(Tally.at < now - KEPT_FOR).returning(Tally.account)
    )
    return len(deleted.all())
