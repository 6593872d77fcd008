"""`make demo`, in short: a day of a few orders, on a service of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from tests.demo.__main__ import report
from tests.demo.summary import CourierResult, _wrong_timeline
from tests.sandbox import Cottoncast, ShipmentAPI, Tiramizoo, evenly
from tests.service import ROOT, wait_until


@contextmanager
def demo(temporary: Path, *arguments: str) -> "Iterator[subprocess.Popen[str]]":
    """The demo as its own process, with all that it leaves behind in one place."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.demo", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TMPDIR": str(temporary), "WEB_CONCURRENCY": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def read_until(process: "subprocess.Popen[str]", words: str) -> str:
    """What it says up to a line with these words."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if words in line:
            return said
    raise AssertionError(said)


def offspring(process: "subprocess.Popen[str]") -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.timeout(180)
def test_every_order_of_a_day_comes_out_right_and_nothing_is_left_behind(temporary: Path) -> None:
    with demo(temporary, "--orders", "20", "--seconds", "15", "--stay") as process:
        said = read_until(process, "The service keeps running")
        assert re.search(r"\b20 orders\b", said)
        assert "WRONG" not in said
        assert re.search(r"messages_quarantined +tiramizoo", said)
        children = offspring(process)
        assert len(children) > 4
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    wait_until(lambda: not any(child.is_running() for child in children))
    assert list(temporary.iterdir()) == []


@pytest.mark.timeout(180)
def test_a_day_that_is_broken_off_leaves_nothing_behind(temporary: Path) -> None:
    with demo(temporary) as process:
        read_until(process, "placed")
        children = offspring(process)
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    wait_until(lambda: not any(child.is_running() for child in children))
    assert list(temporary.iterdir()) == []


class Ready(BaseHTTPRequestHandler):
    """What another Ordertrail says that has the port already."""

    def do_GET(self) -> None:
        self.send_response(HTTPStatus.OK)
        self.end_headers()
        self.wfile.write(b'{"status": "ready", "workers": 1}')


def test_a_port_that_another_service_has_is_told_in_one_line(temporary: Path) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Ready) as other:
        threading.Thread(target=other.serve_forever).start()
        port = str(other.server_address[1])
        with demo(temporary, "--port", port) as process:
            said, _ = process.communicate(timeout=60)
        other.shutdown()
    assert process.returncode == 1
    [line] = said.splitlines()[1:]
    assert f"port {port}" in line
    assert "--port" in line
    assert list(temporary.iterdir()) == []


def test_an_order_that_is_wrong_ends_it_with_one(capsys: pytest.CaptureFixture[str]) -> None:
    result = CourierResult("tiramizoo", 2, 9, 0, 0, 0, 1, 0, wrong={"u-1": "it is created"})
    assert report([result], {}) == 1
    assert re.search("WRONG.*u-1.*created", capsys.readouterr().out)


def test_a_timeline_that_is_wrong_is_seen() -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    for kind, life, told, right in (
        (Tiramizoo, ("created", "picked_up"), ("created", "picked_up"), True),
        (Tiramizoo, ("created", "picked_up"), ("picked_up",), False),
        (Cottoncast, "NLD", "ND", True),
        (Cottoncast, "NLD", "DN", False),
        (Cottoncast, "NLD", "NLND", False),
        (ShipmentAPI, ("placed", "accepted"), ("accepted", "placed"), True),
    ):
        courier = kind()
        order = courier.create(evenly(*life, start=start, apart=start - start))
        events = [{"courier_status": word, "applied": True} for word in told]
        assert (_wrong_timeline(courier, order, events) is None) == right, (kind, told)


def test_demo_and_sandbox_need_nothing_that_only_tests_need() -> None:
    script = (
        "import sys\n"
        "for name in ('httpx', 'pytest', 'hypothesis', 'playwright'): sys.modules[name] = None\n"
        "import tests.demo.__main__, tests.sandbox.__main__"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
