"""A temporary Ordertrail for the demo: embedded servers, own data and port, removed at the end."""

import http.client
import json
import os
import secrets
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from receiver.errors import CannotRun
from receiver.standalone.launch import check_port
from tests.service import running

PATIENCE = 120.0
LOOK_EVERY = 0.2
PASSED_ON = ("HOME", "LANG", "WEB_CONCURRENCY")


class CannotDemonstrate(Exception):
    """The demo cannot run; the message is for a person."""


@dataclass(frozen=True)
class Service:
    """Address, API token and log file of the service."""

    url: str
    token: str
    log: Path


@contextmanager
def started(port: int, settings: Mapping[str, str], stop: threading.Event) -> Iterator[Service]:
    """Start `ordertrail run` with these settings and wait until it is ready.

    Raises: CannotDemonstrate.
    """
    port = port or _free_port()
    try:
        # Checked first: another Ordertrail on this port would answer instead of ours.
        check_port("127.0.0.1", port)
    except CannotRun as wrong:
        # Without its advice, which is meant for `make run`.
        why = str(wrong).partition(":")[0]
        raise CannotDemonstrate(
            f"{why}: choose another port with --port, or leave that out and a free one is taken"
        ) from None
    directory = Path(tempfile.mkdtemp(prefix="ordertrail-demo-"))
    service = Service(f"http://127.0.0.1:{port}", secrets.token_hex(8), directory / "log")
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    environ = {
        **kept,
        "DATA_DIR": str(directory / "data"),
        "PORT": str(port),
        "API_TOKENS": service.token,
        **settings,
    }
    # A server that runs as another user must get to its data.
    directory.chmod(0o711)
    try:
        with running(("-m", "receiver.cli.main", "run"), environ, service.log) as process:
            deadline = time.monotonic() + PATIENCE
            while not _ready(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    said = service.log.read_text(errors="replace").splitlines()[-8:]
                    raise CannotDemonstrate("\n".join(("the service did not start:", *said)))
                if stop.wait(LOOK_EVERY):
                    break
            yield service
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _ready(port: int) -> bool:
    """Return whether webhooks are accepted and a worker runs."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, ValueError, http.client.HTTPException):
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        health = json.loads(answer.read())
        return answer.status == http.HTTPStatus.OK and bool(health["workers"])
    return False
