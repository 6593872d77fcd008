"""Conditions of webhooks: couriers that are silent, refused, or send far too much."""

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, select, text

from receiver import statuses
from receiver.accounts.credential_diagnosis import NOT_EXAMINED, describe_cause
from receiver.accounts.refused_credentials import (
    CREDENTIAL_REASONS,
    find_old_secret_use,
    read_secret_uses,
)
from receiver.alerts.condition import WARNING, Finding
from receiver.alerts.context import AlertContext
from receiver.alerts.learned_silence import Silence, explain_silence, read_pasts
from receiver.couriers.contract import Driver
from receiver.db.models import Refusal, Tally
from receiver.stats.history import EPOCH, KEPT_FOR, start_of_step
from receiver.statuses import OPEN_STATUSES
from receiver.text import count_noun

# No webhook is expected of an order that has not changed for so long.
FRESH = timedelta(days=7)
MOST_ORDERS = 1_000
# So many refused credentials, the latest within this time, are not a slip.
LEAST_REFUSED, REFUSED_WITHIN = 3, timedelta(minutes=15)
# A secret that was not used for so long can be removed.
OLD_SECRET_WITHIN = timedelta(days=1)
# A flood: so many times the busiest step so far, and at least so many webhooks.
FLOOD_STEP = timedelta(minutes=10)
FLOOD_FACTOR, FLOOD_WEBHOOKS = 3, 1_000
FLOOD_LEARNING = timedelta(days=7)


def find_courier_silent(context: AlertContext) -> Iterator[Finding]:
    """Find accounts whose silence is unusual; one whose every webhook is refused is not silent."""
    refused = {
        finding.account for finding in find_credentials_refused(context) if not finding.severity
    }
    open_orders = {
        row.account: row for row in _read_open_orders(context) if row.account not in refused
    }
    silences: dict[str, Silence] = {}
    last_webhooks: dict[str, datetime | None] = {}
    for account, driver, state in context.accounts():
        orders = open_orders.get(account.slug)
        if orders is None:
            continue
        # A stored message counts also before it is folded.
        times = (state.last_hook_at if state else None, orders.pending_at)
        last = max((at for at in times if at is not None), default=None)
        last_webhooks[account.slug] = last
        silences[account.slug] = Silence(driver.zone, last or orders.oldest, orders.known_since)
    for slug, past in read_pasts(context.session, silences, context.now).items():
        count, since = int(open_orders[slug].total), silences[slug].since
        reason = explain_silence(past, count, context.now - since)
        if reason is None:
            continue
        never = last_webhooks[slug] is None
        silent = "has never called" if never else f"has been silent since {since:%d %b %H:%M} UTC"
        yield Finding(
            slug,
            f"The courier {silent}, with {count_noun(count, 'open order')}: {reason}",
            since=since,
            count=count,
            example=open_orders[slug].newest,
        )


def find_credentials_refused(context: AlertContext) -> Iterator[Finding]:
    """Find accounts whose credentials are refused.

    It is a warning where accepted webhooks come as well: somebody guesses, or the courier uses a
    wrong secret in some places only.
    """
    for slug, refusals in sorted(_read_refusals(context).items()):
        count = sum(refusal.count for refusal in refusals)
        last_at = max(refusal.last_at for refusal in refusals)
        if count < LEAST_REFUSED or context.now - last_at > REFUSED_WITHIN:
            continue
        since = min(refusal.first_at for refusal in refusals)
        # A refusal that was examined says more than one that was only counted.
        main = max(refusals, key=lambda row: (row.likely != NOT_EXAMINED, row.count))
        likely, what_to_do = describe_cause(main.likely)
        state = context.account_states.get(slug)
        accepted = state and state.last_hook_at and state.last_hook_at >= since
        requests = count_noun(count, "request was", "requests were")
        cause = f", most likely {likely}" if main.likely != NOT_EXAMINED else ""
        since_then = "" if accepted else "; none has been accepted since"
        yield Finding(
            slug,
            f"{requests} refused for a {main.reason} credential{cause}{since_then}",
            since=since,
            count=count,
            severity=WARNING if accepted else None,
            what_to_do=what_to_do,
        )


