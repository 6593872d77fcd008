"""Details: of two snapshots the more recent counts, in whichever order they are learnt."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.couriers.snapshot import FOLLOWS_ORDER, Eta, Snapshot
from receiver.orders import details
from receiver.orders.details import KnownDetails, add_eta, merge_snapshot
from tests.bodies import START, after


def snapshot(
    recency: datetime = START,
    reference: str | None = None,
    identifiers: Mapping[str, str] | None = None,
    parcels: Mapping[str, Mapping[str, Any]] | None = None,
    eta: Eta | None = None,
    **reports: Any,
) -> Snapshot:
    return Snapshot(
        courier_order_id="1",
        recency=recency,
        events=(),
        reference=reference,
        identifiers=identifiers or {},
        details=reports,
        eta=eta,
        parcels=parcels or {},
    )


def arrival(minutes: float, source: str = "order") -> Eta:
    return Eta(after(minutes), after(minutes), source)


def learn_in_turn(
    *snapshots: Snapshot, known: KnownDetails | None = None, first_id: int = 1
) -> KnownDetails:
    known = known or {}
    for message_id, item in enumerate(snapshots, first_id):
        known = merge_snapshot(known, item, message_id)
    return known


def test_nothing_is_known_of_an_order_never_heard_of() -> None:
    assert details.detail_value({}, "tracking_url") is None
    assert details.current_eta({}) is None
    assert details.identifier_values({}) == {}
    assert details.list_parcels({}, "pending", None, {}) == []


def test_what_a_snapshot_tells_is_known_with_where_it_came_from() -> None:
    known = merge_snapshot({}, snapshot(reference="41", label_url="https://example.com/1.pdf"), 7)
    assert details.detail_value(known, "reference") == "41"
    assert details.detail_value(known, "label_url") == "https://example.com/1.pdf"
    assert known["details"]["label_url"]["message_id"] == "7"


@pytest.mark.parametrize("order", [1, -1])
def test_newer_snapshot_wins_whichever_is_learnt_first(order: int) -> None:
    older = snapshot(after(0), tracking_url="https://example.com/old", reference="old")
    newer = snapshot(after(1), tracking_url="https://example.com/new", reference="new")
    known = learn_in_turn(*[older, newer][::order])
    assert details.detail_value(known, "tracking_url") == "https://example.com/new"
    assert details.detail_value(known, "reference") == "new"


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("order", [1, -1])
def test_empty_value_never_erases(empty: str | None, order: int) -> None:
    full = snapshot(
        after(0),
        reference="41",
        identifiers={"identifier": "ZVW8GV"},
        parcels={"P1": {"courier_name": "DPD", "status": "delivered"}},
        label_url="https://example.com/1.pdf",
        eta=arrival(60),
    )
    bare = snapshot(
        after(1),
        reference=empty,
        identifiers={"identifier": empty or ""},
        parcels={"P1": {"courier_name": empty, "status": empty}},
        label_url=empty,
    )
    known = learn_in_turn(*[full, bare][::order])
    assert details.detail_value(known, "reference") == "41"
    assert details.detail_value(known, "label_url") == "https://example.com/1.pdf"
    assert details.identifier_values(known) == {"identifier": "ZVW8GV"}
    assert details.current_eta(known) is not None
    assert details.list_parcels(known, "in_transit", START, {}) == [
        {
            "tracking_number": "P1",
            "tracking_url": None,
            "courier_name": "DPD",
            "status": "delivered",
        }
    ]


def test_older_snapshot_fills_what_the_newer_left_empty() -> None:
    newer = snapshot(after(1), tracking_url="https://example.com/new")
    older = snapshot(
        after(0), tracking_url="https://example.com/old", label_url="https://example.com/1.pdf"
    )
    known = learn_in_turn(newer, older)
    assert details.detail_value(known, "tracking_url") == "https://example.com/new"
    assert details.detail_value(known, "label_url") == "https://example.com/1.pdf"


def test_false_is_a_value() -> None:
    known = learn_in_turn(
        snapshot(after(0), parcels={"P1": {"is_new": True}}),
        snapshot(after(1), parcels={"P1": {"is_new": False}}),
    )
    assert known["parcels"]["P1"]["is_new"]["value"] is False


def test_parcel_that_a_later_snapshot_leaves_out_stays_known() -> None:
    known = learn_in_turn(
        snapshot(after(0), parcels={"P1": {}, "P2": {}}), snapshot(after(1), parcels={"P2": {}})
    )
    shown = details.list_parcels(known, "in_transit", START, {})
    assert [parcel["tracking_number"] for parcel in shown] == ["P1", "P2"]


def test_parcels_status_is_its_own_events_then_its_own_detail_then_the_orders() -> None:
    known = merge_snapshot(
        {}, snapshot(parcels={"P1": {"status": "lost"}, "P2": {"status": "lost"}, "P3": {}}), 1
    )
    shown = details.list_parcels(known, "in_transit", START, {"P1": "delivered"})
    assert [parcel["status"] for parcel in shown] == ["delivered", "lost", "in_transit"]


def test_parcel_follows_its_order_where_the_orders_status_is_newer_or_its_own_is_not_mapped() -> (
    None
):
    known = learn_in_turn(
        snapshot(after(0), parcels={"P1": {"status": "picked_up"}, "P2": {"status": "picked_up"}}),
        snapshot(after(5), parcels={"P2": {"status": FOLLOWS_ORDER}}),
    )
    for since, statuses in ((0, ["picked_up", "delivered"]), (1, ["delivered", "delivered"])):
        shown = details.list_parcels(known, "delivered", after(since), {})
        assert [parcel["status"] for parcel in shown] == statuses


def test_parcel_that_the_newest_complete_list_leaves_out_is_known_as_such() -> None:
    both: Any = {"P1": {"listed": True}, "P2": {"listed": True}}
    listed = snapshot(after(0), parcels=both)
    answer = snapshot(after(5), parcels={"P2": {"listed": True}}, complete_parcel_list=True)
    again = snapshot(after(6), parcels={"P1": {"listed": True}})
    assert details.left_out_parcels(learn_in_turn(listed)) == set()
    assert details.left_out_parcels(learn_in_turn(answer, listed)) == {"P1"}
    assert details.left_out_parcels(learn_in_turn(again, answer, listed)) == set()


def test_of_equally_recent_details_that_of_the_snapshot_with_more_times_counts() -> None:
    fewer = snapshot(reference="a")
    more = replace(snapshot(reference="b"), time_count=2)
    for order in ([fewer, more], [more, fewer]):
        assert details.detail_value(learn_in_turn(*order), "reference") == "b"


def test_known_is_not_changed_by_learning_from_it() -> None:
    known = merge_snapshot(
        {}, snapshot(after(0), reference="41", parcels={"P1": {"status": "lost"}}), 1
    )
    copy = merge_snapshot(
        {}, snapshot(after(0), reference="41", parcels={"P1": {"status": "lost"}}), 1
    )
    merge_snapshot(
        known, snapshot(after(1), reference="42", parcels={"P1": {"status": "delivered"}}), 2
    )
    add_eta(known, arrival(5), after(1), 3)
    assert known == copy


# ETAs


@pytest.mark.parametrize("order", [1, -1])
def test_eta_that_was_told_last_counts(order: int) -> None:
    reports = [(arrival(60), after(0), 1), (arrival(90, "tour_plan"), after(10), 2)]
    known: KnownDetails = {}
    for eta, told_at, message_id in reports[::order]:
        known = add_eta(known, eta, told_at, message_id)
    assert details.current_eta(known) == {
        "from": "2026-04-16T08:30:00Z",
        "to": "2026-04-16T08:30:00Z",
        "source": "tour_plan",
        "updated_at": "2026-04-16T07:10:00Z",
    }


def test_eta_told_again_keeps_the_time_at_which_it_was_first_told() -> None:
    known = add_eta({}, arrival(60), after(0), 1)
    known = add_eta(known, arrival(60), after(10), 2)
    shown = details.current_eta(known)
    assert shown is not None
    assert shown["updated_at"] == "2026-04-16T07:00:00Z"


# Properties. Few names, values and times, so that snapshots often tell of the same thing at once.

values = st.sampled_from([None, "", "a", "b", "c"])
times = st.sampled_from([after(0), after(0), after(1), after(1.5), after(60)])
etas = st.builds(
    Eta,
    st.just(after(60)),
    st.sampled_from([after(60), after(90)]),
    st.sampled_from(["order", "poll"]),
)
snapshots = st.builds(
    Snapshot,
    courier_order_id=st.just("1"),
    recency=times,
    events=st.just(()),
    reference=values,
    identifiers=st.dictionaries(
        st.sampled_from(["identifier", "tracking_code"]), st.sampled_from(["", "x", "y"])
    ),
    details=st.dictionaries(st.sampled_from(["tracking_url", "label_url", "pickup_at"]), values),
    eta=st.none() | etas,
    parcels=st.dictionaries(
        st.sampled_from(["P1", "P2"]),
        st.dictionaries(
            st.sampled_from(["status", "courier_name", "is_new"]), values | st.booleans()
        ),
    ),
)
numbered = st.lists(snapshots, max_size=6).map(lambda reports: list(enumerate(reports, 1)))
randoms = st.randoms(use_true_random=False)


def learn_all(
    reports: Sequence[tuple[int, Snapshot]], known: KnownDetails | None = None
) -> KnownDetails:
    known = known or {}
    for message_id, item in reports:
        known = merge_snapshot(known, item, message_id)
    return known


@given(numbered, randoms)
def test_order_of_learning_does_not_matter(
    reports: list[tuple[int, Snapshot]], choose: random.Random
) -> None:
    shuffled = choose.sample(reports, len(reports))
    assert learn_all(shuffled) == learn_all(reports)


@given(numbered, randoms)
def test_learning_again_changes_nothing(
    reports: list[tuple[int, Snapshot]], choose: random.Random
) -> None:
    known = learn_all(reports)
    again = choose.choices(reports, k=4) if reports else []
    assert learn_all(again, known) == known


@given(snapshots, snapshots, times, etas)
def test_order_of_learning_an_eta_from_a_plan_does_not_matter(
    one: Snapshot, other: Snapshot, told_at: datetime, eta: Eta
) -> None:
    first = add_eta(learn_all([(1, one), (2, other)]), eta, told_at, 3)
    last = learn_all([(2, other), (1, one)], add_eta({}, eta, told_at, 3))
    assert details.current_eta(first) == details.current_eta(last)
    # A plan may be learnt before anything else is known, so only what is told is compared.
    assert {name: it for name, it in first.items() if it} == {
        name: it for name, it in last.items() if it
    }


@given(numbered)
def test_what_was_told_is_never_lost_and_the_newest_stands(
    reports: list[tuple[int, Snapshot]],
) -> None:
    known = learn_all(reports)
    for name in ("tracking_url", "label_url", "pickup_at"):
        given_values = [
            (item.recency, item.details[name]) for _, item in reports if item.details.get(name)
        ]
        newest = max((recency for recency, _ in given_values), default=None)
        candidates = {value for recency, value in given_values if recency == newest}
        assert details.detail_value(known, name) in (candidates or {None})
    assert set(known.get("parcels", {})) == {name for _, item in reports for name in item.parcels}
