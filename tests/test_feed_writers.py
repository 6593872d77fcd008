"""A reader of the change feed that keeps forgetting, beside eight writers of the same orders.

FEED_SECONDS=60 runs it for as long as is promised; fewer keep the suite quick.
"""

import itertools
import os
import random
import threading
import time
from collections import defaultdict
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import event, func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.engine import session_factory as open_sessions
from receiver.db.models import Message, Order
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.settings import Settings
from tests.bodies import after, cottoncast_status, raw
from tests.shop import record_order
from workers.folding.drain import drain_batch

SECONDS = float(os.environ.get("FEED_SECONDS", "4"))
WRITERS = 8
# At a time; each second has orders of its own, or their timelines would grow too long to fold.
ORDERS = 40

Told = dict[str, Any]
Sessions = sessionmaker[Session]


def slow_to_commit(sessions: Sessions) -> Sessions:
    """The same sessions, with commits that take as long as on a disk that has much to do.

    It makes room for what must not happen: without the numbering's lock this test fails each time.
    """
    slow: Sessions = open_sessions(sessions.kw["bind"])

    @event.listens_for(slow, "before_commit")
    def wait(_session: Session) -> None:
        time.sleep(random.uniform(0, 0.008))

    return slow


class Writer(threading.Thread):
    """Keeps and drains messages, and registers orders, as several processes would at once."""

    ticks = itertools.count()

    def __init__(self, number: int, sessions: Sessions, settings: Settings) -> None:
        super().__init__()
        self.choose = random.Random(number)
        self.sessions = sessions
        self.settings = settings
        self.failures: list[BaseException] = []

    def run(self) -> None:
        until = time.monotonic() + SECONDS
        try:
            while time.monotonic() < until:
                names = [self._order() for _ in range(self.choose.randint(1, 6))]
                if self.choose.random() < 0.6:
                    self._register(names[0])
                else:
                    self._hear(names)
        except BaseException as failure:  # noqa: BLE001 (told by the test)
            self.failures.append(failure)

    def _order(self) -> str:
        return f"{int(time.monotonic())}-{self.choose.randrange(ORDERS)}"

    def _hear(self, names: list[str]) -> None:
        with self.sessions.begin() as session:
            bodies = [
                cottoncast_status(self.choose.choice("NLRCEID"), after(next(self.ticks)), name)
                for name in names
            ]
            now = datetime.now(UTC)
            store_messages(
                session,
                [
                    IncomingMessage("cottoncast", "orders", "webhook", "signed", raw(body), now)
                    for body in bodies
                ],
            )
        drain_batch(self.sessions, self.settings, datetime.now(UTC))

    def _register(self, name: str) -> None:
        shelf = {"shelf": str(next(self.ticks))}
        with self.sessions.begin() as session:
            record_order(
                session, "cottoncast", "cottoncast", name, datetime.now(UTC), metadata=shelf
            )


class Reader:
    """Follows the feed. runs: from where it went on each time, and what it then saw."""

    def __init__(self, shop: FlaskClient) -> None:
        self.shop = shop
        self.choose = random.Random(7)
        self.stored: str | None = None
        self.cursor: str | None = None
        self.runs: list[tuple[str | None, list[Told]]] = [(None, [])]
        self.pages = 0

    def step(self) -> bool:
        """Read a page, after having forgotten everything now and then; whether it held anything."""
        if self.choose.random() < 0.2:
            self.cursor = self.stored
            self.runs.append((self.cursor, []))
        page = self.read(self.cursor, self.choose.choice([1, 7, 100, 1000]))
        self.runs[-1][1].extend(page["changes"])
        self.cursor = page["next_cursor"]
        if self.choose.random() < 0.3:
            self.stored = self.cursor
        return bool(page["changes"])

    def read(self, cursor: str | None, limit: int, **asked: Any) -> Told:
        self.pages += 1
        asked |= {"limit": limit, "wait": self.choose.choice([0, 1])}
        asked |= {} if cursor is None else {"after": cursor}
        answer = self.shop.get("/v1/changes", query_string=asked)
        assert answer.status_code == 200
        page = dict(answer.get_json())
        for change in page["changes"]:
            # It is the order's as it is now, and so no part of the change.
            del change["reference"]
        return page


@pytest.mark.timeout(60 + 3 * SECONDS)
def test_a_reader_that_restarts_beside_eight_writers_misses_nothing(
    shop: FlaskClient, sessions: Sessions, settings: Settings
) -> None:
    slow = slow_to_commit(sessions)
    writers = [Writer(number, slow, settings) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    reader = Reader(shop)
    while any(writer.is_alive() for writer in writers):
        reader.step()
    for writer in writers:
        writer.join()
    assert [failure for writer in writers for failure in writer.failures] == []
    while drain_batch(sessions, settings, datetime.now(UTC)):
        pass
    while reader.step():
        pass

    whole = everything(reader)
    seen = {change["cursor"]: change for _, told in reader.runs for change in told}
    total = sum(len(told) for _, told in reader.runs)
    print(  # noqa: T201 (seen with -s)
        f"\n{SECONDS:.0f} s, {WRITERS} writers: {len(whole)} changes of"
        f" {len({change['courier_order_id'] for change in whole})} orders; the reader restarted"
        f" {len(reader.runs) - 1} times, read {reader.pages} pages with {total} changes,"
        f" {len(seen)} of them different; missed {len(whole) - len(seen)}"
    )
    # Each time it saw exactly what comes after its cursor: no gap, nothing twice.
    place = {change["cursor"]: number for number, change in enumerate(whole, 1)}
    for since, told in reader.runs:
        # The cursor before the first change is none of a change.
        start = place.get(since or "", 0)
        assert told == whole[start : start + len(told)]
    assert list(seen.values()) == whole
    # Every version of every order was told once, and the last is what the order is.
    versions = defaultdict(list)
    last = {}
    for change in seen.values():
        versions[change["courier_order_id"]].append(change["version"])
        last[change["courier_order_id"]] = change["version"], change["status"]
    assert all(told == list(range(1, len(told) + 1)) for told in versions.values())
    with sessions() as session:
        orders = session.scalars(select(Order)).all()
        messages = session.scalar(select(func.count()).select_from(Message))
    assert last == {order.courier_order_id: (order.version, order.status) for order in orders}
    assert messages
    assert len(orders) >= ORDERS


def everything(reader: Reader) -> list[Told]:
    cursor, whole = None, []
    while (page := reader.read(cursor, 1000))["changes"]:
        whole += page["changes"]
        cursor = page["next_cursor"]
    return whole
