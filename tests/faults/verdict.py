"""What is left of all that was answered 200, as the inbox and the API tell it."""

import hashlib
import http
import http.client
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from tests.faults.ledger import KEPT, Ledger, Line
from tests.faults.poster import Body, Poster
from tests.service import wait_until

# Of what a fault does to a request: a 503, or no answer at all. Anything else is a lie or a defect.
HONEST = {KEPT, "503"}


class Stand(Protocol):
    """What is looked at: the service's API and its database, on one machine or on many."""

    def get(self, path: str) -> tuple[int, Any]: ...

    def database(self) -> "AbstractContextManager[psycopg.Connection[Any]]": ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Bodies answered 200, by their numbers: not in the inbox, there more than once, and those
    whose state is not on their order's timeline, or there more than once, or not the last word.
    """

    lost: list[int]
    duplicated: list[int]
    not_told: list[int]


def judge(stand: Stand, poster: Poster, ledger: Ledger, seconds: float) -> Verdict:
    """Look once all is folded, which is waited for."""
    wait_until(lambda: not waiting(stand), seconds)
    found = count_copies(stand, poster)
    return Verdict(
        lost=find_lost(stand, poster, ledger),
        duplicated=sorted(number for number, count in found.items() if count > 1),
        not_told=sorted(_not_told(stand, [body for body in poster.posted if found[body.number]])),
    )


def count_copies(stand: Stand, poster: Poster) -> dict[int, int]:
    """How often each body is in the inbox, by its number."""
    with stand.database() as database:
        rows = database.execute("SELECT body_sha256, count(*) FROM messages GROUP BY 1").fetchall()
    copies = {bytes(sha256): count for sha256, count in rows}
    return {body.number: copies.get(hashlib.sha256(body.raw).digest(), 0) for body in poster.posted}


def find_lost(stand: Stand, poster: Poster, ledger: Ledger) -> list[int]:
    """The bodies that were answered 200 and are not in the inbox, by their numbers."""
    found = count_copies(stand, poster)
    return sorted(number for number in ledger.kept() if found[number] == 0)


def waiting(stand: Stand) -> int:
    """How many messages are not applied."""
    with stand.database() as database:
        row = database.execute("SELECT count(*) FROM messages WHERE outcome <> 'applied'")
        return int((row.fetchone() or [0])[0])


def _not_told(stand: Stand, bodies: Iterable[Body]) -> Iterable[int]:
    orders: dict[str, list[Body]] = defaultdict(list)
    for body in bodies:
        orders[body.order_id].append(body)
    with stand.database() as database:
        rows = database.execute(
            "SELECT courier_order_id, events.courier_status, count(*)"
            " FROM events JOIN orders ON orders.id = order_id GROUP BY 1, 2"
        ).fetchall()
    told_of = {(order_id, code): count for order_id, code, count in rows}
    shown = _shown(stand)
    for order_id, told in orders.items():
        yield from (body.number for body in told if told_of.get((order_id, body.code)) != 1)
        # Of a life's states, in whatever order they came, the latest is the order's.
        last = max(told, key=lambda body: body.step)
        if shown.get(order_id) != last.code:
            yield last.number


def _shown(stand: Stand) -> dict[str, str]:
    """What the API says of every order."""
    shown: dict[str, str] = {}
    cursor = ""
    while True:
        status, page = stand.get(f"/v1/orders?limit=200{cursor}")
        assert status == http.HTTPStatus.OK, page
        shown |= {order["courier_order_id"]: order["courier_status"] for order in page["orders"]}
        if page["next_cursor"] is None:
            return shown
        cursor = f"&cursor={page['next_cursor']}"


def seconds_to_recovery(stand: Stand, poster: Poster, patience: float) -> float:
    """Until a new message is answered 200 and shows in its order."""
    began = time.monotonic()
    deadline = began + patience
    while time.monotonic() < deadline:
        body = poster.probe()
        while body is not None and time.monotonic() < deadline:
            try:
                if stand.get(f"/v1/orders/cottoncast/{body.order_id}")[0] == http.HTTPStatus.OK:
                    return time.monotonic() - began
            except (OSError, ValueError, http.client.HTTPException):
                pass
            time.sleep(0.05)
        time.sleep(0.1)
    raise AssertionError(f"not well again within {patience} seconds")


def dishonest(lines: Iterable[Line]) -> list[Line]:
    """Answers that are neither a 200, nor an honest refusal, nor a broken connection."""
    return [line for line in lines if line.said.isdigit() and line.said not in HONEST]
