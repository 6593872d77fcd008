"""What an incident happens to: a whole service with its own servers, a courier that posts all the
while, a monitor that alerts are pushed to, and Prometheus where it is installed.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from receiver.standalone.embedded import Postgres, Valkey
from receiver.standalone.home import Home
from tests import service
from tests.command import process
from tests.conftest import API_TOKEN, ENVIRON
from tests.faults.ledger import Ledger
from tests.faults.poster import Poster
from tests.faults.stand import POSTGRES, START_SECONDS, Stand, standing_as
from tests.faults.verdict import find_lost
from tests.incidents.listener import Listener, alert_key
from tests.service import ROOT, Answer, Web, free_port, wait_until

COMMAND_SECONDS = 90
STARTING = threading.Lock()
RULES = ROOT / "deploy" / "prometheus" / "rules.yml"
# As deploy/prometheus/prometheus.yml has it, but for the addresses.
PROMETHEUS = """
global:
  scrape_interval: 15s
  evaluation_interval: 15s
  external_labels: {{console: https://ordertrail.example/ops}}
rule_files: [{rules}]
scrape_configs:
  - job_name: ordertrail
    authorization: {{credentials: {token}}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Stage(Stand):
    """A stand with somebody who posts, and everybody who watches.

    prometheus: the port of the Prometheus that scrapes web; None where it is not installed.
    """

    # Set for the data directory of the PostgreSQL whose flushes are to be slow.
    slow_library: Path | None = None

    def __init__(
        self, directory: Path, data_dir: Path, environ: Mapping[str, str], rate: float
    ) -> None:
        super().__init__(directory, data_dir)
        self.listener = Listener()
        self.environ |= {
            **self.listener.environ,
            "DATA_DIR": str(data_dir),
            "PUBLIC_URL": f"http://127.0.0.1:{self.port}",
            **environ,
        }
        self.ledger = Ledger(directory / "ledger.jsonl")
        self.poster = Poster(self.connect, self.ledger, rate, readers=0)
        self.prometheus: int | None = None
        self.web = Web(self.port, directory / "web.log")

    def make_postgres(self, home: Home) -> Postgres:
        return SlowPostgres(home, POSTGRES)

    def make_valkey(self, home: Home) -> Valkey:
        """Not on PostgreSQL's disk, which may be full."""
        return Valkey(Home.make(self.logs / "redis"))

    def stop(self) -> None:
        self.poster.give_up()
        self.ledger.close()
        super().stop()
        self.listener.close()

    # What incidents are made of

    def sql(self, statement: str, parameters: Sequence[Any] | None = None) -> list[Any]:
        """Run a statement on a way to PostgreSQL that no fault lies on; its rows, if it has any."""
        with self.database() as database:
            cursor = database.execute(statement.encode(), parameters)
            return [] if cursor.description is None else cursor.fetchall()

    def post(self, path: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return self.web.post(path, body, headers)

    def command(self, *arguments: str, **changed: str) -> tuple[int, str]:
        """Run `ordertrail`: its exit code and what it printed. changed: further environment."""
        running = process({**self.environ, **changed}, *arguments)
        try:
            out, err = running.communicate(timeout=COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            running.kill()
            running.communicate()
            return -1, f"no end after {COMMAND_SECONDS} seconds"
        return running.returncode, out + err

    def restart(self, *names: str) -> None:
        """Stop parts by SIGTERM; they are started again at once, with what `environ` is now."""
        for name in names:
            before = self.pid(name)
            os.kill(before, signal.SIGTERM)
            wait_until(lambda before=before: not psutil.pid_exists(before), START_SECONDS)  # type: ignore[misc]

    def log(self, part: str) -> str:
        return (self.logs / f"{part}.log").read_text(errors="replace")

    def alerts(self) -> dict[str, dict[str, Any]]:
        """The open alerts, by condition and account. Raises: OSError, HTTPException, ValueError."""
        status, answer = self.get("/v1/alerts")
        if status != 200:
            raise ValueError(f"/v1/alerts answered {status}")
        return {
            alert_key(alert["condition"], alert["account"]): alert for alert in answer["alerts"]
        }

    def metric(self, name: str) -> float | None:
        """The sum of a metric's samples; None where there is none."""
        answer = self.web.get("/metrics", {"Authorization": f"Bearer {API_TOKEN}"})
        lines = answer.data.decode().splitlines()
        found = [float(line.rpartition(" ")[2]) for line in lines if _is_sample(line, name)]
        return sum(found) if found else None

    def lost(self) -> int:
        """How many bodies were answered 200 and are not in the inbox."""
        return len(find_lost(self, self.poster, self.ledger))

    @contextmanager
    def scraped(self) -> Iterator[None]:
        """Prometheus with the deployed rules scrapes web meanwhile, where it is installed."""
        program = shutil.which("prometheus")
        if program is None:
            yield
            return
        port = free_port()
        config = self.logs / "prometheus.yml"
        token = ENVIRON["METRICS_TOKEN"]
        config.write_text(PROMETHEUS.format(rules=RULES, token=token, port=self.port))
        command = (
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={self.logs / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{port}",
        )
        with service.running(command, {}, self.logs / "prometheus.log"):
            self.prometheus = port
            try:
                yield
            finally:
                self.prometheus = None


class SlowPostgres(Postgres):
    """A PostgreSQL whose flushes wait for as long as a file says (tests/incidents/interpose.c)."""

    def command(self) -> list[str]:
        library = Stage.slow_library
        if library is None:
            return super().command()
        delay = self.data.parent / "flush-delay"
        preload = [f"LD_PRELOAD={library}", f"FLUSH_DELAY_FILE={delay}"]
        return ["/usr/bin/env", *preload, *super().command()]


def _is_sample(line: str, name: str) -> bool:
    return line.startswith((f"{name} ", f"{name}{{"))


@contextmanager
def staged(
    environ: Mapping[str, str], rate: float, disk_megabytes: int | None = None
) -> Iterator[Stage]:
    """A stage that runs, with no alert open. rate: how many webhooks are posted a second.

    Raises: OSError where a small disk is asked for and cannot be had.
    """
    logs = Path(tempfile.mkdtemp(prefix="ot-incident-")).resolve()
    logs.chmod(0o711)
    with ExitStack() as stack:
        # Alembic migrates one database of a process at a time.
        with STARTING:
            make = partial(Stage, environ=environ, rate=rate)
            stage = stack.enter_context(standing_as(make, logs, disk_megabytes))
        stack.enter_context(stage.scraped())
        wait_until(lambda: not _open(stage), START_SECONDS)
        yield stage


def _open(stage: Stage) -> set[str]:
    # A small disk is low from the start.
    return set(stage.alerts()) - {"disk_low"}


def sleep_until(look: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true within so many seconds."""
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at:
        if look():
            return True
        time.sleep(0.2)
    return look()
