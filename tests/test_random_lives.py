"""Random lives: half of all webhooks are lost, the rest late, shuffled and repeated, and polls tell
the courier's truth. At the end every order says what its courier says.

States follow each other within seconds or minutes, so that polls and webhooks meet in one minute.
LIVES is the number of lives for each courier (20 by default), SEED chooses other ones.
"""

import os
import random
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from receiver.couriers import DRIVERS
from receiver.db.models import Order as OrderRow
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.orders.poll_plan import schedule_poll_now
from receiver.statuses import find_status
from tests import sandbox
from tests.bodies import START
from tests.polling import HOUR, MINUTE, MakeWorld, World
from tests.sandbox import Order
from tests.sandbox.cottoncast import LABELS, local_minute
from tests.sandbox.orders import Step

LIVES = int(os.environ.get("LIVES", "20"))
SEED = int(os.environ.get("SEED", "1"))
# So many lives share a world.
IN_A_WORLD = 250
# By then the last webhook is old, and every order has been polled after it.
END = {"tiramizoo": 14 * HOUR, "cottoncast": 30 * HOUR, "shipmentapi": 12 * HOUR}
# Webhooks are stored when they arrive; every so often they are folded, and due orders polled.
SLOT, QUIET_SLOT = timedelta(seconds=10), 5 * MINUTE

# From each state to those that may follow it, "" being the end. More of one: more likely.
# Sources: documents 003 ("Order states", "Return process"), 002 ("Status codes") and 004.
NEXT: dict[str, dict[str, tuple[str, ...]]] = {
    "tiramizoo": {
        "created": ("dispatched",) * 5 + ("cancelled", ""),
        "dispatched": ("picked_up",) * 5 + ("pickup_failed", "pickup_failed", "cancelled", ""),
        "pickup_failed": ("dispatched", "dispatched", "cancelled", ""),
        "picked_up": ("delivered",) * 3 + ("delivery_failed", ""),
        "delivery_failed": ("delivered", "returned", ""),
    },
    "cottoncast": {
        "N": ("L", "L", "L", "R", "C", ""),
        "L": ("R", "R", "C", "E", ""),
        "R": ("C", "C", "E", "I", ""),
        "C": ("E", "E", "D", "I", ""),
        "E": ("D", "D", "D", "I", "X", ""),
        "I": ("E", "E", "D", "X", ""),
        "X": ("D", "E", ""),
    },
    "shipmentapi": {
        "accepted": ("collected", "collected", "in_transit", "problem", "cancelled", ""),
        "collected": ("in_transit", "in_transit", "problem", ""),
        "in_transit": ("out_for_delivery", "delivered", "problem", "lost", "returned", ""),
        "out_for_delivery": ("delivered", "delivered", "in_transit", "problem", ""),
        "problem": ("in_transit", "delivered", "returned", "lost", ""),
        "lost": ("in_transit", ""),
    },
}
FIRST = {
    "tiramizoo": ("created",),
    "cottoncast": ("N", "N", "L"),
    "shipmentapi": ("accepted", "accepted", "accepted", "rejected"),
}
# In place of a webhook's step: the shop asks for a poll.
REFRESH = -1
# Seconds between two states.
GAPS = (1, 2, 7, 20, 40, 55, 70, 130, 300, 900)


class Tiramizoo(sandbox.Tiramizoo):
    """Some orders leave out the times of states that they have not reached (document 003)."""

    def body(self, order: Order, steps: Sequence[Step]) -> dict[str, Any]:
        body = super().body(order, steps)
        if steps[-1].state == "returned":
            body["packages"][0]["state"] = "returned"
        if order.number % 2:
            return {name: it for name, it in body.items() if it or not name.endswith("_at")}
        return body


class Cottoncast(sandbox.Cottoncast):
    """The state of some orders stands in the order, with its minute, and not in the shipment.

    The shipment of some stays `New` for a while after it was collected, as in the public sample.
    """

    def body(self, order: Order, steps: Sequence[Step]) -> dict[str, Any]:
        body, last = super().body(order, steps), steps[-1]
        if order.number % 3 == 0:
            return body
        since = local_minute(last.at)
        body["status"] = {"code": last.state, "label": LABELS[last.state], "since": since}
        if order.number % 3 == 1:
            body["shipments"] = []
        elif self.now() - last.at < 2 * MINUTE:
            body["shipments"][0]["status"] = {"code": "N", "label": LABELS["N"]}
        return body


