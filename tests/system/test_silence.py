"""Couriers that stay silent, on real processes: nothing but asking brings their orders to an end.

ORDERS=500 runs it at the size that the service is promised for; fewer keep the suite quick.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from tests.conftest import API_TOKEN
from tests.digests import hmac_sha256_hex
from tests.sandbox import Chances, Cottoncast, Courier, Order, ShipmentAPI, Tiramizoo, evenly
from tests.service import CLOCK, WORKER, Web, running, running_web, wait_until

ORDERS = int(os.environ.get("ORDERS", "60"))
# The orders come to their end by then, however slow the machine; a bound and not a pause.
SECONDS = 60 + ORDERS / 5

SECOND = timedelta(seconds=1)
LIVES: dict[str, tuple[tuple[str, ...], ...]] = {
    "tiramizoo": (
        ("created", "dispatched", "picked_up", "delivered"),
        ("created", "cancelled"),
        ("created", "dispatched", "picked_up", "delivery_failed", "returned"),
    ),
    "cottoncast": (("N", "L", "R", "C", "E", "D"),),
    "shipmentapi": (
        ("accepted", "collected", "in_transit", "delivered"),
        ("rejected",),
        ("accepted", "collected", "returned"),
    ),
}


@dataclass
class Running:
    """A service that polls, and the couriers that it asks."""

    web: Web
    couriers: Sequence[Courier]
    sessions: sessionmaker[Session]

    def place(self, count: int, apart: timedelta) -> list[Order]:
        """Place so many orders with the couriers, in turn."""
        start = datetime.now(UTC)
        placed = []
        for number in range(count):
            courier = self.couriers[number % len(self.couriers)]
            lives = LIVES[courier.name]
            life = lives[number // len(self.couriers) % len(lives)]
            placed.append(courier.create(evenly(*life, start=start, apart=apart)))
        return placed

    def register(self, orders: Sequence[Order]) -> None:
        """Put them on record, as the shop does."""
        for order in orders:
            new = {"account": self.courier_of(order).name, "courier_order_id": order.id}
            answer = self.call("POST", "/v1/orders", json_of(new))
            assert answer.status_code in {200, 201}, answer.data

    def courier_of(self, order: Order) -> Courier:
        return next(courier for courier in self.couriers if order in courier.orders)

    def call(self, method: str, path: str, data: bytes | None = None) -> Any:
        headers = {"Authorization": f"Bearer {API_TOKEN}", "Content-Type": "application/json"}
        return self.web.open(path, method=method, data=data, headers=headers)

    def wrong(self) -> dict[str, str]:
        """The orders that are not where their couriers have them, by id: where they are."""
        with self.sessions() as session:
            rows = session.execute(text("SELECT courier_order_id, status FROM orders"))
            statuses = {row.courier_order_id: row.status for row in rows}
        return {
            order.id: statuses.get(order.id, "unheard of")
            for courier in self.couriers
            for order in courier.orders
            if statuses.get(order.id) != DRIVERS[courier.name].words[order.life[-1].state]
        }

    def of(self, account: str) -> dict[str, Any]:
        accounts = self.call("GET", "/v1/couriers").json["couriers"]
        return next(it for it in accounts if it["account"] == account)


def json_of(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body).encode()


@contextmanager
def polling(
    environ: Mapping[str, str],
    sessions: sessionmaker[Session],
    couriers: Sequence[Courier],
    factor: float,
    logs: Path,
    workers: int = 1,
) -> Iterator[Running]:
    """The whole service as the Procfile has it, with these couriers."""
    with ExitStack() as stack:
        own = {**environ, "POLL_INTERVAL_FACTOR": str(factor)}
        for courier in couriers:
            own |= stack.enter_context(courier).environ()
        web = stack.enter_context(running_web(own, logs / "web.log"))
        for number in range(workers):
            stack.enter_context(running(WORKER, own, logs / f"worker-{number}.log"))
        stack.enter_context(running(CLOCK, own, logs / "clock.log"))
        yield Running(web, couriers, sessions)


def three(**given: Any) -> list[Courier]:
    """One courier each; ShipmentAPI's details come as quickly as the lives here pass."""
    shipmentapi = ShipmentAPI(**given)
    shipmentapi.label_after = shipmentapi.pickup_after = SECOND
    return [Tiramizoo(**given), Cottoncast(**given), shipmentapi]


@pytest.mark.timeout(60 + 2 * SECONDS)
def test_orders_of_couriers_that_send_no_webhooks_reach_their_end_also_when_redis_is_emptied(
    environ: dict[str, str], sessions: sessionmaker[Session], redis: Redis, tmp_path: Path
) -> None:
    couriers = three()
    with polling(environ, sessions, couriers, 0.0005, tmp_path) as run:
        run.register(run.place(ORDERS, apart=2 * SECOND))
        wait_until(lambda: all(courier.ledger.lines() for courier in couriers))
        redis.flushdb()
        wait_until(lambda: not run.wrong(), SECONDS)
        with sessions() as session:
            kinds = session.scalars(text("SELECT DISTINCT kind FROM messages")).all()
        assert kinds == ["poll"]
        assert run.of("tiramizoo")["webhooks"] == 0


