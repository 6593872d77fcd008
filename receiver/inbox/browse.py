"""List the messages of the inbox, show one, count them."""

import base64
import re
import time
from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    LargeBinary,
    Row,
    Select,
    Text,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    text,
)
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in
from receiver.db.models import OUTCOMES, Message
from receiver.db.pagination import (
    HIGHEST_ID,
    MESSAGES,
    MOST_COUNTED,
    IndexValues,
    begin_consistent_read,
    count_rows,
    distinct_values,
    read_cursor,
    select_page_ids,
    write_cursor,
)
from receiver.errors import UnknownMessage
from receiver.times import shift_time

MESSAGE_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)

# A larger body is not shown beside others.
MOST_BYTES_IN_LIST = 16_384

# Messages are numbered nearly in the order in which they arrived: no two whose times are further
# apart than this are out of order.
OUT_OF_ORDER = timedelta(hours=1)
FIRST_ID = text("""
    WITH RECURSIVE search (low, high) AS (
        SELECT coalesce(min(id), 1), coalesce(max(id), 0) + 1 FROM messages
        UNION ALL
        SELECT CASE WHEN probe.received_at < :at THEN probe.id + 1 ELSE low END,
               CASE WHEN probe.received_at < :at THEN high ELSE (low + high) / 2 END
        FROM search CROSS JOIN LATERAL (
            SELECT id, received_at FROM messages WHERE id >= (low + high) / 2 ORDER BY id LIMIT 1
        ) AS probe
        WHERE low < high
    )
    SELECT max(low) FROM search
""")

# How many messages are searched for a text at once, and for how long at most.
SEARCHED = 200
SEARCH_SECONDS = 2.0

# All that is shown of a message in a list: not what the courier said, which may be large and is
# personal data; and not its names, which may be thousands.
COLUMNS = (
    *(
        column
        for column in Message.__table__.columns
        if column.key not in {"body", "request", "names"}
    ),
    func.octet_length(Message.body).label("size"),
)


def list_messages(session: Session, filters: dict[str, Any]) -> dict[str, Any]:
    """List messages without their bodies, the newest first. Must begin the transaction.

    filters: as MessageFiltersSchema loads them.
    """
    limit = filters["limit"]
    before = read_cursor(filters["cursor"], MESSAGES) if "cursor" in filters else None
    begin_consistent_read(session)
    if "contains" in filters:
        ids, last = _find_containing(session, filters, before)
    else:
        found = list(session.scalars(_select_ids(session, filters, before, limit + 1)))
        ids, last = found[:limit], found[limit - 1] if len(found) > limit else None
    statement = select(*COLUMNS).where(id_in(Message.id, ids)).order_by(Message.id.desc())
    return {
        "messages": session.execute(statement).all(),
        "next_cursor": None if last is None else write_cursor(last, kind=MESSAGES),
    }


def _select_ids(
    session: Session, filters: dict[str, Any], before: int | None, most: int
) -> Select[int]:
    since, until = filters.get("received_since"), filters.get("received_until")
    conditions: list[ColumnElement[bool]] = []
    lowest = 0
    if since is not None:
        conditions.append(Message.received_at >= since)
        lowest = _find_first_id(session, shift_time(since, -OUT_OF_ORDER))
    if until is not None:
        conditions.append(Message.received_at < until)
        first_after = _find_first_id(session, shift_time(until, OUT_OF_ORDER))
        before = first_after if before is None else min(before, first_after)
    given = filters.keys() & {"account", "outcome", "courier_order_id"}
    if given and "courier_order_id" not in given:
        values = index_values(session, filters.get("account"), filters.get("outcome"))
        return select_page_ids(Message.id, values, most, *conditions, after=before, lowest=lowest)
    conditions += [getattr(Message, name) == filters[name] for name in given]
    conditions += [Message.id >= lowest] if lowest else []
    conditions += [Message.id < before] if before is not None else []
    return select(Message.id).where(*conditions).order_by(Message.id.desc()).limit(most)


