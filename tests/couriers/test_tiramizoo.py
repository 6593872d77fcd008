"""Tiramizoo's snapshots and tour plans, read as its documents 000, 001 and 003 describe them."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver import statuses
from receiver.couriers.polling import Access, OrderNames, Page
from receiver.couriers.snapshot import Decoded, Eta, Event, MessageContext, Proof, Snapshot
from receiver.couriers.tiramizoo import driver
from receiver.errors import Undecodable
from receiver.orders.fold import fold_events
from tests.bodies import (
    after,
    history_entry,
    life,
    package,
    payload,
    tiramizoo_order,
    tiramizoo_v1,
    tour_plan,
)
from tests.couriers.case import TOKEN, Case

# What test_contract.py checks; the words are those of CONTRACT.md, section 4.
ORDERS = [
    payload("tiramizoo/order_web_hook.json"),
    payload("tiramizoo/show_order_delivery_failed.json"),
    tiramizoo_v1(),
    tiramizoo_order(
        times=life("created", "picked_up", "delivered"),
        state="picked_up",
        history=[
            history_entry(
                "abort_delivery",
                "2026-04-16T09:00:00",
                "delivery_failed",
                signature_url="https://x.example/1.png",
                signature_name="Bob Obbay",
            )
        ],
        packages=[package("P1", "delivered") | {"external_id": "7", "pickup_state": "picked_up"}],
        pickup={"eta": "2026-04-16T08:00:00+02:00"},
        delivery={
            "eta": "2026-04-16T10:00:00+02:00",
            "after": "2026-04-16T09:00:00+02:00",
            "before": "2026-04-16T11:00:00+02:00",
        },
        pickup_signature={"url": "https://x.example/2.png", "name": "Ina"},
        delivery_signature={"url": "https://x.example/3.png", "name": "Bob"},
        return_signature=None,
        tour_identifier="EDFIL1-1",
        timezone="Europe/Berlin",
    ),
]
CASE = Case(
    words={
        "awaiting_payment": "info_received",
        "created": "info_received",
        "processing": "info_received",
        "dispatched": "awaiting_pickup",
        "pickup_unreachable": "pickup_failed",
        "pickup_failed": "pickup_failed",
        "picked_up": "picked_up",
        "payment_failed": "exception",
        "delivery_unreachable": "delivery_failed",
        "delivery_failed": "delivery_failed",
        "cancelled": "cancelled",
        "returned": "returned",
        "delivered": "delivered",
    },
    bodies={"orders": ORDERS, "tours": [payload("tiramizoo/tour_plan_web_hook.json"), tour_plan()]},
    answers=ORDERS,
    essential=frozenset({"uuid", "state", "tours", "tours.id"}),
    places=["/orders/{}", "/orders/by_external_id/{}"],
    credentials={"Api-Token": TOKEN},
)

RECEIVED_AT = after(24 * 60)

STATUS_OF = {
    "created": statuses.INFO_RECEIVED,
    "dispatched": statuses.AWAITING_PICKUP,
    "picked_up": statuses.PICKED_UP,
    "pickup_failed": statuses.PICKUP_FAILED,
    "delivered": statuses.DELIVERED,
    "delivery_failed": statuses.DELIVERY_FAILED,
    "returned": statuses.RETURNED,
    "cancelled": statuses.CANCELLED,
}


def decode(
    body: Mapping[str, Any], received_at: datetime = RECEIVED_AT, kind: str = "webhook"
) -> Snapshot:
    (snapshot,) = (
        driver.topics["orders"].decode(dict(body), MessageContext(received_at, kind)).orders
    )
    return snapshot


def decode_all(body: Mapping[str, Any]) -> Decoded:
    return driver.topics["orders"].decode(dict(body), MessageContext(RECEIVED_AT))


def decode_plan(body: Mapping[str, Any]) -> Decoded:
    return driver.topics["tours"].decode(dict(body), MessageContext(RECEIVED_AT))


def timeline(snapshot: Snapshot) -> list[tuple[str, datetime]]:
    """The words of a snapshot and when each counts, oldest first."""
    told = [(event.courier_status, event.occurred_at) for event in snapshot.events]
    return sorted(told, key=lambda word_and_time: word_and_time[1])


def only(snapshot: Snapshot, word: str) -> Event:
    (event,) = [event for event in snapshot.events if event.courier_status == word]
    return event


def flags(snapshot: Snapshot) -> set[str]:
    return {flag for event in snapshot.events for flag in event.flags}


# What the documents show


def test_order_web_hook_of_the_document() -> None:
    snapshot = decode(payload("tiramizoo/order_web_hook.json"))
    (event,) = snapshot.events
    assert snapshot.courier_order_id == "2a9eeeb3-16ba-4184-b894-c9734f613e93"
    assert snapshot.reference == "external id"
    assert snapshot.identifiers == {"identifier": "ZVW8GV", "tracking_code": "ID4K7-EHQX-62RA"}
    assert snapshot.recency == datetime(2012, 4, 16, 7, 0, tzinfo=UTC)
    assert (event.status, event.courier_status) == ("info_received", "created")
    assert event.occurred_at == event.reported_at == datetime(2012, 4, 16, 7, 0, tzinfo=UTC)
    assert (event.reason, event.parcel, event.flags) == (None, "", frozenset())
    assert snapshot.details == {
        "tracking_url": "http://www.tiramizoo.com/orders/ID4K7EHQX62RA/tracking_status?locale=en",
        "label_url": "http://www.tiramizoo.com/orders/ID4K7EHQX62RA/labels.pdf",
        "pickup_at": None,
        "promised": {"from": "2012-04-17T08:00:00Z", "to": "2012-04-17T10:00:00Z"},
        "tour_identifier": None,
    }
    assert snapshot.eta is None
    assert snapshot.parcels == {"18A24901BE5D49C3": {"status": "follows_order"}}


def test_show_order_of_the_document() -> None:
    snapshot = decode(payload("tiramizoo/show_order.json"))
    assert snapshot.courier_order_id == "ca8dcb4c-ef0f-4564-a87a-64b40fbeb944"
    assert snapshot.reference == "MEO55Y"
    assert timeline(snapshot) == [("created", datetime(2012, 4, 16, 3, 0, tzinfo=UTC))]
    assert fold_events(snapshot.events).status == "info_received"


def test_delivery_failed_of_the_document_says_why() -> None:
    snapshot = decode(payload("tiramizoo/show_order_delivery_failed.json"))
    assert timeline(snapshot) == [
        ("created", datetime(2012, 4, 16, 3, 0, tzinfo=UTC)),
        ("dispatched", datetime(2012, 4, 16, 3, 5, tzinfo=UTC)),
        ("picked_up", datetime(2012, 4, 16, 5, 10, tzinfo=UTC)),
        ("delivery_failed", datetime(2012, 4, 16, 7, 0, tzinfo=UTC)),
    ]
    folded = fold_events(snapshot.events)
    assert (folded.status, folded.reason) == ("delivery_failed", "abort_delivery")
    assert snapshot.parcels == {"C222A7F4F684BF22": {"status": "delivery_failed"}}
    assert not flags(snapshot)


def test_v1_order_of_the_document() -> None:
    snapshot = decode(payload("tiramizoo/show_order_v1.json"))
    assert snapshot.courier_order_id == "a505ff78-67c5-4fbd-ab4f-a8db81f2c45a"
    assert snapshot.identifiers == {"tracking_code": "10018-A5TB-YKI4"}
    assert timeline(snapshot) == [
        ("created", datetime(2013, 3, 12, 10, 13, 46, tzinfo=UTC)),
        ("processing", RECEIVED_AT),
    ]
    assert fold_events(snapshot.events).status == "info_received"
    assert list(snapshot.parcels) == ["3E39C50E40226436"]


def test_each_order_of_the_documents_list_reads_as_a_hook_does() -> None:
    (listed,) = payload("tiramizoo/list_orders.json")["orders"]
    snapshot = decode(listed)
    assert snapshot.courier_order_id == "536b6b0a-39e9-4264-babf-3deeeb434056"
    assert timeline(snapshot) == [("created", datetime(2018, 1, 5, 12, 45, 34, tzinfo=UTC))]


def test_tour_plan_of_the_document() -> None:
    decoded = decode_plan(payload("tiramizoo/tour_plan_web_hook.json"))
    assert decoded.orders == ()
    first, second = decoded.tours
    assert (first.tour_id, second.tour_id) == ("EDFIL1-1", "EDFIL1-2")
    assert (first.courier_name, second.courier_name) == ("N1", "N2")
    assert first.pick_up_at == datetime(2016, 6, 8, 6, 0, tzinfo=UTC)
    assert first.window_from == datetime(2016, 6, 8, 6, 0, tzinfo=UTC)
    assert first.window_to == datetime(2016, 6, 8, 9, 0, tzinfo=UTC)
    assert [stop.order_key for stop in second.stops] == ["ID2-0", "ID2-1", "ID2-2"]
    assert [stop.eta for stop in second.stops] == [
        datetime(2016, 6, 8, 6, minute, tzinfo=UTC) for minute in range(3)
    ]
    assert second.stops[1].packages == ("AAAAAAAAAAAAA210", "AAAAAAAAAAAAA211")


# States and their columns


@pytest.mark.parametrize(("state", "status"), STATUS_OF.items())
def test_each_state_with_its_column_is_one_event_at_that_time(state: str, status: str) -> None:
    snapshot = decode(tiramizoo_order(times={state: after(5)}))
    (event,) = snapshot.events
    assert (event.courier_status, event.status, event.occurred_at) == (state, status, after(5))
    assert event.reported_at == after(5)
    assert event.flags == frozenset()


def test_every_column_is_an_event_of_its_own() -> None:
    times = life(
        "created", "dispatched", "pickup_failed", "picked_up", "delivery_failed", "returned"
    )
    snapshot = decode(tiramizoo_order(times=times))
    assert timeline(snapshot) == list(times.items())
    assert not flags(snapshot)


def test_column_tells_the_same_event_whatever_snapshot_it_stands_in() -> None:
    earlier = decode(tiramizoo_order(times=life("created", "dispatched")))
    later = decode(tiramizoo_order(times=life("created", "dispatched", "picked_up", "delivered")))
    assert set(earlier.events) < set(later.events)


def test_unknown_state_is_told_as_unknown_and_never_guessed() -> None:
    snapshot = decode(tiramizoo_order(times=life("created"), state="teleported"))
    assert only(snapshot, "teleported").status == statuses.UNKNOWN
    assert fold_events(snapshot.events).status == "info_received"


def test_unknown_state_alone_is_unknown() -> None:
    snapshot = decode(tiramizoo_order(times={}, state="teleported"))
    folded = fold_events(snapshot.events)
    assert (folded.status, folded.courier_status) == ("unknown", "teleported")


def test_cancellation_reason_belongs_to_cancelled_alone() -> None:
    snapshot = decode(
        tiramizoo_order(times=life("created", "cancelled"), cancellation_reason="changed my mind")
    )
    assert only(snapshot, "cancelled").reason == "changed my mind"
    assert only(snapshot, "created").reason is None


# Reasons out of history[] and events[]


@pytest.mark.parametrize("where", ["history", "events"])
def test_reason_of_an_entry_joins_its_states_event(where: str) -> None:
    times = life("created", "picked_up", "delivery_failed")
    entry = history_entry("address_not_found", times["delivery_failed"], "delivery_failed")
    body = tiramizoo_order(times=times) | {where: [entry]}
    snapshot = decode(body)
    assert timeline(snapshot) == list(times.items())
    assert only(snapshot, "delivery_failed").reason == "address_not_found"
    assert not flags(snapshot)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("package_was_not_ready", "pickup_failed"),
        ("sender_wants_to_cancel", "pickup_failed"),
        ("sender_was_not_at_home", "pickup_failed"),
        ("wrong_package_size", "pickup_failed"),
        ("abort_delivery", "delivery_failed"),
        ("address_not_found", "delivery_failed"),
        ("failed_due_to_business_closed", "delivery_failed"),
        ("name_not_found_on_doorbell", "delivery_failed"),
        ("no_attempt_due_to_being_late", "delivery_failed"),
        ("not_enough_money_for_payment", "delivery_failed"),
        ("package_is_damaged", "delivery_failed"),
        ("package_was_delivered_too_late", "delivery_failed"),
        ("package_was_not_accepted", "delivery_failed"),
        ("package_was_not_ordered", "delivery_failed"),
        ("recipient_was_not_at_home", "delivery_failed"),
    ],
)
def test_documented_reason_without_a_state_explains_the_state_it_is_listed_under(
    kind: str, state: str
) -> None:
    times = life("created", state)
    entry = {
        "type": kind,
        "recorded_at": times[state].isoformat(),
        "signature_name": "Bob Obbay",
        "signature_url": "https://sandbox.example/signatures/1.png",
    }
    snapshot = decode(tiramizoo_order(times=times) | {"events": [entry]})
    assert timeline(snapshot) == list(times.items())
    assert only(snapshot, state).reason == kind


def test_earlier_attempt_is_told_by_history_alone() -> None:
    times = life("created", "picked_up", "delivery_failed")
    first = history_entry("recipient_was_not_at_home", after(45), "delivery_failed")
    second = history_entry("abort_delivery", times["delivery_failed"], "delivery_failed")
    snapshot = decode(tiramizoo_order(times=times, history=[first, second]))
    failures = [event for event in snapshot.events if event.courier_status == "delivery_failed"]
    assert {(event.occurred_at, event.reason) for event in failures} == {
        (after(45), "recipient_was_not_at_home"),
        (times["delivery_failed"], "abort_delivery"),
    }
    assert fold_events(snapshot.events).reason == "abort_delivery"


@pytest.mark.parametrize(
    ("recorded", "reason"),
    [(-2, "abort_delivery"), (-300, "abort_delivery"), (-301, None), (-90_000, None)],
)
def test_failure_has_the_reason_of_an_entry_that_another_clock_stamped(
    recorded: int, reason: str | None
) -> None:
    times = life("created", "picked_up", "delivery_failed")
    recorded_at = times["delivery_failed"] + timedelta(seconds=recorded)
    entries = [
        history_entry("abort_delivery", recorded_at, "delivery_failed"),
        history_entry("address_not_found", recorded_at - timedelta(days=2), "delivery_failed"),
    ]
    for history in (entries, entries[::-1]):
        snapshot = decode(tiramizoo_order(times=times, history=history))
        assert fold_events(snapshot.events).reason == reason


def test_entry_that_only_names_the_deed_again_gives_no_reason() -> None:
    times = life("created", "picked_up")
    entry = history_entry("pick_up", times["picked_up"], "picked_up")
    snapshot = decode(tiramizoo_order(times=times, history=[entry]))
    assert timeline(snapshot) == list(times.items())
    assert only(snapshot, "picked_up").reason is None


def test_entry_does_not_take_the_cancellation_reason_away() -> None:
    times = life("created", "cancelled")
    entry = history_entry("cancel", times["cancelled"], "cancelled")
    body = tiramizoo_order(times=times, history=[entry], cancellation_reason="changed my mind")
    assert only(decode(body), "cancelled").reason == "changed my mind"


def test_entry_of_an_unknown_kind_is_on_the_timeline_as_unknown() -> None:
    entry = history_entry("swallowed_by_whale", after(10))
    snapshot = decode(tiramizoo_order(times=life("created", "picked_up"), history=[entry]))
    assert only(snapshot, "swallowed_by_whale").status == statuses.UNKNOWN
    assert fold_events(snapshot.events).status == "picked_up"


@pytest.mark.parametrize(
    "entry",
    [
        history_entry("abort_delivery", "", "delivery_failed"),
        {"type": None, "current_state": None, "recorded_at": after(3).isoformat()},
        {},
    ],
)
def test_entry_without_a_time_or_a_word_tells_nothing(entry: dict[str, Any]) -> None:
    snapshot = decode(tiramizoo_order(times=life("created"), history=[entry]))
    assert timeline(snapshot) == list(life("created").items())


def test_null_lists_are_empty_lists() -> None:
    body = tiramizoo_order() | {"history": None, "events": None, "packages": None, "pickup": None}
    assert timeline(decode(body)) == list(life("created").items())


# Signatures and photo proofs: where the picture is and whose name it bears, never fetched


SIGNED = {"url": "https://sandbox.example/signatures/1.png", "name": "Bob Obbay"}
SIGNATURE = Proof("signature", SIGNED["url"], SIGNED["name"])


def test_entry_shows_who_signed_and_the_photo() -> None:
    times = life("created", "delivery_failed")
    photo = {"url": "https://sandbox.example/photos/1.png", "name": None}
    entry = history_entry(
        "abort_delivery",
        times["delivery_failed"],
        "delivery_failed",
        signature=SIGNED,
        photo_proof=photo,
    )
    event = only(decode(tiramizoo_order(times=times, history=[entry])), "delivery_failed")
    assert event.proofs == {SIGNATURE, Proof("photo", photo["url"] or "", "")}
    assert event.reason == "abort_delivery"


def test_entry_of_the_return_process_shows_who_signed() -> None:
    times = life("created", "delivery_failed")
    entry = {
        "type": "package_was_not_ordered",
        "recorded_at": times["delivery_failed"].isoformat(),
        "signature_name": SIGNED["name"],
        "signature_url": SIGNED["url"],
    }
    event = only(decode(tiramizoo_order(times=times) | {"events": [entry]}), "delivery_failed")
    assert event.proofs == {SIGNATURE}


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("pickup_signature", "picked_up"),
        ("delivery_signature", "delivered"),
        ("signature", "delivered"),
        ("return_signature", "returned"),
    ],
)
def test_signature_of_an_order_belongs_to_its_state(name: str, state: str) -> None:
    body = tiramizoo_order(times=life("created", "picked_up", "delivered", "returned"))
    snapshot = decode(body | {name: SIGNED})
    signed = [event.courier_status for event in snapshot.events if event.proofs]
    assert signed == [state]
    assert only(snapshot, state).proofs == {SIGNATURE}


@pytest.mark.parametrize("url", [None, "", "javascript:alert(1)", "data:image/png;base64,AA=="])
def test_picture_without_a_web_address_or_a_name_proves_nothing(url: str | None) -> None:
    body = tiramizoo_order(times=life("created", "delivered"))
    snapshot = decode(body | {"signature": {"url": url, "name": ""}})
    assert only(snapshot, "delivered").proofs == frozenset()


def test_empty_pictures_prove_nothing() -> None:
    snapshot = decode(payload("tiramizoo/show_order_delivery_failed.json"))
    assert all(not event.proofs for event in snapshot.events)


# The older API


def test_v1_state_is_an_observation_at_arrival_and_created_at_is_still_told() -> None:
    snapshot = decode(tiramizoo_v1(state="delivered", created_at=after(0)))
    observed = only(snapshot, "delivered")
    assert observed.occurred_at == RECEIVED_AT
    assert observed.reported_at is None
    assert observed.flags == {"time_inferred"}
    created = only(snapshot, "created")
    assert (created.occurred_at, created.flags) == (after(0), frozenset())
    assert snapshot.recency == RECEIVED_AT


def test_v1_without_created_at_is_the_observation_alone() -> None:
    snapshot = decode(tiramizoo_v1(state="processing", created_at=None))
    assert timeline(snapshot) == [("processing", RECEIVED_AT)]


def test_state_created_has_the_time_created_at_also_where_no_other_column_is() -> None:
    snapshot = decode(tiramizoo_v1(state="created", created_at=after(0)))
    assert timeline(snapshot) == [("created", after(0))]
    assert (snapshot.recency, snapshot.time_count) == (after(0), 1)


def test_v1_processing_says_nothing_beside_the_time_of_a_later_state() -> None:
    times = life("created", "dispatched", "picked_up")
    snapshot = decode(tiramizoo_order(times=times, state="processing"))
    assert timeline(snapshot) == [*times.items()]
    assert snapshot.recency == times["picked_up"]


# A state that its own times contradict


def test_state_without_its_time_is_an_observation_beside_the_times_of_others() -> None:
    snapshot = decode(tiramizoo_order(times=life("created", "dispatched"), state="picked_up"))
    event = only(snapshot, "picked_up")
    assert event.flags == {"time_inferred"}
    assert (event.occurred_at, event.reported_at) == (RECEIVED_AT, None)
    assert snapshot.recency == RECEIVED_AT
    assert fold_events(snapshot.events).status == "picked_up"


@pytest.mark.parametrize("unreadable", ["soon", {"at": 1}, ["2026-04-16"]])
def test_state_whose_time_cannot_be_read_is_an_observation(unreadable: object) -> None:
    body = tiramizoo_order(times=life("created"), state="delivered")
    decoded = decode_all(body | {"delivered_at": unreadable})
    assert only(decoded.orders[0], "delivered").occurred_at == RECEIVED_AT
    assert [item.field for item in decoded.left_out] == ["delivered_at"]


def test_state_older_than_the_newest_column_is_believed_and_flagged() -> None:
    times = life("created", "picked_up", "delivered")
    snapshot = decode(tiramizoo_order(times=times, state="picked_up"))
    believed = [event for event in snapshot.events if "state_disagrees" in event.flags]
    assert [event.courier_status for event in believed] == ["picked_up"]
    assert believed[0].occurred_at == times["delivered"]


def test_state_believed_stands_last_even_where_the_clock_is_wrong() -> None:
    """Both times lie ahead, so both count at arrival; the state was told last all the same."""
    ahead = {"picked_up": RECEIVED_AT, "delivery_failed": RECEIVED_AT + timedelta(days=3)}
    snapshot = decode(tiramizoo_order(times=ahead, state="picked_up"))
    assert {event.occurred_at for event in snapshot.events} == {RECEIVED_AT}
    assert fold_events(snapshot.events).courier_status == "picked_up"


def test_contradicted_state_takes_the_same_place_when_it_is_sent_again_later() -> None:
    body = tiramizoo_order(times=life("created", "dispatched", "picked_up"), state="dispatched")
    again = decode(body, received_at=RECEIVED_AT + timedelta(days=7))
    assert set(again.events) == set(decode(body).events)


def test_state_that_shares_the_newest_second_does_not_disagree() -> None:
    times = {"created": after(0), "dispatched": after(10), "picked_up": after(10)}
    assert not flags(decode(tiramizoo_order(times=times, state="picked_up")))


def test_state_that_history_tells_of_last_does_not_disagree() -> None:
    """A column keeps a state's first or last time, history tells of it once more."""
    times = life("created", "picked_up", "delivery_failed")
    again = history_entry("abort_delivery", after(90), "delivery_failed")
    snapshot = decode(tiramizoo_order(times=times, history=[again]))
    assert not flags(snapshot)
    assert timeline(snapshot) == [*times.items(), ("delivery_failed", after(90))]


