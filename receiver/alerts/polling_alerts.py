"""Conditions of polling: couriers that cannot be polled, and orders that are not."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from sqlalchemy import Text, func, select
from sqlalchemy.orm import aliased

from receiver.alerts.condition import CRITICAL, WARNING, Alert, condition
from receiver.alerts.context import AlertContext, key_table, lateral_groups
from receiver.db.models import AccountState, Order, Poll
from receiver.db.pagination import MOST_COUNTED
from receiver.orders.poll_plan import UNKNOWN_TOO_LONG
from receiver.text import count_noun, duration_text

# A courier may be unavailable for so long before it is worth an alert.
FAILING_TOO_LONG = timedelta(minutes=10)
# A courier may ask for a pause for so long.
LIMITED_TOO_LONG = timedelta(hours=1)
# Orders given up longer ago need nobody's attention any more.
GIVEN_UP_WITHIN = timedelta(days=7)
# After an outage every order is due at once, and polled at the courier's pace.
LATE_AFTER = timedelta(hours=2)
# The sweep is due every 3 seconds and recorded every 10; a busy worker comes to it late.
SWEEP_LATE_AFTER = timedelta(seconds=60)

# Looked up for the orders that are shown only.
_EXAMPLE = (
    select(Order.courier_order_id)
    .where(Order.id == Poll.order_id)
    .scalar_subquery()
    .label("example")
)


@condition(
    "poll_refused",
    CRITICAL,
    "Check COURIER_<ACCOUNT>_API_TOKEN (and _API_USER), and restart the workers.",
)
def find_poll_refused(context: AlertContext) -> Iterator[Alert]:
    for account, _, state in context.accounts():
        if state and state.paused_at and state.pause_reason == "refused":
            summary = "The courier's API refuses our credentials, so its orders are not polled"
            yield Alert(account.slug, summary, state.paused_at)


@condition(
    "poll_failing",
    WARNING,
    "See the workers' log for the API's responses. When the API works again, polling resumes by"
    " itself.",
)
def find_poll_failing(context: AlertContext) -> Iterator[Alert]:
    for account, _, state in context.accounts():
        if not state or not state.paused_at or state.pause_reason != "failing":
            continue
        if context.now - state.paused_at >= FAILING_TOO_LONG:
            summary = f"The courier's API failed {count_noun(state.failures, 'request')} in a row"
            yield Alert(account.slug, summary, state.paused_at, state.failures)


@condition(
    "poll_limited",
    WARNING,
    "Ask the courier what it allows, and whether somebody else uses the same credentials.",
)
def find_poll_limited(context: AlertContext) -> Iterator[Alert]:
    """Find couriers that have answered 429 for so long that their orders stay overdue."""
    for account, _, state in context.accounts():
        if not state or not state.paused_at or state.pause_reason != "busy":
            continue
        if context.now - state.paused_at >= LIMITED_TOO_LONG:
            lasted = duration_text(context.now - state.paused_at)
            summary = f"The courier has limited our requests for {lasted}; its orders wait"
            yield Alert(account.slug, summary, state.paused_at)


def _is_paused_for_long(state: AccountState | None, now: datetime) -> bool:
    """Tell whether an account's pause is an alert by itself."""
    if state is None or state.paused_at is None:
        return False
    limits = {"busy": LIMITED_TOO_LONG, "failing": FAILING_TOO_LONG}
    return now - state.paused_at >= limits.get(state.pause_reason or "", timedelta())


@condition(
    "polls_late",
    WARNING,
    "After an outage, wait: the courier's rate limits take time. Otherwise see the workers' log.",
)
def find_polls_late(context: AlertContext) -> Iterator[Alert]:
    """Find overdue polls; missing workers and clocks and long pauses are other conditions."""
    if not context.can_fold or context.sweep_is_late(SWEEP_LATE_AFTER):
        return
    polled = [
        (account.slug,)
        for account, _, state in context.accounts()
        if account.access is not None and not _is_paused_for_long(state, context.now)
    ]
    keys = key_table(polled, account=Text)
    rows = select(Poll.due_at.label("since"), _EXAMPLE).where(
        Poll.account == keys.c.account, Poll.due_at < context.now - LATE_AFTER
    )
    for row in context.rows(lateral_groups(keys, rows, Poll.due_at)):
        late = duration_text(LATE_AFTER)
        orders = count_noun(row.total, "order is", "orders are", limit=MOST_COUNTED)
        summary = f"{orders} overdue for a poll by more than {late}"
        yield Alert(row.account, summary, row.since, row.total, row.example)


@condition(
    "orders_unknown",
    WARNING,
    "If there are many, check COURIER_<ACCOUNT>_API_URL; otherwise check the orders' ids.",
)
def find_orders_unknown(context: AlertContext) -> Iterator[Alert]:
    """Find orders that their courier does not know: many of them mean a wrong address."""
    keys = context.account_keys()
    rows = select(Poll.unknown_since.label("since"), _EXAMPLE).where(
        Poll.account == keys.c.account, Poll.unknown_since < context.now - UNKNOWN_TOO_LONG
    )
    for row in context.rows(lateral_groups(keys, rows, Poll.unknown_since)):
        summary = f"The courier's API does not know {_orders(row.total)}"
        yield Alert(row.account, summary, row.since, row.total, row.example)


@condition(
    "orders_given_up",
    WARNING,
    "Ask the courier about the orders; `ordertrail refresh` polls them again.",
)
def find_orders_given_up(context: AlertContext) -> Iterator[Alert]:
    keys = context.account_keys()
    since = context.now - GIVEN_UP_WITHIN
    any_poll = aliased(Poll)
    first_at = select(func.min(any_poll.stopped_at)).where(
        any_poll.account == keys.c.account, any_poll.stopped_at > since
    )
    first_column = first_at.correlate(keys).scalar_subquery().label("since")
    rows = select(Poll.stop_reason, _EXAMPLE, first_column).where(
        Poll.account == keys.c.account, Poll.stopped_at > since
    )
    for row in context.rows(lateral_groups(keys, rows, Poll.stopped_at.desc())):
        verb = "is" if row.total == 1 else "are"
        summary = f"{_orders(row.total)} {verb} no longer polled ({row.stop_reason})"
        yield Alert(row.account, summary, row.since, row.total, row.example)


def _orders(count: int) -> str:
    return count_noun(count, "order", limit=MOST_COUNTED)
