"""Webhooks of a sandbox courier: how they are retried, disturbed, and what became of each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.sandbox.orders import Order, Step

PENDING, DELIVERED, LOST, GIVEN_UP = "pending", "delivered", "lost", "given_up"


@dataclass(frozen=True, slots=True)
class Message:
    """A webhook's body, its headers beside Content-Type, and how it is sent."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""
    method: str = "POST"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a courier sends a webhook again.

    accepts  whether this status means that the webhook was delivered
    waits    seconds before each retry; there are as many retries as waits
    """

    accepts: Callable[[int], bool]
    waits: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Chances:
    """How webhooks are disturbed.

    lose     probability that a webhook is never sent
    repeat   probability that it is sent two or three times
    shuffle  each is delayed by a random time up to this
    """

    lose: float = 0.0
    repeat: float = 0.0
    shuffle: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request; status is None where there was no answer."""

    at: datetime
    status: int | None


@dataclass(eq=False)
class Webhook:
    """The webhook that reports one step of an order.

    fate: pending, delivered (a request was accepted), lost (never sent), given_up (never accepted).
    """

    order: Order
    number: int
    copies: int
    attempts: list[Attempt] = field(default_factory=list)
    fate: str = PENDING
    unfinished: int = 0

    @property
    def step(self) -> Step:
        return self.order.life[self.number]


@dataclass(frozen=True, slots=True)
class Summary:
    """Counts of webhooks by what became of them; `sent` counts requests, retries included."""

    webhooks: int
    delivered: int
    lost: int
    given_up: int
    pending: int
    repeated: int
    sent: int
