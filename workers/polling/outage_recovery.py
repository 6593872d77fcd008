"""After an outage, poll every open order at once.

A courier's next attempt to deliver a webhook may be hours or days away, and some make only one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, exists, select, text, update
from sqlalchemy.orm import Session

from receiver.couriers.schedule import Schedule
from receiver.db.models import AccountState, Order, Poll
from receiver.stats import totals
from receiver.statuses import TERMINAL_STATUSES
from workers.polling import circuit_breaker

log = structlog.get_logger(__name__)

# Workers check each account every second, so a longer gap means that none was running.
AWAY = timedelta(minutes=2)
MIN_AWAY = timedelta(seconds=15)
# How often a check is written down.
RECORD_INTERVAL = timedelta(seconds=5)
# The clocks of two hosts differ by less. A check so far in the future was made by a clock that was
# ahead and has been set back; everything it planned lies in the future too.
SET_BACK = timedelta(hours=1)


def start_polling(session: Session, account: str, now: datetime) -> None:
    """Prepare an account when a worker starts, including its orders from before it was polled."""
    circuit_breaker.start_account(session, account, now)
    if added := add_missing_polls(session, account, now):
        log.info("open_orders_added", account=account, orders=added)


def add_missing_polls(session: Session, account: str, now: datetime) -> int:
    """Start polling the open orders from before the account could be polled; return how many."""
    added = session.execute(
        text("""
            INSERT INTO polls (order_id, account, placed_at, due_at)
            SELECT id, account, created_at, :now FROM orders
            WHERE account = :account AND status <> ALL(:terminal)
                  AND NOT EXISTS (SELECT FROM polls WHERE polls.order_id = orders.id)
            ON CONFLICT DO NOTHING
            RETURNING order_id
        """),
        {"account": account, "now": now, "terminal": TERMINAL_STATUSES},
    )
    return len(added.all())


def check_for_outage(
    session: Session, account: str, schedule: Schedule, factor: float, now: datetime
) -> int:
    """Make open orders due if we were down or the webhooks stopped; return how many became due.

    Two workers that check at the same time both do it, which does no harm.
    """
    state = session.scalar(select(AccountState).where(AccountState.account == account))
    if state is None:
        return 0
    gap = now - state.tended_at if state.tended_at else None
    if gap is not None and -SET_BACK < gap < RECORD_INTERVAL * factor:
        return 0
    values = {"tended_at": now}
    # An order whose polling has neither a next time nor an end would be forgotten.
    lost = [column.is_(None) for column in (Poll.due_at, Poll.finished_at, Poll.stopped_at)]
    due = restored = _update_polls(session, account, lost, due_at=now)
    if reason := _outage(state, gap, schedule, factor, now):
        due += make_open_orders_due(session, account, now)
        log.warning("open_orders_made_due", account=account, reason=reason, orders=due)
        values["recovered_at"] = now
    # The account's row comes last, as in a drain, so that the two do not deadlock.
    session.execute(update(AccountState).where(AccountState.account == account).values(**values))
    if restored:
        log.warning("lost_polls_restored", account=account, orders=restored)
        totals.add_totals(session, {(totals.MENDED, account, totals.NEXT_POLLS): restored})
    return due


def _outage(
    state: AccountState, gap: timedelta | None, schedule: Schedule, factor: float, now: datetime
) -> str | None:
    """Return in words why webhooks may have been lost, None if nothing indicates it.

    gap: since the last check; below -SET_BACK if the clock has been set back.
    """
    if gap is not None and gap <= -SET_BACK:
        return f"the clock was set back by {-gap}"
    if gap is not None and gap > max(AWAY * factor, MIN_AWAY):
        return f"no worker was running for {gap}"
    last_webhook_at = state.last_hook_at
    if schedule.calls_once or last_webhook_at is None:
        return None
    silence = now - last_webhook_at
    longest = max(state.longest_gap or timedelta(), schedule.default.first * factor)
    # Once for each silence; after that the orders' own schedules are enough.
    recovered = state.recovered_at is not None and state.recovered_at > last_webhook_at
    if silence <= longest or recovered:
        return None
    return f"no webhook for {silence}, longer than ever before ({longest})"


def make_open_orders_due(
    session: Session, account: str, now: datetime, stopped: bool = False
) -> int:
    """Make every open order of an account due now, and return how many there are.

    stopped: also those whose polling has stopped.
    """
    wanted = Poll.due_at > now
    values: dict[str, Any] = {"due_at": now, "quiet": 0, "failures": 0}
    if stopped:
        wanted |= Poll.stopped_at.is_not(None)
        values["unchanged_for"] = timedelta()
    cleared = ("finished_at", "stopped_at", "stop_reason", "unknown_since")
    is_open = exists().where(Order.id == Poll.order_id, Order.status.not_in(TERMINAL_STATUSES))
    return _update_polls(session, account, [wanted, is_open], **values, **dict.fromkeys(cleared))


def _update_polls(
    session: Session, account: str, where: Sequence[ColumnElement[bool]], **values: Any
) -> int:
    """Update rows, locked in the same order as by a drain, so that the two do not deadlock."""
    locked = select(Poll.order_id).where(Poll.account == account, *where)
    locked = locked.order_by(Poll.order_id).with_for_update()
    changed = update(Poll).where(Poll.order_id.in_(locked)).values(values).returning(Poll.order_id)
    return len(session.execute(changed, execution_options={"synchronize_session": False}).all())
