"""Growth: the same work with ten thousand messages in the inbox, and with many more.

Databases of each size stand side by side, filled by SQL as couriers and workers would have left
them: five messages an order, half of the open orders due to be asked about. Each piece of work is
done on all of them in turn, through the service's own functions but for the socket.
"""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from flask.testing import FlaskClient
from sqlalchemy.orm import Session, sessionmaker

from receiver.app import create_app
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.settings import Settings
from tests.bench import growth
from tests.bench.load import PLACE
from tests.bench.rounds import Rounds
from tests.bench.samples import filled, hook
from tests.bench.stage import TOKEN, Stage, say
from tests.bench.table import Figure, Goal, milliseconds
from workers.folding.drain import drain_batch
from workers.polling.leases import lease_orders, release_leases

MESSAGES_AN_ORDER = 5
BATCH = 32
FOLDED = 200
MOST = Goal(most=1.3)
WARM_UP = 10

# Beside the one that each order has: its earlier hooks, of the sample's size.
MESSAGES = """
    INSERT INTO messages (account, topic, kind, trust, body, body_sha256, received_at,
                          last_seen_at, outcome, processed_at, courier_order_id)
    SELECT account, 'orders', 'webhook', 'token',
           convert_to(replace(%(body)s, %(place)s, lpad(n::text, 12, '0')), 'UTF8'),
           sha256(('hook ' || n)::bytea), created_at, created_at, 'applied', created_at,
           courier_order_id
    FROM orders, generate_series(id * 10, id * 10 + %(more)s - 1) n ORDER BY n
"""
DUE = """
    UPDATE polls SET finished_at = NULL, due_at = placed_at + interval '100 days'
                                                  - (order_id %% 2) * interval '200 days'
    FROM orders WHERE orders.id = order_id AND status = 'in_transit'
"""


# What an order is found by, not what is only written or read as a whole.
READ = """
    SELECT current_setting('data_directory') || '/' || pg_relation_filepath(oid) FROM pg_class
    WHERE relkind IN ('r', 'i') AND relnamespace = 'public'::regnamespace
          AND relname NOT IN ('messages', 'events')
"""


@dataclass
class Side:
    """A database of so many messages, and an application on it."""

    messages: int
    client: FlaskClient
    sessions: sessionmaker[Session]
    settings: Settings
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    given: int = 0

    def new(self) -> IncomingMessage:
        """A hook of an order that was never heard of."""
        self.given += 1
        body = filled(hook(), f"g{self.given:011}")
        return IncomingMessage("tiramizoo", "orders", "webhook", "token", body, datetime.now(UTC))

    def some(self) -> int:
        """The number of any order."""
        return self.chance.randrange(1, self.messages // MESSAGES_AN_ORDER + 1)


Work = Callable[[Side], float]


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return (time.perf_counter() - started) * 1000


def accept(side: Side) -> float:
    batch = [side.new() for _ in range(BATCH)]

    def act() -> None:
        with side.sessions.begin() as session:
            store_messages(session, batch)

    took = timed(act)
    # Folded outside the measurement: what waits is measured by `drain`.
    while drain_batch(side.sessions, side.settings, datetime.now(UTC)):
        pass
    return took


def drain(side: Side) -> float:
    with side.sessions.begin() as session:
        store_messages(session, [side.new() for _ in range(FOLDED)])
    return timed(lambda: drain_batch(side.sessions, side.settings, datetime.now(UTC)))


def get(side: Side) -> float:
    reference = f"/v1/orders?reference=S-{side.some()}"
    order = side.client.get(reference).get_json()["orders"][0]
    path = f"/v1/orders/{order['account']}/{order['courier_order_id']}"
    return timed(lambda: side.client.get(path))


def by_reference(side: Side) -> float:
    return timed(lambda: side.client.get(f"/v1/orders?reference=S-{side.some()}"))


def poll_claim(side: Side) -> float:
    with side.sessions() as session:
        now = datetime.now(UTC)
        claims = []
        took = timed(lambda: claims.extend(lease_orders(session, "tiramizoo", now, 50)))
        release_leases(session, claims)
        session.rollback()
    return took


WORK: dict[str, Work] = {
    f"accept {BATCH} at once": accept,
    f"drain {FOLDED}": drain,
    "get one order": get,
    "orders by reference": by_reference,
    "poll claim of 50": poll_claim,
}


def inbox_growth(stage: Stage, rounds: Rounds, sizes: list[int]) -> list[Figure]:
    """The medians of each work at each size, beside those at the smallest."""
    with _sides(stage, sizes) as sides:
        for side in sides:
            warm(side.settings.database_url)
        times: dict[tuple[str, int], list[float]] = {}
        count = max(20, rounds.count * 8)
        for turn in range(WARM_UP + count):
            for name, work in WORK.items():
                for side in sides if turn % 2 else reversed(sides):
                    took = work(side)
                    if turn >= WARM_UP:
                        times.setdefault((name, side.messages), []).append(took)
    say(f"growth: medians of {count} rounds")
    small = min(sizes)
    figures = []
    for name in WORK:
        before = statistics.median(times[name, small])
        for size in sorted(set(sizes) - {small}):
            after = statistics.median(times[name, size])
            ratio = after / before
            figures.append(
                Figure(
                    f"{name}, {size:,} messages",
                    f"itself at {small:,}",
                    milliseconds(after),
                    milliseconds(before),
                    ratio,
                    str(MOST),
                    MOST.met_by(ratio),
                )
            )
    return figures


def warm(database_url: str) -> None:
    """Have in the system's memory what orders are found by, as it is in a service that runs.

    Filling the next database drives it out, and a page that comes from the disk instead is not more
    work of ours.
    """
    with psycopg.connect(database_url) as connection:
        paths = [Path(path) for (path,) in connection.execute(READ)]
    for path in paths:
        # A large one goes on in .1, .2, ...
        for part in (path, *path.parent.glob(f"{path.name}.[0-9]*")):
            with part.open("rb") as opened:
                while opened.read(1024 * 1024):
                    pass


@contextmanager
def _sides(stage: Stage, sizes: list[int]) -> Iterator[list[Side]]:
    sides = []
    for size in sizes:
        started = time.monotonic()
        environ = stage.tables(f"inbox_{size}")
        fill(environ["DATABASE_URL"], size)
        say(f"growth: {size:,} messages in {time.monotonic() - started:.0f} s")
        # In this process, whose stdout is for the table.
        app = create_app(Settings.from_env({**environ, "REQUEST_LOG": "off"}))
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
        parts = app.extensions["ordertrail"]
        stage.stack.callback(parts.redis.close)
        stage.stack.callback(parts.engine.dispose)
        sides.append(Side(size, client, parts.sessions, parts.settings))
    yield sides


def fill(database_url: str, messages: int) -> None:
    """Put orders in with their events, and messages that told of them."""
    growth.fill(database_url, messages // MESSAGES_AN_ORDER)
    values = {"body": hook().decode(), "place": PLACE.decode(), "more": MESSAGES_AN_ORDER - 1}
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(MESSAGES, values)
        connection.execute(DUE.replace("%%", "%").encode())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