# Recency


def test_recency_is_the_newest_time_of_its_own() -> None:
    assert decode(tiramizoo_order(times=life("created", "dispatched"))).recency == after(30)


def test_recency_counts_the_times_of_history() -> None:
    entry = history_entry("abort_delivery", after(50), "delivery_failed")
    snapshot = decode(tiramizoo_order(times=life("created", "dispatched"), history=[entry]))
    assert snapshot.recency == after(50)


def test_recency_does_not_lie_ahead_of_arrival() -> None:
    body = tiramizoo_order(times={"created": RECEIVED_AT + timedelta(days=365)})
    assert decode(body).recency == RECEIVED_AT


def test_recency_of_a_poll_is_when_we_asked() -> None:
    assert decode(tiramizoo_order(times=life("created")), kind="poll").recency == RECEIVED_AT


def test_recency_without_any_time_is_arrival() -> None:
    assert decode(tiramizoo_order(times={}, state="created")).recency == RECEIVED_AT


# Clocks and zones


def test_time_more_than_five_minutes_ahead_counts_at_arrival() -> None:
    ahead = RECEIVED_AT + timedelta(minutes=5, seconds=1)
    (event,) = decode(tiramizoo_order(times={"created": ahead})).events
    assert (event.occurred_at, event.reported_at, event.flags) == (
        RECEIVED_AT,
        ahead,
        frozenset({"clock_skew"}),
    )


