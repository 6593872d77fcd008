"""Many readers that wait on one web process: woken, sent home, and in nobody's way meanwhile.

FEED_READERS=1000 runs it at the size that is promised; fewer keep the suite quick.
"""

import json
import os
import resource
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from receiver.changes.feed import CHANNEL
from receiver.queue.redis_client import connect_redis
from tests.servers import started
from tests.service import WORKER, Web, running, running_web, valkey_made, wait_until

READERS = int(os.environ.get("FEED_READERS", "200"))

SHOP = {"Authorization": "Bearer test-api-token-01"}
OPS = {"Authorization": "Bearer test-metrics-token"}
# SQLAlchemy's pool and as much overflow (receiver/db/engine.py).
POOL = 16

# Seconds: far less than the readers wait without news, and more than a busy machine takes.
ALL_ANSWERED = 15.0
# Seconds that a request may take on a machine that has nothing else to do.
QUICK = 0.5


class Readers:
    """Many readers on one thread; each holds a connection and waits for its one answer."""

    def __init__(self, web: Web, count: int, path: str) -> None:
        self.opened = [self._open(web, path) for _ in range(count)]

    @staticmethod
    def _open(web: Web, path: str) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", web.port), timeout=20)
        head = (
            f"GET {path} HTTP/1.1",
            "Host: ordertrail",
            f"Authorization: {SHOP['Authorization']}",
        )
        connection.sendall("\r\n".join([*head, "Connection: close", "", ""]).encode())
        connection.setblocking(False)
        return connection

    def answers(self, seconds: float = 40) -> tuple[list[tuple[int, Any]], list[float]]:
        """Every answer's status and JSON, and after how many seconds each was there."""
        began = time.monotonic()
        told = dict.fromkeys(self.opened, b"")
        after: list[float] = []
        with selectors.DefaultSelector() as selector:
            for opened in self.opened:
                selector.register(opened, selectors.EVENT_READ)
            while len(after) < len(told):
                assert time.monotonic() - began < seconds, f"{len(after)} of {len(told)} answered"
                for key, _ in selector.select(1):
                    connection: Any = key.fileobj
                    if part := connection.recv(65_536):
                        told[connection] += part
                    else:
                        after.append(time.monotonic() - began)
                        selector.unregister(connection)
                        connection.close()
        return [_read(answer) for answer in told.values()], after

    def close(self) -> None:
        for connection in self.opened:
            connection.close()


def _read(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]) if head else 0, json.loads(body) if body else None


@contextmanager
def waiting(web: Web, count: int, path: str) -> Iterator[Readers]:
    """So many readers wait inside."""
    readers = Readers(web, count, path)
    try:
        wait_until(lambda: waiting_at(web) == count, seconds=60)
        yield readers
    finally:
        readers.close()


def waiting_at(web: Web) -> int:
    lines = web.get("/metrics", OPS).data.decode().splitlines()
    return sum(
        int(float(line.split()[1]))
        for line in lines
        if line.startswith("ordertrail_changes_waiting ")
    )


def register(web: Web, name: str) -> None:
    body = json.dumps({"account": "tiramizoo", "courier_order_id": name}).encode()
    headers = {**SHOP, "Content-Type": "application/json"}
    assert web.post("/v1/orders", body, headers).status_code == 201


def deliver(web: Web, uuid: str) -> float:
    """Post a hook; after how many seconds it was kept."""
    began = time.monotonic()
    body = {"uuid": uuid, "state": "created", "created_at": "2026-04-16T07:00:00Z"}
    answer = web.post("/webhooks/tiramizoo/orders/tiramizoo-token", json.dumps(body).encode())
    assert answer.status_code == 200
    return time.monotonic() - began


def slowest(web: Web, path: str, times: int = 40) -> float:
    found = 0.0
    for _ in range(times):
        began = time.monotonic()
        assert web.get(path, SHOP).status_code == 200
        found = max(found, time.monotonic() - began)
    return found


def connections_to(database_url: str) -> int:
    """How many connections of ours the database has."""
    with psycopg.connect(database_url) as connection:
        counted = connection.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'ordertrail'"
        ).fetchone()
    assert counted is not None
    return int(counted[0])


@pytest.fixture
def own(environ: dict[str, str], new_database: Callable[[str], str]) -> dict[str, str]:
    return {**environ, "DATABASE_URL": new_database("waiting")}


