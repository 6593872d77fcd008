"""Conditions of orders that do not move on as they should."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from sqlalchemy import Interval, Text, func, select, text

from receiver.alerts.condition import WARNING, Alert, condition
from receiver.alerts.context import AlertContext, Rows, key_table, lateral_groups
from receiver.db.models import (
    Order,
    account_and_status,
    eta_end,
    in_status_since,
    is_open,
    is_watched,
)
from receiver.db.pagination import HIGHEST_ID, MOST_COUNTED
from receiver.orders.conflicts import OPEN_CONFLICT
from receiver.statuses import OPEN_STATUSES, find_status
from receiver.text import count_noun, duration_text
from receiver.times import rfc3339

# An order may miss its ETA by so much. One that missed it long ago counts as stuck instead.
ETA_GRACE = timedelta(hours=2)
ETA_WITHIN = timedelta(days=3)
# An order that has been stuck for longer than this counts as given up.
STUCK_WITHIN = timedelta(days=35)
# So many are counted in each status of an account: of those that are stuck, and of all open ones.
MOST_STUCK = 1_000
MOST_OPEN = 5_000

_EXAMPLE = Order.courier_order_id.label("example")


@condition(
    "orders_stuck",
    WARNING,
    "See `ordertrail explain <account> <order>`, then ask the courier about them.",
)
def find_orders_stuck(context: AlertContext) -> Iterator[Alert]:
    by_account = defaultdict(list)
    for row in context.rows(select_stuck_orders(context)):
        by_account[row.account].append(row)
    for account, rows in sorted(by_account.items()):
        count = sum(row.total for row in rows)
        since, example = min((row.since + row.longest, row.example) for row in rows)
        by_status = ", ".join(
            f"{count_noun(row.total, 'order', limit=MOST_STUCK)} in {row.status} for more than"
            f" {duration_text(row.longest)}"
            for row in rows
        )
        noun = "An order has" if count == 1 else "Orders have"
        summary = f"{noun} kept one status for too long: {by_status}"
        yield Alert(account, summary, since, count, example)


@condition(
    "eta_slipped",
    WARNING,
    "Tell the customers; `ordertrail refresh <account> <order>` polls the courier.",
)
def find_eta_slipped(context: AlertContext) -> Iterator[Alert]:
    for row in context.rows(select_late_orders(context)):
        orders = count_noun(row.total, "order is", "orders are", limit=MOST_COUNTED)
        its = "its" if row.total == 1 else "their"
        summary = f"{orders} more than {duration_text(ETA_GRACE)} past {its} ETA"
        since = datetime.fromisoformat(row.eta) + ETA_GRACE
        yield Alert(row.account, summary, since, row.total, row.example)


@condition(
    "orders_in_conflict",
    WARNING,
    "`ordertrail conflicts` lists them; close each with `ordertrail conflicts close` once it is"
    " resolved.",
)
def find_orders_in_conflict(context: AlertContext) -> Iterator[Alert]:
    for row in context.rows(select_orders_in_conflict(context)):
        orders = count_noun(row.total, "order", limit=MOST_COUNTED)
        summary = f"The courier reported contradictory facts about {orders}"
        yield Alert(row.account, summary, row.since, row.total, row.example)


def select_stuck_orders(context: AlertContext) -> Rows:
    """Select orders in a status for longer than their driver allows, by account and status."""
    limits = [
        (account.slug, status, longest)
        for account, driver, _ in context.accounts()
        for status, longest in driver.stuck_after.items()
        if status in OPEN_STATUSES
    ]
    keys = key_table(limits, account=Text, status=Text, longest=Interval)
    rows = select(in_status_since.label("since"), _EXAMPLE).where(
        is_open,
        is_watched,
        account_and_status == func.concat(keys.c.account, " ", keys.c.status),
        in_status_since < context.now - keys.c.longest,
        in_status_since > context.now - STUCK_WITHIN,
    )
    return lateral_groups(keys, rows, in_status_since, MOST_STUCK)


def select_late_orders(context: AlertContext) -> Rows:
    """Select the orders on their way whose ETA has passed, by account."""
    on_their_way = [name for name in OPEN_STATUSES if not find_status(name).attention]
    keys = context.account_keys()
    rows = select(eta_end.label("eta"), _EXAMPLE).where(
        is_open,
        is_watched,
        Order.account == keys.c.account,
        rfc3339(context.now - ETA_GRACE) > eta_end,
        rfc3339(context.now - ETA_WITHIN) < eta_end,
        Order.status.in_(on_their_way),
    )
    return lateral_groups(keys, rows, eta_end)


def select_orders_in_conflict(context: AlertContext) -> Rows:
    """Select the orders with an open conflict, by account, the newest first."""
    keys = context.account_keys()
    rows = select(_EXAMPLE, Order.updated_at.label("since")).where(
        Order.conflicts != [], OPEN_CONFLICT, is_watched, Order.account == keys.c.account
    )
    return lateral_groups(keys, rows, Order.id.desc())


_OPEN_ORDERS = text("""
    SELECT account, status, total
    FROM unnest(CAST(:accounts AS text[])) AS accounts (account)
    CROSS JOIN unnest(CAST(:statuses AS text[])) AS statuses (status)
    CROSS JOIN LATERAL (
        SELECT count(*) AS total FROM (
            SELECT FROM orders
            WHERE (status, account) >= (statuses.status, accounts.account)
                AND (status, account, needs_attention, id)
                    < (statuses.status, accounts.account, true, CAST(:highest AS bigint))
            ORDER BY orders.status DESC, orders.account DESC, needs_attention DESC, id DESC
            LIMIT :most
        ) AS open
    ) AS counted
    WHERE total > 0
""")


def count_open_orders(context: AlertContext) -> Mapping[tuple[str, str], int]:
    """Count the open orders by account and status; up to MOST_OPEN of each."""
    values = {
        "accounts": list(context.watched),
        "statuses": OPEN_STATUSES,
        "most": MOST_OPEN,
        "highest": HIGHEST_ID,
    }
    rows = context.session.execute(_OPEN_ORDERS, values)
    return {(account, status): number for account, status, number in rows}
