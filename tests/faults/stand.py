"""The service that the faults befall: its own servers, wires that can be cut, and somebody who
starts again whatever ends, as any process manager does.
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
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import psutil
import psycopg

from receiver.db.migrate import migrate
from receiver.standalone import child_process
from receiver.standalone.embedded import Postgres, Valkey
from receiver.standalone.home import Home
from receiver.standalone.process import BACKOFF_FIRST, SupervisedProcess
from tests import conftest
from tests.faults.proxy import Proxy
from tests.service import CLOCK, ROOT, WEB, WORKER, wait_until

ENVIRON = conftest.ENVIRON
AUTHORIZED = {"Authorization": f"Bearer {conftest.API_TOKEN}"}
DATABASE = "ordertrail"
# Small, so that the disk can be full and the connections taken.
POSTGRES = {"max_connections": "80", "max_wal_size": "64MB", "min_wal_size": "32MB"}
TEND_SECONDS = 0.1
START_SECONDS = 60.0
PATIENCE = 10.0


class Stand:
    """Five parts under upkeep; a part that is held down is not started again."""

    def __init__(self, directory: Path, data_dir: Path) -> None:
        self.logs = directory
        self.data_dir = data_dir
        # The code that parts started from now on run, and what a part alone is given.
        self.code = ROOT
        self.environ_of: dict[str, dict[str, str]] = {}
        home = Home.make(data_dir)
        self.postgres = self.make_postgres(home)
        self.valkey = self.make_valkey(home)
        self.to_postgres = Proxy(home.sockets / ".s.PGSQL.5432")
        self.to_valkey = Proxy(self.valkey.socket)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = int(probe.getsockname()[1])
        (directory / "metrics").mkdir()
        self.environ = {
            **ENVIRON,
            **{name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ},
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.to_postgres.port}/{DATABASE}",
            "REDIS_URL": f"redis://127.0.0.1:{self.to_valkey.port}/0",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "WEB_CONCURRENCY": "2",
            "PROMETHEUS_MULTIPROC_DIR": str(directory / "metrics"),
        }
        self.parts = {
            "postgres": SupervisedProcess(
                "postgres", self.postgres.start, self.postgres.stop_signal
            ),
            "valkey": SupervisedProcess("valkey", self.valkey.start, self.valkey.stop_signal),
            "web": SupervisedProcess("web", lambda: self._start("web", WEB)),
            "worker": SupervisedProcess("worker", lambda: self._start("worker", WORKER)),
            "clock": SupervisedProcess("clock", lambda: self._start("clock", CLOCK)),
        }
        self._down: set[str] = set()
        self._tending = threading.Lock()
        self._stopping = threading.Event()
        self._upkeep = threading.Thread(target=self._tend)

    def make_postgres(self, home: Home) -> Postgres:
        return Postgres(home, POSTGRES)

    def make_valkey(self, home: Home) -> Valkey:
        return Valkey(home)

    def _start(self, name: str, arguments: tuple[str, ...]) -> "subprocess.Popen[bytes]":
        with (self.logs / f"{name}.log").open("ab") as log:
            return child_process.start_child(
                [sys.executable, *arguments],
                death_signal=signal.SIGTERM,
                cwd=str(self.code),
                env={**self.environ, **self.environ_of.get(name, {})},
                log=log.fileno(),
            )

    def start(self) -> None:
        """Everything runs and answers."""
        for server in (self.postgres, self.valkey):
            server.prepare()
            part = self.parts[server.name]
            part.supervise(time.monotonic(), self._say)
            assert part.process
            server.wait_ready(part.process)
        self.postgres.create_database(DATABASE)
        migrate(self.postgres.url(DATABASE))
        self._upkeep.start()
        wait_until(lambda: (self.ready() or {}).get("workers"), START_SECONDS)

    def stop(self) -> None:
        """Nothing runs any more."""
        self._stopping.set()
        if self._upkeep.is_alive():
            self._upkeep.join()
        for name in ("clock", "worker", "web", "valkey", "postgres"):
            part = self.parts[name]
            if part.process is not None:
                self.signal(name, signal.SIGCONT)
                with suppress(ProcessLookupError):
                    part.process.send_signal(part.stop_signal)
                try:
                    part.process.wait(20)
                except subprocess.TimeoutExpired:
                    part.process.kill()
                    part.process.wait()
                child_process.end_session(part.process.pid)
        for proxy in (self.to_postgres, self.to_valkey):
            proxy.close()

    def _tend(self) -> None:
        while not self._stopping.wait(TEND_SECONDS):
            with self._tending:
                for name, part in self.parts.items():
                    if name not in self._down:
                        # Each fault is the first one.
                        part.backoff = BACKOFF_FIRST
                        part.supervise(time.monotonic(), self._say)

    def _say(self, line: str) -> None:
        with (self.logs / "upkeep.log").open("a") as log:
            log.write(line + "\n")

    # What faults are made of

    def pid(self, name: str) -> int:
        """The process that stands for a part: gunicorn's master, PostgreSQL's postmaster."""
        return wait_until(lambda: (process := self.parts[name].process) and process.pid) or 0

    def children(self, name: str) -> list[psutil.Process]:
        """What a part has started: gunicorn's workers, PostgreSQL's sessions."""
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.pid(name)).children(recursive=True)
        return []

    def signal(self, name: str, number: signal.Signals) -> None:
        """Send a part's processes a signal, all of them."""
        for process in [psutil.Process(self.pid(name)), *self.children(name)]:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(number)

    def hold_down(self, *names: str) -> None:
        """From now on these are not started again."""
        with self._tending:
            self._down |= set(names)

    def let_up(self, *names: str) -> None:
        """They are."""
        self._down -= set(names)

    def wipe_valkey(self) -> None:
        """Its data is gone; it does not run."""
        shutil.rmtree(self.valkey.data)
        self.valkey.prepare()

    @contextmanager
    def database(self) -> Iterator["psycopg.Connection[Any]"]:
        """A way to PostgreSQL that no fault lies on."""
        with psycopg.connect(self.postgres.url(DATABASE), autocommit=True) as connection:
            yield connection

    # What is looked at from outside

    def connect(self) -> http.client.HTTPConnection:
        """To web; a courier waits no longer for an answer."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)

    def get(self, path: str) -> tuple[int, Any]:
        """Status and JSON. Raises: OSError, HTTPException."""
        connection = self.connect()
        try:
            connection.request("GET", path, headers=AUTHORIZED)
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def ready(self) -> dict[str, Any] | None:
        """What /readyz says where it says 200."""
        with suppress(OSError, ValueError, http.client.HTTPException):
            status, told = self.get("/readyz")
            return dict(told) if status == http.HTTPStatus.OK else None
        return None


@contextmanager
def mounted(directory: Path, megabytes: int) -> Iterator[None]:
    """A file system of this size on a directory. Raises: OSError with the reason it cannot be."""
    size = f"size={megabytes}m,mode=711"
    words = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(directory)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise OSError("there is no mount(8)") from None
    if done.returncode != 0:
        raise OSError(done.stderr.strip() or "mount failed")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)  # noqa: S607


AnyStand = TypeVar("AnyStand", bound=Stand)


@contextmanager
def standing(directory: Path, disk_megabytes: int | None = None) -> Iterator[Stand]:
    """A stand that runs, its data on a small disk where that is asked for.

    Raises: OSError where such a disk cannot be had.
    """
    with standing_as(Stand, directory, disk_megabytes) as stand:
        yield stand


@contextmanager
def standing_as(
    make: Callable[[Path, Path], AnyStand], directory: Path, disk_megabytes: int | None = None
) -> Iterator[AnyStand]:
    """The same for a stand of another kind. make: from the directories of logs and of data."""
    # Short, since a socket's path may have only 107 bytes.
    data_dir = Path(tempfile.mkdtemp(prefix="ot-faults-")).resolve()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, data_dir, ignore_errors=True)
        if disk_megabytes is not None:
            stack.enter_context(mounted(data_dir, disk_megabytes))
        stand = make(directory, data_dir)
        stack.callback(stand.stop)
        stand.start()
        yield stand
