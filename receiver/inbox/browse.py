"""Looking after the inbox: list it, show a message, send it back to the workers, discard it.

What the API (messages.py) and the command line do with it, without either.
"""

import base64
import re
from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, case, func, select, update
from sqlalchemy.orm import Session

from receiver.db.cursors import MESSAGES, read_cursor, write_cursor
from receiver.db.engine import id_in
from receiver.db.models import (
    APPLIED,
    DISCARDED,
    OUTCOMES,
    PARKED,
    PENDING,
    QUARANTINED,
    Message,
)
from receiver.db.pagination import Values, distinct, snapshot, walk
from receiver.errors import UnknownMessage, WrongOutcome

MESSAGE_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
MOST_ID = 2**63 - 1

# How many messages are sent back in one transaction.
CHUNK = 2000

# Counted no further: past it the number says the same, and the page that shows it stays quick.
MOST_COUNTED = 10_000
# A larger body is not shown beside others.
MOST_BESIDE = 65_536

# All but the body, which may be large.
SHOWN = (
    Message.id,
    Message.account,
    Message.topic,
    Message.kind,
    Message.trust,
    Message.outcome,
    Message.reason,
    Message.courier_order_id,
    Message.received_at,
    Message.processed_at,
    Message.last_seen_at,
    Message.repetitions,
    Message.retried_at,
    func.octet_length(Message.body).label("size"),
)


def page(session: Session, filters: dict[str, Any]) -> dict[str, Any]:
    """Messages without their bodies, the newest first. The session's first statements.

    filters: as MessageFiltersSchema gives them.
    """
    limit = filters["limit"]
    snapshot(session)
    ids = session.scalars(_matching(session, filters, limit + 1)).all()
    bodiless = select(*SHOWN).where(id_in(Message.id, ids[:limit])).order_by(Message.id.desc())
    found = session.execute(bodiless).all()
    return {
        "messages": found,
        "next_cursor": write_cursor(ids[limit - 1], kind=MESSAGES) if len(ids) > limit else None,
    }


def _matching(session: Session, filters: dict[str, Any], most: int) -> Select[int]:
    before = read_cursor(filters["cursor"], MESSAGES) if "cursor" in filters else None
    asked = filters.keys() & {"account", "outcome", "courier_order_id"}
    if asked and "courier_order_id" not in asked:
        values = _values(session, filters.get("account"), filters.get("outcome"))
        return walk(Message.id, values, most, beyond=before)
    conditions = [getattr(Message, name) == filters[name] for name in asked]
    if before is not None:
        conditions.append(Message.id < before)
    return select(Message.id).where(*conditions).order_by(Message.id.desc()).limit(most)


def _values(session: Session, account: str | None, outcome: str | None) -> Values:
    return {
        Message.account: distinct(session, Message.account) if account is None else [account],
        Message.outcome: OUTCOMES if outcome is None else [outcome],
    }


def send_back(session: Session, message_id: int, now: datetime) -> int:
    """Send one message back to the workers, if it waits for that; how many were sent.

    The caller commits, then rings. Raises: UnknownMessage, WrongOutcome where no body is left.
    """
    message = _lock(session, message_id)
    if message.outcome in {PENDING, APPLIED}:
        return 0
    if message.size is None:
        raise WrongOutcome(f"the body of message {message_id} is no longer kept: nothing to read")
    return _send_back(session, [message_id], now)


def send_back_some(
    session: Session, outcome: str, account: str | None, after: int, most: int, now: datetime
) -> tuple[int, int, bool]:
    """Send the next messages of this outcome back to the workers, the oldest first.

    after: the number after which to go on. Returns how many, the number to go on after, and
    whether there may be more. The caller commits, then rings.
    """
    ids = session.scalars(_stuck(session, outcome, account, after, most)).all()
    # Whoever else holds one of them is about to change it: it is theirs.
    free = session.scalars(
        select(Message.id)
        .where(id_in(Message.id, ids), Message.outcome == outcome)
        .order_by(Message.id)
        .with_for_update(skip_locked=True)
    ).all()
    return _send_back(session, free, now), max(ids, default=after), len(ids) == most


