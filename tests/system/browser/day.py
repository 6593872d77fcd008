"""A day at a shop for the console to show: the sandbox's couriers, by a clock that is moved.

Tiramizoo does as it should, but for some lost webhooks that polls make good. Cottoncast fell silent
some hours ago, with orders under way. ShipmentAPI sends a shape that its field map does not fit.
One order, STORY, has a life worth telling.
"""

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.settings import Settings
from tests import sandbox
from tests.bodies import raw, shipmentapi_order, tiramizoo_order, tour_plan
from tests.polling import World
from tests.sandbox import Clock, Order, Step, evenly

HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)
LONG, STEP, ASKED = 20 * HOUR, 20 * MINUTE, 2 * HOUR
# When Cottoncast's webhooks stop, before now.
SILENT = 5 * HOUR
STORY, CONTRADICTED, CORRECTED = "S-10421", "S-10388", "S-10201"
# What mends the field map that ShipmentAPI's new shape does not fit.
MENDED = {"COURIER_SHIPMENTAPI_FIELDS": json.dumps({"courier_status": "status || state"})}
PARKING = {
    "COURIER_TIRAMIZOO_MUNICH_DRIVER": "tiramizoo",
    "COURIER_TIRAMIZOO_MUNICH_SECRETS": "munich-token",
    "COURIER_TIRAMIZOO_MUNICH_UNKNOWN_ORDERS": "park",
}


class Habits(NamedTuple):
    """How far apart a courier's orders are, and the states of one; what lives they have."""

    between: timedelta
    apart: timedelta
    lives: list[Sequence[str]]


HABITS = {
    "tiramizoo": Habits(
        26 * MINUTE,
        55 * MINUTE,
        [
            ("created", "dispatched", "picked_up", "delivered"),
            ("created", "dispatched", "picked_up", "delivery_failed", "returned"),
            ("created", "dispatched", "picked_up", "delivered"),
            ("created", "dispatched", "pickup_failed", "picked_up", "delivered"),
            ("created", "cancelled"),
        ],
    ),
    "cottoncast": Habits(60 * MINUTE, 110 * MINUTE, ["NLRCED", "NLRCED", "NLRCEIED", "NLRCEX"]),
    "shipmentapi": Habits(
        150 * MINUTE,
        100 * MINUTE,
        [
            ("placed", "accepted", "collected", "in_transit", "out_for_delivery", "delivered"),
            ("placed", "cancelled"),
        ],
    ),
}


class Come(NamedTuple):
    """A body, and when it comes."""

    at: datetime
    account: str
    topic: str
    body: bytes


