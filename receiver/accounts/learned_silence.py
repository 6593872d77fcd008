"""Judge a courier's silence by its own past.

What is usual are the same hours of the same weekday, one to four weeks ago, in the courier's time
zone. So nights and Sundays are silent because they always were, and a silence that began on Friday
evening is judged by the weekends before.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.orm import Session

from receiver import statuses
from receiver.couriers import DRIVERS
from receiver.db.models import UNWATCHED_SQL
from receiver.db.pagination import HIGHEST_ID
from receiver.settings import Account
from receiver.stats.history import BUCKET
from receiver.text import count_noun

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
# No webhook is expected of an order that has not changed for so long.
FRESH = timedelta(days=7)
# The alert counts how many of the newest open orders in each status are fresh; at most this many.
MOST_ORDERS = 1_000

# The ranges are written as the whole order of an index (see receiver/db/pagination.py), or
# PostgreSQL would read the table from its start where one status holds nearly all orders.
# By account, the open orders that a webhook is expected of (no samples, and none whose tracking is
# stopped), and what the account sent before.
# last_at, known_at: when its newest webhook came, folded or not, and when its first one came.
# missed: states that only polls have found since the silence began. per_day: mean webhooks a day.
# weeks: webhooks in the same hours one, two, ... weeks ago, of those weeks that are known. Only
# buckets that lie wholly within count: all their webhooks may have come at the very start.
_SILENCES = text(f"""
    WITH counted AS (
        SELECT account, zone, count(*) AS orders, min(id) AS oldest_id, max(id) AS newest_id
        FROM unnest(CAST(:accounts AS text[]), CAST(:zones AS text[]), CAST(:statuses AS text[]))
            AS keys (account, zone, status)
        CROSS JOIN LATERAL (
            SELECT id, updated_at FROM orders
            WHERE (status, account) >= (keys.status, keys.account)
                AND (status, account, needs_attention, id)
                    < (keys.status, keys.account, true, CAST(:highest AS bigint))
            ORDER BY status DESC, account DESC, needs_attention DESC, id DESC
            LIMIT :most
        ) AS newest
        WHERE updated_at > :fresh AND NOT EXISTS (
            SELECT FROM orders AS unwatched WHERE unwatched.id = newest.id AND ({UNWATCHED_SQL})
        )
        GROUP BY 1, 2
    ), silent AS (
        SELECT *,
            coalesce(last_at, (SELECT created_at FROM orders WHERE id = oldest_id)) AS since,
            greatest(known_at, :now - make_interval(weeks => :weeks)) AS known_since
        FROM counted CROSS JOIN LATERAL (
            SELECT greatest(
                (SELECT last_hook_at FROM accounts WHERE account = counted.account),
                (SELECT received_at FROM messages
                 WHERE (account, outcome) >= (counted.account, 'pending')
                     AND (account, outcome, id)
                         < (counted.account, 'pending', CAST(:highest AS bigint))
                 ORDER BY account DESC, outcome DESC, id DESC LIMIT 1)
            ) AS last_at,
            (SELECT min(at) FROM tallies WHERE account = counted.account AND hooks > 0) AS known_at
        ) AS times
    )
    SELECT account, orders, since, last_at,
        (SELECT courier_order_id FROM orders WHERE id = newest_id) AS example,
        (SELECT coalesce(sum(missed), 0) FROM tallies
         WHERE account = silent.account AND at > since AND at <= :now) AS missed,
        (SELECT sum(hooks) FROM tallies
         WHERE account = silent.account AND at BETWEEN known_since AND :now)
            / greatest(extract(epoch FROM since - known_since) / 86400, 1) AS per_day,
        ARRAY(
            SELECT coalesce(sum(hooks), 0)
            FROM generate_series(1, :weeks) AS week
            CROSS JOIN LATERAL (SELECT
                (since AT TIME ZONE zone - make_interval(weeks => week)) AT TIME ZONE zone AS first,
                (:now AT TIME ZONE zone - make_interval(weeks => week)) AT TIME ZONE zone AS last
            ) AS hours
            LEFT JOIN tallies ON tallies.account = silent.account
                AND at BETWEEN first AND last - :bucket
            WHERE first >= known_at
            GROUP BY week
        ) AS weeks
    FROM silent
    ORDER BY account
""")  # noqa: S608 (all of it stands here)


def read_silences(
    session: Session, accounts: Iterable[Account], now: datetime
) -> Sequence[Row[Any]]:
    """Read the silence of each account with open orders, as _SILENCES has it, in one statement."""
    keys = []
    for account in accounts:
        driver = DRIVERS[account.driver]
        # A courier that sends one webhook an order sends none about an order it has called about.
        calls_once = driver.api is not None and driver.api.schedule.calls_once
        expecting = [statuses.PENDING] if calls_once else statuses.OPEN_STATUSES
        zone = account.zone or driver.zone
        keys += [(account.slug, zone, status) for status in expecting]
    parameters = {
        "accounts": [account for account, _, _ in keys],
        "zones": [zone for _, zone, _ in keys],
        "statuses": [status for _, _, status in keys],
        "now": now,
        "fresh": now - FRESH,
        "most": MOST_ORDERS,
        "highest": HIGHEST_ID,
        "weeks": WEEKS,
        "bucket": BUCKET,
    }
    return session.execute(_SILENCES, parameters).all()


def explain_silence(silence: Row[Any], duration: timedelta) -> str | None:
    """Say in words why a silence is unusual; None where it is not.

    Of the weeks before, the leanest counts; of four the second leanest, since one may have been a
    holiday or an outage of ours. Fewer open orders than usual send fewer webhooks.
    """
    if duration < LEAST_SILENCE:
        return None
    if silence.missed >= LEAST_MISSED:
        return f"polling found {silence.missed} states that no webhook reported"
    too_long = "a silence of more than 4 days is unusual" if duration > DEFAULT_SILENCE else None
    weeks = sorted(silence.weeks)
    if len(weeks) < LEAST_WEEKS:
        return too_long
    leanest = weeks[1 if len(weeks) == WEEKS else 0]
    usual_orders = float(silence.per_day) / WEBHOOKS_PER_ORDER
    share = min(1.0, silence.orders / usual_orders) if usual_orders else 1.0
    if leanest * share < LEAST_EXPECTED:
        # An outage of a week and more empties several weeks, but not the mean of all four.
        days = duration / timedelta(days=1)
        return too_long if float(silence.per_day) * days * share >= LEAST_EXPECTED else None
    webhooks = count_noun(leanest, "webhook")
    return f"in the same hours of the previous weeks it sent at least {webhooks}"
