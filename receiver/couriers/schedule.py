"""When a courier is asked about an order. Pure: what is known goes in, a time comes out.

The numbers of each courier stand in its driver; POLL_INTERVAL_FACTOR multiplies all of them.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver import statuses
from receiver.statuses import VOCABULARY

# Looks at orders that were heard of in one moment are spread over so much of their interval.
JITTER = 0.1

# Nothing was heard yet that we understand.
NOTHING_HEARD = {statuses.PENDING, statuses.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How the time between two looks grows: `steady` looks at `first`, then it doubles to `most`.

    It starts anew whenever something changes.
    """

    first: timedelta
    most: timedelta
    steady: int = 1

    def after(self, quiet: int) -> timedelta:
        """How long to wait after so many looks in a row that told nothing new."""
        # Past 30 doublings of a second lie 34 years.
        doublings = min(max(0, quiet + 1 - self.steady), 30)
        return min(self.first * (1 << doublings), self.most)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a courier is asked about an order, counted from when it was last heard of.

    silence         the ordinary rhythm
    calls_once      whether the courier calls once in an order's life, so that all else is to be
                    asked for and was never missed
    not_before      how long after placing an order nobody asks
    until_accepted  while nothing was heard yet
    until_complete  until the label and a tracking number are there
    pickup_every, pickup_before, pickup_after   around the time at which it is to be picked up
    last_look       how long after its end an order is looked at once more
    give_up         after how long without news it is given up
    unknown_for     how long an order that the courier does not know may just not be there yet
    """

    silence: Rhythm
    calls_once: bool = False
    not_before: timedelta = timedelta()
    until_accepted: Rhythm | None = None
    until_complete: Rhythm | None = None
    pickup_every: timedelta | None = None
    pickup_before: timedelta = timedelta(minutes=30)
    pickup_after: timedelta = timedelta(minutes=60)
    last_look: timedelta = timedelta(days=1)
    give_up: timedelta = timedelta(days=30)
    unknown_for: timedelta = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of an order that decides when it is looked at.

    heard_at   when anything was last heard of it, by hook or by look; None where never
    complete   whether its label and a tracking number are there
    quiet      looks in a row that told nothing new
    """

    order_id: int
    status: str
    status_at: datetime | None
    placed_at: datetime
    heard_at: datetime | None = None
    complete: bool = True
    pickup_at: datetime | None = None
    quiet: int = 0


def next_look(schedule: Schedule, order: Standing, factor: float) -> datetime | None:
    """When to ask about an order next; None where there is nothing more to hear.

    factor: POLL_INTERVAL_FACTOR.
    """
    if VOCABULARY[order.status].terminal and order.status_at is not None:
        look = order.status_at + schedule.last_look * factor
        return None if order.heard_at is not None and order.heard_at >= look else look

    heard_at = order.heard_at or order.placed_at
    wait = _rhythm(schedule, order).after(order.quiet) * factor
    due = heard_at + wait * (1 + JITTER * _fraction(order.order_id))
    if schedule.pickup_every is not None and _awaits_pickup(order) and order.pickup_at is not None:
        opens = order.pickup_at - schedule.pickup_before * factor
        look = max(opens, heard_at + schedule.pickup_every * factor)
        if look <= order.pickup_at + schedule.pickup_after * factor:
            due = min(due, look)
    return max(due, order.placed_at + schedule.not_before * factor)


def _rhythm(schedule: Schedule, order: Standing) -> Rhythm:
    if schedule.until_accepted is not None and order.status in NOTHING_HEARD:
        return schedule.until_accepted
    if schedule.until_complete is not None and not order.complete:
        return schedule.until_complete
    return schedule.silence


def _awaits_pickup(order: Standing) -> bool:
    return VOCABULARY[order.status].rank < VOCABULARY[statuses.PICKED_UP].rank


def _fraction(order_id: int) -> float:
    """A number from 0 to 1 that is an order's own, so that orders do not march in step."""
    return (order_id * 2_654_435_761 % 2**32) / 2**32
