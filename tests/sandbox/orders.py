"""Orders with a scripted life, and the clock by which they live it.

An order's state at any moment is that part of its life which has happened by then, so nothing has
to run in the background for it to move along.
"""

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple


class Step(NamedTuple):
    """A state, in the courier's word, when it is reached, and why where the courier says so."""

    state: str
    at: datetime
    reason: str | None = None


Life = Iterable[Step | tuple[str, datetime]] | Mapping[str, datetime]


def steps_of(life: Life) -> tuple[Step, ...]:
    """A life's steps, as they were scripted; a time without a zone is refused."""
    pairs = life.items() if isinstance(life, Mapping) else life
    steps = tuple(Step(*pair) for pair in pairs)
    for step in steps:
        if step.at.tzinfo is None:
            raise ValueError(f"{step.state} is at {step.at}, which has no zone")
    return steps


def evenly(*states: str, start: datetime, apart: timedelta) -> tuple[Step, ...]:
    """A life whose states follow each other evenly."""
    return tuple(Step(state, start + number * apart) for number, state in enumerate(states))


@dataclass(eq=False)
class Order:
    """An order as its courier has it.

    id         the courier's own name for it; reference: the shop's
    names      further names that the courier gives it (identifier, tracking_code...)
    webhook_url   where its webhooks go; None sends none
    """

    number: int
    id: str
    reference: str
    life: tuple[Step, ...]
    webhook_url: str | None = None
    names: Mapping[str, str] = field(default_factory=dict)

    def reached(self, at: datetime) -> tuple[Step, ...]:
        """What has happened to it by then; nothing, where it was not placed yet."""
        return tuple(step for step in self.life if step.at <= at)


def utc_now() -> datetime:
    return datetime.now(UTC)


class Clock:
    """A courier's clock that a test moves: call it for the time.

    speed: seconds that pass on it in one of ours; 0 stands still until it is moved.
    """

    def __init__(self, start: datetime | None = None, speed: float = 0.0) -> None:
        self._lock = threading.Lock()
        self._base = start or utc_now()
        self._speed = speed
        self._since = time.monotonic()

    def __call__(self) -> datetime:
        with self._lock:
            return self._base + timedelta(seconds=(time.monotonic() - self._since) * self._speed)

    def move(self, by: timedelta) -> None:
        with self._lock:
            self._base += by

    def move_to(self, at: datetime) -> None:
        with self._lock:
            self._base, self._since = at, time.monotonic()