def _find_first_id(session: Session, at: datetime) -> int:
    """Return the id from which on messages arrived at a time or later, by a binary search."""
    return session.scalar(FIRST_ID, {"at": at}) or 0


def _find_containing(
    session: Session, filters: dict[str, Any], before: int | None
) -> tuple[list[int], int | None]:
    """Return the newest messages that contain a text, and the last one that was looked at.

    It is None where there are no more. Bodies are read, so the search ends after SEARCH_SECONDS.
    """
    text_bytes = literal(filters["contains"].encode(), LargeBinary)
    contains = or_(
        Message.reason.contains(filters["contains"], autoescape=True),
        func.position(text_bytes.op("IN")(Message.body)) > 0,
        cast(Message.request, Text).contains(filters["contains"], autoescape=True),
    )
    limit, ends_at = filters["limit"], time.monotonic() + SEARCH_SECONDS
    found: list[int] = []
    while True:
        ids = session.scalars(_select_ids(session, filters, before, SEARCHED)).all()
        matching = select(Message.id).where(id_in(Message.id, ids), contains)
        found += session.scalars(matching.order_by(Message.id.desc()).limit(limit - len(found)))
        if len(found) == limit:
            return found, found[-1]
        if len(ids) < SEARCHED:
            return found, None
        before = ids[-1]
        if time.monotonic() > ends_at:
            return found, before


def index_values(session: Session, account: str | None, outcome: str | None) -> IndexValues:
    """Return the values of the index (account, outcome, id) that filters allow; None is any."""
    return {
        Message.account: distinct_values(session, Message.account)
        if account is None
        else [account],
        Message.outcome: OUTCOMES if outcome is None else [outcome],
    }


def find_message(
    session: Session, message_id: str, columns: Iterable[Any] = COLUMNS, lock: bool = False
) -> Row[Any]:
    """Return columns of a message. lock: lock its row until the transaction ends.

    Raises: UnknownMessage.
    """
    if not MESSAGE_ID.fullmatch(message_id) or int(message_id) > HIGHEST_ID:
        raise UnknownMessage(f"no message has the id {message_id[:40]!r}")
    statement = select(*columns).where(Message.id == int(message_id))
    if lock:
        statement = statement.with_for_update(of=Message)
    message = session.execute(statement).one_or_none()
    if message is None:
        raise UnknownMessage(f"there is no message {message_id}")
    return message


def get_message(session: Session, message_id: str) -> dict[str, Any]:
    """Return a message as MessageSchema shows it, with its body.

    Raises: UnknownMessage.
    """
    message = find_message(session, message_id, (*COLUMNS, Message.request, Message.body))
    return {**message._asdict(), "body": None, "body_base64": None, **_render_body(message.body)}


def _render_body(raw: bytes | None) -> dict[str, str]:
    if raw is None:
        return {}
    try:
        return {"body": bytes(raw).decode()}
    except UnicodeDecodeError:
        return {"body_base64": base64.b64encode(raw).decode()}


def get_raw_body(session: Session, message_id: str) -> bytes:
    """Return a message's body byte for byte; empty where it is no longer kept.

    Raises: UnknownMessage.
    """
    return bytes(find_message(session, message_id, [Message.body]).body or b"")


def get_bodies(session: Session, ids: Collection[int]) -> dict[str, dict[str, str]]:
    """Return bodies by message id, as get_message() has them; {} where there is none to show."""
    small = case((func.octet_length(Message.body) <= MOST_BYTES_IN_LIST, Message.body))
    rows = session.execute(select(Message.id, small.label("body")).where(id_in(Message.id, ids)))
    return {str(message_id): _render_body(body) for message_id, body in rows}


def count_messages(session: Session, outcome: str) -> int:
    """Count the messages of an outcome, up to MOST_COUNTED."""
    ids = select_page_ids(Message.id, index_values(session, None, outcome), MOST_COUNTED)
    return count_rows(session, ids)
