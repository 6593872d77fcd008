"""What the bench runs on: both servers with every commit flushed, and the processes to be measured.

Everything stands on this machine and is started as in production: the Procfile's commands, under
deploy/gunicorn.conf.py, as many web workers as there are cores.
"""

import hashlib
import http.client
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import psycopg
from sqlalchemy import Connection, text

from receiver.db.engine import create_engine_for
from receiver.db.migrate import migrate
from tests.bench.load import Loaded, Request, load
from tests.bench.samples import filled
from tests.servers import Running
from tests.servers import running as running_servers
from tests.service import WEB, WORKER, running, wait_until

TOKEN = "bench-token-of-the-shop"
# What a Redis has where nobody set anything: a snapshot now and then. Ours has no use for more.
STOCK_PERSISTENCE = {"save": "3600 1 300 100 60 10000", "appendonly": "no"}
PEERS_SETTINGS = "tests/bench/peers/gunicorn.conf.py"
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}


class Unfit(Exception):
    """The machine or its settings would make the figures a lie; one line that says why."""


@dataclass(frozen=True)
class Process:
    """A started program: its port where it has one, and what it and its children take."""

    pid: int
    port: int = 0

    def workers(self) -> list[psutil.Process]:
        """Gunicorn's workers; the process itself where it has no children."""
        found = psutil.Process(self.pid)
        return found.children() or [found]

    def megabytes(self) -> float:
        """What its largest worker holds (RSS)."""
        return max(worker.memory_info().rss for worker in self.workers()) / 1e6


@dataclass(frozen=True)
class Stage:
    """The servers, and what starts programs on them."""

    directory: Path
    servers: Running
    stack: ExitStack
    _started: list[str] = field(default_factory=list)

    @contextmanager
    def act(self) -> Iterator["Stage"]:
        """The same servers; what is started inside has ended behind."""
        with ExitStack() as stack:
            yield Stage(self.directory, self.servers, stack, self._started)

    def environ(self, database: str) -> dict[str, str]:
        """What a process is given whose tables are in this database."""
        number = len(self._started) % 16
        self._started.append(database)
        return {
            "API_TOKENS": TOKEN,
            "COURIER_TIRAMIZOO_SECRETS": TOKEN,
            "DATABASE_URL": self.servers.postgres.url(database),
            "REDIS_URL": self.servers.valkey.url(number),
        }

    def tables(self, database: str) -> dict[str, str]:
        """Make a database with our tables; the environment of processes on it."""
        self.servers.postgres.create_database(database)
        environ = self.environ(database)
        migrate(environ["DATABASE_URL"])
        return environ

    def web(self, environ: Mapping[str, str], peer: str | None = None) -> Process:
        """Our web process, or a peer's (tests/bench/peers/<peer>.py), which has answered."""
        command = WEB
        if peer is not None:
            command = ("-m", "gunicorn", "-c", PEERS_SETTINGS, f"tests.bench.peers.{peer}:app")
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        own = {"HOST": "127.0.0.1", "PORT": str(port), "PYTHONHASHSEED": "0"}
        log = self.log(peer or "web")
        process = self.stack.enter_context(running(command, {**environ, **own}, log))
        wait_for(port, log)
        return Process(process.pid, port)

    @contextmanager
    def worker(self, environ: Mapping[str, str]) -> Iterator[Process]:
        """Our worker process, inside."""
        with running(WORKER, environ, self.log("worker")) as process:
            yield Process(process.pid)

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"


def wait_for(port: int, log: Path, path: str = "/livez") -> None:
    """Block until something answers on the port."""

    def answers() -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with suppress(OSError, http.client.HTTPException):
            connection.request("GET", path)
            connection.getresponse().read()
            return True
        return False

    try:
        wait_until(answers, 60)
    except AssertionError:
        raise Unfit(
            f"a program does not start, its log ends so: {log.read_text()[-2000:]}"
        ) from None


@contextmanager
def staged(directory: Path) -> Iterator[Stage]:
    """Both servers, with every commit flushed.

    Raises: Unfit.
    """
    kind = file_system(directory)
    if kind in MEMORY_FILE_SYSTEMS:
        raise Unfit(f"{directory} is memory ({kind}), which flushes nothing: say --directory")
    with running_servers(directory, {}, STOCK_PERSISTENCE) as servers, ExitStack() as stack:
        # A peer gets the same database server; nothing but the bench talks to it.
        check_flushes(servers.postgres.url("postgres"))
        yield Stage(directory, servers, stack)


