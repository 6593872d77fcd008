"""The order's roll-up where the courier tells per parcel: delivered when all its parcels are."""

from datetime import datetime

from receiver import statuses
from receiver.couriers.snapshot import Event
from receiver.orders.fold import fold_order
from tests.bodies import after

STEPS = ("N", "L", "R", "C", "E", "I", "X", "D")
WORDS = {
    "N": statuses.INFO_RECEIVED,
    "E": statuses.IN_TRANSIT,
    "D": statuses.DELIVERED,
    "Z": statuses.CANCELLED,
}


def event(word: str, minutes: int, parcel: str = "") -> Event:
    at: datetime = after(minutes)
    return Event(WORDS[word], word, at, reported_at=at, parcel=parcel)


def test_an_order_whose_courier_tells_no_parcel_folds_by_its_own_events() -> None:
    order, parcels = fold_order([event("N", 0), event("D", 9)])
    assert (order.status, parcels) == (statuses.DELIVERED, {})


def test_delivered_reported_of_the_whole_waits_for_a_parcel_that_is_elsewhere_at_that_time() -> (
    None
):
    events = [event("E", 1), event("D", 6, "P1"), event("E", 6, "P2"), event("D", 6)]
    order, parcels = fold_order(events)
    assert order.status == statuses.IN_TRANSIT
    assert parcels == {"P1": statuses.DELIVERED, "P2": statuses.IN_TRANSIT}
    assert order.verdicts[3].why_not == "1 of 2 parcels are delivered"
    assert all(verdict.applied for verdict in order.verdicts[:3])


def test_the_last_parcels_delivery_is_the_orders() -> None:
    events = [event("E", 1), event("D", 5, "P1"), event("D", 8, "P2")]
    order, _ = fold_order(events)
    assert (order.status, order.status_at) == (statuses.DELIVERED, after(8))
    assert order.set_by == 2
    assert order.milestones[statuses.DELIVERED] == after(8)


def test_a_cancelled_parcel_is_not_waited_for() -> None:
    events = [event("E", 1), event("D", 5, "P1"), event("Z", 2, "P2")]
    order, parcels = fold_order(events)
    assert order.status == statuses.DELIVERED
    assert parcels["P2"] == statuses.CANCELLED


def test_an_order_with_every_parcel_cancelled_is_not_delivered_by_them() -> None:
    order, _ = fold_order([event("E", 1), event("Z", 2, "P1"), event("Z", 3, "P2")])
    assert order.status == statuses.IN_TRANSIT


def test_delivered_told_early_of_the_whole_counts_once_all_parcels_are() -> None:
    events = [event("D", 4), event("D", 5, "P1"), event("D", 8, "P2")]
    order, _ = fold_order(events)
    assert (order.status, order.status_at) == (statuses.DELIVERED, after(4))
