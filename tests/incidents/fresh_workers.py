"""Many fresh workers at once on a slow PostgreSQL: is any healthy message quarantined?

    .venv/bin/python -m tests.incidents.fresh_workers [--help]

A process that has just started marks the messages that it reads, in case one of them kills it. In
each run so many worker processes start, and drain the same inbox through a proxy that delays each
statement; none of them dies. Ten minutes on two cores, and 100 MB of memory for each worker.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from signal import SIGTERM
from typing import Any

import psutil
import psycopg

from receiver.db.migrate import migrate
from receiver.queue.doorbell import ring_doorbell
from receiver.queue.liveness import count_live_workers
from receiver.queue.redis_client import connect_redis
from tests.bench.growth import say
from tests.conftest import ENVIRON
from tests.faults.proxy import Proxy
from tests.faults.stand import DATABASE
from tests.servers import running as running_servers
from tests.service import WORKER, running, wait_until

START_SECONDS, DRAIN_SECONDS = 600.0, 600.0
RING_EVERY = 0.1

# Five messages for each order, so that workers also meet at the orders.
FILL = """
    INSERT INTO messages (account, topic, kind, trust, body, body_sha256, received_at, last_seen_at)
    SELECT 'cottoncast', 'orders', 'webhook', 'signed', body, sha256(body), now(), now()
    FROM (SELECT convert_to(json_build_object(
              'orderID', %s || '-' || n / 5, 'ref', n, 'shipments', '[]'::json,
              'status', json_build_object('code', (ARRAY['N', 'L', 'R', 'C', 'E'])[1 + n %% 5],
                                          'timestamp', 1776000000 + n))::text, 'UTF8')
          FROM generate_series(0, %s - 1) n) AS bodies (body)
"""
OUTCOMES = "SELECT outcome, count(*) FROM messages WHERE id > %s GROUP BY outcome"
REASONS = "SELECT DISTINCT reason FROM messages WHERE id > %s AND outcome = 'quarantined'"
SUSPECTS = "SELECT count(*) FROM messages WHERE tries > 0"


class Stage:
    """Servers, of which PostgreSQL is reached through a proxy, and the logs of the workers."""

    def __init__(self, stack: ExitStack, directory: Path, seconds: float) -> None:
        servers = stack.enter_context(running_servers(directory / "data"))
        servers.postgres.create_database(DATABASE)
        migrate(servers.postgres.url(DATABASE))
        self.directory = directory
        self.proxy = Proxy(servers.postgres.home.sockets / ".s.PGSQL.5432")
        stack.callback(self.proxy.close)
        self.proxy.slow(seconds, back=False)
        url = servers.postgres.url(DATABASE)
        self.database = stack.enter_context(psycopg.connect(url, autocommit=True))
        self.redis = connect_redis(servers.valkey.url())
        stack.callback(self.redis.close)
        self.environ = {
            **ENVIRON,
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{self.proxy.port}/{DATABASE}",
            "REDIS_URL": servers.valkey.url(),
        }

    def rows(self, statement: str, *parameters: Any) -> list[Any]:
        return self.database.execute(statement.encode(), parameters).fetchall()

    def run(self, number: int, workers: int, messages: int) -> dict[str, Any]:
        """Start workers, drain messages with them, and stop them; return what came of it."""
        (first_id,) = self.rows("SELECT coalesce(max(id), 0) FROM messages")[0]
        logs = [self.directory / f"worker-{number}-{worker}.log" for worker in range(workers)]
        self.redis.flushdb()
        with ExitStack() as stack:
            processes = [
                stack.enter_context(running(WORKER, self.environ, log)).pid for log in logs
            ]
            wait_until(lambda: count_live_workers(self.redis) >= workers, START_SECONDS)
            self.database.execute(FILL.encode(), [f"R{number}", messages])
            began = time.monotonic()
            while dict(self.rows(OUTCOMES, first_id)).get("pending"):
                if time.monotonic() - began > DRAIN_SECONDS:
                    break
                ring_doorbell(self.redis)
                time.sleep(RING_EVERY)
            seconds = time.monotonic() - began
            alive = [pid for pid in processes if psutil.pid_exists(pid)]
            memory = sum(psutil.Process(pid).memory_info().rss for pid in alive)
            for pid in alive:
                os.kill(pid, SIGTERM)
        return {
            **dict(self.rows(OUTCOMES, first_id)),
            "reasons": [reason for (reason,) in self.rows(REASONS, first_id)],
            "suspects": self.rows(SUSPECTS)[0][0],
            "seconds": seconds,
            "took_part": sum(_count(log, "batch_folded") > 0 for log in logs),
            "died": workers - len(alive),
            "megabytes": memory / 2**20,
        }


def _count(log: Path, event: str) -> int:
    """How many lines of a log are this event."""
    lines = (json.loads(line) for line in log.read_text().splitlines() if line.startswith("{"))
    return sum(line.get("event") == event for line in lines)


def main() -> int:
    """Returns the exit code: 0 where every message of every run was applied."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--messages", type=int, default=2_000)
    parser.add_argument("--ms", type=float, default=30, help="what each statement takes longer")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ot-fresh-")).resolve()
    directory.chmod(0o711)
    quarantined = missing = 0
    try:
        with ExitStack() as stack:
            stage = Stage(stack, directory, given.ms / 1000)
            for number in range(1, given.runs + 1):
                found = stage.run(number, given.workers, given.messages)
                quarantined += found.get("quarantined", 0)
                missing += given.messages - found.get("applied", 0)
                say(
                    f"run {number}: {found.get('applied', 0)} applied,"
                    f" {found.get('quarantined', 0)} quarantined, {found.get('pending', 0)} pending"
                    f" after {found['seconds']:.1f} s; {found['took_part']} of {given.workers}"
                    f" workers took part, {found['died']} died; {found['suspects']} marks left;"
                    f" {found['megabytes']:.0f} MB; load {os.getloadavg()[0]:.1f}"
                )
                for reason in found["reasons"]:
                    say(f"  quarantined: {reason}")
    finally:
        if not quarantined:
            shutil.rmtree(directory, ignore_errors=True)
    say(f"{given.runs} runs: {quarantined} quarantined, {missing} not applied")
    if quarantined:
        say(f"logs: {directory}")
    return int(bool(quarantined or missing))


if __name__ == "__main__":
    sys.exit(main())
