"""Drain: the worker beside RQ's SimpleWorker with an empty job per message, and beside itself."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime

import psutil
import psycopg
from redis import Redis

from receiver.queue.doorbell import DRAIN_JOB, ring_doorbell
from receiver.queue.job_queue import mark_job_started
from tests.bench.load import ids
from tests.bench.rounds import Rounds
from tests.bench.samples import filled, hook, snapshots
from tests.bench.stage import Stage
from tests.bench.table import Figure, Goal, absolute, compare
from tests.service import ROOT, wait_until

MESSAGES = 8_000
JOBS = 1_000
PATIENCE = 120.0

KEEP = """
    COPY messages (account, topic, kind, trust, body, body_sha256, received_at, last_seen_at)
    FROM STDIN
"""


def drain(stage: Stage, rounds: Rounds) -> list[Figure]:
    """One worker with two kinds of inbox, two workers, and the peer, in turn."""
    environ = stage.tables("drain")
    one: list[float] = []
    two: list[float] = []
    lives: list[float] = []
    peer: list[float] = []
    busy: list[float] = []
    messages, jobs = rounds.of(MESSAGES), rounds.of(JOBS)
    # A round of its own before the first that counts: caches, and PostgreSQL's statistics.
    for number in (-1, *rounds.each("drain")):
        run = f"{number + 1:x}"
        distinct = of_orders(f"d{run}", messages)
        drained = [
            emptied(stage, environ, distinct, 1),
            emptied(stage, environ, of_lives(f"l{run}", messages), 1),
            emptied(stage, environ, of_orders(f"e{run}", messages), 2),
        ]
        rates = [*(rate for rate, _ in drained), simple_worker(environ, jobs)]
        if number >= 0:
            busy.append(drained[-1][1])
            for series, rate in zip((one, lives, two, peer), rates, strict=True):
                series.append(rate)
    against = "SimpleWorker, an empty job per message"
    return [
        compare("drain, one worker, distinct orders", against, one, peer, Goal(least=11)),
        compare("drain, one worker, 8 snapshots an order", against, lives, peer, Goal(least=8)),
        compare("drain, two workers", "one worker", two, one, Goal(least=1.8)),
        # Where all processors are busy, two workers cannot be twice as fast as one.
        absolute(
            "drain, two workers, processors busy", "all", busy, Goal(least=95, unit=" %"), percent
        ),
    ]


def percent(value: float) -> str:
    return f"{value:.0f} %"


def of_orders(run: str, count: int) -> Iterator[bytes]:
    """A message of an order of its own each."""
    body = hook()
    return (filled(body, order_id) for order_id in ids(run, 1, count))


def of_lives(run: str, count: int) -> Iterator[bytes]:
    """Eight messages an order; all orders' first, then all their second, as they come by day."""
    bodies = snapshots()
    orders = list(ids(run, 1, max(1, count // len(bodies))))
    return (filled(body, order_id) for body in bodies for order_id in orders)


def put_in(database_url: str, bodies: Iterator[bytes]) -> int:
    """Put messages in the inbox, as accept would have; how many."""
    count = 0
    now = datetime.now(UTC)
    with psycopg.connect(database_url) as connection, connection.cursor().copy(KEEP) as copy:
        for body in bodies:
            count += 1
            hashed = hashlib.sha256(body).digest()
            copy.write_row(("tiramizoo", "orders", "webhook", "token", body, hashed, now, now))
    with psycopg.connect(database_url, autocommit=True) as connection:
        # As autovacuum does by and by.
        connection.execute("ANALYZE messages")
    return count


def emptied(
    stage: Stage, environ: Mapping[str, str], bodies: Iterator[bytes], workers: int
) -> tuple[float, float]:
    """Messages a second of so many workers, from the ring until nothing waits.

    And how busy the processors of the machine were meanwhile, in percent.
    """
    redis = Redis.from_url(environ["REDIS_URL"])
    with ExitStack() as stack:
        for _ in range(workers):
            stack.enter_context(stage.worker(environ))
        wait_until(lambda: redis.scard("rq:workers") == workers)
        count = put_in(environ["DATABASE_URL"], bodies)
        with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection:
            started = time.perf_counter()
            psutil.cpu_percent()
            for _ in range(workers):
                mark_job_started(redis, DRAIN_JOB)
                ring_doorbell(redis)
            wait_until(lambda: not waiting(connection), PATIENCE)
            seconds = time.perf_counter() - started
            busy = psutil.cpu_percent()
            check(connection)
    redis.close()
    return count / seconds, busy


def waiting(connection: "psycopg.Connection[tuple[bool]]") -> bool:
    """Whether any message waits; one look into a small index."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM messages WHERE outcome = 'pending' AND retried_at IS NULL)"
    ).fetchone()
    return bool(row and row[0])


def check(connection: "psycopg.Connection[tuple[int]]") -> None:
    """Everything was folded, nothing was turned away."""
    row = connection.execute("SELECT count(*) FROM messages WHERE outcome <> 'applied'").fetchone()
    if row and row[0]:
        raise SystemExit(f"{row[0]} messages were not folded: see worker.log")


def simple_worker(environ: Mapping[str, str], jobs: int) -> float:
    """Jobs a second of RQ's worker."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.peers.simple_worker", str(jobs)],
        cwd=ROOT,
        env=dict(environ),
        capture_output=True,
        text=True,
        check=True,
    )
    return jobs / float(done.stdout.split()[-1])
