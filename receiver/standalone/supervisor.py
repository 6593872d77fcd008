"""Run the service on one machine until a stop is requested.

One process with one thread: it locks DATA_DIR, starts the embedded servers and the commands of the
Procfile, restarts whatever ends, and stops everything in order.
"""

import http
import http.client
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from receiver.errors import CannotRun
from receiver.settings import BadSettings, Settings
from receiver.standalone import datadir, launch
from receiver.standalone.banner import banner_text, print_status, print_text
from receiver.standalone.child_process import start_child
from receiver.standalone.embedded import Postgres, Server, Valkey
from receiver.standalone.home import Home, make_data_dir
from receiver.standalone.process import (
    StopRequested,
    StopSignals,
    SupervisedProcess,
    stop_processes,
)

DATABASE = "ordertrail"

CHECK_SECONDS = 0.2
SERVER_START_SECONDS = 120.0
SLOW_START_SECONDS = 60.0
STOP_SECONDS = 15.0
SERVER_STOP_SECONDS = 30.0


def run(environ: Mapping[str, str]) -> int:
    """Run until a signal requests a stop.

    Returns the exit code: 0 stopped as requested, 1 could not start, 2 the settings have faults.
    """
    given = launch.normalize_environment(environ)
    signals = StopSignals()
    try:
        settings = Settings.from_env({**launch.placeholders(given), **given})
        data_dir = settings.data_dir.resolve()
        make_data_dir(data_dir)
        with datadir.lock_data_dir(data_dir, settings.url, signals.sleep, print_status) as lock:
            launch.check_port(settings.host, settings.port)
            Supervisor(data_dir, lock, signals).run(given, settings)
    except StopRequested:
        print_status("stopped")
        return 0
    except BadSettings as error:
        print(error, file=sys.stderr)
        return 2
    except (CannotRun, OSError) as error:
        print(f"ordertrail: {error}", file=sys.stderr)
        return 1


