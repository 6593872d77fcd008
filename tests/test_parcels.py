"""The order's roll-up where the courier tells per parcel: delivered when all its parcels are."""

from dataclasses import replace

from receiver import statuses
from receiver.orders.fold import fold_order
from tests.bodies import after
from tests.folding import precise


def test_an_order_whose_courier_tells_no_parcel_folds_by_its_own_events() -> None:
    order, parcels = fold_order([precise("N", 0), precise("D", 9)])
    assert (order.status, parcels) == (statuses.DELIVERED, {})


def test_delivered_reported_of_the_whole_waits_for_a_parcel_that_is_elsewhere_at_that_time() -> (
    None
):
    events = [precise("E", 1), precise("D", 6, "P1"), precise("E", 6, "P2"), precise("D", 6)]
    order, parcels = fold_order(events)
    assert order.status == statuses.IN_TRANSIT
    assert parcels == {"P1": statuses.DELIVERED, "P2": statuses.IN_TRANSIT}
    assert order.verdicts[3].why_not == "1 of 2 parcels are delivered"
    assert all(verdict.applied for verdict in order.verdicts[:3])


def test_the_last_parcels_delivery_is_the_orders() -> None:
    events = [precise("E", 1), precise("D", 5, "P1"), precise("D", 8, "P2")]
    order, _ = fold_order(events)
    assert (order.status, order.status_at) == (statuses.DELIVERED, after(8))
    assert order.set_by == 2
    assert order.milestones[statuses.DELIVERED] == after(8)


def test_a_cancelled_parcel_is_not_waited_for() -> None:
    events = [precise("E", 1), precise("D", 5, "P1"), precise("Z", 2, "P2")]
    order, parcels = fold_order(events)
    assert order.status == statuses.DELIVERED
    assert parcels["P2"] == statuses.CANCELLED


def test_an_order_with_every_parcel_cancelled_is_not_delivered_by_them() -> None:
    order, _ = fold_order([precise("E", 1), precise("Z", 2, "P1"), precise("Z", 3, "P2")])
    assert order.status == statuses.IN_TRANSIT


def test_delivered_told_early_of_the_whole_counts_once_all_parcels_are() -> None:
    events = [precise("D", 4), precise("D", 5, "P1"), precise("D", 8, "P2")]
    order, _ = fold_order(events)
    assert (order.status, order.status_at) == (statuses.DELIVERED, after(4))


def test_a_newer_state_of_the_whole_order_counts_for_its_parcels() -> None:
    order, parcels = fold_order([precise("N", 1, "P1"), precise("N", 1, "P2"), precise("D", 6)])
    assert (order.status, order.status_at) == (statuses.DELIVERED, after(6))
    assert parcels == {"P1": statuses.DELIVERED, "P2": statuses.DELIVERED}


def test_an_older_state_of_the_whole_order_says_nothing_about_a_parcel() -> None:
    _, parcels = fold_order([precise("N", 1), precise("E", 6, "P1")])
    assert parcels == {"P1": statuses.IN_TRANSIT}


def test_a_parcel_that_has_ended_keeps_its_end() -> None:
    _, parcels = fold_order([precise("Z", 1, "P1"), precise("D", 2, "P2"), precise("E", 6)])
    assert parcels == {"P1": statuses.CANCELLED, "P2": statuses.DELIVERED}


def test_a_parcel_that_has_ended_knows_better_than_its_order() -> None:
    _, parcels = fold_order([precise("E", 0), precise("D", 10, "P1"), precise("I", 20)])
    assert parcels == {"P1": statuses.DELIVERED}


def test_an_end_of_the_whole_order_is_no_end_of_the_parcels_own() -> None:
    _, parcels = fold_order([precise("N", 0, "P1"), precise("Z", 10), precise("E", 20)])
    assert parcels == {"P1": statuses.IN_TRANSIT}


def test_only_a_state_with_its_time_says_more_than_the_orders_of_that_moment() -> None:
    order = precise("D", 20)
    told = precise("E", 20, "P1")
    seen = replace(told, reported_at=None)
    assert fold_order([told, order])[1] == {"P1": statuses.IN_TRANSIT}
    assert fold_order([seen, order])[1] == {"P1": statuses.DELIVERED}
    later = precise("E", 30, "P1")
    assert fold_order([precise("?", 20, "P1"), order, later])[1] == {"P1": statuses.DELIVERED}


def test_a_known_parcel_without_a_state_of_its_own_is_waited_for() -> None:
    events = [precise("E", 1), precise("D", 5, "P1")]
    order, _ = fold_order(events, parcels=["P1", "P2"])
    assert order.status == statuses.IN_TRANSIT
    order, _ = fold_order([*events, precise("D", 6)], parcels=["P1", "P2"])
    assert order.status == statuses.DELIVERED


def test_a_parcel_that_is_not_listed_any_more_is_not_waited_for() -> None:
    events = [precise("E", 1), precise("E", 2, "P1"), precise("D", 5, "P2")]
    order, parcels = fold_order(events, parcels=["P1", "P2"], left_out=["P1"])
    assert (order.status, parcels["P1"]) == (statuses.DELIVERED, statuses.IN_TRANSIT)


def test_a_parcel_whose_newest_word_is_unmapped_follows_its_order() -> None:
    order, parcels = fold_order([precise("N", 0), precise("E", 1, "P1"), precise("?", 5, "P1")])
    assert (order.status, parcels) == (statuses.INFO_RECEIVED, {})
    _, parcels = fold_order([precise("N", 0), precise("?", 1, "P1"), precise("E", 5, "P1")])
    assert parcels == {"P1": statuses.IN_TRANSIT}


def test_a_parcel_that_is_only_known_is_waited_for() -> None:
    order, parcels = fold_order([precise("D", 3, "P1")], parcels=["P2"])
    assert (order.status, parcels) == (statuses.PENDING, {"P1": statuses.DELIVERED})


def test_delivered_reported_of_the_whole_beside_no_other_state_of_that_time_applies() -> None:
    whole = precise("D", 3)
    unmapped = precise("?", 3, "P1")
    cancelled = precise("Z", 3, "P1")
    untimed = replace(precise("N", 3, "P1"), reported_at=None)
    for beside in (precise("D", 3, "P1"), precise("E", 2, "P1"), unmapped, cancelled, untimed):
        order, _ = fold_order([beside, whole], parcels=["P2"] if beside is not cancelled else [])
        assert (order.status, order.verdicts[1].applied) == (statuses.DELIVERED, True), beside


def test_only_a_delivery_of_the_whole_waits_for_the_parcels() -> None:
    order, _ = fold_order([precise("D", 3), precise("N", 3), precise("E", 3, "P1")])
    assert (order.status, order.status_at) == (statuses.INFO_RECEIVED, after(3))
    assert [verdict.applied for verdict in order.verdicts] == [False, True, True]
    order, _ = fold_order([precise("D", 1), precise("E", 3, "P1")], left_out=["P1"])
    assert order.status == statuses.DELIVERED


def test_a_parcel_that_is_left_out_holds_back_no_delivery() -> None:
    order, _ = fold_order([precise("N", 3, "P1"), precise("D", 3)], left_out=["P1"])
    assert order.status == statuses.DELIVERED


def test_what_happens_to_one_parcel_says_nothing_of_another() -> None:
    events = [precise("E", 0), precise("X", 1, "P1"), precise("E", 2, "P2")]
    order, parcels = fold_order(events)
    assert order.status == statuses.IN_TRANSIT
    assert parcels == {"P1": statuses.LOST, "P2": statuses.IN_TRANSIT}
