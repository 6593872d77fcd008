"""The demo day: orders of three couriers, a day compressed into two minutes."""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from tests.sandbox import Chances, Cottoncast, Courier, Order, ShipmentAPI, Step, Tiramizoo
from tests.sandbox.orders import utc_now

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

# Orders are placed in the first part of the day and end before it does.
PLACED_WITHIN, OVER_BY = 15 * HOUR, 23 * HOUR
# Tiramizoo sends no webhooks between these hours.
SILENT = (9 * HOUR, 17 * HOUR)
# A status that no driver knows, in the life of the first order.
NEW_WORD = "on_the_ferry"

# How webhooks are disturbed.
LOSE, REPEAT, SHUFFLE = 0.08, 0.15, 3 * HOUR
# Real time, however short the day: Tiramizoo's times have whole seconds.
APART = timedelta(seconds=1.2)

LIVES: dict[type[Courier], Sequence[Sequence[str]]] = {
    Tiramizoo: [
        *[("created", "dispatched", "picked_up", "delivered")] * 5,
        ("created", "dispatched", "picked_up", "delivery_failed", "returned"),
        ("created", "dispatched", "pickup_failed", "picked_up", "delivered"),
        ("created", "cancelled"),
    ],
    Cottoncast: [*["NLRCED"] * 5, "NLRCEID", "NLRCEX"],
    ShipmentAPI: [
        *[("placed", "accepted", "collected", "in_transit", "out_for_delivery", "delivered")] * 5,
        ("placed", "cancelled"),
    ],
}
SHARES = {Tiramizoo: 5, Cottoncast: 3, ShipmentAPI: 2}


@dataclass
class Day:
    """A day that passes in this many real seconds, and its couriers.

    The couriers use the real clock; whatever takes hours in a real day takes seconds here.
    """

    seconds: float
    couriers: Sequence[Courier]
    start: datetime

    @property
    def factor(self) -> float:
        """Real seconds for each second of the day; poll intervals are shortened by it as well."""
        return self.seconds / DAY.total_seconds()

    @property
    def passed(self) -> timedelta:
        """The time of day."""
        return (utc_now() - self.start) / self.factor

    @property
    def orders(self) -> list[tuple[Courier, Order]]:
        """All orders by the time of their placing."""
        all_of_them = [(courier, order) for courier in self.couriers for order in courier.orders]
        return sorted(all_of_them, key=lambda it: it[1].life[0].at)


@contextmanager
def couriers_for(seconds: float, seed: int) -> Iterator[Day]:
    """Start the couriers of a day that has no orders yet."""
    factor = seconds / DAY.total_seconds()
    chances = Chances(LOSE, REPEAT, SHUFFLE * factor)
    couriers = [
        kind(seed=seed, speed=1 / factor, chances=chances, token=f"demo-{kind.name}")
        for kind in LIVES
    ]
    for courier in couriers:
        if isinstance(courier, ShipmentAPI):
            courier.label_after *= factor
            courier.pickup_after *= factor
            courier.pickup_notice *= factor
    try:
        for courier in couriers:
            courier.start()
        yield Day(seconds, couriers, utc_now())
    finally:
        for courier in couriers:
            courier.stop()


def begin(day: Day, count: int, seed: int, ordertrail: str) -> None:
    """Create all orders of the day; their webhooks go to the Ordertrail at this address."""
    chance = random.Random(seed)
    day.start = utc_now()
    for courier in day.couriers:
        courier.send_webhooks_to(ordertrail)
    kinds = [kind for kind, share in SHARES.items() for _ in range(share)]
    for number in range(count):
        courier = next(it for it in day.couriers if type(it) is kinds[number % len(kinds)])
        states = chance.choice(LIVES[type(courier)])
        if number == 0:
            states = ("created", "dispatched", "picked_up", NEW_WORD, "delivered")
        courier.create(_life(states, day, chance))
    for courier in day.couriers:
        courier.webhooks.start(threads=4)


def _life(states: Sequence[str], day: Day, chance: random.Random) -> list[Step]:
    placed = chance.random() * PLACED_WITHIN
    longest = (OVER_BY - placed) / len(states)
    at, steps = day.start + placed * day.factor, []
    for state in states:
        # Couriers report whole seconds, so a poll within that second would see an earlier time.
        steps.append(Step(state, at.replace(microsecond=0)))
        at += max(APART, longest * chance.uniform(0.3, 1.0) * day.factor)
    return steps


def fall_silent(day: Day, stop: threading.Event) -> None:
    """Stop the webhooks of Tiramizoo between the hours of SILENT."""
    tiramizoo = day.couriers[0]
    while not stop.wait(0.02) and day.passed < DAY:
        tiramizoo.webhooks.silent = SILENT[0] <= day.passed < SILENT[1]
