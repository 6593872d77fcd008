"""`ordertrail run`: everything on one machine, kept running until it is told to stop.

One process, one thread: it holds DATA_DIR, starts the embedded servers and the Procfile's own
commands, starts again whatever ends, and stops all of it in order.
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
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from receiver.settings import BadSettings, Settings
from receiver.standalone import child_process
from receiver.standalone.banner import banner, say, tell
from receiver.standalone.datadir import (
    SECRETS_FILE,
    DataDirError,
    Hold,
    hold,
    keep_secrets,
    tell_run,
    what_commands_need,
)
from receiver.standalone.embedded import EmbeddedError, Home, Postgres, Server, Valkey, private_dir
from receiver.standalone.launch import (
    ROOT,
    CannotRun,
    check_port,
    is_missing,
    placeholders,
    procfile,
    secrets_to_make,
    usable,
)
from receiver.standalone.process import Gate, Part, Signals, Stopped, end

DATABASE = "ordertrail"

# Seconds.
LOOK_EVERY = 0.2
SERVER_START = 120.0
SLOW_START = 60.0
STOP = 15.0
SERVER_STOP = 30.0


def run(environ: Mapping[str, str]) -> int:
    """Run until a signal asks for the end.

    Returns the exit code: 0 stopped as asked, 1 could not start, 2 the settings are wrong.
    """
    given = usable(environ)
    try:
        with Signals() as signals:
            settings = Settings.from_env({**placeholders(given), **given})
            data_dir = settings.data_dir.resolve()
            private_dir(data_dir)
            with hold(data_dir, settings.url, signals.pause, say) as held:
                check_port(settings.host, settings.port)
                Supervisor(data_dir, held, signals).run(given, settings)
    except Stopped:
        say("stopped")
        return 0
    except BadSettings as wrong:
        print(wrong, file=sys.stderr)
        return 2
    except (CannotRun, DataDirError, EmbeddedError, OSError) as wrong:
        print(f"ordertrail: {wrong}", file=sys.stderr)
        return 1


class Supervisor:
    """What runs, and what it takes to stop it."""

    def __init__(self, data_dir: Path, held: Hold, signals: Signals) -> None:
        self.data_dir = data_dir
        self.held = held
        self.signals = signals
        self.gate = Gate()
        self.home: Home | None = None
        self.servers: list[Part] = []
        self.commands: list[Part] = []

    def run(self, given: Mapping[str, str], settings: Settings) -> NoReturn:
        """Start everything in order, then tend it.

        Raises: Stopped when a signal asks for the end, after everything has stopped; CannotRun and
            EmbeddedError likewise.
        """
        try:
            say(f"starting, with its data in {self.data_dir}")
            made = keep_secrets(self.data_dir, secrets_to_make(given))
            env = self._environment(given, settings) | made
            urls = self._start_servers(env)
            env |= urls
            tell_run(self.data_dir, what_commands_need(given) | made | urls)
            settings = Settings.from_env(env)
            self._start_commands(env, settings)
            places = {
                "PostgreSQL": urls.get("DATABASE_URL", "yours, at DATABASE_URL"),
                "Valkey": urls.get("REDIS_URL", "yours, at REDIS_URL"),
                "secrets": str(self.data_dir / SECRETS_FILE),
            }
            tell(banner(settings, places, sorted(self.data_dir.glob("*.log"))))
            while True:
                self._tend()
        finally:
            self._stop()

    def _environment(self, given: Mapping[str, str], settings: Settings) -> dict[str, str]:
        """What the commands are given beside the secrets and the addresses of the servers."""
        read = {
            "HOST": settings.host,
            "PORT": str(settings.port),
            "DATA_DIR": str(self.data_dir),
        }
        # gunicorn's settings read no NAME_FILE, and both at once would be a fault.
        rest = {name: it for name, it in given.items() if name.removesuffix("_FILE") not in read}
        return {
            **rest,
            **read,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), given.get("PATH", "")]),
            "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_dir()),
        }

    def _start_servers(self, env: Mapping[str, str]) -> dict[str, str]:
        """Start the embedded servers that are needed; the names and addresses of these."""
        urls = {}
        if is_missing("DATABASE_URL", env):
            postgres = Postgres(self._make_home(), keep=(self.held.parts,))
            self._serve(postgres)
            postgres.create_database(DATABASE)
            urls["DATABASE_URL"] = postgres.url(DATABASE)
        if is_missing("REDIS_URL", env):
            valkey = Valkey(self._make_home(), keep=(self.held.parts,))
            self._serve(valkey)
            urls["REDIS_URL"] = valkey.url()
        return urls

    def _make_home(self) -> Home:
        self.home = self.home or Home.make(self.data_dir, say)
        return self.home

    def _serve(self, server: Server) -> None:
        server.prepare()
        process = server.start()
        part = Part(server.name, server.start, server.stop_signal, process, time.monotonic())
        self.servers.append(part)
        server.wait_ready(process, SERVER_START, self.signals.pause)

    def _metrics_dir(self) -> Path:
        """Where every process counts for /metrics: empty, for old files would be counted again."""
        metrics = self.data_dir / "metrics"
        with suppress(FileNotFoundError):
            shutil.rmtree(metrics)
        metrics.mkdir(mode=0o700)
        return metrics

    def _start(self, argv: list[str], env: dict[str, str], *keep: int) -> subprocess.Popen[bytes]:
        # Where we are killed, gunicorn must be asked, for it ends its workers. The rest is killed
        # outright: it would first finish what it does, with servers that are ending as well.
        asked = "gunicorn" in argv
        return child_process.start(
            argv,
            death_signal=signal.SIGTERM if asked else signal.SIGKILL,
            cwd=str(ROOT),
            env=env,
            keep=(self.held.parts, *keep),
        )

    def _start_commands(self, env: dict[str, str], settings: Settings) -> None:
        """Start the Procfile's commands, web first of all.

        Most of a start is Python importing, so what can wait does: web loads while the release
        migrates, and the rest loads when web is ready. Web answers nobody before the release is
        through: its workers read from the gate, which ends when we close our side.
        """
        argv = procfile(ROOT / "Procfile")
        env_of_web = {**env, "ORDERTRAIL_GATE": str(self.gate.waiting)}
        web = Part("web", partial(self._start, argv["web"], env_of_web, self.gate.waiting))
        self.commands.append(web)
        web.tend(time.monotonic(), say)
        self._release(argv["release"], env)
        self.gate.open()
        self._wait_for("web", settings, lambda told: told is not None)
        for name in ("worker", "clock"):
            self.commands.append(Part(name, partial(self._start, argv[name], env)))
        # For the lines to paste: what they send is to be readable when they ask for it.
        self._wait_for("worker", settings, lambda told: told and told.get("workers"))

    def _release(self, argv: list[str], env: dict[str, str]) -> None:
        process = self._start(argv, env)
        release = Part("release", lambda: process, process=process)
        try:
            while process.poll() is None:
                self.signals.pause(LOOK_EVERY)
        finally:
            end([release], STOP, self.signals.sleep)
        if process.returncode != 0:
            raise CannotRun(f"the release failed, see above: {shlex.join(argv)}")

    def _wait_for(self, what: str, settings: Settings, is_there: Callable[[Any], bool]) -> None:
        """Tend what runs until /readyz says what we wait for."""
        url = settings.url
        slow_at = time.monotonic() + SLOW_START
        while not is_there(_readiness(url)):
            self._tend()
            if time.monotonic() > slow_at:
                say(
                    f"{what} is not there yet; waiting on (look at the log lines, and {url}/readyz)"
                )
                slow_at = float("inf")

    def _tend(self) -> None:
        self.signals.pause(LOOK_EVERY)
        for part in (*self.servers, *self.commands):
            part.tend(time.monotonic(), say)

    def _stop(self) -> None:
        say("stopping")
        self.held.stopping()
        self.gate.open()
        end(self.commands[::-1], STOP, self.signals.sleep)
        end(self.servers[::-1], SERVER_STOP, self.signals.sleep)
        if self.home:
            self.home.close()


def _readiness(url: str) -> Any:
    """What GET /readyz says where it says 200; None where it does not."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        return json.load(answer) if answer.status == http.HTTPStatus.OK else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()
