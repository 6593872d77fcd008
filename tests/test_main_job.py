"""The main job, from a courier's call to the shop's answer, on everything that `make run` starts.

ORDERS=1000 runs it at the size that the service is promised for; fewer keep the suite quick.
"""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.bodies import tiramizoo_order

ORDERS = int(os.environ.get("ORDERS", "150"))
CONNECTIONS = 16
TOKEN = "main-job-token-of-the-shop"
WEBHOOK = "/webhooks/tiramizoo/orders/main-job-secret"
SETTLED_SECONDS = 120.0

LIVES: tuple[tuple[str, ...], ...] = (
    ("created", "dispatched", "picked_up", "delivered"),
    ("created", "dispatched", "picked_up", "delivery_failed", "returned"),
    ("created", "cancelled"),
    ("created", "dispatched", "pickup_failed", "picked_up", "delivered"),
    ("created", "dispatched", "picked_up", "delivery_failed", "delivered"),
)


def lives(count: int, choose: random.Random) -> tuple[list[bytes], dict[str, tuple[str, ...]]]:
    """Every snapshot of `count` orders' whole lives, and each order's life by its uuid."""
    bodies, truth = [], {}
    for number in range(count):
        life = choose.choice(LIVES)
        uuid = f"00000000-0000-4000-8000-{number:012d}"
        at = datetime(2026, 5, 1, tzinfo=UTC) + timedelta(minutes=number)
        times: dict[str, datetime] = {}
        for state in life:
            times[state] = at
            at += timedelta(minutes=choose.randint(1, 90))
            bodies.append(json.dumps(tiramizoo_order(uuid=uuid, times=times)).encode())
        truth[uuid] = life
    return bodies, truth


class Ledger:
    """Posts bodies over several connections and writes down which were answered 200."""

    def __init__(self, port: int, bodies: list[bytes]) -> None:
        self.port = port
        self.kept: set[bytes] = set()
        self.others: set[int] = set()
        self._bodies = iter(bodies)
        self._lock = threading.Lock()

    def post_all(self, until: threading.Event | None = None) -> None:
        """Post until every body was answered, or until the service is gone and `until` is set."""
        threads = [threading.Thread(target=self._post, args=[until]) for _ in range(CONNECTIONS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _post(self, until: threading.Event | None) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not (until and until.is_set()):
            with self._lock:
                body = next(self._bodies, None)
            if body is None:
                break
            try:
                connection.request("POST", WEBHOOK, body)
                answer = connection.getresponse()
                answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                continue
            with self._lock:
                if answer.status == http.HTTPStatus.OK:
                    self.kept.add(body)
                else:
                    self.others.add(answer.status)
        connection.close()


def get(port: int, path: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {TOKEN}"})
        answer = connection.getresponse()
        return json.loads(answer.read())
    finally:
        connection.close()


def is_ready(port: int) -> bool:
    try:
        return bool(get(port, "/readyz")["status"] == "ready")
    except (OSError, ValueError, http.client.HTTPException):
        return False


def wait_for(what: str, condition: Any, seconds: float = SETTLED_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@contextmanager
def service(data_dir: Path, port: int) -> Iterator[psutil.Process]:
    """`ordertrail run` on a data directory of its own, ready; gone afterwards, however it went."""
    environ = {
        "PATH": os.environ["PATH"],
        "DATA_DIR": str(data_dir),
        "PORT": str(port),
        "API_TOKENS": TOKEN,
        "COURIER_TIRAMIZOO_SECRETS": "main-job-secret",
        "WEB_CONCURRENCY": "2",
    }
    with (data_dir.parent / "run.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "receiver.cli.main", "run"], env=environ, stdout=log, stderr=log
        )
        try:
            wait_for("ready", lambda: is_ready(port))
            yield psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def applied_timelines(port: int, truth: dict[str, tuple[str, ...]]) -> list[str]:
    """The orders whose status or timeline is not their true one."""
    wrong = []
    for uuid, life in truth.items():
        order = get(port, f"/v1/orders/tiramizoo/{uuid}")
        events = get(port, f"/v1/orders/tiramizoo/{uuid}/events").get("events", [])
        told = [event["courier_status"] for event in events if event["applied"]]
        if order.get("courier_status") != life[-1] or told != list(life):
            wrong.append(uuid)
    return wrong


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data with a space"


@pytest.mark.timeout(280)
def test_everything_killed_in_the_middle_loses_nothing_that_was_answered_200(
    data_dir: Path, port: int
) -> None:
    choose = random.Random(2027)
    bodies, truth = lives(ORDERS, choose)
    posts = bodies * 2
    choose.shuffle(posts)
    gone = threading.Event()
    ledger = Ledger(port, posts)
    with service(data_dir, port) as supervisor:
        poster = threading.Thread(target=ledger.post_all, args=[gone])
        poster.start()
        wait_for("a third is kept", lambda: len(ledger.kept) > len(bodies) // 3)
        for process in [supervisor, *supervisor.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        gone.set()
        poster.join()
    before = set(ledger.kept)
    assert len(bodies) // 3 < len(before) < len(bodies)

    with service(data_dir, port):
        known: dict[str, set[str]] = {}
        for body in before:
            snapshot = json.loads(body)
            known.setdefault(snapshot["uuid"], set()).add(snapshot["state"])

        def folded() -> bool:
            return all(
                states <= {event["courier_status"] for event in timeline(port, uuid)}
                for uuid, states in known.items()
            )

        wait_for("all that was answered 200 is folded", folded)
        rest = Ledger(port, bodies)
        rest.post_all()
        assert rest.kept == set(bodies)
        wait_for("every order is right", lambda: not applied_timelines(port, truth))
        counts = inbox_counts(port)
    assert counts["accepted"] + counts["repeated"] == len(bodies)
    assert counts["repeated"] >= len(before)


def timeline(port: int, uuid: str) -> list[dict[str, Any]]:
    found = get(port, f"/v1/orders/tiramizoo/{uuid}/events")
    return list(found.get("events", []))


def inbox_counts(port: int) -> dict[str, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        lines = connection.getresponse().read().decode().splitlines()
    finally:
        connection.close()
    counts = {}
    for name in ("accepted", "repeated"):
        start = f'ordertrail_messages_{name}_total{{account="tiramizoo"'
        counts[name] = sum(int(float(line.split()[-1])) for line in lines if line.startswith(start))
    return counts
