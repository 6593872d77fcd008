"""Retry messages that are not applied, or discard them."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.bulk import id_in
from receiver.db.models import APPLIED, DISCARDED, PARKED, PENDING, QUARANTINED, Message
from receiver.db.pagination import MESSAGES, read_cursor, select_page_ids, write_cursor
from receiver.errors import WrongOutcome
from receiver.inbox.browse import find_message, get_message, index_values
from receiver.queue.doorbell import Bells

# How many messages are retried in one transaction.
CHUNK = 2000


def retry_message(
    sessions: sessionmaker[Session], bells: Bells, message_id: str, now: datetime
) -> int:
    """Make one message pending again, unless it is pending or applied; return how many were (0, 1).

    Raises: UnknownMessage; WrongOutcome where its body is no longer stored.
    """
    with sessions.begin() as session:
        message = find_message(session, message_id, lock=True)
        if message.outcome in {PENDING, APPLIED}:
            return 0
        if message.size is None:
            raise WrongOutcome(
                f"message {message_id} cannot be retried: its body is no longer stored"
            )
        _make_pending(session, [message.id], now)
    bells.doorbell()
    return 1


def retry_messages(
    sessions: sessionmaker[Session],
    bells: Bells,
    wanted: dict[str, Any],
    now: datetime,
    seconds: float = float("inf"),
) -> dict[str, Any]:
    """Make all messages of an outcome pending again, the oldest first, a transaction at a time.

    wanted: {"outcome", "account"?, "cursor"?}
    seconds: no new transaction begins after this time.
    Shape: {"retried", "next_cursor"}; next_cursor is set where more messages may be left.
    """
    after = read_cursor(wanted["cursor"], MESSAGES) if "cursor" in wanted else 0
    end = time.monotonic() + seconds
    retried, more = 0, True
    while more and time.monotonic() < end:
        with sessions.begin() as session:
            ids = session.scalars(_stuck(session, wanted, after, CHUNK)).all()
            # A message that somebody else has locked is being changed already, so it is skipped.
            free = session.scalars(
                select(Message.id)
                .where(id_in(Message.id, ids), Message.outcome == wanted["outcome"])
                .order_by(Message.id)
                .with_for_update(skip_locked=True)
            ).all()
            _make_pending(session, free, now)
        retried += len(free)
        after, more = max(ids, default=after), len(ids) == CHUNK
        bells.doorbell()
    return {"retried": retried, "next_cursor": write_cursor(after, kind=MESSAGES) if more else None}


def discard_message(
    sessions: sessionmaker[Session], message_id: str, remark: Mapping[str, str], now: datetime
) -> dict[str, Any]:
    """Record that a quarantined or parked message needs no further work, and return it.

    remark: {"by", "note"}

    Raises: UnknownMessage; WrongOutcome where it is applied or pending.
    """
    with sessions.begin() as session:
        message = find_message(session, message_id, lock=True)
        if message.outcome in {QUARANTINED, PARKED}:
            who_and_why = ": ".join(filter(None, (f"discarded by {remark['by']}", remark["note"])))
            reason = f"{who_and_why} (was {message.outcome}: {message.reason})"
            session.execute(
                update(Message)
                .where(Message.id == message.id)
                .values(outcome=DISCARDED, reason=reason, processed_at=now)
            )
        elif message.outcome != DISCARDED:
            raise WrongOutcome(
                f"message {message_id} is {message.outcome}:"
                " only quarantined or parked messages can be discarded"
            )
        return get_message(session, message_id)


def _stuck(session: Session, wanted: dict[str, Any], after: int, most: int) -> Select[int]:
    values = index_values(session, wanted.get("account"), wanted["outcome"])
    kept = Message.body.is_not(None)
    return select_page_ids(Message.id, values, most, kept, after=after, oldest_first=True)


def _make_pending(session: Session, ids: Any, now: datetime) -> None:
    session.execute(
        update(Message)
        .where(id_in(Message.id, ids))
        .values(outcome=PENDING, reason=None, processed_at=None, retried_at=now)
        .execution_options(synchronize_session=False)
    )
