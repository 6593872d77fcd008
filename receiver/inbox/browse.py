"""List the messages of the inbox, show one, count them."""

import base64
import re
from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Row, Select, case, func, select
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

MESSAGE_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)

# A larger body is not shown beside others.
MOST_BYTES_IN_LIST = 16_384

# All that is shown of a message except its body, which may be large; not its names, which may be
# thousands.
COLUMNS = (
    *(column for column in Message.__table__.columns if column.key not in {"body", "names"}),
    func.octet_length(Message.body).label("size"),
)


def list_messages(session: Session, filters: dict[str, Any]) -> dict[str, Any]:
    """List messages without their bodies, the newest first. Must begin the transaction.

    filters: as MessageFiltersSchema loads them.
    """
    limit = filters["limit"]
    begin_consistent_read(session)
    ids = session.scalars(_matching(session, filters, limit + 1)).all()
    statement = select(*COLUMNS).where(id_in(Message.id, ids[:limit])).order_by(Message.id.desc())
    return {
        "messages": session.execute(statement).all(),
        "next_cursor": write_cursor(ids[limit - 1], kind=MESSAGES) if len(ids) > limit else None,
    }


def _matching(session: Session, filters: dict[str, Any], most: int) -> Select[int]:
    before = read_cursor(filters["cursor"], MESSAGES) if "cursor" in filters else None
    given = filters.keys() & {"account", "outcome", "courier_order_id"}
    if given and "courier_order_id" not in given:
        values = index_values(session, filters.get("account"), filters.get("outcome"))
        return select_page_ids(Message.id, values, most, after=before)
    conditions = [getattr(Message, name) == filters[name] for name in given]
    if before is not None:
        conditions.append(Message.id < before)
    return select(Message.id).where(*conditions).order_by(Message.id.desc()).limit(most)


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
    message = find_message(session, message_id, (*COLUMNS, Message.body))
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
