"""From 200 to visible: how long after its 200 a hook shows in the API, at a steady pace."""

import http.client
import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http import HTTPStatus

from tests.bench.load import ids
from tests.bench.rounds import Rounds
from tests.bench.samples import filled, hook
from tests.bench.stage import TOKEN, Stage, accepting
from tests.bench.table import Figure, Goal, absolute, milliseconds

PACE = 300
# At this pace all are looked for.
SLOW_PACE, SLOW_COUNT = 1, 10
SENDERS = 8
LOOKERS = 4
# One in so many is looked for; looking costs as much as keeping.
SAMPLED = 10
LOOK_SECONDS = 0.002
PATIENCE = 10.0


@dataclass
class Pace:
    """One round: senders keep the pace, lookers ask for what was answered until it shows."""

    port: int
    run: str
    count: int
    pace: int = PACE
    sampled: int = SAMPLED
    answered: "queue.SimpleQueue[tuple[str, float] | None]" = field(
        default_factory=queue.SimpleQueue
    )
    took: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    @property
    def senders(self) -> int:
        """At a slow pace one: gunicorn closes a connection that is idle for seconds."""
        return min(SENDERS, self.pace)

    def send(self, number: int, begin: float) -> None:
        """One message of as many as there are senders, each when its time has come."""
        body = hook()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        path = accepting(self.port, body).path
        for index, order_id in self._of(number):
            time.sleep(max(0, begin + index / self.pace - time.perf_counter()))
            sent_at = time.perf_counter()
            connection.request("POST", path, filled(body, order_id))
            answer = connection.getresponse()
            answered_at = time.perf_counter()
            self.accepted.append((answered_at - sent_at) * 1000)
            answer.read()
            if answer.status != HTTPStatus.OK:
                self.failed.append(f"{order_id} was answered {answer.status}")
            elif index % self.sampled == 0:
                self.answered.put((order_id, answered_at))
        connection.close()

    def _of(self, number: int) -> Iterator[tuple[int, str]]:
        for index, order_id in enumerate(ids(self.run, 1, self.count)):
            if index % self.senders == number:
                yield index, order_id

    def look(self) -> None:
        """Ask for one order after another until each is there."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        while (asked := self.answered.get()) is not None:
            order_id, answered_at = asked
            while True:
                connection.request("GET", f"/v1/orders/tiramizoo/{order_id}", headers=headers)
                answer = connection.getresponse()
                answer.read()
                now = time.perf_counter()
                if answer.status == HTTPStatus.OK:
                    self.took.append((now - answered_at) * 1000)
                    break
                if now - answered_at > PATIENCE:
                    self.failed.append(f"{order_id} is not there after {PATIENCE:.0f} s")
                    break
                time.sleep(LOOK_SECONDS)
        connection.close()

    def measure(self) -> list[float]:
        """The milliseconds that each of the looked-for took, sorted."""
        begin = time.perf_counter() + 0.1
        senders = [
            threading.Thread(target=self.send, args=(number, begin))
            for number in range(self.senders)
        ]
        lookers = [threading.Thread(target=self.look) for _ in range(LOOKERS)]
        for thread in (*senders, *lookers):
            thread.start()
        for thread in senders:
            thread.join()
        for _ in lookers:
            self.answered.put(None)
        for thread in lookers:
            thread.join()
        if self.failed or not self.took:
            raise SystemExit(f"from 200 to visible: {self.failed[:3] or 'nothing was answered'}")
        return sorted(self.took)


def visible(stage: Stage, rounds: Rounds) -> list[Figure]:
    """One worker: hooks at PACE a second, one in SAMPLED is looked for; and some at SLOW_PACE."""
    environ = stage.tables("visible")
    web = stage.web(environ)
    took: dict[int, list[list[float]]] = {SLOW_PACE: [], PACE: []}
    count = max(SAMPLED * 5, int(PACE * rounds.seconds * 1.5))
    with stage.worker(environ):
        Pace(web.port, "w", count // 2).measure()
        for number in rounds.each("visible"):
            took[PACE].append(Pace(web.port, f"v{number:x}", count).measure())
            slow = Pace(web.port, f"s{number:x}", SLOW_COUNT, SLOW_PACE, sampled=1)
            took[SLOW_PACE].append(slow.measure())
    return [
        figure
        for pace, p50, p99 in ((SLOW_PACE, 15, 60), (PACE, 40, 200))
        for figure in _percentiles(pace, took[pace], p50, p99)
    ]


def _percentiles(pace: int, took: list[list[float]], p50: int, p99: int) -> Iterator[Figure]:
    """Compare the percentiles of each round's times, sorted, with their bounds in milliseconds."""
    for name, share, most in (("p50", 0.5, p50), ("p99", 0.99, p99)):
        yield absolute(
            f"from 200 to visible at {pace}/s, {name}",
            "its bound",
            [times[int(len(times) * share)] for times in took],
            Goal(most=most, unit=" ms"),
            milliseconds,
        )
