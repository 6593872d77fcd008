"""Conditions of polling: couriers that cannot be polled, and orders that are not."""

from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import Text, func, select
from sqlalchemy.orm import aliased

from receiver.alerts.condition import Finding
from receiver.alerts.context import AlertContext, key_table, lateral_groups
from receiver.db.counting import MOST_COUNTED
from receiver.db.models import Order, Poll
from receiver.text import count_noun, duration_text

# A courier may be unavailable for so long before it is worth an alert.
FAILING_TOO_LONG = timedelta(minutes=10)
# A courier may not know an order for so long after it was placed.
UNKNOWN_TOO_LONG = timedelta(hours=2)
# Orders given up longer ago need nobody's attention any more.
GIVEN_UP_WITHIN = timedelta(days=7)
# After an outage every order is due at once, and polled at the courier's pace.
LATE_AFTER = timedelta(hours=2)
# The sweep is due every 3 seconds and recorded every 10; a busy worker comes to it late.
SWEEP_LATE_AFTER = timedelta(seconds=60)

# Looked up for the orders that are shown only.
_ORDER_ID = (
    select(Order.courier_order_id)
    .where(Order.id == Poll.order_id)
    .scalar_subquery()
    .label("courier_order_id")
)


def find_poll_refused(context: AlertContext) -> Iterator[Finding]:
    for account, _, state in context.accounts():
        if state and state.paused_at and state.pause_reason == "refused":
            yield Finding(account.slug, since=state.paused_at)


def find_poll_failing(context: AlertContext) -> Iterator[Finding]:
    for account, _, state in context.accounts():
        if (
            state
            and state.paused_at
            and state.pause_reason == "failing"
            and context.now - state.paused_at >= FAILING_TOO_LONG
        ):
            requests = count_noun(state.failures, "request")
            yield Finding(
                account.slug,
                f"The courier's API failed {requests} in a row",
                since=state.paused_at,
                count=state.failures,
            )


def find_polls_late(context: AlertContext) -> Iterator[Finding]:
    """Find overdue polls; a paused account and missing workers or clocks are other conditions."""
    if not context.workers_run or context.sweep_is_late(SWEEP_LATE_AFTER):
        return
    polled = [
        (account.slug,)
        for account, _, state in context.accounts()
        if account.access is not None and (state is None or state.paused_at is None)
    ]
    keys = key_table({"account": Text}, polled)
    rows = select(Poll.due_at, _ORDER_ID).where(
        Poll.account == keys.c.account, Poll.due_at < context.now - LATE_AFTER
    )
    for late in context.rows(lateral_groups(keys, rows, Poll.due_at)):
        yield Finding(
            late.account,
            f"The poll of {_orders(late.total)} is overdue by more than"
            f" {duration_text(LATE_AFTER)}",
            since=late.due_at,
            count=late.total,
            example=late.courier_order_id,
        )


def find_orders_unknown(context: AlertContext) -> Iterator[Finding]:
    """Find orders that their courier does not know: many of them mean a wrong address."""
    keys = context.account_keys()
    rows = select(Poll.unknown_since, _ORDER_ID).where(
        Poll.account == keys.c.account, Poll.unknown_since < context.now - UNKNOWN_TOO_LONG
    )
    for unknown in context.rows(lateral_groups(keys, rows, Poll.unknown_since)):
        yield Finding(
            unknown.account,
            f"The courier's API does not know {_orders(unknown.total)}",
            since=unknown.unknown_since,
            count=unknown.total,
            example=unknown.courier_order_id,
        )


def find_orders_given_up(context: AlertContext) -> Iterator[Finding]:
    keys = context.account_keys()
    since = context.now - GIVEN_UP_WITHIN
    any_poll = aliased(Poll)
    first_at = select(func.min(any_poll.stopped_at)).where(
        any_poll.account == keys.c.account, any_poll.stopped_at > since
    )
    columns = (Poll.stop_reason, _ORDER_ID, first_at.correlate(keys).scalar_subquery().label("at"))
    rows = select(*columns).where(Poll.account == keys.c.account, Poll.stopped_at > since)
    for newest in context.rows(lateral_groups(keys, rows, Poll.stopped_at.desc())):
        yield Finding(
            newest.account,
            f"{_orders(newest.total)} {'is' if newest.total == 1 else 'are'} no longer polled"
            f" ({newest.stop_reason})",
            since=newest.at,
            count=newest.total,
            example=newest.courier_order_id,
        )


def _orders(count: int) -> str:
    return count_noun(count, "order", limit=MOST_COUNTED)