class Supervisor:
    """Starts, restarts and stops the embedded servers and the Procfile's commands."""

    def __init__(self, data_dir: Path, lock: int, signals: StopSignals) -> None:
        self.data_dir = data_dir
        self.lock = lock
        self.signals = signals
        self.home: Home | None = None
        self.servers: list[SupervisedProcess] = []
        self.commands: list[SupervisedProcess] = []

    def run(self, given: Mapping[str, str], settings: Settings) -> NoReturn:
        """Start everything in order, then supervise it.

        Raises: StopRequested, CannotRun; each after everything has stopped.
        """
        try:
            print_status(f"starting, with the data in {self.data_dir}")
            secrets = datadir.load_or_generate_secrets(self.data_dir, launch.missing_secrets(given))
            env = self._environment(given, settings) | secrets
            urls = self._start_servers(env)
            env |= urls
            datadir.write_run_file(
                self.data_dir, datadir.settings_for_commands(given) | secrets | urls
            )
            settings = Settings.from_env(env)
            self._start_commands(env, settings)
            places = {
                "PostgreSQL": urls.get("DATABASE_URL", "yours, at DATABASE_URL"),
                "Valkey": urls.get("REDIS_URL", "yours, at REDIS_URL"),
                "secrets": str(self.data_dir / datadir.SECRETS_FILE),
            }
            print_text(banner_text(settings, places, sorted(self.data_dir.glob("*.log"))))
            while True:
                self._supervise()
        finally:
            self._stop()

    def _environment(self, given: Mapping[str, str], settings: Settings) -> dict[str, str]:
        """Return the commands' environment without secrets and the servers' addresses."""
        read = {"HOST": settings.host, "PORT": str(settings.port), "DATA_DIR": str(self.data_dir)}
        # deploy/gunicorn.conf.py reads no NAME_FILE, and to set both would be a fault.
        # A file in PROGRESS_PATH serves one process, and here are two.
        dropped = {*read, "PROGRESS_PATH"}
        rest = {
            name: value
            for name, value in given.items()
            if name.removesuffix("_FILE") not in dropped
        }
        return {
            **rest,
            **read,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", "")]),
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_dir()),
        }

    def _start_servers(self, env: Mapping[str, str]) -> dict[str, str]:
        """Start the embedded servers that are needed; return their addresses by setting."""
        missing = {name for name in ("DATABASE_URL", "REDIS_URL") if launch.is_missing(name, env)}
        urls = {}
        if missing:
            self.home = Home.make(self.data_dir, print_status)
            if "DATABASE_URL" in missing:
                postgres = Postgres(self.home, keep=(self.lock,))
                self._start_server(postgres)
                postgres.create_database(DATABASE)
                urls["DATABASE_URL"] = postgres.url(DATABASE)
            if "REDIS_URL" in missing:
                valkey = Valkey(self.home, keep=(self.lock,))
                self._start_server(valkey)
                urls["REDIS_URL"] = valkey.url()
        return urls

    def _start_server(self, server: Server) -> None:
        server.prepare()
        process = server.start()
        part = SupervisedProcess(server.name, server.start, server.stop_signal, process)
        part.started_at = time.monotonic()
        self.servers.append(part)
        server.wait_ready(process, SERVER_START_SECONDS, self.signals.sleep)

    def _metrics_dir(self) -> Path:
        """Make the directory of the processes' counters; old files would be counted again."""
        metrics = self.data_dir / "metrics"
        with suppress(FileNotFoundError):
            shutil.rmtree(metrics)
        metrics.mkdir(mode=0o700)
        return metrics

    def _start(self, argv: list[str], env: dict[str, str]) -> subprocess.Popen[bytes]:
        # If we are killed, gunicorn needs SIGTERM to stop its workers. The others are killed: they
        # would finish their work first, while the servers are stopping as well.
        return start_child(
            argv,
            death_signal=signal.SIGTERM if "gunicorn" in argv else signal.SIGKILL,
            cwd=str(launch.ROOT),
            env=env,
            keep=(self.lock,),
        )

    def _start_commands(self, env: dict[str, str], settings: Settings) -> None:
        """Migrate, then start web, worker and clock and wait until web and worker are ready."""
        commands = launch.read_procfile(launch.ROOT / "Procfile")
        self._release(commands["release"], env)
        for name in ("web", "worker", "clock"):
            self.commands.append(SupervisedProcess(name, partial(self._start, commands[name], env)))
        slow_at = time.monotonic() + SLOW_START_SECONDS
        # The worker, too: an order can be read back as soon as the banner says so.
        while not _workers_are_ready(settings.url):
            self._supervise()
            if time.monotonic() > slow_at:
                print_status(f"still starting; see the log lines, and {settings.url}/readyz")
                slow_at = float("inf")

    def _release(self, argv: list[str], env: dict[str, str]) -> None:
        process = self._start(argv, env)
        # So that a stop ends it as well.
        self.commands = [SupervisedProcess("release", lambda: process, process=process)]
        while process.poll() is None:
            self.signals.sleep(CHECK_SECONDS)
        self.commands = []
        if process.returncode != 0:
            raise CannotRun(f"the release failed, see above: {shlex.join(argv)}")

    def _supervise(self) -> None:
        self.signals.sleep(CHECK_SECONDS)
        for process in (*self.servers, *self.commands):
            process.supervise(time.monotonic(), print_status)

    def _stop(self) -> None:
        print_status("stopping")
        stop_processes(self.commands[::-1], STOP_SECONDS)
        stop_processes(self.servers[::-1], SERVER_STOP_SECONDS)
        if self.home:
            self.home.close()


def _workers_are_ready(url: str) -> bool:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status == http.HTTPStatus.OK and bool(json.load(response)["workers"])
    except (OSError, ValueError, http.client.HTTPException):
        return False
    finally:
        connection.close()
