"""Asking the couriers: who cannot be asked, and about which orders nobody asks."""

from collections.abc import Iterator
from datetime import timedelta
from typing import TypeGuard

from sqlalchemy import Text, func, select
from sqlalchemy.orm import aliased

from receiver.alerts import platform_alerts
from receiver.alerts.context import Alert, AlertContext, about, alert, each, heaps, setting
from receiver.db.models import AccountState, Order, Poll
from receiver.settings import Account

# A courier may be away for so long before it is news.
FAILING_FOR = timedelta(minutes=10)
# An order may be unknown to its courier for so long after it was placed.
UNKNOWN_FOR = timedelta(hours=2)
# Orders that were given up longer ago than this are history.
GIVEN_UP_WITHIN = timedelta(days=7)
# After an outage everything is due at once and asked about at the courier's pace.
LATE_AFTER = timedelta(hours=2)

# The courier's id of a poll's order: looked up for those that are shown only.
ORDER = (
    select(Order.courier_order_id)
    .where(Order.id == Poll.order_id)
    .scalar_subquery()
    .label("courier_order_id")
)


def alerts(scene: AlertContext) -> Iterator[Alert]:
    for account, _, state in scene.accounts():
        if _is_paused(state):
            yield from _pause(scene, state, account)
    yield from _late(scene)
    yield from _unknown(scene)
    yield from _given_up(scene)


def _is_paused(state: AccountState | None) -> TypeGuard[AccountState]:
    return state is not None and state.paused_at is not None


def _pause(scene: AlertContext, state: AccountState, account: Account) -> Iterator[Alert]:
    if state.pause_reason == "refused":
        yield alert(
            "poll_refused",
            account.slug,
            "the courier does not accept our credentials, so nobody asks it",
            f"Check {setting(account, 'API_TOKEN')} (and _API_USER), and restart the workers.",
            since=state.paused_at,
        )
    elif (
        state.pause_reason == "failing"
        and state.paused_at is not None
        and scene.now - state.paused_at >= FAILING_FOR
    ):
        yield alert(
            "poll_failing",
            account.slug,
            f"the courier's API failed {state.failures} requests in a row",
            "See the workers' log for what it answers; it is tried again by itself.",
            since=state.paused_at,
            count=state.failures,
        )


def _late(scene: AlertContext) -> Iterator[Alert]:
    """Orders that should have been asked about long ago, though nothing hinders it."""
    asked = [
        account.slug
        for account, _, state in scene.accounts()
        if account.access is not None and not _is_paused(state)
    ]
    if not asked or not platform_alerts.works(scene) or platform_alerts.unswept(scene):
        return
    of = each(account=(Text, asked))
    rows = select(Poll.due_at, ORDER).where(
        Poll.account == of.c.account, Poll.due_at < scene.now - LATE_AFTER
    )
    for found in scene.rows(heaps(of, rows, Poll.due_at)):
        yield alert(
            "polls_late",
            found.account,
            f"{about(found.number, 'order', 'orders')} should have been asked about more than"
            f" {LATE_AFTER} ago",
            "After an outage this passes by itself, at the courier's pace; else see the workers'"
            " log.",
            since=found.due_at,
            count=found.number,
            example=found.courier_order_id,
        )


def _unknown(scene: AlertContext) -> Iterator[Alert]:
    """Orders that the courier says it does not know: one may be new, many mean a wrong address."""
    of = scene.slugs()
    rows = select(Poll.unknown_since, ORDER).where(
        Poll.account == of.c.account, Poll.unknown_since < scene.now - UNKNOWN_FOR
    )
    for found in scene.rows(heaps(of, rows, Poll.unknown_since)):
        address = setting(scene.settings.accounts[found.account], "API_URL")
        yield alert(
            "orders_unknown",
            found.account,
            f"the courier says that it does not know {about(found.number, 'order', 'orders')}",
            f"Check {address} if they are many, else the orders' ids.",
            since=found.unknown_since,
            count=found.number,
            example=found.courier_order_id,
        )


def _given_up(scene: AlertContext) -> Iterator[Alert]:
    of = scene.slugs()
    since = scene.now - GIVEN_UP_WITHIN
    any_ = aliased(Poll)
    oldest = select(func.min(any_.stopped_at)).where(
        any_.account == of.c.account, any_.stopped_at > since
    )
    rows = select(Poll.stop_reason, ORDER, oldest.correlate(of).scalar_subquery().label("since"))
    rows = rows.where(Poll.account == of.c.account, Poll.stopped_at > since)
    for found in scene.rows(heaps(of, rows, Poll.stopped_at.desc())):
        yield alert(
            "orders_given_up",
            found.account,
            f"nobody asks about {about(found.number, 'order', 'orders')} any more"
            f" ({found.stop_reason})",
            "Their status stays as it was. Ask the courier; `ordertrail refresh` starts anew.",
            since=found.since,
            count=found.number,
            example=found.courier_order_id,
        )
