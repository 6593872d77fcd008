"""Silence: is it usual that a courier says nothing just now?

What is usual is learnt from its own past: the same hours of the same weekday, one to four weeks
ago, by the clock on the courier's wall. So the night and the Sunday are silent because they always
were, and a silence that began on Friday evening is judged by the weekends before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Integer, Text, func, select, true
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import Session

from receiver.alerts.context import each
from receiver.db.models import Tally
from receiver.stats.history import BUCKET

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
class Hush:
    """An account that says nothing just now.

    zone    of the clock on the courier's wall
    begun   when the account was first heard: before that there is nothing to learn
    """

    zone: str
    since: datetime
    begun: datetime | None


@dataclass(frozen=True, slots=True)
class Past:
    """What an account did before its silence, and what became known meanwhile.

    weeks    the hooks in the same window one, two, ... weeks ago, of those weeks that are known
    a_day    hooks a day, over those weeks
    missed   states that had to be asked for since the last hook
    """

    weeks: Sequence[int]
    a_day: float
    missed: int


# The windows that are looked at beside those of weeks before.
MEANWHILE, ALL = 0, -1
TICK = timedelta(microseconds=1)


def look_back(session: Session, hushes: Mapping[str, Hush], now: datetime) -> Mapping[str, Past]:
    """What each account did before, in one statement."""
    if not hushes:
        return {}
    keys = [
        (account, place, first, last)
        for account, hush in hushes.items()
        for place, first, last in _windows(hush, now)
    ]
    accounts, places, firsts, lasts = zip(*keys, strict=True)
    moment = TIMESTAMP(timezone=True)
    of = each(
        account=(Text, accounts),
        place=(Integer, places),
        first=(moment, firsts),
        last=(moment, lasts),
    )
    within = (Tally.account == of.c.account, Tally.at >= of.c.first, Tally.at <= of.c.last)
    hooks, missed = (
        func.coalesce(func.sum(it), 0).label(it.key) for it in (Tally.hooks, Tally.missed)
    )
    sums = select(hooks, missed).where(*within).lateral("sums")
    found = {
        (account, place): (hooks, missed)
        for account, place, hooks, missed in session.execute(
            select(of.c.account, of.c.place, *sums.c).select_from(of).join(sums, true())
        )
    }
    return {account: _past(account, hush, now, found) for account, hush in hushes.items()}


def _windows(hush: Hush, now: datetime) -> Iterator[tuple[int, datetime, datetime]]:
    """Of which times a silence asks what was tallied: since it began, the same hours of each week
    before that is known, and all that is known.
    """
    yield MEANWHILE, hush.since + TICK, now
    if hush.begun is None:
        return
    yield ALL, _known_since(hush.begun, now), now
    for number in range(1, WEEKS + 1):
        first, last = (_weeks_before(at, number, ZoneInfo(hush.zone)) for at in (hush.since, now))
        if first < hush.begun:
            return
        # Only what lies wholly within: a bucket's hooks may all have come at its very start.
        yield number, first, last - BUCKET


def _known_since(begun: datetime, now: datetime) -> datetime:
    return max(begun, now - WEEKS * timedelta(weeks=1))


def _past(
    account: str, hush: Hush, now: datetime, sums: Mapping[tuple[str, int], tuple[int, int]]
) -> Past:
    weeks = [
        sums[account, number][0] for number in range(1, WEEKS + 1) if (account, number) in sums
    ]
    a_day = 0.0
    if hush.begun is not None:
        days = (hush.since - _known_since(hush.begun, now)) / timedelta(days=1)
        a_day = sums[account, ALL][0] / max(days, 1.0)
    return Past(weeks, a_day, sums[account, MEANWHILE][1])


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


def why_silent(before: Past, open_orders: int, silent_for: timedelta) -> str | None:
    """Why a silence is news, in words; None where it is none."""
    if not open_orders or silent_for < LEAST_SILENCE:
        return None
    if before.missed >= MISSED:
        return f"meanwhile {before.missed} states had to be asked for that hooks should have told"
    hooks = expected(before, open_orders)
    if hooks is None:
        return "no courier is silent for so long" if silent_for > PLAIN_SILENCE else None
    if hooks < EXPECTED:
        return None
    return f"in the same hours of the weeks before it sent {min(before.weeks)} or more"
