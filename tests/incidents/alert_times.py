"""500,000 pending messages beside a million orders: what do alerts, metrics and readiness cost?

    .venv/bin/python -m tests.incidents.alert_times [--orders N] [--pending N] [--rounds N]

Each condition, each part of the metrics, and /readyz, /metrics and /v1/alerts as wholes are timed
on one database: before messages wait, while they wait, and again once PostgreSQL's statistics know
of them, which changes its plans. Beside the time stands the CPU time of PostgreSQL and of ours,
which says the same on a busy machine. All rows are made by SQL. One million orders take some
minutes and about 6 GB in the directory for temporary files.
"""

import argparse
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text

from receiver.alerts import CATALOGUE, AlertContext, AlertReader, SystemState
from receiver.alerts.backlog import BacklogMeter
from receiver.app import create_app
from receiver.inbox.storage_check import OK
from receiver.settings import Settings
from receiver.web.context import AppContext
from receiver.web.metric_families import PARTS
from tests.bench import growth
from tests.bench.growth import say
from tests.conftest import API_TOKEN, ENVIRON
from tests.faults.stand import DATABASE
from tests.incidents.postgresql import FILL_INBOX
from tests.servers import running as running_servers

# They came some minutes ago, and others are processed all the while.
FILL = FILL_INBOX.replace("now(), now()", "now() - interval '10 minutes', now()")
FOLDING = """
    INSERT INTO accounts (account, folded_at) VALUES ('cottoncast', now())
    ON CONFLICT (account) DO UPDATE SET folded_at = excluded.folded_at
"""
MOST_MS = 50.0
WARM_UP = 3
# Each a web process' own: a result is shown for some seconds, so these are asked more slowly.
PATHS = ("/readyz", "/metrics", "/v1/alerts")
PATH_ROUNDS, PATH_EVERY = 5, 5.5

# Milliseconds: of time, and of CPU time.
Times = dict[str, list[tuple[float, float]]]


class Side:
    """A database, and an application on it."""

    def __init__(self, app: Flask, database: "psycopg.Connection[Any]") -> None:
        self.database = database
        self.here: AppContext = app.extensions["ordertrail"]
        self.client: FlaskClient = app.test_client()
        self.client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
        self.meter = BacklogMeter()

    def measure(self, rounds: int) -> Times:
        """Measure each condition and each part of the metrics, and whole answers."""
        times: Times = {}
        for number in range(WARM_UP + rounds):
            for name, took in self._measure_once():
                if number >= WARM_UP:
                    times.setdefault(name, []).append(took)
        for number in range(1 + PATH_ROUNDS):
            for path in PATHS:
                began = time.perf_counter()
                self._get(path)
                if number:
                    seconds = time.perf_counter() - began
                    times.setdefault(path, []).append((1000 * seconds, math.nan))
            time.sleep(PATH_EVERY)
        return times

    def _measure_once(self) -> Iterator[tuple[str, tuple[float, float]]]:
        self.database.execute(FOLDING)
        now = datetime.now(UTC)
        system = replace(SystemState.read(self.here.settings, self.here.redis, now), database=OK)
        # As where everything runs: a condition that does not hold looks at all that it has to.
        system = replace(system, workers=2, clock_since=now)
        parts: dict[str, Callable[[AlertContext], Iterable[object]]] = {
            **{condition.name: condition.find for condition in CATALOGUE.values()},
            **{f"metrics: {name}": part for name, part in PARTS.items()},
        }
        for name, find in parts.items():
            with self.here.sessions() as session:
                context = AlertContext(session, self.here.settings, now, system, self.meter)
                backend = session.scalar(text("SELECT pg_backend_pid()"))
                began, cpu_began = time.perf_counter(), _cpu_seconds(backend)
                list(find(context))
                seconds, cpu = time.perf_counter() - began, _cpu_seconds(backend) - cpu_began
            yield name, (1000 * seconds, 1000 * cpu)

    def _get(self, path: str) -> None:
        answer = self.client.get(path)
        if answer.status_code != 200:
            raise SystemExit(f"{path}: {answer.status_code} {answer.get_data(as_text=True)}")

    def open_alerts(self) -> list[str]:
        """The conditions that hold, and those that could not be computed, with the reason."""
        self.database.execute(FOLDING)
        here = self.here
        reader = AlertReader(here.settings, here.sessions, here.redis, here.inbox.storage)
        found = reader.read(datetime.now(UTC), settle=True)
        failed = [f"{name} cannot be computed ({why})" for name, why in found.unknown.items()]
        return sorted({alert.condition for alert in found.alerts}) + failed


def _cpu_seconds(backend: int) -> float:
    """CPU time of a process of PostgreSQL and of this thread; NaN where the system does not say."""
    try:
        nanoseconds = int(Path(f"/proc/{backend}/schedstat").read_text().split()[0])
    except OSError:
        return math.nan
    return nanoseconds / 1e9 + time.thread_time()


def main() -> int:
    """Print the tables; returns 1 where the median of a condition or a part is over the limit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=int(os.environ.get("ORDERS", "1000000")))
    parser.add_argument("--pending", type=int, default=500_000)
    parser.add_argument("--rounds", type=int, default=20)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ot-alert-times-")).resolve()
    directory.chmod(0o711)
    try:
        with ExitStack() as stack:
            slow = _measure_all(stack, directory, given)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    say(f"\nover {MOST_MS:g} ms: {', '.join(slow) or 'none'}")
    return int(bool(slow))


def _measure_all(stack: ExitStack, directory: Path, given: argparse.Namespace) -> list[str]:
    servers = stack.enter_context(running_servers(directory))
    servers.postgres.create_database(DATABASE)
    url = servers.postgres.url(DATABASE)
    began = time.monotonic()
    growth.fill(url, given.orders)
    say(f"{given.orders:,} orders in {time.monotonic() - began:.0f} s")
    environ = {**ENVIRON, "DATABASE_URL": url, "REDIS_URL": servers.valkey.url()}
    app = create_app(Settings.from_env(environ))
    stack.callback(app.extensions["ordertrail"].engine.dispose)
    stack.callback(app.extensions["ordertrail"].redis.close)
    database = stack.enter_context(psycopg.connect(url, autocommit=True))
    side = Side(app, database)
    found: dict[str, Times] = {"before": side.measure(given.rounds)}
    _say("before", side)
    database.execute(FILL.encode(), [given.pending])
    found["pending"] = side.measure(given.rounds)
    _say(f"{given.pending:,} pending", side)
    database.execute("VACUUM ANALYZE")
    found["analyzed"] = side.measure(given.rounds)
    _say("analyzed", side)
    names = list(found)
    heads = " | ".join(f"{name}: median | most | CPU" for name in names)
    say(f"\n| milliseconds | {heads} |\n{'|---' * (1 + 3 * len(names))}|")
    for name in found["before"]:
        cells = [f"{value:.1f}" for times in found.values() for value in _summary(times[name])]
        say(f"| {name} | {' | '.join(cells)} |")
    return [
        f"{name} ({moment})"
        for moment, times in found.items()
        for name, values in times.items()
        if name not in PATHS and _summary(values)[0] > MOST_MS
    ]


def _summary(values: list[tuple[float, float]]) -> tuple[float, float, float]:
    """The median, the maximum, and the median of the CPU time."""
    times, cpu = zip(*values, strict=True)
    return statistics.median(times), max(times), statistics.median(cpu)


def _say(moment: str, side: Side) -> None:
    alerts = ", ".join(side.open_alerts()) or "none"
    say(f"{moment}: alerts open: {alerts}; load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
