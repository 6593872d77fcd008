"""Whether the workers get anywhere: told by what waits and what was folded, in PostgreSQL.

A heartbeat says that a process lives. One that is frozen had one a moment ago, one that runs in
circles has one now, and RQ keeps it for minutes.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, func, literal, select
from sqlalchemy.orm import Session

from receiver.db.models import PENDING, AccountState, Message


@dataclass(frozen=True, slots=True)
class Progress:
    """waiting_seconds: how long the oldest pending message waits, None where none does.

    folded_at: when a batch was last folded, None where none ever was.
    """

    waiting_seconds: float | None
    folded_at: datetime | None


def progress(session: Session, now: datetime) -> Progress:
    """How far the workers have come; two short looks, however large the tables are."""
    since = waiting_since(session)
    folded_at = session.scalar(select(func.max(AccountState.folded_at)))
    # A message may be stamped by another host, whose clock is a little ahead.
    waiting = None if since is None else max((now - since).total_seconds(), 0.0)
    return Progress(waiting, folded_at)


def pending() -> Select[Message]:
    """All messages that wait for a worker.

    PENDING stands in the statement's text: a plan for any outcome whatever, as PostgreSQL makes of
    a statement that it sees often, could not use the index that holds the pending ones alone.
    """
    return select(Message).where(Message.outcome == literal(PENDING, literal_execute=True))


def waiting_since(session: Session) -> datetime | None:
    """Since when the message waits that was kept, or sent back, first; None where none waits."""
    since = func.coalesce(Message.retried_at, Message.received_at)
    # New ones and those sent back: the oldest of each stands at the start of a partial index.
    oldest = [
        session.scalar(pending().with_only_columns(since).where(kind).order_by(Message.id).limit(1))
        for kind in (Message.retried_at.is_(None), Message.retried_at.is_not(None))
    ]
    return min((at for at in oldest if at is not None), default=None)