def find_old_secret_used(context: AlertContext) -> Iterator[Finding]:
    uses = read_secret_uses(context.session)
    for account, _, _ in context.accounts():
        at = find_old_secret_use(uses, account)
        if at is not None and context.now - at <= OLD_SECRET_WITHIN:
            secrets = account.env_name("SECRETS")
            yield Finding(
                account.slug, f"A secret that is not the first of {secrets} is in use", at
            )


def find_hooks_flooding(context: AlertContext) -> Iterator[Finding]:
    """Find accounts that send far more than ever; a flood is a backlog until it is folded."""
    recent = start_of_step(context.now, FLOOD_STEP) - FLOOD_STEP
    webhooks = func.sum(Tally.hooks)
    many = (
        select(Tally.account, webhooks)
        .where(Tally.account.in_(context.settings.accounts), Tally.at >= recent)
        .group_by(Tally.account)
        .having(webhooks >= FLOOD_WEBHOOKS)
    )
    counts = {row[0]: row[1] for row in context.rows(many)}
    if not counts:
        return
    steps = (
        select(Tally.account, webhooks.label("webhooks"), func.min(Tally.at).label("at"))
        .where(Tally.account.in_(counts), Tally.at < recent, Tally.at >= context.now - KEPT_FOR)
        .group_by(Tally.account, func.date_bin(FLOOD_STEP, Tally.at, EPOCH))
        .subquery()
    )
    busiest = select(steps.c.account, func.max(steps.c.webhooks), func.min(steps.c.at))
    for slug, most, first_at in context.rows(busiest.group_by(steps.c.account)):
        count = counts[slug]
        if context.now - first_at < FLOOD_LEARNING or count < FLOOD_FACTOR * most:
            continue
        minutes = round((context.now - recent) / timedelta(minutes=1))
        yield Finding(
            slug,
            f"{count_noun(count, 'webhook')} came within {minutes} minutes; the busiest ten"
            f" minutes before had {most:,}",
            since=recent,
            count=count,
        )


def _read_refusals(context: AlertContext) -> Mapping[str, Sequence[Refusal]]:
    """Return the refused credentials of today and yesterday, by account."""
    rows = select(Refusal).where(
        Refusal.account.in_(context.settings.accounts),
        Refusal.reason.in_(CREDENTIAL_REASONS),
        Refusal.day >= (context.now - timedelta(days=1)).date(),
    )
    by_account = defaultdict(list)
    for row in context.session.scalars(rows):
        by_account[row.account].append(row)
    return by_account


# By account, the open orders that a webhook is expected of. known_since: when the account's first
# webhook came. pending_at: when its newest message came that waits for a worker.
_OPEN_ORDERS = text("""
    SELECT account, total, oldest,
        (SELECT courier_order_id FROM orders WHERE id = newest_id) AS newest,
        (SELECT received_at FROM messages WHERE account = counted.account AND outcome = 'pending'
         ORDER BY id DESC LIMIT 1) AS pending_at,
        (SELECT min(at) FROM tallies WHERE account = counted.account AND hooks > 0) AS known_since
    FROM (
        SELECT keys.account, count(*) AS total, min(created_at) AS oldest, max(id) AS newest_id
        FROM unnest(CAST(:accounts AS text[]), CAST(:statuses AS text[])) AS keys (account, status)
        CROSS JOIN LATERAL (
            SELECT id, created_at FROM orders
            WHERE status = keys.status AND account = keys.account AND updated_at > :since
            LIMIT :most
        ) AS fresh
        GROUP BY keys.account
    ) AS counted
""")


def _read_open_orders(context: AlertContext) -> Sequence[Row[Any]]:
    keys = [
        (account.slug, status)
        for account, driver, _ in context.accounts()
        for status in _expecting_statuses(driver)
    ]
    parameters = {
        "accounts": [account for account, _ in keys],
        "statuses": [status for _, status in keys],
        "since": context.now - FRESH,
        "most": MOST_ORDERS,
    }
    return context.session.execute(_OPEN_ORDERS, parameters).all()


def _expecting_statuses(driver: Driver) -> Collection[str]:
    """Return the statuses in which a webhook may still come.

    A courier that sends one webhook an order sends none about an order it has called about.
    """
    calls_once = driver.api is not None and driver.api.schedule.calls_once
    return [statuses.PENDING] if calls_once else OPEN_STATUSES
