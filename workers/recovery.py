"""Recovery: after an outage of ours every open order is asked about, instead of waiting for luck.

The next retry of a courier's hook may be hours or days away, and a courier that calls once never
calls again.
"""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from receiver.models import AccountState
from receiver.schedule import Schedule
from workers import accounts, claims

log = structlog.get_logger(__name__)

# A worker looks after an account every second; who was not looked after for so long was down.
AWAY = timedelta(minutes=2)
LEAST_AWAY = timedelta(seconds=15)
# How seldom it is written down that somebody looks.
NOTED_EVERY = timedelta(seconds=5)
# Shorter silences than these of a courier's hooks prove nothing, whatever its longest was so far.
PROVES_NOTHING = 2


def start(session: Session, account: str, now: datetime) -> None:
    """Begin with a new worker: the account's row, and orders from before it could be polled."""
    accounts.start_anew(session, account, now)
    if adopted := claims.adopt(session, account, now):
        log.info("open orders are polled from now on", account=account, orders=adopted)


def tend(session: Session, account: str, schedule: Schedule, factor: float, now: datetime) -> int:
    """See whether we, or the courier's hooks, were away; how many orders became due by it."""
    state = session.scalar(select(AccountState).where(AccountState.account == account))
    if state is None or (
        state.tended_at is not None and now - state.tended_at < NOTED_EVERY * factor
    ):
        return 0
    seen, why = state.tended_at, _outage(state, schedule, factor, now)
    noted = session.execute(
        update(AccountState)
        .where(
            AccountState.account == account,
            AccountState.tended_at.is_not_distinct_from(seen),
        )
        .values(tended_at=now)
        .returning(AccountState.account)
    )
    if noted.first() is None:
        # Another worker does this already.
        return 0
    due = claims.mend(session, account, now)
    if why is not None:
        due += claims.make_due(session, account, now)
        log.warning("open orders are asked about at once", account=account, why=why, orders=due)
    return due


def _outage(state: AccountState, schedule: Schedule, factor: float, now: datetime) -> str | None:
    """Why messages may have passed us by, in words; None where nothing says so."""
    if state.tended_at is not None and now - state.tended_at > max(AWAY * factor, LEAST_AWAY):
        return f"we were away for {now - state.tended_at}"
    if schedule.calls_once or state.last_hook_at is None:
        return None
    silent = now - state.last_hook_at
    usual = max(state.longest_gap or timedelta(), schedule.silence.first * factor)
    if silent <= usual * PROVES_NOTHING:
        return None
    # From now on this is the longest: the same silence is not to be made good twice.
    state.longest_gap = silent
    return f"no hook for {silent}, twice as long as ever before"
