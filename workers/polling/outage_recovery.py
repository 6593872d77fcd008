"""Recovery: after an outage of ours every open order is asked about, instead of waiting for luck.

The next retry of a courier's hook may be hours or days away, and a courier that calls once never
calls again.
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

# A worker looks after an account every second; who was not looked after for so long was down.
AWAY = timedelta(minutes=2)
LEAST_AWAY = timedelta(seconds=15)
# How seldom it is written down that somebody looks.
NOTED_EVERY = timedelta(seconds=5)
# Two hosts' clocks may differ, but not by this: where a worker looked so far in the future, the
# clock was wrong and was set back, and all that was planned by it lies as far ahead.
SET_BACK = timedelta(hours=1)
# No pause lasts longer, see courier_api.MOST_SECONDS.
LONGEST_PAUSE = timedelta(days=1)


def start(session: Session, account: str, now: datetime) -> None:
    """Begin with a new worker: the account's row, and orders from before it could be polled."""
    circuit_breaker.start_anew(session, account, now)
    if adopted := leases.adopt(session, account, now):
        log.info("open orders are polled from now on", account=account, orders=adopted)


def tend(session: Session, account: str, schedule: Schedule, factor: float, now: datetime) -> int:
    """See whether we, or the courier's hooks, were away; how many orders became due by it.

    The account's row comes last, as it does where messages are folded: two that take rows in
    another order may wait for each other. Two workers that come at once do it both, to no harm.
    """
    state = session.scalar(select(AccountState).where(AccountState.account == account))
    seen = state.tended_at if state else None
    if state is None or (seen is not None and -SET_BACK < now - seen < NOTED_EVERY * factor):
        return 0
    values: dict[str, datetime] = {"tended_at": now}
    if seen is not None and _was_set_back(seen, now):
        leases.free_from_the_future(session, account, now)
        if state.paused_until is not None and state.paused_until > now + LONGEST_PAUSE:
            values["paused_until"] = now
    due = lost = leases.mend(session, account, now)
    if lost:
        log.warning("orders whose next poll was lost are asked about", account=account, orders=lost)
    if why := _outage(state, schedule, factor, now):
        due += leases.make_due(session, account, now)
        log.warning("open orders are asked about at once", account=account, why=why, orders=due)
        values["recovered_at"] = now
    session.execute(update(AccountState).where(AccountState.account == account).values(**values))
    if lost:
        totals.add_totals(session, {(totals.MENDED, account, totals.NEXT_POLLS): lost})
    return due


def _was_away(seen: datetime, factor: float, now: datetime) -> bool:
    return now - seen > max(AWAY * factor, LEAST_AWAY)


def _was_set_back(seen: datetime, now: datetime) -> bool:
    return seen - now >= SET_BACK


def _outage(state: AccountState, schedule: Schedule, factor: float, now: datetime) -> str | None:
    """Why messages may have passed us by, in words; None where nothing says so."""
    if state.tended_at is not None and _was_away(state.tended_at, factor, now):
        return f"we were away for {now - state.tended_at}"
    if state.tended_at is not None and _was_set_back(state.tended_at, now):
        return f"the clock was set back by {state.tended_at - now}"
    heard_at = state.last_hook_at
    if schedule.calls_once or heard_at is None:
        return None
    silent = now - heard_at
    usual = max(state.longest_gap or timedelta(), schedule.default.first * factor)
    # Once for each silence: from then on the orders' own schedules are enough.
    if silent <= usual or (state.recovered_at is not None and state.recovered_at > heard_at):
        return None
    return f"no hook for {silent}, longer than ever before ({usual})"
