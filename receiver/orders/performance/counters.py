"""What an order counts for in its courier's performance: a function of its state and its events.

An order counts once it has ended, on the UTC day of its end by the courier's clock. It adds one to
each of its counters; one that it has several times, it adds to several times.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from receiver import statuses
from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import CLOCK_SKEW, STATE_DISAGREES
from receiver.orders.performance.histogram import find_bucket
from receiver.orders.timeline import shown_at
from receiver.statuses import find_status
from receiver.times import sortable_time

ORDERS = "orders"
DELIVERED = "delivered"
# Delivered without a failed attempt before, by the courier's reports.
FIRST_ATTEMPT = "first_attempt"
# Delivered, and it was known until when; of those, delivered by then.
EXPECTED, ON_TIME = "expected", "on_time"
# States that a webhook was the first to report, and those that only a poll found.
REPORTED, MISSED = "reported", "missed"
# Durations: the name of such a counter ends with the number of its bucket.
PICKUP_TO_DELIVERY = "pickup_to_delivery"
ORDER_TO_PICKUP = "order_to_pickup"
WEBHOOK_DELAY = "webhook_delay"

# Of such an event it is not known when the courier's system had it.
UNTIMED = frozenset({CLOCK_SKEW, STATE_DISAGREES})
PICKED_UP_RANK = find_status(statuses.PICKED_UP).rank


def has_ended(status: str) -> bool:
    """Return whether an order with this status counts."""
    return status in statuses.TERMINAL_STATUSES


def end_day(order: Any) -> date | None:
    """Return the UTC day on which an order ended; None while it has not."""
    if not has_ended(order.status) or order.status_at is None:
        return None
    ended_at: datetime = order.status_at
    return ended_at.astimezone(UTC).date()


def sets_status(event: Any, order: Any) -> bool:
    """Return whether an event is the one that set its order's status."""
    return (event.courier_status, shown_at(event)) == (order.courier_status, order.status_at)


def is_state_of_order(event: Any, order: Any) -> bool:
    """Return whether an event is a state that a webhook should report: webhooks are about orders.

    A parcel's state counts where it set the order's.
    """
    return not event.parcel or sets_status(event, order)


def list_counters(order: Any, events: Iterable[Any]) -> list[str]:
    """Return the counters to which an order adds one; none before its end.

    order: an Order, an OrderState, or a row with their columns. events: rows of its `events`.
    """
    if end_day(order) is None:
        return []
    applied = [event for event in events if event.applied]
    counters = [ORDERS]
    # With several parcels, the first that was picked up.
    picked_up_at = min(
        (shown_at(event) for event in applied if event.status == statuses.PICKED_UP), default=None
    )
    if picked_up_at is not None and (ordered_at := _find_ordered_at(order)) <= picked_up_at:
        counters.append(duration_counter(ORDER_TO_PICKUP, picked_up_at - ordered_at))
    if order.status == statuses.DELIVERED:
        counters += _count_delivery(order, applied, picked_up_at)
    return counters + _count_reports(order, applied)


def duration_counter(name: str, duration: timedelta) -> str:
    """Return the counter of a duration, such as `webhook_delay 120`."""
    return f"{name} {find_bucket(duration.total_seconds())}"


def _count_delivery(
    order: Any, applied: Collection[Any], picked_up_at: datetime | None
) -> list[str]:
    counters = [DELIVERED]
    if all(event.status != statuses.DELIVERY_FAILED for event in applied):
        counters.append(FIRST_ATTEMPT)
    if picked_up_at is not None:
        counters.append(duration_counter(PICKUP_TO_DELIVERY, order.status_at - picked_up_at))
    expected_until = _find_expected_until(order)
    if expected_until is not None:
        counters.append(EXPECTED)
        counters += [ON_TIME] if order.status_at <= expected_until else []
    return counters


def _find_ordered_at(order: Any) -> datetime:
    """Return when an order was placed, as far as is known: our first knowledge, or its courier's.

    It is after the pickup where both heard of the order too late.
    """
    before_pickup = (
        datetime.fromisoformat(at)
        for name, at in order.milestones.items()
        if find_status(name).rank < PICKED_UP_RANK
    )
    created_at: datetime = order.created_at
    return min([created_at, *before_pickup])


def _find_expected_until(order: Any) -> datetime | None:
    """Return the end of what the courier promised, or of the last ETA before the delivery."""
    if order.promised and order.promised.get("to"):
        return datetime.fromisoformat(order.promised["to"])
    ended_at = sortable_time(order.status_at)
    known = [eta["to"] for eta in (order.details or {}).get("etas", ()) if eta["at"] < ended_at]
    return datetime.fromisoformat(known[-1]) if known else None


def _count_reports(order: Any, applied: Iterable[Any]) -> list[str]:
    """Count who reported each state first, and how late its webhook was."""
    states = [event for event in applied if is_state_of_order(event, order)]
    missed = [MISSED for event in states if event.kind == "poll"]
    by_webhook = [event for event in states if event.kind == "webhook"]
    reported = [REPORTED] * len(by_webhook)
    api = DRIVERS[order.courier].api if order.courier in DRIVERS else None
    if api is not None and api.schedule.calls_once:
        reported = reported[:1]
        missed = [] if reported else missed[:1]
    delays = (
        event.received_at - event.told_at
        for event in by_webhook
        if event.told_at is not None and UNTIMED.isdisjoint(event.flags)
    )
    return [*reported, *missed, *(duration_counter(WEBHOOK_DELAY, delay) for delay in delays)]
