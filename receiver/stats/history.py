"""Tallies, read: what came in over time, for charts and for knowing what is usual.

A row of `tallies` is one account's five minutes (by when the messages arrived); the workers write
them with each batch (workers/folding/fold_stats.py), so they add up over any number of processes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from receiver.db.models import Tally

BUCKET = timedelta(minutes=5)
# Four weeks to learn a week's rhythm from, and one to look back on.
KEPT_FOR = timedelta(weeks=5)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Point:
    """What came in within a step that begins at `at`. Times are in seconds, None where nothing
    was measured.
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
    """The beginning of the step in which a time lies."""
    return EPOCH + (at - EPOCH) // step * step


def read_history(
    session: Session,
    since: datetime,
    until: datetime,
    step: timedelta = BUCKET,
    account: str | None = None,
) -> list[Point]:
    """What came in from `since` to `until`, one point a step and none left out, oldest first.

    step: a multiple of BUCKET. account: only this account's; all together where None.
    """
    first = start_of_step(since, step)
    at = func.date_bin(step, Tally.at, first)
    messages = func.sum(Tally.hooks + Tally.answers)
    whole = (Tally.hooks, Tally.answers, Tally.missed, Tally.quarantined, Tally.parked)
    found = session.execute(
        select(
            at,
            *map(func.sum, (*whole, Tally.events)),
            func.sum(Tally.waited) / func.nullif(messages, 0),
            func.max(Tally.longest_wait).filter(Tally.hooks + Tally.answers > 0),
            func.sum(Tally.lag) / func.nullif(func.sum(Tally.lagged), 0),
            func.max(Tally.longest_lag).filter(Tally.lagged > 0),
        )
        .where(Tally.at >= first, Tally.at < until)
        .where(*([] if account is None else [Tally.account == account]))
        .group_by(at)
    )
    points = {row[0]: Point(*row) for row in found}
    steps = -((first - until) // step)
    moments = (first + number * step for number in range(steps))
    return [points.get(moment) or Point(moment) for moment in moments]


def delete_old_history(session: Session, now: datetime) -> int:
    """Drop what is older than KEPT_FOR; how many rows that were."""
    dropped = session.execute(
        delete(Tally).where(Tally.at < now - KEPT_FOR).returning(Tally.account)
    )
    return len(dropped.all())
