"""Memory: what web and worker hold after many messages, beside what they held after a tenth."""

import string

import psycopg

from tests.bench.drain import waiting
from tests.bench.load import load
from tests.bench.samples import hook
from tests.bench.stage import Kept, Stage, accepting, say
from tests.bench.table import Figure, Goal, megabytes
from tests.service import wait_until

LOADS = string.ascii_letters + string.digits
MOST = Goal(most=110, unit=" MB")
FLAT = Goal(most=1.1)


TABLES = """
    SELECT relname, n_live_tup, n_dead_tup, autovacuum_count,
           n_tup_hot_upd, n_tup_upd, pg_size_pretty(pg_total_relation_size(relid))
    FROM pg_stat_user_tables WHERE relname IN ('messages', 'orders', 'events', 'accounts')
    ORDER BY relname
"""


def say_of_tables(connection: "psycopg.Connection[tuple[object, ...]]") -> None:
    """How well the tables were vacuumed under the load."""
    for name, live, dead, vacuumed, hot, updated, size in connection.execute(TABLES):
        say(
            f"{name}: {live:,} rows, {dead:,} dead, vacuumed {vacuumed} times, {size};"
            f" {hot:,} of {updated:,} updates touched no index (HOT)"
        )


def memory(stage: Stage, messages: int) -> list[Figure]:
    """Hooks as fast as they are taken, with a worker beside, until there were so many."""
    environ = stage.tables("memory")
    web = stage.web(environ)
    kept = Kept(environ["DATABASE_URL"], hook())
    answered, early = 0, (0.0, 0.0)
    # A tenth of a million takes no less, and there are only so many letters.
    seconds = 2 if messages <= 200_000 else 25
    with (
        stage.worker(environ) as worker,
        psycopg.connect(environ["DATABASE_URL"], autocommit=True) as connection,
    ):
        for run in LOADS:
            loaded = load(accepting(web.port, kept.body), seconds, run)
            answered += loaded.answered
            # The worker has its share of the machine, not what the web leaves of it.
            wait_until(lambda: not waiting(connection), 600)
            if not early[0] and answered >= messages / 10:
                early = (web.megabytes(), worker.megabytes())
            if answered >= messages:
                break
        late = (web.megabytes(), worker.megabytes())
        say_of_tables(connection)
    say(f"memory: {answered:,} messages answered and folded")
    figures = []
    for name, before, after in zip(("a web worker", "an RQ worker"), early, late, strict=True):
        ratio = after / before
        what = f"memory of {name} after {answered:,} messages"
        figures += [
            Figure(
                what, "its bound", megabytes(after), "", after / 120, str(MOST), MOST.met_by(after)
            ),
            Figure(
                what,
                "itself after a tenth",
                megabytes(after),
                megabytes(before),
                ratio,
                str(FLAT),
                FLAT.met_by(ratio),
            ),
        ]
    return figures