class Day:
    """The day, lived. environ: what a service that shows it is to be started with."""

    def __init__(
        self, environ: Mapping[str, str], sessions: sessionmaker[Session], redis: Redis
    ) -> None:
        self.now = datetime.now(UTC)
        self.start = self.now - LONG
        self.clock = Clock(self.start)
        self.chance = random.Random(8)
        self.sessions = sessions
        self.stack = ExitStack()
        self.tiramizoo = self.stack.enter_context(sandbox.Tiramizoo(now=self.clock))
        self.cottoncast = self.stack.enter_context(sandbox.Cottoncast(now=self.clock))
        self.shipmentapi = self.stack.enter_context(sandbox.ShipmentAPI(now=self.clock))
        self.couriers = (self.tiramizoo, self.cottoncast, self.shipmentapi)
        self.environ = {**environ, **PARKING}
        for courier in self.couriers:
            self.environ |= courier.environ()
        settings = Settings.from_env(self.environ)
        self.worlds = [World(it, self.clock, settings, sessions, redis) for it in self.couriers]
        for world in self.worlds:
            self.stack.callback(world.poller.courier.close)

    def live(self) -> None:
        """From its start until now, step by step; what came in within one is read at its end."""
        coming = sorted([*self._ordinary(), *self._story(), *self._trouble()])
        asked = self.start
        while self.clock() < self.now:
            until = min(self.clock() + STEP, self.now)
            while coming and coming[0].at <= until:
                self._take(coming.pop(0))
            self.clock.move_to(until)
            if until - asked >= ASKED or until == self.now:
                asked = until
                for world in self.worlds:
                    world.poll_due()

    def _take(self, come: Come) -> None:
        trust = "signed" if come.account == "cottoncast" else "token"
        incoming = IncomingMessage(come.account, come.topic, "webhook", trust, come.body, come.at)
        with self.sessions.begin() as session:
            store_messages(session, [incoming])
        self.clock.move_to(max(come.at + self.chance.uniform(0.02, 0.4) * SECOND, self.clock()))
        self.worlds[0].drain()

    def _told(self, courier: sandbox.Courier, order: Order, step: int, late: timedelta) -> Come:
        body = courier.webhook_message(order, step).body
        return Come(order.life[step].at + late, courier.name, "orders", body)

    def _ordinary(self) -> Iterator[Come]:
        for courier in self.couriers:
            habits = HABITS[courier.name]
            for number in range(int(LONG / habits.between)):
                placed = self.start + number * habits.between * self.chance.uniform(0.9, 1.1)
                apart = habits.apart * self.chance.uniform(0.6, 1.4)
                order = courier.create(
                    evenly(*habits.lives[number % len(habits.lives)], start=placed, apart=apart),
                    reference=f"S-{10_000 + 7 * number + self.couriers.index(courier)}",
                )
                for step in courier.reported_steps(order):
                    late = self.chance.uniform(0.5, 40) * SECOND
                    come = self._told(courier, order, step, late)
                    silent = courier is self.cottoncast and come.at > self.now - SILENT
                    if come.at < self.now and not silent and self.chance.random() > 0.06:
                        yield come

    def _story(self) -> Iterator[Come]:
        """A delivery that fails first, a lost and a late webhook, and an unknown status."""
        at = self.now - 9 * HOUR
        order = self.tiramizoo.create(
            [
                Step("created", at),
                Step("dispatched", at + 21 * MINUTE),
                Step("picked_up", at + 1.2 * HOUR),
                Step("delivery_failed", at + 4 * HOUR, "recipient_was_not_at_home"),
                Step("delivered", at + 7.4 * HOUR),
            ],
            reference=STORY,
        )
        for step, late in ((0, 2), (1, 3), (3, 4), (4, 6)):
            yield self._told(self.tiramizoo, order, step, late * SECOND)
        # Written before the delivery, and received long after it.
        yield self._told(self.tiramizoo, order, 2, 7 * HOUR)
        code = order.names["tracking_code"]
        for told, eta in ((1 * HOUR, 3.5 * HOUR), (4.5 * HOUR, 7.2 * HOUR)):
            plan = raw(tour_plan({code: at + eta}, tour_id="MUC7-2"))
            yield Come(at + told, "tiramizoo", "tours", plan)
        odd = self.tiramizoo.body(order, order.life[:4]) | {"state": "rerouted"}
        yield Come(at + 5.3 * HOUR, "tiramizoo", "orders", raw(odd))

    def _trouble(self) -> Iterator[Come]:
        """Facts that contradict, bodies that do not fit, and orders that nobody registered."""
        states = {"created": 19, "dispatched": 18.4, "cancelled": 18, "picked_up": 16}
        life = [Step(state, self.now - ago * HOUR) for state, ago in states.items()]
        order = self.tiramizoo.create(life, reference=CONTRADICTED)
        yield from (self._told(self.tiramizoo, order, step, 4 * SECOND) for step in (0, 2, 3))
        life = [Step(code, self.now - (15 - n / 2) * HOUR) for n, code in enumerate("NLCDX")]
        order = self.cottoncast.create(life, reference=CORRECTED)
        yield from (self._told(self.cottoncast, order, step, 2 * SECOND) for step in range(5))
        for number in range(4):
            body: dict[str, Any] = shipmentapi_order(
                f"SA-90{number}1", client_reference=f"S-10{number}77"
            )
            body["state"] = body.pop("status")
            at = self.now - (2 - number * 0.4) * HOUR
            yield Come(at, "shipmentapi", "orders", raw(body))
        for number in range(3):
            at = self.now - (3 - number * 0.7) * HOUR
            body = tiramizoo_order(f"munich-{number}", {"created": at}, external_id=f"M-70{number}")
            yield Come(at + 4 * SECOND, "tiramizoo-munich", "orders", raw(body))


@contextmanager
def lived_day(
    environ: Mapping[str, str], sessions: sessionmaker[Session], redis: Redis
) -> Iterator[Day]:
    """A day that is over; its couriers still answer."""
    day = Day(environ, sessions, redis)
    with day.stack:
        day.live()
        yield day