def test_time_five_minutes_ahead_is_taken_as_told() -> None:
    ahead = RECEIVED_AT + timedelta(minutes=5)
    (event,) = decode(tiramizoo_order(times={"created": ahead})).events
    assert (event.occurred_at, event.flags) == (ahead, frozenset())


@pytest.mark.parametrize(
    ("timezone", "hour"),
    [
        ("Europe/London", 8),
        ("Europe/Berlin", 7),
        ("UTC", 9),
        ("Mars/Olympus", 7),
        ("", 7),
        (None, 7),
    ],
)
def test_time_without_a_zone_is_read_in_the_orders_own_zone(
    timezone: str | None, hour: int
) -> None:
    body = tiramizoo_order(times={"created": "2025-06-01T09:00:00"}, timezone=timezone)
    (event,) = decode(body).events
    assert event.occurred_at == datetime(2025, 6, 1, hour, 0, tzinfo=UTC)
    assert event.flags == {"zone_assumed"}


def test_zone_in_the_time_counts_over_the_orders_own() -> None:
    body = tiramizoo_order(times={"created": "2025-06-01T09:00:00-05:00"}, timezone="Europe/London")
    (event,) = decode(body).events
    assert event.occurred_at == datetime(2025, 6, 1, 14, 0, tzinfo=UTC)
    assert event.flags == frozenset()


