"""Real processes for the tests: gunicorn, RQ worker and clock, started as the Procfile does.

Tests talk to them over HTTP alone, by whole requests or, where the wire matters, by bare bytes.
"""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from flask import Flask
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

import receiver
from receiver.queue.doorbell import Doorbell
from receiver.standalone import child_process
from receiver.standalone.embedded import Valkey
from receiver.standalone.home import Home

# Where the code under test stands: the processes run that, and never an installed copy.
ROOT = Path(receiver.__file__).resolve().parent.parent

GUNICORN = ("-m", "gunicorn")
WEB_ARGUMENTS = ("-c", "deploy/gunicorn.conf.py", "receiver.app:create_app()")
WEB = (*GUNICORN, *WEB_ARGUMENTS)
WORKER = ("-m", "workers.worker")
CLOCK = ("-m", "workers.clock")

# Seconds. Bounds, not pauses: they only tell a slow machine from a broken service.
PATIENCE = 60.0
STOP = 20.0

Found = TypeVar("Found")


def wait_until(look: Callable[[], Found], seconds: float = PATIENCE) -> Found:
    """What `look` returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"still {found!r} after {seconds} seconds"
        time.sleep(0.02)
    return found


@contextmanager
def running(
    arguments: tuple[str, ...],
    environ: Mapping[str, str],
    log: Path,
    cwd: Path = ROOT,
    keep: tuple[int, ...] = (),
) -> Iterator[subprocess.Popen[bytes]]:
    """One of our processes, with both outputs in a file; stopped behind.

    arguments: Python's, or the whole command where it begins with a path. keep: files that it is
    given open.
    """
    command = [] if arguments[0].startswith("/") else [sys.executable]
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    with log.open("ab") as opened:
        # On a leash, so that a killed test run leaves none of them behind.
        process = child_process.start_child(
            [*command, *arguments],
            death_signal=signal.SIGTERM,
            cwd=str(cwd),
            env={**kept, **environ},
            log=opened.fileno(),
            keep=keep,
        )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        child_process.end_session(process.pid)


@contextmanager
def valkey_made() -> Iterator[Valkey]:
    """A Valkey that does not run yet; its socket's path is short, as it has to be."""
    directory = Path(tempfile.mkdtemp(prefix="ot-valkey-")).resolve()
    try:
        home = Home.make(directory)
        yield Valkey(home)
        home.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def at_rest(app: Flask) -> bool:
    """Whether the application's bells have done all that was asked of them."""
    here = app.extensions["ordertrail"]
    return all(map(_rests, (here.doorbell, here.feed_bell)))


def _rests(bell: Doorbell) -> bool:
    woken = bell._thread._woken
    # Only a waiting thread shows that the last ring is over: the event is cleared before it.
    waits = bool(not woken.is_set() and vars(woken)["_cond"]._waiters)
    return bell._thread._thread is None or waits


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, in the words of Flask's test client."""

    status_code: int
    headers: dict[str, str]
    data: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.data)


@dataclass(frozen=True)
class Web:
    """A web process that answers."""

    port: int
    log: Path

    def open(
        self,
        path: str,
        *,
        method: str = "GET",
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request on a connection of its own."""
        with self.keeping_alive() as connection:
            connection.request(method, path, data, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.headers), answer.read())

    def post(self, path: str, data: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return self.open(path, method="POST", data=data, headers=headers)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.open(path, headers=headers)

    @contextmanager
    def connected(self) -> Iterator[socket.socket]:
        """A bare connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            yield connection

    @contextmanager
    def keeping_alive(self) -> Iterator[http.client.HTTPConnection]:
        """A connection for several requests."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            yield connection
        finally:
            connection.close()

    def send(self, request: bytes, *, half_close: bool = False) -> Answer:
        """The answer to bytes as they are; half_close: then say that no more will come."""
        with self.connected() as connection:
            connection.sendall(request)
            if half_close:
                connection.shutdown(socket.SHUT_WR)
            return read_answer(connection)


def read_answer(connection: socket.socket) -> Answer:
    """Read one answer; what follows it on the connection is left there or lost."""
    answer = http.client.HTTPResponse(connection)
    try:
        answer.begin()
        return Answer(answer.status, dict(answer.headers), answer.read())
    finally:
        answer.close()


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def running_web(
    environ: Mapping[str, str],
    log: Path,
    program: tuple[str, ...] = GUNICORN,
    cwd: Path = ROOT,
    keep: tuple[int, ...] = (),
) -> Iterator[Web]:
    """A web process of one gunicorn worker, which has answered /livez."""
    port = free_port()
    own = {"HOST": "127.0.0.1", "PORT": str(port), "WEB_CONCURRENCY": "1"}
    with running((*program, *WEB_ARGUMENTS), {**environ, **own}, log, cwd, keep):
        web = Web(port, log)

        def answers() -> bool:
            with suppress(OSError, http.client.HTTPException):
                return web.get("/livez").status_code == http.HTTPStatus.OK
            return False

        try:
            wait_until(answers)
        except AssertionError:
            raise AssertionError(f"web does not start:\n{log.read_text()}") from None
        yield web


def at_once(*calls: Callable[[], Found]) -> list[Found]:
    """Run the calls in threads that all start at the same moment; their results in order."""
    start = threading.Barrier(len(calls))
    results: dict[int, Found] = {}
    failures: list[BaseException] = []

    def run(index: int) -> None:
        start.wait(PATIENCE)
        try:
            results[index] = calls[index]()
        except BaseException as failure:  # noqa: BLE001 (told by the thread that waits for us)
            failures.append(failure)

    threads = [threading.Thread(target=run, args=[index]) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
    if failures:
        raise failures[0]
    return [results[index] for index in range(len(calls))]


def waiting_for(sessions: sessionmaker[Session], table: str | None = None) -> list[int]:
    """The PostgreSQL processes that wait for the table, or for anything, by their pids."""
    # Databases made from one template give their tables the same numbers.
    waiting = (
        "SELECT pid FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE datname = current_database() AND NOT granted"
    )
    of_table = " AND relation = CAST(:table AS regclass)"
    with sessions() as session:
        if table is None:
            return list(session.scalars(text(waiting)))
        return list(session.scalars(text(waiting + of_table), {"table": table}))


def chunked(*chunks: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    """A body in HTTP chunks."""
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + last


def head(path: str, *lines: str) -> bytes:
    """The head of a POST request, with these header lines."""
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: ordertrail", *lines, "", ""]).encode()
