"""When to poll a courier's orders, as data of its driver; receiver/orders/poll_plan.py plans by it.

POLL_INTERVAL_FACTOR multiplies every interval.
"""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Backoff:
    """A delay that starts at `first`, repeats `steady` times, then doubles up to `maximum`."""

    first: timedelta
    maximum: timedelta
    steady: int = 1

    def delay(self, attempts: int) -> timedelta:
        """Return how long to wait after so many attempts in a row."""
        # 30 doublings of a second are 34 years; more would overflow.
        doublings = min(max(0, attempts + 1 - self.steady), 30)
        return min(self.first * (1 << doublings), self.maximum)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When to poll a courier's orders, counted from the last news of each order.

    default         the ordinary interval between two polls
    calls_once      whether the courier sends a single webhook in an order's life, so that a missing
                    second one is normal
    not_before      how long after its creation an order is not polled
    until_accepted  the interval while the courier has not accepted the order
    until_complete  the interval until the label, a tracking number and, before the pickup, its time
                    are known
    pickup_every, pickup_before, pickup_after   the interval around the planned pickup time
    last_poll       how long after its end an order is polled one last time
    give_up         how long an order may be polled without news before polling stops
    unknown_for     how long the courier may not know a new order before polling stops
    """

    default: Backoff
    calls_once: bool = False
    not_before: timedelta = timedelta()
    until_accepted: Backoff | None = None
    until_complete: Backoff | None = None
    pickup_every: timedelta | None = None
    pickup_before: timedelta = timedelta(minutes=30)
    pickup_after: timedelta = timedelta(minutes=60)
    last_poll: timedelta = timedelta(days=1)
    give_up: timedelta = timedelta(days=30)
    unknown_for: timedelta = timedelta(days=1)