@pytest.mark.parametrize("fraction", ["", ".5", ".123", ".123456"])
def test_fractions_of_a_second_are_read(fraction: str) -> None:
    (event,) = decode(tiramizoo_order(times={"created": f"2025-06-01T09:00:00{fraction}Z"})).events
    assert event.occurred_at.replace(microsecond=0) == datetime(2025, 6, 1, 9, 0, tzinfo=UTC)
    assert event.occurred_at.microsecond == round(float(f"0{fraction}") * 1_000_000)


# Details and packages


def test_eta_and_pickup_time_are_read() -> None:
    body = tiramizoo_order(
        pickup={"eta": "2026-04-16T10:00:00+02:00"}, delivery={"eta": "2026-04-16T12:00:00+02:00"}
    )
    snapshot = decode(body)
    arrival = datetime(2026, 4, 16, 10, 0, tzinfo=UTC)
    assert snapshot.details["pickup_at"] == "2026-04-16T08:00:00Z"
    assert snapshot.eta == Eta(arrival, arrival, "order")


@pytest.mark.parametrize("eta", ["soon", 5, {}, {"from": "2026-04-16T10:00:00Z"}, ["10:00"]])
def test_eta_that_cannot_be_read_does_not_cost_the_state(eta: object) -> None:
    snapshot = decode(tiramizoo_order(pickup={"eta": eta}, delivery={"eta": eta}))
    assert (snapshot.eta, snapshot.details["pickup_at"]) == (None, None)
    assert timeline(snapshot) == list(life("created").items())


