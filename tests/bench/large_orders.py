"""Large orders: what an order of 21,000 packages, or of 8,500 history entries, costs the others.

Honest webhooks come at a steady pace while three people reload the order's page, its explanation
and the list of orders. In turn that order is an ordinary one and a large one, of which a new body
of a megabyte arrives in each round.
"""

import http.client
import json
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Self

from tests.bench.rounds import Rounds
from tests.bench.samples import START
from tests.bench.stage import TOKEN, Stage, accepting
from tests.bench.table import Figure, Goal, compare, milliseconds
from tests.bench.visible import PATIENCE, Pace
from tests.bodies import after, life, tiramizoo_order
from tests.service import wait_until

PACE = 50
PEOPLE = 3
# Between two pages that one of them opens.
READING_SECONDS = 0.25
PACKAGES = 21_000
ENTRIES = 8_500
PAGES = (
    "/ops/order?account=tiramizoo&id={}",
    "/v1/orders/tiramizoo/{}/explain",
    "/ops/orders",
    "/v1/orders?limit=200",
)


def ordinary(number: int) -> dict[str, Any]:
    """An order of two packages and one entry."""
    return _order("ordinary", number, packages=2, entries=1)


def packages(number: int) -> dict[str, Any]:
    """An order of as many packages as a body may have."""
    return _order("packages", number, packages=PACKAGES, entries=0)


def entries(number: int) -> dict[str, Any]:
    """An order of as many history entries as a body may have."""
    return _order("entries", number, packages=0, entries=ENTRIES)


def _order(name: str, number: int, packages: int, entries: int) -> dict[str, Any]:
    history = [
        {
            "type": "recipient_was_not_at_home",
            "recorded_at": after(60 + entry / 10).isoformat(),
            "current_state": "delivery_failed",
        }
        for entry in range(entries)
    ]
    return tiramizoo_order(
        name,
        life("created", "dispatched", "picked_up", start=START),
        external_id=f"{name} {number}",
        packages=[{"identifier": f"{each:06}", "state": "picked_up"} for each in range(packages)],
    ) | {"history": history, "events": []}


class People:
    """People who open one page after another until they are told to stop."""

    def __init__(self, port: int, order_id: str) -> None:
        self._port, self._order_id = port, order_id
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._read) for _ in range(PEOPLE)]
        self.failed: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)
        while True:
            for page in PAGES:
                path = page.format(self._order_id)
                if get(connection, path) != HTTPStatus.OK:
                    self.failed.append(path)
                if self._stop.wait(READING_SECONDS):
                    return connection.close()


def get(connection: http.client.HTTPConnection, path: str) -> int:
    """Read an answer to its end; its status."""
    connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
    answer = connection.getresponse()
    answer.read()
    return answer.status


def large_orders(stage: Stage, rounds: Rounds) -> list[Figure]:
    """The p99 of honest webhooks: of their answers, and of when they show."""
    environ = stage.tables("large")
    web = stage.web(environ)
    kinds: dict[str, Callable[[int], dict[str, Any]]] = {
        "an ordinary order": ordinary,
        "21,000 packages": packages,
        "8,500 history entries": entries,
    }
    answers: dict[str, list[float]] = {kind: [] for kind in kinds}
    shows: dict[str, list[float]] = {kind: [] for kind in kinds}
    count = max(100, int(PACE * rounds.seconds))
    # One of them folds the large order, the other goes on with the rest.
    with stage.worker(environ), stage.worker(environ):
        for make in kinds.values():
            send(web.port, make(0))
            connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=PATIENCE)
            path = f"/v1/orders/tiramizoo/{make(0)['uuid']}"
            wait_until(lambda: get(connection, path) == HTTPStatus.OK, 60)  # noqa: B023
            connection.close()
        Pace(web.port, "w", count, PACE).measure()
        for number in rounds.each("large orders"):
            for place, (kind, make) in enumerate(kinds.items()):
                with People(web.port, make(0)["uuid"]) as people:
                    send(web.port, make(number + 1))
                    pace = Pace(web.port, f"l{number:x}{place}", count, PACE)
                    shows[kind].append(p99(pace.measure()))
                    answers[kind].append(p99(sorted(pace.accepted)))
                if people.failed:
                    raise SystemExit(f"{people.failed[0]} was not answered: see web.log")
    against = "an ordinary order"
    return [
        compare(
            f"{what} of honest webhooks, p99, beside an order of {kind}",
            against,
            found[kind],
            found[against],
            Goal(most=2, unit="x"),
            milliseconds,
        )
        for kind in kinds
        if kind != against
        for what, found in (("answer", answers), ("from 200 to visible", shows))
    ]


def send(port: int, order: dict[str, Any]) -> None:
    """Post the order."""
    body = json.dumps(order).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request("POST", accepting(port, body).path, body)
    status = connection.getresponse().status
    connection.close()
    if status != HTTPStatus.OK:
        raise SystemExit(f"a body of {len(body):,} bytes was answered {status}")


def p99(milliseconds: list[float]) -> float:
    """The value that 99 of 100 do not exceed. milliseconds: sorted."""
    return milliseconds[int(len(milliseconds) * 0.99)]
