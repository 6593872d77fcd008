"""What is said of web hooks: a courier's law of retries, what befalls them, what became of each."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.sandbox.orders import Order, Step

PENDING, TOLD, LOST, GIVEN_UP = "pending", "told", "lost", "given_up"


@dataclass(frozen=True, slots=True)
class Message:
    """A hook's body, and the headers it bears beside Content-Type."""

    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HookLaw:
    """A courier's law of retries.

    accepts  whether this status means that the hook arrived
    waits    the seconds before each retry: there are as many retries as there are waits
    """

    accepts: Callable[[int], bool]
    waits: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Chances:
    """What befalls hooks.

    lose     how likely one is never sent at all
    repeat   how likely one is sent twice or three times
    shuffle  each is sent later by a random time up to this
    """

    lose: float = 0.0
    repeat: float = 0.0
    shuffle: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One sending; status None where there was no answer."""

    at: datetime
    status: int | None


@dataclass(eq=False)
class Hook:
    """What became of the telling of one step.

    fate: pending, told (some sending was accepted), lost (never sent), given_up (sent in vain).
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
    """How many hooks there are and what became of them; sent counts requests, with all retries."""

    hooks: int
    told: int
    lost: int
    given_up: int
    pending: int
    repeated: int
    sent: int
