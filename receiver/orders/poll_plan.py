"""When each order is polled next: news of an order restarts its schedule in the table `polls`.

Only orders of accounts whose courier can be polled have a row there. workers/polling polls them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.couriers import DRIVERS
from receiver.couriers.schedule import PollState, Schedule, plan_next_poll
from receiver.db.bulk import insert_rows
from receiver.db.models import Poll
from receiver.db.order_state import AnyOrder
from receiver.settings import Account
from receiver.statuses import find_status

# Between two polls of one order, however often it is to be confirmed or refreshed.
MINIMUM_INTERVAL = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class OrderNews:
    """An order that has just changed; webhook: by a webhook, and not only by a poll."""

    order: AnyOrder
    webhook: bool


def polling_schedule(account: Account) -> Schedule | None:
    """Return when to poll the account's courier, None if it cannot be polled."""
    api = DRIVERS[account.driver].api
    return api.schedule if api is not None and account.access is not None else None


def poll_state(
    order: AnyOrder, last_polled_at: datetime | None, unchanged_polls: int = 0
) -> PollState:
    """Return what decides when an order is polled next."""
    heard_at = [at for at in (last_polled_at, order.last_heard_at) if at is not None]
    return PollState(
        order_id=order.id,
        status=order.status,
        status_at=order.status_at,
        placed_at=_placed_at(order),
        last_heard_at=max(heard_at, default=None),
        complete=order.label_url is not None and bool(order.parcels),
        pickup_at=order.pickup_at,
        unchanged_polls=unchanged_polls,
    )


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
    """Restart the schedule of orders that have changed.

    factor: POLL_INTERVAL_FACTOR.
    """
    rows = []
    for news in sorted(changed, key=lambda news: news.order.id):
        order = news.order
        schedule = polling_schedule(accounts[order.account])
        if schedule is None:
            continue
        due_at = plan_next_poll(schedule, poll_state(order, None), factor)
        if news.webhook and needs_confirmation(order, accounts[order.account]):
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
