"""Does the shop's API stay as fast with a million orders as with ten thousand?

    .venv/bin/python -m tests.bench.growth [--orders N] [--rounds N]

Two databases stand side by side, one with a hundredth of the other's orders, both filled by SQL as
couriers and workers would have left them. Every question is asked of both in turn, round by round,
through the whole application but the socket, and the medians are compared. The data is removed at
the end. One million orders take some minutes and about 6 GB in the directory for temporary files.
"""

import argparse
import gc
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
from flask import Flask
from flask.testing import FlaskClient

from receiver.app import create_app
from receiver.db.migrate import migrate
from receiver.settings import Settings
from tests.servers import running

TOKEN = "bench-token-of-the-shop"
LIMIT = 10
GOAL = 2.0
NOW = datetime.now(UTC)

# n counts the orders. An order in 500 is of an account that has few, one in 1,000 is lost; the
# others' accounts and statuses are as a shop's are. All of it came in within 90 days, even how
# many there are, and most orders changed last within five days of their placing.
ORDERS = """
    INSERT INTO orders (account, courier, courier_order_id, reference, identifiers, status,
                        courier_status, status_at, needs_attention, source, milestones, conflicts,
                        tracking_url, parcels, details, last_heard_at, version, created_at,
                        updated_at)
    SELECT account, split_part(account, '-', 1), 'order-' || n, 'S-' || n,
           jsonb_build_object('identifier', 'I' || n, 'tracking_code', 'T-' || n),
           status, status, changed_at,
           status IN ('exception', 'lost', 'delivery_failed', 'unknown'),
           jsonb_build_object('kind', 'webhook', 'trust', 'token', 'message_id', n::text,
                              'received_at', changed_at),
           jsonb_build_object('info_received', placed_at, status, changed_at),
           CASE WHEN n % 997 = 0 THEN '[{"id": "1", "kind": "lost_after_delivered"}]'::jsonb
                ELSE '[]' END,
           'https://tracking.example.com/' || md5(n::text),
           jsonb_build_array(jsonb_build_object('tracking_number', 'P' || n, 'tracking_url', NULL,
                                                'courier_name', NULL, 'status', status)),
           jsonb_build_object('details', (
               SELECT jsonb_object_agg('detail ' || k, jsonb_build_object(
                          'value', md5((n * k)::text), 'at', placed_at, 'message_id', n::text))
               FROM generate_series(1, 6) k)),
           changed_at, 5, placed_at, changed_at
    FROM (SELECT n, placed_at,
                 least(placed_at + (hashint8(n) & 1023) / 1023.0 * interval '5 days', :now),
                 CASE WHEN n % 500 = 7 THEN 'tiramizoo-rare'
                      ELSE (ARRAY['tiramizoo', 'tiramizoo', 'tiramizoo', 'cottoncast',
                                  'shipmentapi'])[1 + (hashint8(n + 1) & 1023) % 5] END,
                 CASE WHEN n % 1000 = 3 THEN 'lost'
                      ELSE (ARRAY['delivered', 'delivered', 'delivered', 'delivered', 'delivered',
                                  'delivered', 'delivered', 'in_transit', 'cancelled',
                                  CASE n % 4 WHEN 0 THEN 'exception' WHEN 1 THEN 'info_received'
                                             WHEN 2 THEN 'returned' ELSE 'out_for_delivery' END]
                           )[1 + (hashint8(n + 2) & 1023) % 10] END
          FROM (SELECT n, :now - (:orders - n) * interval '90 days' / :orders AS placed_at
                FROM generate_series(1, :orders) n) AS placed
         ) AS told (n, placed_at, changed_at, account, status)
    ORDER BY n
"""
REST = (
    """
    INSERT INTO identifiers (account, value, order_id)
    SELECT account, told.value, id FROM orders, jsonb_each_text(identifiers) told
    """,
    """
    INSERT INTO events (order_id, key, occurred_at, received_at, status, courier_status, step,
                        parcel, flags, message_id, kind, trust, applied)
    SELECT id, md5(id || '/' || step), created_at + step * interval '1 hour',
           created_at + step * interval '1 hour', status, status, step, '', '{}', id, 'webhook',
           'token', true
    FROM orders, generate_series(1, 5) step
    """,
    """
    INSERT INTO polls (order_id, account, placed_at, finished_at)
    SELECT id, account, created_at, updated_at FROM orders WHERE account LIKE 'tiramizoo%'
    """,
    """
    INSERT INTO messages (account, topic, kind, trust, body, body_sha256, received_at,
                          last_seen_at, outcome, processed_at, courier_order_id)
    SELECT account, 'orders', 'webhook', 'token', convert_to(details::text, 'UTF8'),
           sha256(id::text::bytea), updated_at, updated_at,
           CASE WHEN id % 400 = 0 THEN 'quarantined' WHEN id % 1000 = 1 THEN 'parked'
                ELSE 'applied' END, updated_at, courier_order_id
    FROM orders ORDER BY updated_at
    """,
    # As folds record what ended orders count for; the newest are not in the daily sums yet.
    """
    INSERT INTO order_performance (order_id, account, sample, day, counters, counted)
    SELECT id, account, false, (status_at AT TIME ZONE 'UTC')::date,
           ARRAY['orders', 'reported', 'reported', 'reported', 'reported',
                 'order_to_pickup ' || 230 + abs(hashint8(id)) % 90,
                 'webhook_delay ' || 110 + abs(hashint8(id + 1)) % 70,
                 'webhook_delay ' || 110 + abs(hashint8(id + 2)) % 70]
           || CASE WHEN id % 40 = 0 THEN ARRAY['missed'] ELSE '{}' END
           || CASE WHEN status = 'delivered'
                   THEN ARRAY['delivered', 'pickup_to_delivery ' || 260 + abs(hashint8(id)) % 80]
                        || CASE WHEN id % 9 < 8 THEN ARRAY['first_attempt'] ELSE '{}' END
                        || CASE WHEN id % 3 < 2 THEN ARRAY['expected'] ELSE '{}' END
                        || CASE WHEN id % 7 < 6 AND id % 3 < 2 THEN ARRAY['on_time'] ELSE '{}' END
                   ELSE '{}' END,
           id < (SELECT max(id) - 500 FROM orders)
    FROM orders WHERE status IN ('delivered', 'cancelled', 'returned')
    """,
    """
    INSERT INTO daily_performance (account, day, sample, counter, count)
    SELECT account, day, sample, counter, count(*)
    FROM order_performance, unnest(counters) AS counter WHERE counted
    GROUP BY account, day, sample, counter
    ON CONFLICT (account, day, sample, counter) DO UPDATE SET count = excluded.count
    """,
)


