"""The circuit breaker of each account: whether its courier's API may be called just now.

Its state is the account's row in PostgreSQL, so that a pause survives a Redis that was emptied.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from receiver import errors
from receiver.couriers.schedule import Backoff
from receiver.db.models import AccountState

# So many failures in a row pause the account: first for 30 s, then ever longer up to 10 min.
FAILURES = 5
PAUSES = Backoff(timedelta(seconds=30), timedelta(minutes=10))
# How long a probe has to come to a result before another worker may probe.
PROBE = timedelta(seconds=20)
# The pause after a 429 that names no time, and after refused credentials.
BUSY_FOR = timedelta(seconds=60)
REFUSED_FOR = timedelta(hours=1)
# No pause is longer, except by a clock that was ahead.
LONGEST_PAUSE = timedelta(days=1)

# Why an account is paused.
FAILING, BUSY, REFUSED = "failing", "busy", "refused"

# A failure that is recorded late never makes a pause shorter. A probe's own paused_until is none.
PAUSE = text("""
    UPDATE accounts
    SET paused_at = coalesce(paused_at, :now),
        pause_reason = CASE WHEN :probe OR paused_until IS NULL OR paused_until < :until
                            THEN :reason ELSE pause_reason END,
        paused_until = CASE WHEN :probe THEN :until ELSE greatest(paused_until, :until) END
    WHERE account = :account
""")


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to send one request to an account's courier.

    probe: a pause has just passed, and this request alone tests whether the API works again.
    """

    account: str
    probe: bool


def request_permit(session: Session, account: str, now: datetime) -> Permit | None:
    """Return a permit for one request, None during a pause.

    When a pause has passed, one worker gets a permit, as the probe.
    """
    paused_until = session.scalar(
        select(AccountState.paused_until).where(AccountState.account == account)
    )
    if paused_until is None:
        return Permit(account, probe=False)
    if now < paused_until <= now + LONGEST_PAUSE:
        return None
    taken = session.execute(
        update(AccountState)
        .where(AccountState.account == account, AccountState.paused_until == paused_until)
        .values(paused_until=now + PROBE)
        .returning(AccountState.account)
    )
    return Permit(account, probe=True) if taken.first() else None


def return_permit(session: Session, permit: Permit, now: datetime) -> None:
    """Return a permit that was not used; a probe's goes to the next worker that asks."""
    if permit.probe:
        _update(session, permit.account, paused_until=now)


def record_api_success(session: Session, permit: Permit, saved: int = 0) -> None:
    """Record that the courier answered. Only a probe ends a pause: the other requests may have been
    sent before it began.

    saved: how many requests a page of the list has saved.
    """
    pause = {"paused_at": None, "paused_until": None, "pause_reason": None} if permit.probe else {}
    _update(
        session,
        permit.account,
        requests=AccountState.requests + 1,
        requests_saved=AccountState.requests_saved + saved,
        failures=0,
        **pause,
    )


def record_api_failure(
    session: Session, permit: Permit, error: errors.OrdertrailError, now: datetime, factor: float
) -> None:
    """Record a request that failed. Refused credentials, a rate limit, and the FAILURES-th failure
    in a row (5xx, no response, an unusable one) pause the account.
    """
    reason, wait = FAILING, timedelta()
    if isinstance(error, errors.CourierRefused):
        reason, wait = REFUSED, REFUSED_FOR
    elif isinstance(error, errors.CourierBusy):
        seconds = error.seconds
        reason, wait = BUSY, BUSY_FOR if seconds is None else timedelta(seconds=max(seconds, 1))
    failures = session.execute(
        update(AccountState)
        .where(AccountState.account == permit.account)
        .values(
            failures=AccountState.failures + int(reason == FAILING),
            requests=AccountState.requests + 1,
        )
        .returning(AccountState.failures)
    ).scalar_one()
    if reason == FAILING:
        if failures < FAILURES and not permit.probe:
            return
        wait = PAUSES.delay(max(0, failures - FAILURES)) * factor
    values = {"account": permit.account, "probe": permit.probe, "now": now, "until": now + wait}
    session.execute(PAUSE, {**values, "reason": reason})


def start_account(session: Session, account: str, now: datetime) -> None:
    """Create an account's row; end the pause of refused credentials, which may be new ones now."""
    session.execute(insert(AccountState).values(account=account).on_conflict_do_nothing())
    session.execute(
        update(AccountState)
        .where(AccountState.account == account, AccountState.pause_reason == REFUSED)
        .values(paused_until=now)
    )


def _update(session: Session, account: str, **values: Any) -> None:
    session.execute(update(AccountState).where(AccountState.account == account).values(**values))
