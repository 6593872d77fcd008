"""What an order costs on the disk, and how fast retention removes each kind of row.

    .venv/bin/python -m tests.bench.retention [--orders N] [--seconds N]

Orders with eight webhooks each are folded as workers do, and the tables are measured, written anew
by VACUUM FULL, at three ages. The pace is that of the job as the clock starts it, a run every few
seconds, with a backlog of 60,000 bodies and 60,000 changes at once, and of orders to archive.
"""

import argparse
import logging
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import structlog
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.engine import create_engine_for, session_factory
from receiver.db.migrate import migrate
from receiver.retention.expired import measure_lag
from receiver.settings import Settings
from tests.bench.drain import of_lives, put_in
from tests.servers import running
from workers.clock import SCHEDULE
from workers.folding.drain import drain_batch
from workers.jobs import RETENTION_SECONDS
from workers.upkeep.retention import Retention

Sessions = sessionmaker[Session]

HOOKS = 8
ROWS = 60_000
INTERVAL = SCHEDULE["workers.jobs.retain"]
# The example shop of deploy/docs/capacity.md, rows a second of each kind.
SHOP = 100_000 / 86_400
RATES = {"bodies": HOOKS * SHOP, "changes": HOOKS * SHOP, "personal_data": SHOP, "orders": SHOP}
BACKLOG = (
    """
    INSERT INTO messages (account, topic, kind, trust, body, body_sha256, received_at,
                          last_seen_at, outcome, processed_at, courier_order_id)
    SELECT 'tiramizoo', 'orders', 'webhook', 'token',
           convert_to((SELECT string_agg(md5((n * k)::text), '') FROM generate_series(1, 70) k),
                      'UTF8'),
           sha256(n::text::bytea), now(), now(), 'applied', now(), 'o-' || n
    FROM generate_series(1, %(rows)s) AS n
    """,
    """
    INSERT INTO changes (order_id, version, status, changed, changed_at)
    SELECT 1000000 + n %% (%(rows)s / 8), n, 'in_transit', '{status,events}', now()
    FROM generate_series(1, %(rows)s) AS n
    """,
    "VACUUM ANALYZE",
)
SIZES = """
    SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables
    WHERE pg_total_relation_size(relid) > 100000 ORDER BY 2 DESC
"""


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def show_sizes(url: str, orders: int, age: str) -> None:
    """Print the bytes of each table for an order."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM FULL ANALYZE")
        sizes = {str(name): int(size) for name, size in connection.execute(SIZES)}
    tables = ", ".join(f"{name} {size / orders:,.0f}" for name, size in sizes.items())
    say(f"{age}: {sum(sizes.values()) / orders:,.0f} bytes an order ({tables})")


def show_pace(sessions: Sessions, settings: Settings, now: datetime, seconds: int) -> None:
    """Run retention as the clock does for so long; print the rows of each kind a second."""
    removed: Counter[str] = Counter()
    began = time.monotonic()
    used = 0.0
    for run in range(max(1, seconds // INTERVAL)):
        time.sleep(max(0.0, began + run * INTERVAL - time.monotonic()))
        started = time.monotonic()
        removed += Retention(settings).drop_due(sessions, now, RETENTION_SECONDS)
        used += time.monotonic() - started
    took = max(time.monotonic() - began, seconds)
    for kind, count in sorted(removed.items()):
        rate = count / took
        beside = (
            f"{rate / RATES[kind]:,.0f} times the shop's {RATES[kind]:.1f}" if kind in RATES else ""
        )
        say(f"  {kind}: {count:,} rows, {rate:,.0f} a second {beside}")
    say(f"  in {took:.0f} s, of which a worker was busy {used:.1f} s")


def put_backlog(url: str, rows: int) -> None:
    """Put in so many messages, with bodies as large as couriers', and changes that are replaced."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in BACKLOG:
            connection.execute(statement, {"rows": rows})


def show_lag(sessions: Sessions, settings: Settings, now: datetime) -> None:
    """Print how long it takes to find out how far retention is behind."""
    times = []
    lags: dict[str, timedelta] = {}
    for _ in range(20):
        with sessions() as session:
            started = time.perf_counter()
            lags = measure_lag(session, settings, now)
            times.append(time.perf_counter() - started)
    behind = ", ".join(f"{kind} {lag.days} days" for kind, lag in lags.items() if lag)
    say(f"  behind: {behind}; found in {statistics.median(times) * 1000:.1f} ms")


def finish(sessions: Sessions, settings: Settings, now: datetime) -> None:
    """Remove all that is left."""
    while Retention(settings).drop_due(sessions, now, 60):
        pass


def measure(directory: Path, orders: int, seconds: int) -> None:
    """Fold the orders, and go through the ages."""
    with running(directory, {}) as servers:
        servers.postgres.create_database("retention")
        url = servers.postgres.url("retention")
        migrate(url)
        environ = {"API_TOKENS": "bench-token-of-the-shop", "COURIER_TIRAMIZOO_SECRETS": "x"}
        settings = Settings.from_env(
            {**environ, "DATABASE_URL": url, "REDIS_URL": servers.valkey.url(0)}
        )
        engine = create_engine_for(url)
        sessions = session_factory(engine)
        now = datetime.now(UTC)
        put_in(url, of_lives("r", orders * HOOKS))
        while drain_batch(sessions, settings, now):
            pass
        show_sizes(url, orders, "new")

        later = now + timedelta(days=91)
        finish(sessions, settings, later)
        show_sizes(url, orders, "after 90 days")

        later = now + timedelta(days=366)
        archive = directory / "archive"
        archive.mkdir()
        limits = replace(settings, order_retention_days=365, archive_dir=archive)
        say(f"backlog of {orders:,} orders to archive and remove:")
        show_lag(sessions, limits, later)
        show_pace(sessions, limits, later, seconds)
        finish(sessions, limits, later)
        written = b"".join(file.read_bytes() for file in archive.iterdir())
        lines = len(written.splitlines())
        say(f"archive: {lines:,} lines, {len(written) / orders:,.0f} bytes an order")
        show_sizes(url, orders, "after 365 days")

        put_backlog(url, ROWS)
        say(f"backlog of {ROWS:,} bodies and as many changes:")
        show_lag(sessions, limits, later)
        show_pace(sessions, limits, later, seconds)
        engine.dispose()


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=2_000)
    parser.add_argument("--seconds", type=int, default=30, help="of each pace")
    given = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    directory = Path(tempfile.mkdtemp(prefix="ot-retention-")).resolve()
    try:
        measure(directory, given.orders, given.seconds)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