@pytest.mark.timeout(60 + 2 * SECONDS)
def test_where_webhooks_are_lost_polls_find_the_news_and_are_counted(
    environ: dict[str, str], sessions: sessionmaker[Session], redis: Redis, tmp_path: Path
) -> None:
    """The lives are over and the webhooks sent before the first order is silent for long enough."""
    couriers = three(chances=Chances(lose=0.3, repeat=0.2, shuffle=SECOND), seed=7)
    with polling(environ, sessions, couriers, 0.02, tmp_path) as run:
        for courier in couriers:
            courier.send_webhooks_to(f"http://127.0.0.1:{run.web.port}")
        placed = run.place(ORDERS, apart=SECOND / 8)
        for courier in couriers:
            courier.webhooks.start()
        wait_until(lambda: not any(courier.webhooks.unfinished() for courier in couriers), SECONDS)
        run.register(placed)
        # Nothing waits for silence any longer: what was lost is asked for.
        wait_until(lambda: drained(sessions), SECONDS)
        with sessions.begin() as session:
            session.execute(text("UPDATE polls SET due_at = now() WHERE due_at IS NOT NULL"))
        wait_until(lambda: not run.wrong(), SECONDS)
        wait_until(lambda: drained(sessions), SECONDS)
        lost = sum(len(courier.webhooks.missed(order)) for courier in couriers for order in placed)
        assert lost > ORDERS / 10
        for courier in couriers:
            expected = sum(really_lost(courier, order) for order in courier.orders)
            assert run.of(courier.name)["missed_hooks"] == expected


def drained(sessions: sessionmaker[Session]) -> bool:
    with sessions() as session:
        pending = text("SELECT count(*) FROM messages WHERE outcome = 'pending'")
        return not session.scalar(pending)


def really_lost(courier: Courier, order: Order) -> int:
    """How many states only asking could tell, once the order's life was over.

    A snapshot of Tiramizoo's tells all states so far; Cottoncast, asked, tells the last one alone;
    ShipmentAPI calls about one state only.
    """
    told = {order.life.index(step) for step in courier.webhooks.delivered(order)}
    last = len(order.life) - 1
    if courier.name == "tiramizoo":
        return last - max(told, default=-1)
    if courier.name == "cottoncast":
        return int(last not in told)
    return int(not told)


@pytest.mark.timeout(120)
def test_none_of_four_workers_polls_before_the_time_that_the_courier_named(
    environ: dict[str, str], sessions: sessionmaker[Session], redis: Redis, tmp_path: Path
) -> None:
    courier = Cottoncast()
    with polling(environ, sessions, [courier], 0.0005, tmp_path, workers=4) as run:
        run.register(run.place(60, apart=SECOND / 4))
        courier.faults.next(1, "too_many", seconds=6.0, retry_after="seconds")
        with sessions.begin() as session:
            session.execute(text("UPDATE polls SET due_at = now() WHERE stopped_at IS NULL"))
        wait_until(lambda: not run.wrong(), SECONDS)
    lines = courier.ledger.lines()
    [began] = [asked.at for asked in lines if asked.status == 429]
    # What was on its way when the courier said so cannot be called back.
    assert [it.at - began for it in lines if began + 2 < it.at < began + 5.9] == []
    assert len(lines) > 60


@pytest.mark.timeout(120)
def test_a_courier_that_hangs_delays_no_other_couriers_orders(
    environ: dict[str, str], sessions: sessionmaker[Session], redis: Redis, tmp_path: Path
) -> None:
    hanging, quick = Tiramizoo(), Cottoncast()
    hanging.faults.always("hang")
    with polling(environ, sessions, [hanging, quick], 0.0005, tmp_path) as run:
        run.register(run.place(40, apart=SECOND / 4))
        wait_until(lambda: set(run.wrong()) <= {it.id for it in hanging.orders})
        assert len(run.wrong()) == len(hanging.orders)
        assert hanging.ledger.lines()
        # Nor does it delay what webhooks tell: half as long as a request may hang, at best.
        assert min(seconds_to_fold(run, quick, f"FRESH-{number}") for number in range(3)) < 4
        hanging.faults.clear()
        wait_until(lambda: not run.wrong(), 60)


def seconds_to_fold(run: Running, courier: Courier, name: str) -> float:
    """Send a webhook of a new order, and wait until the order can be read."""
    body = courier.webhook_message(courier.orders[0], 0).body
    fresh = body.replace(courier.orders[0].id.encode(), name.encode())
    headers = {"Cottoncast-Authentication": sign_of(courier, fresh)}
    began = time.monotonic()
    assert run.web.post("/webhooks/cottoncast/orders", fresh, headers).status_code == 200
    wait_until(lambda: run.call("GET", f"/v1/orders/cottoncast/{name}").status_code == 200)
    return time.monotonic() - began


def sign_of(courier: Courier, body: bytes) -> str:
    return hmac_sha256_hex(courier.secret, body)
