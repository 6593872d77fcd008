"""A stand-in for any courier that has no file of its own here: it calls, and cannot be polled.

Its webhooks are the samples of the courier's driver, signed as the driver says.
"""

import random
from collections.abc import Sequence
from typing import Any

from receiver import statuses
from receiver.couriers.contract import Driver, SampleState
from receiver.couriers.signatures import sign
from tests.courier_secrets import fitting_secret
from tests.sandbox.courier import Courier
from tests.sandbox.orders import Order
from tests.sandbox.webhooks import Message, RetryPolicy
from tests.sandbox.wire import Answer, Request, as_json

# The ways of an order, by our statuses.
WAYS = [
    (statuses.PICKED_UP, statuses.IN_TRANSIT, statuses.OUT_FOR_DELIVERY, statuses.DELIVERED),
    (statuses.OUT_FOR_DELIVERY, statuses.DELIVERY_FAILED, statuses.EXCEPTION),
    (statuses.CANCELLED,),
]


class WebhooksOnly(Courier):
    """One courier, by its driver. A webhook is delivered if it is answered 2xx."""

    retry_policy = RetryPolicy(accepts=lambda status: 200 <= status < 300, waits=(60.0,) * 5)

    def __init__(self, driver: Driver, **options: Any) -> None:
        self.driver = driver
        self.name = driver.name  # type: ignore[misc] # of the instance, not of the class
        self.first_state = next(iter(driver.words))  # type: ignore[misc]
        self.signs = not driver.signature.in_url  # type: ignore[misc]
        super().__init__(**options)
        self.secret = fitting_secret(driver, self.secret)

    def lives(self) -> list[Sequence[str]]:
        """Return lives in the courier's words: the first one of each status that it has."""
        words = {status: word for word, status in reversed([*self.driver.words.items()])}
        starts = (statuses.INFO_RECEIVED, statuses.AWAITING_PICKUP)
        return [[words[status] for status in (*starts, *way) if status in words] for way in WAYS]

    def name_order(self, number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
        return f"{self.name}-{number}-{chance.getrandbits(32):08x}", {}

    def authorized(self, request: Request) -> bool:
        return False

    def route(self, request: Request) -> Answer:
        return self.error(404)

    def show(self, order: Order) -> Answer:
        return self.error(404)

    def error(self, status: int, message: str = "") -> Answer:
        return as_json({"message": message or "this stand-in cannot be polled"}, status)

    def webhook_message(self, order: Order, number: int) -> Message:
        step = order.life[number]
        state = SampleState(order.id, step.state, order.reference, step.at)
        body, query = self.driver.sample_body(state), self.driver.sample_query(state)
        headers = {**self.driver.sample_headers}
        if self.driver.topics["orders"].body == "form":
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        headers |= sign(self.driver.signature, self.secret, body, self.now())
        return Message(body, headers, query, self.driver.topics["orders"].methods[0])

    def environ(self) -> dict[str, str]:
        names = {"DRIVER": self.name, "SECRETS": self.secret}
        return {f"COURIER_{self.account}_{name}": value for name, value in names.items()}
