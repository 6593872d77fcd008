"""Reports on couriers' performance: what the orders come to that ended in a period."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.orm import Session

from receiver.errors import InvalidPeriod, UnknownAccount
from receiver.orders.performance import counters
from receiver.orders.performance.histogram import estimate_percentile
from receiver.settings import Account

DEFAULT_DAYS = 30
MOST_DAYS = 400

# The sums of the days, with what is not in them yet: so a report is what the stored orders come to.
_STEPS = """
    SELECT account, day, sample, counter, count FROM daily_performance
    UNION ALL
    SELECT account, day, sample, counter, 1
    FROM order_performance, unnest(counters) AS counter WHERE NOT counted
    UNION ALL
    SELECT account, replaced_day, sample, counter, -1
    FROM order_performance, unnest(replaced_counters) AS counter WHERE NOT counted
"""
_OF_PERIOD = """
    account = ANY (:accounts) AND day BETWEEN :since AND :until AND (:with_tests OR NOT sample)
"""
SUMS = text(f"""
    SELECT account, counter, sum(count)::bigint AS total FROM ({_STEPS}) AS steps
    WHERE {_OF_PERIOD} GROUP BY account, counter
""")  # noqa: S608 (all of it stands here)
DAYS = text(f"""
    SELECT day, counter, sum(count)::bigint AS total FROM ({_STEPS}) AS steps
    WHERE {_OF_PERIOD} AND counter = ANY (:counters) GROUP BY day, counter
""")  # noqa: S608 (all of it stands here)


@dataclass(frozen=True, slots=True)
class Period:
    """Whole UTC days, from the first to the last, both included.

    with_tests: whether sample orders and those of test accounts count.
    """

    since: date
    until: date
    with_tests: bool = False

    @property
    def days(self) -> int:
        """How many days there are."""
        return (self.until - self.since).days + 1


def choose_period(wanted: Mapping[str, Any], now: datetime) -> Period:
    """Return the period that was asked for, as PerformanceFiltersSchema loads it.

    Without `until` it ends today, without `since` it has DEFAULT_DAYS.

    Raises: InvalidPeriod.
    """
    until = wanted.get("until") or now.astimezone(UTC).date()
    first = date.fromordinal(max(1, until.toordinal() - DEFAULT_DAYS + 1))
    period = Period(wanted.get("since") or first, until, wanted["test"])
    if period.days < 1:
        raise InvalidPeriod(f"since must not be after until, which is {until}", "since")
    if period.days > MOST_DAYS:
        raise InvalidPeriod(
            f"the period has {period.days:,} days; at most {MOST_DAYS} are allowed", "since"
        )
    return period


def find_account(accounts: Mapping[str, Account], slug: str) -> Account:
    """Return a configured account.

    Raises: UnknownAccount.
    """
    if slug not in accounts:
        raise UnknownAccount(
            f"account {slug!r} is not configured: GET /v1/couriers lists the accounts"
        )
    return accounts[slug]


def report_account(
    session: Session, accounts: Mapping[str, Account], slug: str, period: Period
) -> dict[str, Any]:
    """Report on one account, as PerformanceSchema describes it.

    accounts: all that are configured, by slug.

    Raises: UnknownAccount.
    """
    account = find_account(accounts, slug)
    return _render(account, period, _read_sums(session, [account], period)[slug])


def report_accounts(
    session: Session, accounts: Mapping[str, Account], period: Period
) -> list[dict[str, Any]]:
    """Report on every account, by slug; test accounts only where the period includes them."""
    reported = [account for _, account in sorted(accounts.items()) if _counts(account, period)]
    sums = _read_sums(session, reported, period)
    return [_render(account, period, sums[account.slug]) for account in reported]


def read_days(
    session: Session, accounts: Collection[Account], period: Period
) -> dict[date, Counter[str]]:
    """Return by day how many orders of accounts ended, and how many of them were on time.

    Each day of the period is in it, with the counters ORDERS, DELIVERED, EXPECTED and ON_TIME.
    """
    shown = [counters.ORDERS, counters.DELIVERED, counters.EXPECTED, counters.ON_TIME]
    limits = {**_limits(accounts, period), "counters": shown}
    days: dict[date, Counter[str]] = {
        period.since + timedelta(days=number): Counter() for number in range(period.days)
    }
    for row in session.execute(DAYS, limits):
        days[row.day][row.counter] = row.total
    return days


def _counts(account: Account, period: Period) -> bool:
    """Return whether the orders of an account count."""
    return period.with_tests or not account.test


def _limits(accounts: Iterable[Account], period: Period) -> dict[str, Any]:
    slugs = [account.slug for account in accounts if _counts(account, period)]
    limits = {"since": period.since, "until": period.until, "with_tests": period.with_tests}
    return {"accounts": slugs, **limits}


def _read_sums(
    session: Session, accounts: Collection[Account], period: Period
) -> Mapping[str, Counter[str]]:
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    for row in session.execute(SUMS, _limits(accounts, period)):
        sums[row.account][row.counter] = row.total
    return sums


def _render(account: Account, period: Period, sums: Mapping[str, int]) -> dict[str, Any]:
    missed, reported = sums[counters.MISSED], sums[counters.REPORTED]
    # Only polls find what webhooks have missed.
    is_known = missed > 0 or account.access is not None
    return {
        "account": account.slug,
        "since": period.since,
        "until": period.until,
        "orders": sums[counters.ORDERS],
        "delivered": sums[counters.DELIVERED],
        "first_attempt_ratio": _ratio(sums[counters.FIRST_ATTEMPT], sums[counters.DELIVERED]),
        "on_time_ratio": _ratio(sums[counters.ON_TIME], sums[counters.EXPECTED]),
        "pickup_to_delivery_seconds": _percentiles(sums, counters.PICKUP_TO_DELIVERY),
        "order_to_pickup_seconds": _percentiles(sums, counters.ORDER_TO_PICKUP),
        "webhook_delay_seconds": _percentiles(sums, counters.WEBHOOK_DELAY),
        "missed_webhook_ratio": _ratio(missed, missed + reported) if is_known else None,
    }


def _ratio(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _percentiles(sums: Mapping[str, int], duration: str) -> dict[str, float | None]:
    named = f"{duration} "
    counts = {
        int(counter.removeprefix(named)): count
        for counter, count in sums.items()
        if counter.startswith(named)
    }
    return {f"p{share}": _shorten(estimate_percentile(counts, share / 100)) for share in (50, 90)}


def _shorten(seconds: float | None) -> float | None:
    """Return a duration with three digits that count: more would pretend to be exact."""
    return None if seconds is None else float(f"{seconds:.3g}")
