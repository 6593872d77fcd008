"""Retry messages that are not applied, or discard them.

An action on many messages is one entry of the audit log, in its first transaction.
"""

import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Select, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit
from receiver.db.bulk import id_in
from receiver.db.models import APPLIED, DISCARDED, PARKED, PENDING, QUARANTINED, Message
from receiver.db.pagination import MESSAGES, read_cursor, select_page_ids, write_cursor
from receiver.errors import WrongOutcome
from receiver.inbox.browse import find_message, get_message, index_values
from receiver.queue.doorbell import Bells

log = structlog.get_logger(__name__)

# How many messages are retried or discarded in one transaction.
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
        _record(session, audit.RETRY, message)
    bells.doorbell()
    return 1


def retry_messages(
    sessions: sessionmaker[Session],
    bells: Bells,
    wanted: dict[str, Any],
    now: datetime,
    seconds: float = float("inf"),
) -> dict[str, Any]:
    """Make all messages that match pending again, the oldest first, a transaction at a time.

    wanted: as RetrySchema loads it. With dry_run they are only counted.
    seconds: no new transaction begins after this time.
    Shape: {"retried", "next_cursor"}; next_cursor is set where more messages may be left.
    """
    retried = 0
    chunks = Chunks(wanted, seconds)
    while chunks.are_left():
        with sessions.begin() as session:
            ids = chunks.lock_next(session, Message.body.is_not(None))
            if not wanted["dry_run"]:
                _make_pending(session, ids, now)
                if ids and not retried:
                    audit.record_action(session, audit.RETRY, account=wanted.get("account"))
        retried += len(ids)
        if not wanted["dry_run"]:
            bells.doorbell()
    return {"retried": retried, "next_cursor": chunks.next_cursor}


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
            _discard(session, [message.id], remark, now)
            _record(session, audit.DISCARD, message)
            log.info("message_discarded", message_id=message_id, by=remark["by"])
        elif message.outcome != DISCARDED:
            raise WrongOutcome(
                f"message {message_id} is {message.outcome}:"
                " only quarantined or parked messages can be discarded"
            )
        return get_message(session, message_id)


def discard_messages(
    sessions: sessionmaker[Session],
    wanted: dict[str, Any],
    now: datetime,
    seconds: float = float("inf"),
) -> dict[str, Any]:
    """Discard all messages that match, the oldest first, a transaction at a time.

    wanted: as DiscardSchema loads it. With dry_run they are only counted.
    seconds: no new transaction begins after this time.
    Shape: {"discarded", "next_cursor"}; next_cursor is set where more messages may be left.
    """
    discarded = 0
    chunks = Chunks(wanted, seconds)
    while chunks.are_left():
        with sessions.begin() as session:
            ids = chunks.lock_next(session)
            if not wanted["dry_run"]:
                _discard(session, ids, wanted, now)
                if ids and not discarded:
                    audit.record_action(session, audit.DISCARD, account=wanted.get("account"))
        discarded += len(ids)
    if discarded and not wanted["dry_run"]:
        which = {"outcome": wanted["outcome"], "account": wanted.get("account")}
        log.info("messages_discarded", by=wanted["by"], count=discarded, **which)
    return {"discarded": discarded, "next_cursor": chunks.next_cursor}


class Chunks:
    """The messages that match, the oldest first, in chunks that are locked one after the other.

    wanted: as SelectionSchema loads it.
    """

    def __init__(self, wanted: dict[str, Any], seconds: float) -> None:
        self._wanted = wanted
        self._conditions = _selection_conditions(wanted)
        self._after = read_cursor(wanted["cursor"], MESSAGES) if "cursor" in wanted else 0
        self._ends_at = time.monotonic() + seconds
        self._more = True

    def are_left(self) -> bool:
        """Whether there are more, and time for them."""
        return self._more and time.monotonic() < self._ends_at

    def lock_next(self, session: Session, *conditions: ColumnElement[bool]) -> Sequence[int]:
        """Lock those of the next chunk that meet the conditions; return their ids."""
        ids = session.scalars(_select_chunk(session, self._wanted, self._after, CHUNK)).all()
        # A message that somebody else has locked is being changed already, so it is skipped.
        free = session.scalars(
            select(Message.id)
            .where(
                id_in(Message.id, ids),
                Message.outcome == self._wanted["outcome"],
                *self._conditions,
                *conditions,
            )
            .order_by(Message.id)
            .with_for_update(skip_locked=True)
        ).all()
        self._after, self._more = max(ids, default=self._after), len(ids) == CHUNK
        return free

    @property
    def next_cursor(self) -> str | None:
        """Where to continue; None where there are no more."""
        return write_cursor(self._after, kind=MESSAGES) if self._more else None


def _selection_conditions(wanted: Mapping[str, Any]) -> list[ColumnElement[bool]]:
    conditions = []
    if "reason" in wanted:
        conditions.append(Message.reason.contains(wanted["reason"], autoescape=True))
    if "received_since" in wanted:
        conditions.append(Message.received_at >= wanted["received_since"])
    if "received_until" in wanted:
        conditions.append(Message.received_at < wanted["received_until"])
    return conditions


def _select_chunk(session: Session, wanted: dict[str, Any], after: int, most: int) -> Select[int]:
    values = index_values(session, wanted.get("account"), wanted["outcome"])
    return select_page_ids(Message.id, values, most, after=after, oldest_first=True)


def _discard(session: Session, ids: Any, remark: Mapping[str, Any], now: datetime) -> None:
    who_and_why = ": ".join(filter(None, (f"discarded by {remark['by']}", remark["note"])))
    reason = func.concat(who_and_why, " (was ", Message.outcome, ": ", Message.reason, ")")
    session.execute(
        update(Message)
        .where(id_in(Message.id, ids))
        .values(outcome=DISCARDED, reason=reason, processed_at=now)
        .execution_options(synchronize_session=False)
    )


def _record(session: Session, action: str, message: Row[Any]) -> None:
    """Record an action on one message."""
    audit.record_action(
        session,
        action,
        account=message.account,
        courier_order_id=message.courier_order_id,
        message_id=message.id,
    )


def _make_pending(session: Session, ids: Any, now: datetime) -> None:
    session.execute(
        update(Message)
        .where(id_in(Message.id, ids))
        .values(outcome=PENDING, reason=None, processed_at=None, retried_at=now)
        .execution_options(synchronize_session=False)
    )