def test_eta_of_a_poll_says_so() -> None:
    snapshot = decode(tiramizoo_order(delivery={"eta": "2026-04-16T12:00:00+02:00"}), kind="poll")
    assert snapshot.eta is not None
    assert snapshot.eta.source == "poll"


def test_eta_without_a_zone_is_read_in_the_orders_own() -> None:
    body = tiramizoo_order(timezone="Europe/London", delivery={"eta": "2026-04-16T12:00:00"})
    snapshot = decode(body)
    assert snapshot.eta is not None
    assert snapshot.eta.to == datetime(2026, 4, 16, 11, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("picked_up", "picked_up"),
        ("not_picked_up", "pickup_failed"),
        ("delivered", "delivered"),
        ("not_delivered", "delivery_failed"),
        ("pending", "follows_order"),
        ("vanished", "follows_order"),
        (None, "follows_order"),
        ([], "follows_order"),
    ],
)
@pytest.mark.parametrize("column", ["state", "pickup_state"])
def test_package_state_is_its_parcels_status(
    state: str | None, status: str | None, column: str
) -> None:
    body = tiramizoo_order(packages=[{"identifier": "P1", column: state}])
    assert decode(body).parcels == {"P1": {"status": status}}


def test_each_package_is_a_parcel_of_its_own() -> None:
    body = tiramizoo_order(packages=[package("P1", "delivered"), package("P2", "pending")])
    assert decode(body).parcels == {
        "P1": {"status": "delivered"},
        "P2": {"status": "follows_order"},
    }


