"""When each order is polled next: news of an order restarts its schedule in the table `polls`.

Only orders of accounts whose courier can be polled have a row there, and neither samples nor orders
whose tracking is stopped. workers/polling polls them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from receiver import statuses
from receiver.couriers import DRIVERS
from receiver.couriers.schedule import Backoff, Schedule
from receiver.db.bulk import id_in, insert_rows
from receiver.db.models import Poll
from receiver.db.order_state import AnyOrder
from receiver.orders.names import is_sample
from receiver.settings import Account
from receiver.statuses import find_status

# Orders that changed at the same moment are spread over this share of their interval.
JITTER = 0.1
# A courier may not know an order for so long after it was placed.
UNKNOWN_TOO_LONG = timedelta(hours=2)
NOT_ACCEPTED = {statuses.PENDING, statuses.UNKNOWN}
# Between two polls of one order, however often it is to be confirmed or refreshed.
MINIMUM_INTERVAL = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class OrderNews:
    """An order that has just changed; webhook: by a webhook, and not only by a poll."""

    order: AnyOrder
    webhook: bool


def is_tracked(order: AnyOrder) -> bool:
    """Return whether an order may be polled: not a sample, nor one whose tracking is stopped."""
    return order.tracking_stopped_at is None and not is_sample(order.courier_order_id)


def polling_schedule(account: Account) -> Schedule | None:
    """Return when to poll the account's courier, None if it cannot be polled."""
    api = DRIVERS[account.driver].api
    return api.schedule if api is not None and account.access is not None else None


def plan_next_poll(
    schedule: Schedule,
    order: AnyOrder,
    factor: float,
    last_polled_at: datetime | None = None,
    unchanged_polls: int = 0,
) -> datetime | None:
    """Return when to poll an order next, None if polling is finished.

    factor: POLL_INTERVAL_FACTOR. unchanged_polls: polls in a row that brought no news.
    """
    heard_at = max(filter(None, (last_polled_at, order.last_heard_at)), default=None)
    if find_status(order.status).terminal and order.status_at is not None:
        last = order.status_at + schedule.last_poll * factor
        return None if heard_at is not None and heard_at >= last else last

    placed_at = _placed_at(order)
    heard_at = heard_at or placed_at
    interval = _backoff(schedule, order).delay(unchanged_polls) * factor
    due = heard_at + interval * (1 + JITTER * _fraction(order.id))
    if schedule.pickup_every is not None and order.pickup_at is not None and awaits_pickup(order):
        window_start = order.pickup_at - schedule.pickup_before * factor
        pickup_poll = max(window_start, heard_at + schedule.pickup_every * factor)
        if pickup_poll <= order.pickup_at + schedule.pickup_after * factor:
            due = min(due, pickup_poll)
    return max(due, placed_at + schedule.not_before * factor)


def _backoff(schedule: Schedule, order: AnyOrder) -> Backoff:
    if schedule.until_accepted is not None and order.status in NOT_ACCEPTED:
        return schedule.until_accepted
    # The pickup time of an order that was picked up is of no use any more.
    is_complete = (
        order.label_url and order.parcels and (order.pickup_at or not awaits_pickup(order))
    )
    if schedule.until_complete is not None and not is_complete:
        return schedule.until_complete
    return schedule.default


def awaits_pickup(order: AnyOrder) -> bool:
    """Return whether an order has not been picked up yet, as far as its status says."""
    return find_status(order.status).rank < find_status(statuses.PICKED_UP).rank


def _fraction(order_id: int) -> float:
    """Return a number from 0 to 1 that is always the same for an order and spreads all orders."""
    return (order_id * 2_654_435_761 % 2**32) / 2**32


def _placed_at(order: AnyOrder) -> datetime:
    """Return when an order was placed with its courier, as far as is known."""
    milestones = [datetime.fromisoformat(at) for at in (order.milestones or {}).values()]
    return min([order.created_at, *milestones])


# An answer_id that leaves the known one; NULL makes the next answer count as new, whatever it says.
KEEP_ANSWER = 0
RESTART_SCHEDULE = """(order_id) DO UPDATE
    SET placed_at = least(known.placed_at, excluded.placed_at),
        due_at = CASE WHEN excluded.due_at IS NOT NULL
                      THEN greatest(excluded.due_at, known.polled_at + :least_between) END,
        finished_at = excluded.finished_at,
        quiet = 0, unchanged_for = '0', failures = 0, unknown_since = NULL,
        stopped_at = NULL, stop_reason = NULL,
        answer_id = CASE WHEN excluded.answer_id IS NULL THEN NULL ELSE known.answer_id END
"""


def plan_polls(
    session: Session,
    changed: Collection[OrderNews],
    accounts: Mapping[str, Account],
    factor: float,
    now: datetime,
) -> None:
    """Restart the schedule of orders that have changed, and end that of untracked ones.

    factor: POLL_INTERVAL_FACTOR.
    """
    rows = []
    untracked = [news.order.id for news in changed if not is_tracked(news.order)]
    if untracked:
        session.execute(delete(Poll).where(id_in(Poll.order_id, untracked)))
    for news in sorted(changed, key=lambda news: news.order.id):
        order = news.order
        account = accounts.get(order.account)
        # A rebuild also changes orders of accounts that are switched off.
        schedule = polling_schedule(account) if account is not None else None
        if account is None or schedule is None or not is_tracked(order):
            continue
        due_at = plan_next_poll(schedule, order, factor)
        if news.webhook and needs_confirmation(order, account):
            due_at = now
        finished_at = now if due_at is None else None
        rows.append(_row(order, due_at, finished_at, None if news.webhook else KEEP_ANSWER))
    insert_rows(session, Poll, rows, RESTART_SCHEDULE, least_between=MINIMUM_INTERVAL * factor)


def schedule_poll_now(session: Session, order: AnyOrder, now: datetime, factor: float) -> datetime:
    """Make an order due at once, also one whose polling has ended, and return when it is due.

    An order that was polled a moment ago is due MINIMUM_INTERVAL after that.
    """
    row = _row(order, now, None, KEEP_ANSWER)
    insert_rows(session, Poll, [row], RESTART_SCHEDULE, least_between=MINIMUM_INTERVAL * factor)
    due_at = session.scalar(select(Poll.due_at).where(Poll.order_id == order.id))
    return due_at or now


def _row(
    order: AnyOrder, due_at: datetime | None, finished_at: datetime | None, answer_id: int | None
) -> dict[str, Any]:
    return {
        "order_id": order.id,
        "account": order.account,
        "placed_at": _placed_at(order),
        "due_at": due_at,
        "finished_at": finished_at,
        "answer_id": answer_id,
    }


def needs_confirmation(order: AnyOrder, account: Account) -> bool:
    """Return whether an unsigned webhook set the status and the account confirms such by a poll."""
    if account.confirm == "none" or order.source is None or order.source["trust"] != "token":
        return False
    return account.confirm == "all" or find_status(order.status).terminal
