"""The bells that an action rings after its commit."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bells:
    """What to call after a commit; neither waits for Redis, and neither raises.

    doorbell: wake the workers, since messages are pending.
    feed: wake the readers who wait for the change feed, since it has new changes.
    """

    doorbell: Callable[[], None]
    feed: Callable[[], None]