def file_system(directory: Path) -> str:
    """The kind of file system that holds a directory."""
    mounts = [
        mount
        for mount in psutil.disk_partitions(all=True)
        if directory.is_relative_to(mount.mountpoint)
    ]
    return max(mounts, key=lambda mount: len(mount.mountpoint)).fstype if mounts else "unknown"


def check_flushes(database_url: str) -> None:
    """Through the service's own engine: a commit is not answered before it was flushed.

    Raises: Unfit.
    """
    engine = create_engine_for(database_url)
    try:
        with engine.begin() as connection:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                value = connection.execute(text(f"SHOW {name}")).scalar()
                if value != "on":
                    raise Unfit(f"PostgreSQL runs with {name}={value}: nothing durable is measured")
            before = flushes(connection)
            connection.execute(text("CREATE TABLE flushed AS SELECT 1"))
        with engine.begin() as connection:
            # The statistics come when a backend is idle.
            connection.execute(text("SELECT pg_stat_force_next_flush()"))
            connection.execute(text("DROP TABLE flushed"))
        with engine.begin() as connection:
            if flushes(connection) <= before:
                raise Unfit("PostgreSQL committed without flushing its log to disk")
    finally:
        engine.dispose()


def flushes(connection: Connection) -> int:
    """How often PostgreSQL has flushed its log so far."""
    told = "SELECT coalesce(sum(fsyncs), 0)::bigint FROM pg_stat_io WHERE object = 'wal'"
    return int(connection.execute(text(told)).scalar_one())


def flush_milliseconds(directory: Path) -> float:
    """What flushing a page to this disk takes: the floor under every durable answer."""
    path = directory / "flush"
    file = os.open(path, os.O_CREAT | os.O_WRONLY, 0o600)
    times = []
    try:
        for _ in range(50):
            os.pwrite(file, b"x" * 8192, 0)
            started = time.perf_counter()
            os.fdatasync(file)
            times.append(time.perf_counter() - started)
    finally:
        os.close(file)
        path.unlink()
    return sorted(times)[len(times) // 2] * 1000


def accepting(port: int, body: bytes, token: str = TOKEN) -> Request:
    """A hook of the sample's courier, as it comes."""
    return Request(port, "POST", f"/webhooks/tiramizoo/orders/{token}", body)


def missing(connection: "psycopg.Connection[tuple[bytes]]", body: bytes, ids: Iterator[str]) -> int:
    """How many of the bodies with these ids are not stored, byte for byte."""
    hashes = [hashlib.sha256(filled(body, order_id)).digest() for order_id in ids]
    row = connection.execute(
        "SELECT count(*) FROM unnest(%s::bytea[]) AS sent (hash) WHERE NOT EXISTS ("
        " SELECT FROM messages WHERE account = 'tiramizoo' AND topic = 'orders'"
        " AND kind = 'webhook' AND body_sha256 = hash AND sha256(body) = hash)",
        (hashes,),
    ).fetchone()
    return int(row[0]) if row else 0


@dataclass
class Kept:
    """The check that what was answered is stored, load by load, and what it came to."""

    database_url: str
    body: bytes
    checked: int = 0
    lost: int = 0

    def check(self, loaded: Loaded) -> None:
        """Of what was sent no more may be missing than what was not answered."""
        with psycopg.connect(self.database_url) as connection:
            gone = missing(connection, self.body, loaded.sent_ids())
        unanswered = sum(sent for sent, _ in loaded.threads) - loaded.answered
        self.checked += loaded.answered
        self.lost += max(0, gone - unanswered)

    def check_each(self, port: int, seconds: float, run: str) -> None:
        """A load of one connection a thread, after which each answered body is looked for."""
        loaded = load(accepting(port, self.body), seconds, run, exact=True)
        with psycopg.connect(self.database_url) as connection:
            self.lost += missing(connection, self.body, loaded.answered_ids())
        self.checked += sum(answered for _, answered in loaded.threads)


Say = Callable[[str], None]


def say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
