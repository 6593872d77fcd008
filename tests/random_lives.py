"""Random lives of orders, couriers that say the truth about them, and what Ordertrail makes of it.

States follow each other within seconds or minutes, so that polls and webhooks meet in one minute.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import Any

from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import Decoded, MessageContext
from receiver.db.models import Message
from receiver.db.order_state import AnyOrder, OrderState
from receiver.inbox.json_body import parse_body
from receiver.orders.poll_plan import MINIMUM_INTERVAL, plan_next_poll
from receiver.orders.timeline import TimelineEntry
from receiver.statuses import find_status
from tests import sandbox
from tests.bodies import START
from tests.sandbox import Clock, Courier, Order
from tests.sandbox.cottoncast import LABELS, local_minute
from tests.sandbox.orders import Step
from workers.folding.order_identity import ReceivedSnapshot
from workers.folding.refold import apply_fold, merge_snapshots

SECOND, MINUTE, HOUR = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)
# By then the last webhook is old, and every order has been polled after it.
END = {"tiramizoo": 14 * HOUR, "cottoncast": 30 * HOUR, "shipmentapi": 12 * HOUR}

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
# Seconds between two states.
GAPS = (1, 2, 7, 20, 40, 55, 70, 130, 300, 900)
# Seconds by which a webhook is late, at most.
DELAYS = (0, 0, 1, 5, 30, 100, 700, 20_000)
# In place of a webhook's step: the shop requests a poll.
REFRESH = -1


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
    """The state of some orders is in the order, with its minute, and of some only in the shipment.

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


COURIERS: dict[str, Callable[..., Courier]] = {
    "tiramizoo": Tiramizoo,
    "cottoncast": Cottoncast,
    "shipmentapi": ShipmentAPI,
}


def random_life(courier: str, chance: random.Random) -> list[Step]:
    """Go from state to state until the end."""
    state = chance.choice(FIRST[courier])
    at = START + chance.randrange(1, 120) * SECOND
    steps = [Step(state, at)]
    while len(steps) < 9:
        state = chance.choice(NEXT[courier].get(state, ("",)))
        if not state:
            break
        at += chance.choice(GAPS) * SECOND
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
            late = chance.choice(DELAYS) * chance.random()
            yield order.life[number].at + late * SECOND, number
    lasts = order.life[-1].at - order.life[0].at + MINUTE
    for _ in range(chance.randrange(3)):
        yield order.life[0].at + lasts * chance.random(), REFRESH


def wrong_end(order: Order, stored: AnyOrder) -> str | None:
    """How an order differs from what its courier says; None where it does not."""
    truth = order.life[-1].state
    status = DRIVERS[stored.courier].words[truth]
    if stored.courier == "shipmentapi" and status == "info_received":
        # Its pickup time is known by now.
        status = "awaiting_pickup"
    parcels = {parcel["status"] for parcel in stored.parcels}
    is_right = (stored.status, stored.courier_status) == (status, truth) and parcels <= {status}
    if is_right and stored.needs_attention == find_status(status).attention:
        return None
    life = " ".join(f"{step.state}@{step.at:%H:%M:%S}" for step in order.life)
    attention = " needs attention" if stored.needs_attention else ""
    return f"{order.number} {life}: {stored.courier_status} {stored.status} {parcels}{attention}"


class Follower:
    """One order as Ordertrail follows it, without its tables: decoded, folded, planned, polled."""

    def __init__(self, courier: Courier, order: Order, clock: Clock) -> None:
        self.courier, self.order, self.clock = courier, order, clock
        self.driver = DRIVERS[courier.name]
        self.entries: dict[str, TimelineEntry] = {}
        self.state = OrderState(order.number, courier.name, courier.name, order.id, START, START)
        self.message_id = self.quiet = 0
        self.polled_at: datetime | None = None
        self.answer: Decoded | None = None
        assert self.driver.api is not None
        self.api = self.driver.api
        self.due = plan_next_poll(self.api.schedule, self.state, 1.0)

    def follow(self, events: list[tuple[datetime, int]]) -> None:
        """Receive webhooks and poll until the courier's END."""
        end = START + END[self.courier.name]
        events = sorted(events, reverse=True)
        while True:
            arrival = events[-1][0] if events else end
            at = min(self.due or end, arrival)
            if at >= end:
                return
            self.clock.move_to(at)
            if arrival > at:
                self._poll(at)
                continue
            _, number = events.pop()
            if number == REFRESH:
                self._plan(at)
            else:
                body = parse_body(self.courier.webhook_message(self.order, number).body)
                self._fold("webhook", self.driver.topics["orders"].decode(body, self._now()), at)
                self.answer = None

    def _now(self, kind: str = "webhook") -> MessageContext:
        return MessageContext(self.clock(), kind)

    def _poll(self, at: datetime) -> None:
        self.polled_at = at
        self.due = None
        if self.courier.find(self.order.id) is not None:
            document = parse_body(self.courier.show(self.order).body)
            answer = self.api.decode(document, self._now("poll"))
            if answer != self.answer and self._fold("poll", answer, at):
                self.answer = self.api.decode(document, self._now("poll"))
                return
        self.quiet += 1
        self.due = plan_next_poll(self.api.schedule, self.state, 1.0, at, self.quiet)

    def _fold(self, kind: str, decoded: Decoded, at: datetime) -> bool:
        """Fold a message and plan the next poll if it was news; return whether it was."""
        self.message_id += 1
        trust = "fetched" if kind == "poll" else self.driver.signature.trust
        message = Message(
            id=self.message_id, account=self.courier.name, received_at=at, kind=kind, trust=trust
        )
        items = [ReceivedSnapshot(message, snapshot) for snapshot in decoded.orders]
        before, count = copy(self.state), len(self.entries)
        known = merge_snapshots(self.entries, self.state.details, items)
        apply_fold(self.state, known, [*self.entries.values()], {})
        is_news = kind == "webhook" or self.state != before or len(self.entries) > count
        self.state.last_heard_at = at
        if is_news:
            self.quiet = 0
            self._plan(plan_next_poll(self.api.schedule, self.state, 1.0))
        return is_news

    def _plan(self, due: datetime | None) -> None:
        earliest = self.polled_at + MINIMUM_INTERVAL if self.polled_at else due
        self.due = max(due, earliest) if due and earliest else due