def _stuck(
    session: Session, outcome: str, account: str | None, after: int, most: int
) -> Select[int]:
    kept, values = Message.body.is_not(None), _values(session, account, outcome)
    return walk(Message.id, values, most, kept, beyond=after, oldest_first=True)


def _send_back(session: Session, ids: Any, now: datetime) -> int:
    """Make locked messages pending once more; how many there are."""
    session.execute(
        update(Message)
        .where(id_in(Message.id, ids))
        .values(outcome=PENDING, reason=None, processed_at=None, retried_at=now)
        .execution_options(synchronize_session=False)
    )
    return len(ids)


def discard(session: Session, message_id: int, by: str, note: str, now: datetime) -> dict[str, Any]:
    """Write down that a stuck message needs nothing more, and show it; the caller commits.

    Raises: UnknownMessage; WrongOutcome where it counts already, or is about to.
    """
    message = _lock(session, message_id)
    if message.outcome in {QUARANTINED, PARKED}:
        said = ": ".join(filter(None, (f"discarded by {by}", note)))
        reason = f"{said} (was {message.outcome}: {message.reason})"
        session.execute(
            update(Message)
            .where(Message.id == message_id)
            .values(outcome=DISCARDED, reason=reason, processed_at=now)
        )
    elif message.outcome != DISCARDED:
        raise WrongOutcome(
            f"message {message_id} is {message.outcome}: only quarantined or parked ones can go"
        )
    return shown(session, message_id)


def number(told: str) -> int:
    """The number in a message's id.

    Raises: UnknownMessage where no message can have this id.
    """
    if not MESSAGE_ID.fullmatch(told) or int(told) > MOST_ID:
        raise UnknownMessage(f"no message has the id {told[:40]!r}")
    return int(told)


def _lock(session: Session, message_id: int) -> Row[Any]:
    """Hold a message until the transaction ends, without loading its body.

    Raises: UnknownMessage.
    """
    statement = select(*SHOWN).where(Message.id == message_id).with_for_update(of=Message)
    message = session.execute(statement).one_or_none()
    if message is None:
        raise UnknownMessage(f"there is no message {message_id}")
    return message


def shown(session: Session, message_id: int) -> dict[str, Any]:
    """A message as the API shows it, with its body.

    Raises: UnknownMessage.
    """
    statement = select(*SHOWN, Message.body).where(Message.id == message_id)
    message = session.execute(statement).one_or_none()
    if message is None:
        raise UnknownMessage(f"there is no message {message_id}")
    return {**message._asdict(), "body": None, "body_base64": None, **_body(message.body)}


def _body(raw: bytes | None) -> dict[str, str]:
    if raw is None:
        return {}
    try:
        return {"body": bytes(raw).decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(raw).decode()}


def raw(session: Session, message_id: int) -> bytes:
    """A message's body, byte for byte; empty where it is no longer kept.

    Raises: UnknownMessage.
    """
    found = session.execute(select(Message.body).where(Message.id == message_id)).one_or_none()
    if found is None:
        raise UnknownMessage(f"there is no message {message_id}")
    return bytes(found.body or b"")


def bodies(session: Session, ids: Collection[int]) -> dict[str, dict[str, str]]:
    """Messages' bodies as `shown` has them, by id; {} where none is kept, or a large one."""
    kept = case((func.octet_length(Message.body) <= MOST_BESIDE, Message.body))
    found = session.execute(select(Message.id, kept.label("body")).where(id_in(Message.id, ids)))
    return {str(number): _body(body) for number, body in found}


def count(session: Session, outcome: str) -> int:
    """How many messages have an outcome, up to MOST_COUNTED."""
    ids = walk(Message.id, _values(session, None, outcome), MOST_COUNTED)
    return session.scalar(select(func.count()).select_from(ids.subquery())) or 0