@pytest.fixture(autouse=True)
def files() -> None:
    """Room for every reader's socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(soft, 2 * READERS + 500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))


def resident(web: Web) -> float:
    """MiB of the web process."""
    sizes = [0.0]
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("PORT") == str(web.port):
                sizes.append(process.memory_info().rss / 2**20)
    return max(sizes)


@pytest.mark.timeout(300)
def test_many_readers_wait_on_one_process_and_are_all_woken_by_one_change(
    own: dict[str, str], tmp_path: Path
) -> None:
    with running_web(own, tmp_path / "web.log") as web:
        alone = slowest(web, "/v1/orders")
        before = resident(web)
        with waiting(web, READERS, "/v1/changes?after=now&wait=30") as readers:
            livez, orders = slowest(web, "/livez"), slowest(web, "/v1/orders")
            idle = connections_to(own["DATABASE_URL"])
            memory = resident(web) - before
            told = time.monotonic()
            register(web, "u-1")
            took = time.monotonic() - told
            hook = deliver(web, "u-2")
            answers, after = readers.answers()
            peak = connections_to(own["DATABASE_URL"])
        print(  # noqa: T201 (seen with -s)
            f"\n{READERS} readers: first answered after {after[0]:.2f} s, last {after[-1]:.2f} s;"
            f" the change itself {took:.2f} s, a hook meanwhile {hook:.2f} s;"
            f" while they waited: /livez at most {livez * 1000:.0f} ms,"
            f" /v1/orders {orders * 1000:.0f} ms,"
            f" {idle} connections to PostgreSQL ({peak} after), {memory:.0f} MiB more"
        )
        assert {status for status, _ in answers} == {200}
        assert all(
            [change["courier_order_id"] for change in page["changes"]] == ["u-1"]
            for _, page in answers
        )
        assert after[-1] < ALL_ANSWERED
        assert max(livez, orders) < max(QUICK, 5 * alone)
        assert max(idle, peak) <= POOL


@pytest.mark.timeout(120)
def test_a_drain_in_another_process_wakes_them(own: dict[str, str], tmp_path: Path) -> None:
    with ExitStack() as stack:
        web = stack.enter_context(running_web(own, tmp_path / "web.log"))
        stack.enter_context(running(WORKER, own, tmp_path / "worker.log"))
        readers = stack.enter_context(waiting(web, 20, "/v1/changes?wait=30"))
        deliver(web, "u-1")
        answers, _ = readers.answers()
    assert {page["changes"][0]["courier_order_id"] for _, page in answers} == {"u-1"}


@pytest.mark.timeout(120)
def test_a_stop_answers_those_who_wait_and_does_not_wait_for_them(
    own: dict[str, str], tmp_path: Path
) -> None:
    with ExitStack() as stack:
        with running_web(own, tmp_path / "web.log") as web:
            readers = stack.enter_context(waiting(web, 50, "/v1/changes?wait=30"))
            began = time.monotonic()
        took = time.monotonic() - began
        answers, _ = readers.answers()
    assert {status for status, _ in answers} == {200}
    assert all(page["changes"] == [] for _, page in answers)
    # gunicorn itself looks once a second whether it is to stop, and whether all are gone.
    assert took < ALL_ANSWERED


@pytest.mark.timeout(180)
def test_news_come_while_redis_is_away_and_it_is_subscribed_to_again_when_it_is_back(
    own: dict[str, str], tmp_path: Path
) -> None:
    with valkey_made() as server:
        path = "/v1/changes?after=now&wait=30"
        with running_web({**own, "REDIS_URL": server.url()}, tmp_path / "web.log") as web:

            def news(name: str, readers: Readers) -> float:
                register(web, name)
                answers, after = readers.answers()
                told = {page["changes"][0]["courier_order_id"] for _, page in answers}
                assert told == {name}
                return after[-1]

            with started(server):
                with waiting(web, 30, path) as readers:
                    assert news("u-1", readers) < ALL_ANSWERED
                gone = Readers(web, 30, path)
                wait_until(lambda: waiting_at(web) == 30)
            # It goes while they wait.
            assert news("u-2", gone) < ALL_ANSWERED
            with waiting(web, 30, path) as readers:
                assert news("u-3", readers) < ALL_ANSWERED
            with (
                started(server),
                connect_redis(server.url()) as redis,
                waiting(web, 30, path) as readers,
            ):
                wait_until(lambda: redis.pubsub_numsub(CHANNEL)[0][1])
                assert news("u-4", readers) < ALL_ANSWERED
