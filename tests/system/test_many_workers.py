"""The same lives through HTTP in three random orders, folded by one, two and four workers.

ORDERS=10000 runs it at the size that convergence is promised for; fewer keep the suite quick.
"""

import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import func, select

from receiver.cli.main import main
from receiver.db.engine import create_engine_for, session_factory
from receiver.db.models import PENDING, Event, Message, Order
from receiver.settings import Settings
from tests.bodies import (
    after,
    cottoncast_shipment,
    cottoncast_signature,
    cottoncast_status,
    raw,
    tiramizoo_snapshots,
    tour_plan,
)
from tests.service import WORKER, Web, running, running_web, wait_until
from workers.upkeep.rebuild import rebuild_orders

ORDERS = int(os.environ.get("ORDERS", "60"))
CONNECTIONS = 8
TIRAMIZOO = (
    ("created", "dispatched", "picked_up", "delivered"),
    ("created", "dispatched", "picked_up", "delivery_failed", "returned"),
    ("created", "dispatched", "cancelled", "picked_up", "delivered"),
    ("created", "dispatched", "pickup_failed", "picked_up", "delivered"),
)
COTTONCAST = ("NLRCED", "NLRCEXED", "NRCEID", "NLRCEX", "NLRCEDI")

# What differs between two runs by its nature: our ids, when and by which message we heard. An ETA
# is as recent as its tour plan's arrival.
OURS = {
    "id", "order_id", "version", "created_at", "updated_at", "last_heard_at", "received_at",
    "message_id", "source", "details", "eta",
}  # fmt: skip

Post = tuple[str, bytes, dict[str, str]]


def posts(choose: random.Random) -> Iterator[Post]:
    """Every message of ORDERS orders' lives, half of them Tiramizoo's, several in one second."""
    for number in range(ORDERS):
        minute = number * 7
        gaps = [choose.choice([0, 0, 1, 30, 300]) for _ in range(9)]
        if number % 2:
            times = {}
            for state, gap in zip(choose.choice(TIRAMIZOO), gaps, strict=False):
                minute += gap
                times[state] = after(minute)
            for body in tiramizoo_snapshots(f"u-{number}", times, external_id=f"ref-{number}"):
                yield "/webhooks/tiramizoo/orders/tiramizoo-token", raw(body), {}
            plan = tour_plan({f"u-{number}": after(minute + 60)})
            plan["tours"][0]["id"] = f"tour-{number}"
            yield "/webhooks/tiramizoo/tours/tiramizoo-token", raw(plan), {}
        else:
            for code, gap in zip(choose.choice(COTTONCAST), gaps, strict=False):
                minute += gap
                shipments = [cottoncast_shipment(f"P-{number}-{choose.randint(1, 2)}", code)]
                told = cottoncast_status(code, after(minute), f"C{number}", number, shipments)
                signed = raw(told)
                yield "/webhooks/cottoncast/orders", signed, cottoncast_signature(signed)


def send(web: Web, bodies: list[Post]) -> None:
    """Post every body over several connections, each answered 200."""
    waiting, lock, failed = iter(bodies), threading.Lock(), []

    def run() -> None:
        with web.keeping_alive() as connection:
            while True:
                with lock:
                    post = next(waiting, None)
                if post is None:
                    return
                connection.request("POST", post[0], post[1], post[2])
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    failed.append(answer.status)

    threads = [threading.Thread(target=run) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def dump(environ: dict[str, str]) -> dict[str, list[dict[str, Any]]]:
    """The orders and events tables without ids and arrival times, in an order of their own."""
    engine = create_engine_for(environ["DATABASE_URL"], pool_size=1)
    with session_factory(engine)() as session:
        tables = {
            "orders": select(Order.__table__),
            "events": select(Order.account, Order.courier_order_id, Event.__table__).join_from(
                Order, Event, Order.id == Event.order_id
            ),
        }
        dumped = {
            name: sorted(
                (
                    {column: it for column, it in row.items() if column not in OURS}
                    for row in session.execute(rows).mappings()
                ),
                key=lambda row: json.dumps(row, sort_keys=True, default=str),
            )
            for name, rows in tables.items()
        }
    engine.dispose()
    return dumped


def drained(environ: dict[str, str]) -> bool:
    engine = create_engine_for(environ["DATABASE_URL"], pool_size=1)
    with session_factory(engine)() as session:
        count = session.scalar(select(func.count()).where(Message.outcome == PENDING))
    engine.dispose()
    return not count


def rebuilt(environ: dict[str, str]) -> list[str]:
    """What a rebuild of everything changes, or cannot read."""
    engine = create_engine_for(environ["DATABASE_URL"], pool_size=1)
    found, settings = [], Settings.from_env(environ)
    for report in rebuild_orders(session_factory(engine), settings, {}, datetime.now(UTC)):
        found += [*report.differences, *report.unreadable, *report.failed]
    engine.dispose()
    return found


def rebuilt_until(ended: threading.Event, environ: dict[str, str], found: list[str]) -> None:
    while not ended.is_set():
        found += rebuilt(environ)


@pytest.mark.timeout(1800)
def test_three_orders_of_arrival_and_one_two_and_four_workers_give_the_same_tables(
    environ: dict[str, str], new_database: Callable[[str], str], tmp_path: Path
) -> None:
    bodies = list(posts(random.Random(2026)))
    dumps = []
    own = environ
    for workers in (1, 2, 4):
        own = {**environ, "DATABASE_URL": new_database(f"workers_{workers}")}
        shuffled = bodies + random.Random(workers).sample(bodies, len(bodies) // 5)
        random.Random(workers).shuffle(shuffled)
        with ExitStack() as stack:
            web = stack.enter_context(running_web(own, tmp_path / f"web{workers}.log"))
            for number in range(workers):
                log = tmp_path / f"worker{workers}-{number}.log"
                stack.enter_context(running(WORKER, own, log))
            ended, changed = threading.Event(), list[str]()
            rebuilding = threading.Thread(target=rebuilt_until, args=(ended, own, changed))
            rebuilding.start()
            stack.callback(ended.set)
            send(web, shuffled)
            wait_until(partial(drained, own), seconds=60 + ORDERS / 10)
            ended.set()
            rebuilding.join()
        # A rebuild beside traffic finds nothing to change.
        assert changed == []
        dumps.append(dump(own))
        log_lines = [log.read_text() for log in tmp_path.glob(f"worker{workers}-*.log")]
        assert not any("deadlock" in lines or "Traceback" in lines for lines in log_lines)
    assert len(dumps[0]["orders"]) == ORDERS
    assert dumps[0] == dumps[1] == dumps[2]

    started = time.monotonic()
    done = CliRunner(env=own).invoke(main, ["rebuild", "--dry-run"], catch_exceptions=False)
    seconds = time.monotonic() - started
    print(f"{done.stdout.strip()} in {seconds:.1f} s")  # noqa: T201 (seen with -s)
    assert (done.exit_code, done.stdout.split(": ")[1].split(" ")[0]) == (0, "0")
