"""A courier that posts at a steady rate, and posts again what was not answered 200; and a shop that
asks for orders all the while.
"""

import heapq
import http.client
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tests.bodies import START, cottoncast_signature, cottoncast_status, raw
from tests.faults.ledger import KEPT, Ledger, Line
from tests.faults.stand import AUTHORIZED

PATH = "/webhooks/cottoncast/orders"
# What each order goes through; a message tells one state and no other.
LIFE = "NLRCED"
# Orders whose messages go out between one another's.
AT_ONCE = 25

THREADS = 24
READERS = 3
READ_EVERY = 0.25
AGAIN_AFTER, LAST_AGAIN_AFTER = 1.0, 8.0


@dataclass(frozen=True, slots=True)
class Body:
    number: int
    order_id: str
    step: int
    raw: bytes

    @property
    def code(self) -> str:
        return LIFE[self.step]


def lives() -> Iterator[tuple[str, int]]:
    """Orders and the step of their life that is to be told, without end."""
    for first in itertools.count(0, AT_ONCE):
        for step in range(len(LIFE)):
            for order in range(first, first + AT_ONCE):
                yield f"F{order}", step


class Poster:
    """Posts in threads of its own, until it is told to stop."""

    def __init__(
        self,
        connect: Callable[[], http.client.HTTPConnection],
        ledger: Ledger,
        rate: float,
        readers: int = READERS,
    ) -> None:
        self._connect = connect
        self._ledger = ledger
        self._rate = rate
        self._lives = lives()
        self._lock = threading.Lock()
        self._again: list[tuple[float, int]] = []
        self._tries: Counter[int] = Counter()
        self._due_at = time.monotonic()
        self._stopping = threading.Event()
        self._given_up = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(THREADS)]
        self._threads += [threading.Thread(target=self._read) for _ in range(readers)]
        self.posted: list[Body] = []
        self.reads: list[Line] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Post nothing new, but again whatever was not answered 200, until it is."""
        self._stopping.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def give_up(self) -> None:
        """Post nothing at all any more."""
        self._given_up.set()
        self.finish()

    def probe(self) -> Body | None:
        """Post the first message of an order of its own; the body where it was answered 200."""
        with self._lock:
            body = self._write(f"P{len(self.posted)}", 0)
        connection = self._connect()
        try:
            return body if self._post(connection, body) else None
        finally:
            connection.close()

    def _run(self) -> None:
        connection = self._connect()
        while not self._given_up.is_set():
            body, wait = self._next()
            if wait:
                time.sleep(wait)
            if body is None:
                if self._stopping.is_set() and not self._again:
                    break
                continue
            if not self._post(connection, body):
                connection.close()
        connection.close()

    def _read(self) -> None:
        while not self._stopping.wait(READ_EVERY):
            connection = self._connect()
            started = time.monotonic()
            said = send_request(connection, "GET", "/v1/orders?limit=10", None, AUTHORIZED)
            connection.close()
            now = time.monotonic()
            self.reads.append(Line(-1, said, now, now - started))

    def _next(self) -> tuple[Body | None, float]:
        """What goes out next, and how long to wait before that."""
        now = time.monotonic()
        with self._lock:
            if self._again and self._again[0][0] <= now:
                return self.posted[heapq.heappop(self._again)[1]], 0
            if self._stopping.is_set():
                return None, 0.05
            # Behind by more than a second: the service was away, and a courier does not catch up.
            self._due_at = max(self._due_at + 1 / self._rate, now - 1)
            return self._write(*next(self._lives)), max(self._due_at - now, 0)

    def _write(self, order_id: str, step: int) -> Body:
        """A new body, as no other is. The lock is held."""
        number, at = len(self.posted), START.timestamp() + 60 * step
        told = raw(cottoncast_status(LIFE[step], at, order_id, number))
        body = Body(number, order_id, step, told)
        self.posted.append(body)
        return body

    def _post(self, connection: http.client.HTTPConnection, body: Body) -> bool:
        started = time.monotonic()
        said = send_request(connection, "POST", PATH, body.raw, cottoncast_signature(body.raw))
        self._ledger.write(body.number, said, started)
        if said != KEPT:
            with self._lock:
                after = min(AGAIN_AFTER * 2 ** self._tries[body.number], LAST_AGAIN_AFTER)
                self._tries[body.number] += 1
                heapq.heappush(self._again, (time.monotonic() + after, body.number))
        return said == KEPT


def send_request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Mapping[str, str],
) -> str:
    """The status that was answered, or the name of what befell the connection."""
    try:
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        answer.read()
        return str(answer.status)
    except (OSError, http.client.HTTPException) as failure:
        return type(failure).__name__