@dataclass(frozen=True)
class Side:
    """A database of so many orders, and a client of an application on it."""

    orders: int
    client: FlaskClient
    # Of some orders, by number; and cursors of late pages, by list.
    accounts: dict[int, str] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, status: int = 200, **more: Any) -> Any:
        """The answer's JSON; it has to have this status."""
        answer = self.client.open(f"/v1{path}", **more)
        if answer.status_code != status:
            raise SystemExit(f"{path}: {answer.status_code} {answer.get_data(as_text=True)}")
        return answer.get_json() if answer.data else None

    def open(self, path: str) -> None:
        """A page of the console, which has to be there."""
        answer = self.client.get(f"/ops{path}", follow_redirects=True)
        if answer.status_code != HTTPStatus.OK:
            raise SystemExit(f"{path}: {answer.status_code} {answer.get_data(as_text=True)}")

    def prepare(self, most_pages: int) -> None:
        """Find out what would else be measured with a question."""
        for number in range(1, self.orders + 1, max(1, self.orders // 50)):
            (order,) = self.ask(f"/orders?reference=S-{number}")["orders"]
            self.accounts[number] = order["account"]
        for name, page in PAGES.items():
            # Fewer orders than ten thousand have fewer pages.
            self.late[name] = self.cursor_of_page(max(2, page * most_pages // 1000), LISTS[name])

    def cursor_of_page(self, number: int, path: str) -> str:
        """The cursor of a page of a list, by following all those before it."""
        cursor = ""
        for _ in range(number - 1):
            cursor = self.ask(f"{path}&cursor={cursor}" if cursor else path)["next_cursor"]
        return cursor

    def some(self, chance: random.Random) -> int:
        """The number of any order."""
        return chance.randrange(1, self.orders + 1)

    def named(self, chance: random.Random) -> tuple[str, int]:
        """Account and number of an order."""
        number = chance.choice(list(self.accounts))
        return self.accounts[number], number


Question = Callable[[Side, random.Random], None]


def one(name: str, rest: str = "", **more: Any) -> Question:
    """An order by one of its names."""

    def ask(side: Side, chance: random.Random) -> None:
        account, number = side.named(chance)
        side.ask(f"/orders/{account}/{name}{number}{rest}", **more)

    return ask


def listed(path: str) -> Question:
    return lambda side, _: side.ask(path)


def late(name: str) -> Question:
    return lambda side, _: side.ask(f"{LISTS[name]}&cursor={side.late[name]}")


def references(side: Side, chance: random.Random) -> None:
    asked = [f"S-{side.some(chance)}" for _ in range(100)]
    side.ask("/orders/lookup", method="POST", json={"references": asked})


def names(side: Side, chance: random.Random) -> None:
    pairs = [side.named(chance) for _ in range(50)]
    asked = [
        {"account": account, "courier_order_id": f"{kind}{number}"}
        for account, number in pairs
        for kind in ("order-", "T-")
    ]
    side.ask("/orders/lookup", method="POST", json={"orders": asked})


def messages_of_order(side: Side, chance: random.Random) -> None:
    account, number = side.named(chance)
    side.ask(f"/messages?account={account}&courier_order_id=order-{number}")


def console_order(side: Side, chance: random.Random) -> None:
    account, number = side.named(chance)
    side.open(f"/order?account={account}&id=order-{number}")


def searched(name: str) -> Question:
    """What somebody types into the console's box: all of a name, or the begin of one."""
    return lambda side, chance: side.open(f"/orders?q={name}{side.some(chance)}")


def downloaded(media_type: str) -> Question:
    """All of the newest 500 orders or so, as a file."""

    def ask(side: Side, _: random.Random) -> None:
        window = quote((NOW - timedelta(days=90) * 500 / side.orders).isoformat())
        path = f"/v1/orders?created_since={window}"
        answer = side.client.get(path, headers={"Accept": media_type})
        if answer.status_code != HTTPStatus.OK or len(answer.data.splitlines()) < 100:
            raise SystemExit(f"{path}: {answer.status_code}")

    return ask


# Pages of the console that show as much on both sides.
CONSOLE: dict[str, Question] = {
    "console: an order": console_order,
    "console: found by reference": searched("S-"),
    "console: found by an identifier": searched("T-"),
    "console: not found": searched("nobody-"),
    **{
        f"console: {name}": lambda side, _, path=path: side.open(path)  # type: ignore[misc]
        for name, path in {
            "now": "",
            "orders": "/orders",
            "orders, attention": "/orders?needs_attention=true&account=&status=",
            "messages, quarantined": "/messages",
            "conflicts": "/conflicts?limit=10",
            "performance": "/performance",
        }.items()
    },
}


def questions() -> dict[str, Question]:
    """What is asked, by name."""
    unchanged: dict[str, Any] = {"headers": {"If-None-Match": "*"}, "status": 304}
    return {
        "get by courier_order_id": one("order-"),
        "get by identifier": one("T-"),
        "304 by courier_order_id": one("order-", **unchanged),
        "304 by identifier": one("T-", **unchanged),
        "timeline": one("order-", "/events"),
        "by reference": lambda side, chance: side.ask(f"/orders?reference=S-{side.some(chance)}"),
        "lookup of 100 references": references,
        "lookup of 100 names": names,
        **{f"list {name}": listed(path) for name, path in LISTS.items()},
        **{f"page {page} of list {name}": late(name) for name, page in PAGES.items()},
        **{f"messages {name}": listed(path) for name, path in MESSAGES.items()},
        "messages of an order": messages_of_order,
        **CONSOLE,
        **{f"performance {name}": listed(path) for name, path in PERFORMANCE.items()},
        "500 orders as CSV": downloaded("text/csv"),
        "500 orders as NDJSON": downloaded("application/x-ndjson"),
        "one message": lambda side, chance: side.ask(f"/messages/{side.some(chance)}"),
    }


def since(ago: timedelta) -> str:
    return quote((NOW - ago).isoformat())


def day_of(column: str) -> str:
    """A day, ten days ago."""
    ends = since(timedelta(days=11)), since(timedelta(days=10))
    return f"{column}_since={ends[0]}&{column}_until={ends[1]}"


# Each with at least a page of orders on both sides, or none on either: what is measured is the
# finding, not how many orders are shown.
LISTS = {
    name: f"/orders?limit={LIMIT}&{query}"
    for name, query in {
        "of all": "",
        "account": "account=tiramizoo",
        "account, rare": "account=tiramizoo-rare",
        "account, empty": "account=cottoncast-empty",
        "status": "status=delivered",
        "status, rare": "status=lost",
        "status, none": "status=pickup_failed",
        "status_group": "status_group=in_transit",
        "status_group, rare": "status_group=exception",
        "needs_attention=true": "needs_attention=true",
        "needs_attention=false": "needs_attention=false",
        "updated_since 1 h ago": f"updated_since={since(timedelta(hours=1))}",
        "updated_since 1 day ago": f"updated_since={since(timedelta(days=1))}",
        "updated_since 30 days ago": f"updated_since={since(timedelta(days=30))}",
        "updated_since 1 year ago": f"updated_since={since(timedelta(days=365))}",
        "created, 1 day": day_of("created"),
        "created until 30 days ago": f"created_until={since(timedelta(30))}",
        "created + account, rare": f"account=tiramizoo-rare&created_until={since(timedelta(20))}",
        "created + status, rare": f"status=lost&created_until={since(timedelta(20))}",
        "created + updated": f"created_since={since(timedelta(40))}"
        f"&created_until={since(timedelta(30))}&updated_since={since(timedelta(38))}",
        "updated, 1 day": day_of("updated"),
        "several statuses": "status=lost,in_transit,delivered",
        "unknown statuses": "status_group=unknown",
        "updated_since tomorrow": f"updated_since={since(-timedelta(days=1))}",
        "account + status": "account=cottoncast&status=exception",
        "account + attention": "account=cottoncast&needs_attention=true",
        "status + attention, none": "status=delivered&needs_attention=true",
        "account + 1 day": f"account=cottoncast&updated_since={since(timedelta(days=1))}",
        "account, rare + 30 days": f"account=tiramizoo-rare&updated_since={since(timedelta(30))}",
        "status + 1 day": f"status=in_transit&updated_since={since(timedelta(days=1))}",
        "attention + 1 day": f"needs_attention=true&updated_since={since(timedelta(days=1))}",
    }.items()
}
# The last page that there is in ten thousand orders, or nearly.
PAGES = {"of all": 1000, "status": 600, "account": 500, "updated_since 30 days ago": 300}
MESSAGES = {
    name: f"/messages?limit={LIMIT}&{query}"
    for name, query in {
        "of all": "",
        "applied": "outcome=applied",
        "quarantined": "outcome=quarantined",
        "discarded, none": "outcome=discarded",
        "account": "account=tiramizoo",
        "account, rare": "account=tiramizoo-rare",
        "account + outcome": "account=tiramizoo-rare&outcome=quarantined",
        "received, 1 day": day_of("received"),
        "received + applied": f"outcome=applied&received_until={since(timedelta(20))}",
    }.items()
}


PERFORMANCE = {
    name: f"/couriers/tiramizoo/performance?since={(NOW - timedelta(days)).date()}"
    for name, days in {
        "of a day": 0,
        "of 30 days": 29,
        "of 90 days": 89,
        "of 400 days": 399,
    }.items()
}


def fill(database_url: str, orders: int) -> None:
    """Make the tables and put orders in, with their events, identifiers, polls and messages."""
    migrate(database_url)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        told = ORDERS.replace(":orders", str(orders)).replace(":now", f"'{NOW}'::timestamptz")
        connection.execute(told.encode())
        for statement in REST:
            connection.execute(statement.encode())
        connection.execute("VACUUM ANALYZE")


@contextmanager
def sides(orders: int, directory: Path) -> Iterator[list[Side]]:
    """The small database and the large one, with an application each."""
    apps: list[Flask] = []
    with running(directory) as servers:
        found = []
        for number, size in enumerate((orders // 100, orders)):
            started = time.monotonic()
            name = f"growth_{number}"
            servers.postgres.create_database(name)
            url = servers.postgres.url(name)
            fill(url, size)
            say(f"{size:,} orders in {time.monotonic() - started:.0f} s")
            app = create_app(
                Settings.from_env(
                    {
                        "API_TOKENS": TOKEN,
                        "COURIER_TIRAMIZOO_SECRETS": "x",
                        "COURIER_COTTONCAST_EMPTY_DRIVER": "cottoncast",
                        "COURIER_COTTONCAST_EMPTY_SECRETS": "x",
                        "DATABASE_URL": url,
                        "REDIS_URL": servers.valkey.url(number),
                        "REQUEST_LOG": "off",
                    }
                )
            )
            apps.append(app)
            client = app.test_client()
            client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {TOKEN}"
            found.append(Side(size, client))
        try:
            yield found
        finally:
            for app in apps:
                app.extensions["ordertrail"].engine.dispose()
                app.extensions["ordertrail"].redis.close()


def measure(both: list[Side], rounds: int) -> dict[str, tuple[float, float]]:
    """The median time of each question on each side, in milliseconds."""
    for side in both:
        side.prepare(min(1000, both[0].orders // LIMIT))
    asked = questions()
    times: dict[tuple[str, int], list[float]] = {}
    # The first rounds warm the caches up: all that PostgreSQL plans is planned by then.
    warm_up = 12
    gc.disable()
    for turn in range(warm_up + rounds):
        for name, ask in asked.items():
            for number, side in enumerate(both if turn % 2 else reversed(both)):
                position = number if turn % 2 else 1 - number
                chance = random.Random(turn)
                started = time.perf_counter()
                ask(side, chance)
                took = time.perf_counter() - started
                if turn >= warm_up:
                    times.setdefault((name, position), []).append(took * 1000)
        gc.collect()
    gc.enable()
    return {
        name: (statistics.median(times[name, 0]), statistics.median(times[name, 1]))
        for name in asked
    }


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> int:
    """Print the table; 1 where anything grew past the goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=1_000_000, help="in the large database")
    parser.add_argument("--rounds", type=int, default=100, help="how often each question is asked")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ot-growth-")).resolve()
    try:
        with sides(given.orders, directory) as both:
            found = measure(both, given.rounds)
            small, large = (f"{side.orders:,}" for side in both)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    say(f"\n{'median of ' + str(given.rounds) + ', ms':<42}{small:>10}{large:>12}{'ratio':>8}")
    for name, (before, after) in found.items():
        say(f"{name:<42}{before:>10.2f}{after:>12.2f}{after / before:>8.2f}")
    worst = max(found, key=lambda name: found[name][1] / found[name][0])
    ratio = found[worst][1] / found[worst][0]
    say(f"\nworst: {worst}, {ratio:.2f} times; the goal is {GOAL:.0f} times at most")
    return int(ratio > GOAL)


if __name__ == "__main__":
    sys.exit(main())