def test_only_the_identifiers_that_are_given_are_kept() -> None:
    snapshot = decode(tiramizoo_order(identifier="ZVW8GV", tracking_code=None))
    assert snapshot.identifiers == {"identifier": "ZVW8GV"}


@pytest.mark.parametrize("name", ["identifier", "tracking_code", "external_id"])
def test_an_empty_name_is_none(name: str) -> None:
    assert decode(tiramizoo_order() | {name: ""}) == decode(tiramizoo_order() | {name: None})


# What cannot be read


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"uuid": None}, "uuid"),
        ({"uuid": " "}, "uuid"),
        ({"uuid": True}, "uuid"),
        ({"uuid": "x" * 256}, "uuid"),
        ({"state": None}, "state"),
        ({"state": ""}, "state"),
        ({"state": ["created"]}, "state"),
    ],
)
def test_order_that_cannot_be_read_says_which_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(Undecodable, match=named):
        decode(tiramizoo_order() | change)


@pytest.mark.parametrize(
    ("change", "left_out"),
    [
        ({"dispatched_at": "yesterday"}, "dispatched_at"),
        ({"dispatched_at": True}, "dispatched_at"),
        ({"returned_at": {"date": "2026-02-28"}}, "returned_at"),
        ({"external_id": "x" * 256}, "external_id"),
        ({"signature": "https://x.example/1.png"}, "signature"),
        ({"cancellation_reason": {"code": 3}}, "cancellation_reason"),
        ({"delivery": {"before": "noon"}}, "delivery.before"),
        ({"packages": [{"state": "pending"}, {"identifier": "P1"}]}, "packages.0.identifier"),
        ({"packages": {"7": {"identifier": "P1"}, "9": "P2"}}, "packages.1"),
        ({"history": ["abort_delivery", None]}, "history.0"),
        ({"history": [history_entry("drop_off", "noon", "created")]}, "history.0.recorded_at"),
        ({"events": [history_entry("x" * 256, after(0), "created")]}, "events.0.type"),
        ({"tracking_url": "javascript:alert(1)"}, "tracking_url"),
    ],
)
def test_what_cannot_be_read_beside_the_state_is_left_out(
    change: dict[str, Any], left_out: str
) -> None:
    decoded = decode_all(tiramizoo_order() | change)
    assert timeline(decoded.orders[0]) == list(life("created").items())
    assert [item.field for item in decoded.left_out] == [left_out]


@pytest.mark.parametrize("nothing", [None, False, "", " ", [], {}])
@pytest.mark.parametrize(
    "name", ["packages", "history", "signature", "delivery", "external_id", "picked_up_at"]
)
def test_what_is_empty_is_none_and_nothing_is_left_out(name: str, nothing: object) -> None:
    if nothing == " " and name in {"packages", "history", "signature", "delivery"}:
        return
    decoded = decode_all(tiramizoo_order() | {name: nothing})
    assert decoded == decode_all(tiramizoo_order() | {name: None})
    assert decoded.left_out == ()


def test_numbers_stand_for_their_text() -> None:
    body = tiramizoo_order(external_id=4711, tracking_code=12345) | {"uuid": 41}
    snapshot = decode(body)
    assert (snapshot.courier_order_id, snapshot.reference) == ("41", "4711")
    assert snapshot.identifiers["tracking_code"] == "12345"


def test_an_object_stands_for_the_entries_or_the_one_entry_of_a_list() -> None:
    one, two = package("P1", "delivered"), package("P2", "delivered")
    assert [*decode(tiramizoo_order(packages={"0": one, "5": two})).parcels] == ["P1", "P2"]
    assert [*decode(tiramizoo_order(packages=one)).parcels] == ["P1"]


def test_entry_without_a_time_says_why_at_the_time_of_its_column() -> None:
    times = life("created", "pickup_failed")
    entry = history_entry("sender_was_not_at_home", "", "pickup_failed")
    snapshot = decode(tiramizoo_order(times=times, events=[entry]))
    assert timeline(snapshot) == [*times.items()]
    assert only(snapshot, "pickup_failed").reason == "sender_was_not_at_home"


