"""After an outage, poll every open order at once.

A courier's next attempt to deliver a webhook may be hours or days away, and some make only one.
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from receiver.couriers.schedule import Schedule
from receiver.db.models import AccountState
from receiver.stats import totals
from workers.polling import circuit_breaker, leases

log = structlog.get_logger(__name__)

# Workers check each account every second, so a longer gap means that none was running.
AWAY = timedelta(minutes=2)
MIN_AWAY = timedelta(seconds=15)
# How often a check is written down.
RECORD_INTERVAL = timedelta(seconds=5)
# The clocks of two hosts differ by less. A check so far in the future was made by a clock that was
# ahead and has been set back; everything it planned lies in the future too.
SET_BACK = timedelta(hours=1)
# No pause lasts longer, see courier_api.MAX_WAIT_SECONDS.
LONGEST_PAUSE = timedelta(days=1)


def start_polling(session: Session, account: str, now: datetime) -> None:
    """Prepare an account when a worker starts, including its orders from before it was polled."""
    circuit_breaker.start_account(session, account, now)
    if added := leases.add_missing_polls(session, account, now):
        log.info("open_orders_added", account=account, orders=added)


def check_for_outage(
    session: Session, account: str, schedule: Schedule, factor: float, now: datetime
) -> int:
    """Make open orders due if we were down or the webhooks stopped; return how many became due.

    Two workers that check at the same time both do it, which does no harm.
    """
    state = session.scalar(select(AccountState).where(AccountState.account == account))
    checked_at = state.tended_at if state else None
    if state is None or (
        checked_at is not None and -SET_BACK < now - checked_at < RECORD_INTERVAL * factor
    ):
        return 0
    values: dict[str, datetime] = {"tended_at": now}
    if checked_at is not None and _was_set_back(checked_at, now):
        leases.end_future_leases(session, account, now)
        if state.paused_until is not None and state.paused_until > now + LONGEST_PAUSE:
            values["paused_until"] = now
    due = lost = leases.restore_lost_polls(session, account, now)
    if lost:
        log.warning("lost_polls_restored", account=account, orders=lost)
    if reason := _outage(state, schedule, factor, now):
        due += leases.make_open_orders_due(session, account, now)
        log.warning("open_orders_made_due", account=account, reason=reason, orders=due)
        values["recovered_at"] = now
    # The account's row comes last, as in a drain, so that the two do not deadlock.
    session.execute(update(AccountState).where(AccountState.account == account).values(**values))
    if lost:
        totals.add_totals(session, {(totals.MENDED, account, totals.NEXT_POLLS): lost})
    return due


def _was_set_back(checked_at: datetime, now: datetime) -> bool:
    return checked_at - now >= SET_BACK


def _outage(state: AccountState, schedule: Schedule, factor: float, now: datetime) -> str | None:
    """Return in words why webhooks may have been lost, None if nothing indicates it."""
    checked_at = state.tended_at
    if checked_at is not None and now - checked_at > max(AWAY * factor, MIN_AWAY):
        return f"no worker was running for {now - checked_at}"
    if checked_at is not None and _was_set_back(checked_at, now):
        return f"the clock was set back by {checked_at - now}"
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
