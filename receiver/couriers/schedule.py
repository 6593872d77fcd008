"""When to poll an order, as a pure function of what is known of it.

Each courier's driver holds its schedule as data; POLL_INTERVAL_FACTOR multiplies every interval.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver import statuses
from receiver.statuses import find_status

# Orders that changed at the same moment are spread over this share of their interval.
JITTER = 0.1

NOT_ACCEPTED = {statuses.PENDING, statuses.UNKNOWN}


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
    until_complete  the interval until the label and a tracking number are known
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


@dataclass(frozen=True, slots=True)
class PollState:
    """What decides when an order is polled next.

    last_heard_at    when its newest webhook or poll answer arrived; None if none ever did
    complete         whether its label and a tracking number are known
    unchanged_polls  polls in a row that brought no news
    """

    order_id: int
    status: str
    status_at: datetime | None
    placed_at: datetime
    last_heard_at: datetime | None = None
    complete: bool = True
    pickup_at: datetime | None = None
    unchanged_polls: int = 0


def plan_next_poll(schedule: Schedule, order: PollState, factor: float) -> datetime | None:
    """Return when to poll an order next, None if polling is finished.

    factor: POLL_INTERVAL_FACTOR.
    """
    if find_status(order.status).terminal and order.status_at is not None:
        last = order.status_at + schedule.last_poll * factor
        return None if order.last_heard_at is not None and order.last_heard_at >= last else last

    last_heard_at = order.last_heard_at or order.placed_at
    interval = _backoff(schedule, order).delay(order.unchanged_polls) * factor
    due = last_heard_at + interval * (1 + JITTER * _fraction(order.order_id))
    if schedule.pickup_every is not None and _awaits_pickup(order) and order.pickup_at is not None:
        window_start = order.pickup_at - schedule.pickup_before * factor
        pickup_poll = max(window_start, last_heard_at + schedule.pickup_every * factor)
        if pickup_poll <= order.pickup_at + schedule.pickup_after * factor:
            due = min(due, pickup_poll)
    return max(due, order.placed_at + schedule.not_before * factor)


def _backoff(schedule: Schedule, order: PollState) -> Backoff:
    if schedule.until_accepted is not None and order.status in NOT_ACCEPTED:
        return schedule.until_accepted
    if schedule.until_complete is not None and not order.complete:
        return schedule.until_complete
    return schedule.default


def _awaits_pickup(order: PollState) -> bool:
    return find_status(order.status).rank < find_status(statuses.PICKED_UP).rank


def _fraction(order_id: int) -> float:
    """Return a number from 0 to 1 that is always the same for an order and spreads all orders."""
    return (order_id * 2_654_435_761 % 2**32) / 2**32