def test_entry_without_a_time_says_why_an_observed_state_is_so() -> None:
    entry = history_entry("address_not_found", "", "delivery_failed")
    snapshot = decode(tiramizoo_order(state="delivery_failed", events=[entry]))
    assert only(snapshot, "delivery_failed").reason == "address_not_found"


@pytest.mark.parametrize(
    ("entry_type", "word"), [("pick_up", "picked_up"), ("drop_off", "delivered")]
)
def test_action_without_current_state_is_the_state_behind_it(entry_type: str, word: str) -> None:
    times = life("created", word)
    entry = history_entry(entry_type, times[word], None)
    snapshot = decode(tiramizoo_order(times=times, history=[entry]))
    assert timeline(snapshot) == [*times.items()]


def test_of_two_reasons_of_one_second_the_one_that_sorts_first_counts_wherever_it_stands() -> None:
    at = after(40)
    entries = [
        history_entry(reason, at, "delivery_failed")
        for reason in ("recipient_was_not_at_home", "address_not_found")
    ]
    for history in (entries, entries[::-1]):
        snapshot = decode(tiramizoo_order(times={"delivery_failed": at}, history=history))
        assert only(snapshot, "delivery_failed").reason == "address_not_found"


def test_label_promise_tour_and_names_of_packages_are_read() -> None:
    snapshot = decode(
        tiramizoo_order(
            labels_url="https://x.example/l.pdf",
            tour_identifier="EDFIL1-1",
            delivery={"after": "2026-04-16T09:00:00+02:00", "before": None},
            packages=[{"identifier": "P1", "external_id": 77}],
        )
    )
    assert snapshot.details["label_url"] == "https://x.example/l.pdf"
    assert snapshot.details["tour_identifier"] == "EDFIL1-1"
    assert snapshot.details["promised"] == {"from": "2026-04-16T07:00:00Z", "to": None}
    assert snapshot.parcels["P1"]["external_id"] == "77"


def test_package_that_was_left_behind_says_so_in_pickup_state() -> None:
    left = {"identifier": "P1", "state": "pending", "pickup_state": "not_picked_up"}
    assert decode(tiramizoo_order(packages=[left])).parcels["P1"]["status"] == "pickup_failed"


@pytest.mark.parametrize("missing", ["uuid", "state"])
def test_order_without_id_or_state_cannot_be_read(missing: str) -> None:
    body = tiramizoo_order()
    del body[missing]
    with pytest.raises(Undecodable, match=missing):
        decode(body)


# Tour plans


def test_plan_time_without_a_zone_is_read_in_berlin() -> None:
    (tour,) = decode_plan(tour_plan({"ID1-0": "2025-06-01T09:00:00"})).tours
    assert tour.stops[0].eta == datetime(2025, 6, 1, 7, 0, tzinfo=UTC)


def test_stop_without_an_eta_is_still_a_stop() -> None:
    (tour,) = decode_plan(tour_plan({"ID1-0": None})).tours
    assert [(stop.order_key, stop.eta) for stop in tour.stops] == [("ID1-0", None)]


def test_plan_needs_only_ids() -> None:
    (tour,) = decode_plan({"tours": [{"id": "T1", "orders": [{"id": "O1"}]}]}).tours
    assert (tour.tour_id, tour.courier_name, tour.pick_up_at) == ("T1", None, None)
    assert (tour.window_from, tour.window_to) == (None, None)
    assert (tour.stops[0].order_key, tour.stops[0].packages) == ("O1", ())


@pytest.mark.parametrize("orders", [None, []])
def test_tour_without_orders_has_no_stops(orders: list[Any] | None) -> None:
    (tour,) = decode_plan({"tours": [{"id": "T1", "orders": orders}]}).tours
    assert tour.stops == ()


@pytest.mark.parametrize("body", [{}, {"tours": None}, {"tours": "T1"}, {"tours": 5}], ids=str)
def test_plan_without_tours_cannot_be_read(body: dict[str, Any]) -> None:
    with pytest.raises(Undecodable, match="tours"):
        decode_plan(body)


@pytest.mark.parametrize(
    ("body", "left_out"),
    [
        ({"tours": [{}, {"id": ""}, {"id": "T1"}]}, ["tours.1.id"]),
        ({"tours": [{"id": "T1", "orders": [{"delivery_eta": None}]}]}, ["tours.0.orders.0.id"]),
        ({"tours": {"a": {"id": "T1"}}, "time_window": "all day"}, ["time_window"]),
        (tour_plan({"ID1-0": "soon"}), ["tours.0.orders.0.delivery_eta"]),
        (tour_plan(time_window={"from": "now"}), ["time_window.from"]),
        ({"tours": [{"id": "T1", "pick_up_at": "noon"}]}, ["tours.0.pick_up_at"]),
    ],
)
def test_what_cannot_be_read_of_a_plan_is_left_out(
    body: dict[str, Any], left_out: list[str]
) -> None:
    decoded = decode_plan(body)
    assert len(decoded.tours) == 1
    assert [item.field for item in decoded.left_out] == left_out


def test_one_bad_eta_costs_that_eta() -> None:
    plan = tour_plan({"ID1-0": "soon", "ID1-1": "2026-12-01T15:00:00Z"})
    (tour,) = decode_plan(plan).tours
    assert [stop.eta for stop in tour.stops] == [None, datetime(2026, 12, 1, 15, tzinfo=UTC)]


def test_an_order_is_no_plan_and_a_plan_no_order() -> None:
    with pytest.raises(Undecodable):
        decode_plan(payload("tiramizoo/order_web_hook.json"))
    with pytest.raises(Undecodable):
        decode(payload("tiramizoo/tour_plan_web_hook.json"))


