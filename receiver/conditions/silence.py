"""Silence: is it usual that a courier says nothing just now?

What is usual is learnt from its own past: the same hours of the same weekday, one to four weeks
ago, by the clock on the courier's wall. So the night and the Sunday are silent because they always
were, and a silence that began on Friday evening is judged by the weekends before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from receiver.models import Tally
from receiver.tallies import BUCKET

WEEKS = 4
# So many of those weeks must be known.
LEAST_WEEKS = 2
# Hooks that were to come and did not: with so many it is no chance.
EXPECTED = 5.0
# Nothing is made of a silence that is shorter than this.
LEAST_SILENCE = timedelta(minutes=15)
# Where there is no past to learn from: longer than a weekend with a bank holiday.
PLAIN_SILENCE = timedelta(days=4)
# So many hooks an order gives in its life, roughly: makes a day's hooks into a day's orders.
HOOKS_PER_ORDER = 4
# States that a poll had to tell since the last hook: so many are no slip.
MISSED = 3


@dataclass(frozen=True, slots=True)
class Past:
    """What an account did before its silence.

    weeks   the hooks in the same window one, two, ... weeks ago, of those weeks that are known
    a_day   hooks a day, over those weeks
    """

    weeks: Sequence[int]
    a_day: float


def past(
    session: Session, account: str, zone: str, heard_at: datetime, now: datetime, begun: datetime
) -> Past:
    """Look back. begun: when the account was first heard: before that there is nothing to learn."""
    local = ZoneInfo(zone)
    weeks = []
    for number in range(1, WEEKS + 1):
        first, last = (_weeks_before(at, number, local) for at in (heard_at, now))
        if first < begun:
            break
        # Only what lies wholly within: a bucket's hooks may all have come at its very start.
        hooks = session.scalar(
            select(func.coalesce(func.sum(Tally.hooks), 0)).where(
                Tally.account == account, Tally.at >= first, Tally.at <= last - BUCKET
            )
        )
        weeks.append(hooks or 0)
    known_since = max(begun, now - WEEKS * timedelta(weeks=1))
    total = session.scalar(
        select(func.coalesce(func.sum(Tally.hooks), 0)).where(
            Tally.account == account, Tally.at >= known_since
        )
    )
    days = max((heard_at - known_since) / timedelta(days=1), 1.0)
    return Past(weeks, (total or 0) / days)


def _weeks_before(at: datetime, weeks: int, zone: ZoneInfo) -> datetime:
    """The same weekday and time by the wall clock: a change to summer time lies between."""
    return (at.astimezone(zone) - weeks * timedelta(weeks=1)).astimezone(at.tzinfo)


def expected(before: Past, open_orders: int) -> float | None:
    """How many hooks this silence should have held; None where the past does not tell.

    The leanest week counts; of four, one may have been a holiday, or an outage of ours. With fewer
    open orders than usual fewer hooks are to be expected.
    """
    if len(before.weeks) < LEAST_WEEKS:
        return None
    lean = sorted(before.weeks)[1 if len(before.weeks) == WEEKS else 0]
    usual_orders = before.a_day / HOOKS_PER_ORDER
    share = min(1.0, open_orders / usual_orders) if usual_orders else 1.0
    return lean * share


def why_silent(
    before: Past, open_orders: int, silent_for: timedelta, missed: int
) -> Mapping[str, str] | None:
    """Why a silence is news, in words; None where it is none.

    missed: states that had to be asked for since the last hook.
    """
    if not open_orders or silent_for < LEAST_SILENCE:
        return None
    if missed >= MISSED:
        return {"why": f"meanwhile {missed} states had to be asked for that hooks should have told"}
    hooks = expected(before, open_orders)
    if hooks is None:
        return {"why": "no courier is silent for so long"} if silent_for > PLAIN_SILENCE else None
    if hooks < EXPECTED:
        return None
    return {"why": f"in the same hours of the weeks before it sent {min(before.weeks)} or more"}
