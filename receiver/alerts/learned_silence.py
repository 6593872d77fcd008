"""Judge a courier's silence by its own past.

What is usual are the same hours of the same weekday, one to four weeks ago, in the courier's time
zone. So nights and Sundays are silent because they always were, and a silence that began on Friday
evening is judged by the weekends before.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.orm import Session

from receiver.stats.history import BUCKET
from receiver.text import count_noun

WEEK = timedelta(weeks=1)
WEEKS = 4
# So many of those weeks must be known.
LEAST_WEEKS = 2
# So many webhooks must be missing: fewer may be chance.
LEAST_EXPECTED = 5.0
# A shorter silence means nothing.
LEAST_SILENCE = timedelta(minutes=15)
# Without a past to learn from: longer than a weekend with a bank holiday.
DEFAULT_SILENCE = timedelta(days=4)
# Roughly the webhooks of one order: makes a day's webhooks into a day's orders.
WEBHOOKS_PER_ORDER = 4
# So many states that only a poll found, without a webhook since, are no accident.
LEAST_MISSED = 3

# The numbers of the windows that are read beside those of the weeks before.
SILENT_TIME, KNOWN_TIME = 0, -1


@dataclass(frozen=True, slots=True)
class Silence:
    """An account from which no webhook has come since a time.

    zone: the courier's. known_since: when its first webhook came, None if none ever did.
    """

    zone: str
    since: datetime
    known_since: datetime | None


@dataclass(frozen=True, slots=True)
class Past:
    """What an account sent before its silence.

    weeks: webhooks in the same hours one, two, ... weeks ago, of those weeks that are known.
    per_day: mean webhooks a day. missed: states that only polls have found since the silence began.
    """

    weeks: Sequence[int]
    per_day: float
    missed: int


_SUMS = text("""
    SELECT keys.account, keys.number, sums.*
    FROM unnest(CAST(:accounts AS text[]), CAST(:numbers AS int[]), CAST(:firsts AS timestamptz[]),
                CAST(:lasts AS timestamptz[])) AS keys (account, number, first, last)
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(hooks), 0), coalesce(sum(missed), 0) FROM tallies
        WHERE account = keys.account AND at BETWEEN keys.first AND keys.last
    ) AS sums
""")


def read_pasts(
    session: Session, silences: Mapping[str, Silence], now: datetime
) -> Mapping[str, Past]:
    """Read the past of each silent account, in one statement."""
    if not silences:
        return {}
    windows = [
        (account, *window)
        for account, silence in silences.items()
        for window in _windows(silence, now)
    ]
    names = ("accounts", "numbers", "firsts", "lasts")
    parameters = dict(zip(names, map(list, zip(*windows, strict=True)), strict=True))
    found: dict[str, dict[int, tuple[int, int]]] = {account: {} for account in silences}
    for account, number, webhooks, missed in session.execute(_SUMS, parameters):
        found[account][number] = webhooks, missed
    return {account: _past(silence, found[account], now) for account, silence in silences.items()}


def _windows(silence: Silence, now: datetime) -> Iterator[tuple[int, datetime, datetime]]:
    """Yield the windows to add up: the silence, all that is known, and the same hours of the weeks
    before.
    """
    yield SILENT_TIME, silence.since + timedelta(microseconds=1), now
    if silence.known_since is None:
        return
    yield KNOWN_TIME, max(silence.known_since, now - WEEKS * WEEK), now
    zone = ZoneInfo(silence.zone)
    for week in range(1, WEEKS + 1):
        first, last = (_weeks_before(at, week, zone) for at in (silence.since, now))
        if first < silence.known_since:
            return
        # Only buckets that lie wholly within: all their webhooks may have come at the very start.
        yield week, first, last - BUCKET


def _weeks_before(at: datetime, weeks: int, zone: ZoneInfo) -> datetime:
    """The same weekday and local time, also across a change to or from summer time."""
    return (at.astimezone(zone) - weeks * WEEK).astimezone(at.tzinfo)


def _past(silence: Silence, sums: Mapping[int, tuple[int, int]], now: datetime) -> Past:
    weeks = [sums[week][0] for week in range(1, WEEKS + 1) if week in sums]
    per_day = 0.0
    if silence.known_since is not None:
        known_since = max(silence.known_since, now - WEEKS * WEEK)
        days = (silence.since - known_since) / timedelta(days=1)
        per_day = sums[KNOWN_TIME][0] / max(days, 1.0)
    return Past(weeks, per_day, sums[SILENT_TIME][1])


def expected_webhooks(past: Past, open_orders: int) -> float | None:
    """Return how many webhooks should have come during a silence; None if too little is known.

    The leanest week counts; of four the second leanest, since one may have been a holiday or an
    outage of ours. Fewer open orders than usual send fewer webhooks.
    """
    if len(past.weeks) < LEAST_WEEKS:
        return None
    leanest = sorted(past.weeks)[1 if len(past.weeks) == WEEKS else 0]
    usual_orders = past.per_day / WEBHOOKS_PER_ORDER
    share = min(1.0, open_orders / usual_orders) if usual_orders else 1.0
    return leanest * share


def explain_silence(past: Past, open_orders: int, duration: timedelta) -> str | None:
    """Say in words why a silence is unusual; None where it is not."""
    if not open_orders or duration < LEAST_SILENCE:
        return None
    if past.missed >= LEAST_MISSED:
        return f"polling found {past.missed} states that no webhook reported"
    expected = expected_webhooks(past, open_orders)
    if expected is None:
        return "no courier is silent for so long" if duration > DEFAULT_SILENCE else None
    if expected < LEAST_EXPECTED:
        return None
    webhooks = count_noun(min(past.weeks), "webhook")
    return f"in the same hours of the previous weeks it sent at least {webhooks}"
