"""The archive of removed orders: NDJSON files in ARCHIVE_DIR, one a day, an order on each line.

A line has no personal data, because that is erased before an order is removed.
"""

import os
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from sqlalchemy import select
from sqlalchemy.orm import Session, joinedload, undefer

from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import Event, Identifier, Message, Order
from receiver.orders.listing.pages import EVENT_POSITION, SHOWN_COLUMNS
from receiver.orders.order_json import render_order, render_timeline

MESSAGE_COLUMNS = (
    *(Message.account, Message.courier_order_id),
    *(Message.id, Message.topic, Message.kind, Message.trust, Message.body_sha256),
    *(Message.received_at, Message.last_seen_at, Message.repetitions, Message.processed_at),
    *(Message.outcome, Message.reason, Message.left_out),
)
# Times are written as the API writes them.
OPTIONS = orjson.OPT_APPEND_NEWLINE | orjson.OPT_UTC_Z
# Bytes read at once to find the end of the last whole line.
BLOCK = 65_536


def append_orders(session: Session, directory: Path, ids: Collection[int], now: datetime) -> None:
    """Write orders, so many as fit into memory, to the day's file, and flush it to disk.

    One process at a time may do so (RETENTION_LOCK), also where several hosts share the directory.

    Raises: OSError; the directory must exist, or an archive might be written beside a disk that is
    not mounted.
    """
    with _open_archive(directory, now) as file:
        for line in _render_orders(session, ids):
            file.write(orjson.dumps(line, option=OPTIONS))


@contextmanager
def _open_archive(directory: Path, now: datetime) -> Iterator[BinaryIO]:
    with (directory / f"orders-{now:%Y-%m-%d}.ndjson").open("ab+") as file:
        file.truncate(_end_of_lines(file))
        yield file
        file.flush()
        os.fsync(file.fileno())
    # The file's name as well.
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _end_of_lines(file: BinaryIO) -> int:
    """Return the size of a file without a last line that a crash has cut off."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - BLOCK)
        file.seek(start)
        place = file.read(end - start).rfind(b"\n")
        if place >= 0:
            return start + place + 1
        end = start
    return 0


def _render_orders(session: Session, ids: Collection[int]) -> Iterator[dict[str, Any]]:
    orders = session.scalars(
        select(Order)
        .where(id_in(Order.id, ids))
        .order_by(Order.id)
        .options(joinedload(Order.poll), undefer(Order.further_parcels))
    ).all()
    names = select(Identifier).where(id_in(Identifier.order_id, ids)).order_by(Identifier.value)
    events = select(*SHOWN_COLUMNS).where(id_in(Event.order_id, ids)).order_by(*EVENT_POSITION)
    keys = [(order.account, order.courier_order_id) for order in orders]
    about = pairs_in(Message.account, Message.courier_order_id, keys)
    messages = select(*MESSAGE_COLUMNS).where(about).order_by(Message.id)
    names_of, events_of, messages_of = defaultdict(list), defaultdict(list), defaultdict(list)
    for name in session.scalars(names):
        names_of[name.order_id].append({"name": name.value, "kind": name.kind})
    for event in session.execute(events):
        events_of[event.order_id].append(event)
    for row in session.execute(messages).mappings():
        message = {**row, "id": str(row["id"]), "body_sha256": row["body_sha256"].hex()}
        key = message.pop("account"), message.pop("courier_order_id")
        messages_of[key].append(message)
    for order in orders:
        yield {
            "order": {
                **render_order(order, order.poll),
                "parcels": [*order.parcels, *order.further_parcels],
                "conflicts": order.conflicts,
            },
            "names": names_of[order.id],
            "events": render_timeline({"events": events_of[order.id]})["events"],
            "messages": messages_of[order.account, order.courier_order_id],
        }