class ShipmentAPI(sandbox.ShipmentAPI):
    """Some orders give the time of their state, in Riga's time without a zone."""

    def body(self, order: Order, steps: Sequence[Step], at: datetime) -> dict[str, Any]:
        body = super().body(order, steps, at)
        if order.number % 2:
            body["status_changed_at"] = f"{steps[-1].at + 3 * HOUR:%Y-%m-%d %H:%M:%S}"
        return body


COURIERS = {"tiramizoo": Tiramizoo, "cottoncast": Cottoncast, "shipmentapi": ShipmentAPI}


def random_life(courier: str, chance: random.Random) -> list[Step]:
    state, at = (
        chance.choice(FIRST[courier]),
        START + chance.randrange(1, 120) * timedelta(seconds=1),
    )
    steps = [Step(state, at)]
    while len(steps) < 9:
        state = chance.choice(NEXT[courier].get(state, ("",)))
        if not state:
            break
        at += chance.choice(GAPS) * timedelta(seconds=1)
        steps.append(Step(state, at))
    return steps


def what_happens(
    order: Order, steps: Sequence[int], chance: random.Random
) -> Iterator[tuple[datetime, int]]:
    """When each webhook that is not lost arrives, by its step, and when a poll is requested."""
    for number in steps:
        if chance.random() < 0.5:
            continue
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            late = chance.choice((0, 0, 1, 5, 30, 100, 700, 20_000)) * chance.random()
            yield order.life[number].at + late * timedelta(seconds=1), number
    lasts = order.life[-1].at - order.life[0].at + MINUTE
    for _ in range(chance.randrange(3)):
        yield order.life[0].at + lasts * chance.random(), REFRESH


def live(world: World, orders: Sequence[Order], chance: random.Random) -> None:
    """Let webhooks arrive and polls fall due until END."""
    courier, clock = world.courier, world.clock
    events = deque(
        sorted(
            (at, place, number)
            for place, order in enumerate(orders)
            for at, number in what_happens(order, courier.reported_steps(order), chance)
        )
    )
    end = START + END[courier.name]
    trust = "signed" if courier.signs else "token"
    while clock() < end:
        slot = SLOT if clock() < START + HOUR else QUIET_SLOT
        due = [at for at in (world.next_due(), events[0][0] if events else None) if at]
        until = min(max(min(due, default=end), clock()) + slot, end)
        while events and events[0][0] <= until:
            at, place, number = events.popleft()
            clock.move_to(max(at, clock()))
            with world.sessions.begin() as session:
                if number == REFRESH:
                    schedule_poll_now(session, world.order(orders[place].id), clock(), 1.0)
                    continue
                body = courier.webhook_message(orders[place], number).body
                message = IncomingMessage(
                    world.account.slug, "orders", "webhook", trust, body, received_at=clock()
                )
                store_messages(session, [message])
        world.drain()
        clock.move_to(until)
        world.poll_due()


def wrong_end(order: Order, stored: OrderRow) -> str | None:
    """How an order differs from what its courier says; None where it does not."""
    truth = order.life[-1].state
    driver = DRIVERS[stored.courier]
    status = driver.words[truth]
    if stored.courier == "shipmentapi" and status == "info_received":
        # Its pickup time is known by now.
        status = "awaiting_pickup"
    parcels = {parcel["status"] for parcel in stored.parcels}
    # What follows a cancellation is for a person to look at.
    contradicted = any(step.state == "cancelled" for step in order.life[:-1])
    attention = find_status(status).attention or contradicted
    is_right = (stored.status, stored.courier_status) == (status, truth) and parcels <= {status}
    if is_right and (attention or not stored.needs_attention):
        return None
    life = " ".join(f"{step.state}@{step.at:%H:%M:%S}" for step in order.life)
    return f"{order.number} {life}: {stored.courier_status} {stored.status} {parcels}"


@pytest.mark.timeout(120 + 5 * LIVES)
@pytest.mark.parametrize("courier", COURIERS)
def test_every_order_ends_with_what_its_courier_says(new_world: MakeWorld, courier: str) -> None:
    wrong, count = [], 0
    for first in range(0, LIVES, IN_A_WORLD):
        world = new_world(COURIERS[courier], seed=SEED * 1000 + first)
        chance = random.Random(f"{courier} {SEED} {first}")
        lives = [random_life(courier, chance) for _ in range(min(IN_A_WORLD, LIVES - first))]
        orders = [world.place(life) for life in lives]
        live(world, orders, chance)
        ends = [wrong_end(order, world.order(order.id)) for order in orders]
        wrong += [end for end in ends if end is not None]
        count += len(orders)
        print(f"{courier}: {count - len(wrong)} of {count} right")  # noqa: T201 (seen with -s)
    assert not wrong, "\n".join(wrong[:20])