# Asking

ACCESS = Access("https://app.tiramizoo.com/api/v1", None, "token-1")


def read_page(raw: bytes, cursor: str | None = None) -> Page:
    assert driver.api is not None
    assert driver.api.read_list_page is not None
    return driver.api.read_list_page(raw, cursor)


def list_page(since: datetime, cursor: str | None) -> str:
    assert driver.api is not None
    assert driver.api.list_request is not None
    return driver.api.list_request(ACCESS, since, cursor).url


def test_an_order_is_shown_by_its_id_and_by_the_shops_number() -> None:
    api = driver.api
    assert api is not None
    base = "https://app.tiramizoo.com/api/v1"
    assert api.url == base

    def urls(names: OrderNames) -> list[str]:
        return [request.url for request in api.order_requests(ACCESS, names)]

    by_id = f"{base}/orders/VZQSWU"
    assert urls(OrderNames("VZQSWU", is_courier_id=True, reference="41/a ü")) == [by_id]
    assert urls(OrderNames("VZQSWU", reference="41/a ü")) == [
        by_id,
        f"{base}/orders/by_external_id/41%2Fa%20%C3%BC",
    ]


@pytest.mark.parametrize(
    "since",
    [
        datetime(2012, 1, 5, 11, 45, 34, tzinfo=UTC),
        datetime(2012, 1, 5, 11, 45, 34, 999_999, tzinfo=UTC),
        datetime(2012, 1, 5, 13, 45, 34, tzinfo=timezone(timedelta(hours=2))),
    ],
)
def test_orders_are_listed_from_the_second_they_were_created_in(since: datetime) -> None:
    assert list_page(since, "3") == (
        "https://app.tiramizoo.com/api/v1/orders?from=2012-01-05T11:45:34Z&page=3&per_page=100"
    )


def test_page_of_the_document_is_read() -> None:
    raw = json.dumps(payload("tiramizoo/list_orders.json"), indent=2).encode()
    page = read_page(raw)
    (order,) = page.bodies
    assert page == Page([order], None, 0)
    assert order in raw
    assert (
        driver.topics["orders"]
        .decode(json.loads(order), MessageContext(RECEIVED_AT, "poll"))
        .orders
    )


def test_page_of_the_older_api_is_read() -> None:
    raw = json.dumps({"page": 1, "total_pages": 7, "orders": [tiramizoo_v1()]}).encode()
    order = json.dumps(tiramizoo_v1()).encode()
    assert read_page(raw) == Page([order], "2", 6)
    assert read_page(raw, "6") == Page([order], "7", 1)
    assert read_page(raw, "7") == Page([order], None, 0)


def test_orders_of_a_page_are_told_apart_and_left_word_for_word() -> None:
    first = b'{ "uuid":"u-1" ,"n":1.50e1, "t":"a]},\\"{[ \xc3\xa9\\u00e9", "l":[[],{ }] }'
    second = b'{"orders":[1,2],"total_pages":9}'
    raw = b"".join(
        [
            b' {"a":[{"orders":[0]}] ,\n"meta" : {"total_pages":2,"orders":[3]} ,',
            b' "orders"\t:\r\n[ ',
            first,
            b"\n , \n",
            second,
            b' ] ,"z":{"orders":[4]}}\n',
        ]
    )
    assert read_page(raw) == Page([first, second], "2", 1)


def test_page_without_orders_is_read() -> None:
    assert read_page(b'{"orders":[],"meta":{"total_pages":0}}') == Page([], None, 0)


def test_of_two_lists_of_one_name_the_last_counts_as_everywhere_in_json() -> None:
    raw = b'{"orders":[{"a":1}],"orders":[{"b":2}],"meta":{"total_pages":1}}'
    assert read_page(raw).bodies == [b'{"b":2}']
    assert read_page(b'{"orders":5,"orders":[{"b":2}],"total_pages":1}').bodies == [b'{"b":2}']


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from('[]{}",:\\'),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)


@given(
    orders=st.lists(st.dictionaries(st.text(max_size=4), json_values), max_size=4),
    beside=st.dictionaries(st.text(max_size=4), json_values, max_size=3),
    indent=st.sampled_from([None, 0, 2]),
    plain=st.booleans(),
)
def test_any_page_is_taken_apart_into_what_stood_in_it(
    orders: list[Any], beside: dict[str, Any], indent: int | None, plain: bool
) -> None:
    body = {**beside, "orders": orders, **beside, "meta": {"total_pages": 3}}
    raw = json.dumps(body, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass")
    read_orders = read_page(raw).bodies
    assert [json.loads(order) for order in read_orders] == orders
    assert all(order in raw for order in read_orders)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"[]",
        b"\xff",
        b"{",
        b"[" * 5_000,
        b'{"orders":' + b"[" * 5_000 + b"]" * 5_000 + b"}",
        b'{"orders":null,"meta":{"total_pages":1}}',
        b'{"orders":{},"meta":{"total_pages":1}}',
        b'{"meta":{"total_pages":1}}',
        b'{"orders":[]}',
        b'{"orders":[],"meta":{}}',
        b'{"orders":[],"meta":{"total_pages":"1"}}',
        b'{"orders":[],"meta":{"total_pages":true}}',
        b'{"orders":[],"meta":[],"total_pages":null}',
    ],
)
def test_what_is_no_page_cannot_be_read(raw: bytes) -> None:
    with pytest.raises(Undecodable, match="page of the list"):
        read_page(raw)
