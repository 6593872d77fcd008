"""An account's row: what is counted of it, and whether its courier may be asked just now.

The row is in PostgreSQL and not in Redis, so that a pause outlives a Redis that was emptied.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from receiver.couriers.schedule import Backoff
from receiver.db.models import AccountState

# A courier that fails so often in a row is left alone for a while: 30 s, doubling to 10 min.
FAILURES = 5
BREAKER = Backoff(timedelta(seconds=30), timedelta(minutes=10))
# How long the one who tries again has the word, before another may.
PROBE = timedelta(seconds=20)
# Where a 429 names no time, and where the courier does not accept our credentials.
BUSY_FOR = timedelta(seconds=60)
REFUSED_FOR = timedelta(hours=1)

# Why an account is paused.
FAILING = "failing"
BUSY = "busy"
REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Turn:
    """Leave to send one request. probe: the account had a pause, and this one tries whether it is
    over; nobody else may ask meanwhile.
    """

    probe: bool


def turn(session: Session, account: str, now: datetime) -> Turn | None:
    """Leave to ask the account's courier just now, None while there is a pause.

    Of several workers that come when a pause has passed, one gets the word.
    """
    paused_until = session.scalar(
        select(AccountState.paused_until).where(AccountState.account == account)
    )
    if paused_until is None:
        return Turn(probe=False)
    if paused_until > now:
        return None
    taken = session.execute(
        update(AccountState)
        .where(AccountState.account == account, AccountState.paused_until == paused_until)
        .values(paused_until=now + PROBE)
        .returning(AccountState.account)
    )
    return Turn(probe=True) if taken.first() else None


ANSWERED = text("""
    UPDATE accounts
    SET requests = requests + 1, requests_saved = requests_saved + :saved, failures = 0,
        paused_at = CASE WHEN :probe THEN NULL ELSE paused_at END,
        paused_until = CASE WHEN :probe THEN NULL ELSE paused_until END,
        pause_reason = CASE WHEN :probe THEN NULL ELSE pause_reason END
    WHERE account = :account
""")


def answered(session: Session, account: str, whose: Turn, saved: int = 0) -> None:
    """The courier answered. Only a probe ends a pause: an answer to what was asked before the
    pause began says nothing about it.
    """
    session.execute(
        ANSWERED,
        {"account": account, "probe": whose.probe, "saved": saved},
    )


def failed(session: Session, account: str, whose: Turn, now: datetime, factor: float) -> None:
    """The courier failed us (5xx, no answer, nonsense); after FAILURES of that it gets a pause."""
    failures = session.execute(
        update(AccountState)
        .where(AccountState.account == account)
        .values(failures=AccountState.failures + 1, requests=AccountState.requests + 1)
        .returning(AccountState.failures)
    ).scalar_one()
    if failures >= FAILURES or whose.probe:
        wait = BREAKER.delay(max(0, failures - FAILURES)) * factor
        _pause(session, account, whose, now, wait, FAILING)


def told_to_wait(
    session: Session, account: str, whose: Turn, now: datetime, seconds: float | None
) -> None:
    """The courier said that it is asked too often; seconds: for how long to stay away."""
    _count_request(session, account)
    wait = timedelta(seconds=max(seconds, 1)) if seconds is not None else BUSY_FOR
    _pause(session, account, whose, now, wait, BUSY)


def turned_away(session: Session, account: str, whose: Turn, now: datetime) -> None:
    """The courier does not accept our credentials: a person has to look."""
    _count_request(session, account)
    _pause(session, account, whose, now, REFUSED_FOR, REFUSED)


def give_back(session: Session, account: str, whose: Turn, now: datetime) -> None:
    """A turn that was not used: a probe's word goes to the next who comes."""
    if whose.probe:
        session.execute(
            update(AccountState).where(AccountState.account == account).values(paused_until=now)
        )


def start_anew(session: Session, account: str, now: datetime) -> None:
    """Begin with a new worker: the account has its row, and credentials that were refused may be
    others now.
    """
    session.execute(insert(AccountState).values(account=account).on_conflict_do_nothing())
    session.execute(
        update(AccountState)
        .where(AccountState.account == account, AccountState.pause_reason == REFUSED)
        .values(paused_until=now)
    )


def _count_request(session: Session, account: str) -> None:
    session.execute(
        update(AccountState)
        .where(AccountState.account == account)
        .values(requests=AccountState.requests + 1)
    )


# Another's failure that comes in late never makes a pause shorter; a probe's own turn is no pause.
PAUSE = text("""
    UPDATE accounts
    SET paused_at = coalesce(paused_at, :now),
        pause_reason = CASE WHEN :probe OR paused_until IS NULL OR paused_until < :until
                            THEN :reason ELSE pause_reason END,
        paused_until = CASE WHEN :probe THEN :until ELSE greatest(paused_until, :until) END
    WHERE account = :account
""")


def _pause(
    session: Session, account: str, whose: Turn, now: datetime, wait: timedelta, reason: str
) -> None:
    session.execute(
        PAUSE,
        {
            "account": account,
            "probe": whose.probe,
            "now": now,
            "until": now + wait,
            "reason": reason,
        },
    )
