"""ShipmentAPI's callback, read through the default field map and through a shop's own."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver import statuses
from receiver.couriers.polling import Access, OrderNames
from receiver.couriers.shipmentapi import driver
from receiver.couriers.snapshot import Event, MessageContext, Snapshot
from receiver.errors import Undecodable
from receiver.orders.fold import fold_events
from tests.bodies import after, shipmentapi_order
from tests.couriers.case import TOKEN, Case

# What test_contract.py checks; the words are those of couriers/README.md.
ORDERS = [
    shipmentapi_order(
        "SAMPLE-S",
        client_reference="SAMPLE-2001",
        carrier="DPD",
        tracking_number="01405012345678",
        label_url="https://example.com/labels/sample.pdf",
        pickup_time="2026-04-17T14:00:00+02:00",
    ),
    shipmentapi_order(status_changed_at="2026-04-16T09:00:00+02:00", pickup_time="10-12"),
]
CASE = Case(
    words={
        "accepted": "info_received",
        "confirmed": "info_received",
        "placed": "info_received",
        "processed": "info_received",
        "collected": "picked_up",
        "picked_up": "picked_up",
        "in_transit": "in_transit",
        "shipped": "in_transit",
        "out_for_delivery": "out_for_delivery",
        "delivered": "delivered",
        "returned": "returned",
        "canceled": "cancelled",
        "cancelled": "cancelled",
        "rejected": "cancelled",
        "failed": "cancelled",
        "lost": "lost",
        "exception": "exception",
        "problem": "exception",
        "delayed": "exception",
    },
    bodies={"orders": ORDERS},
    answers=ORDERS,
    essential=frozenset({"order_reference", "status"}),
    places=["/orders/{}"],
    credentials={"Authorization": f"Bearer {TOKEN}"},
)

HEARD_AT = after(24 * 60)


def decode(
    body: Mapping[str, Any],
    field_map: Mapping[str, Any] | None = None,
    received_at: datetime = HEARD_AT,
    kind: str = "webhook",
) -> Snapshot:
    context = MessageContext(received_at, kind, field_map or {})
    (snapshot,) = driver.topics["orders"].decode(dict(body), context).orders
    return snapshot


def event_of(body: Mapping[str, Any], field_map: Mapping[str, Any] | None = None) -> Event:
    (event,) = decode(body, field_map).events
    return event


def test_callback_with_everything_in_it() -> None:
    body = shipmentapi_order(
        "SA-2001",
        "shipped",
        client_reference="S-2001",
        reference="not this one",
        status_changed_at="2026-04-16T09:00:00+02:00",
        updated_at="2026-04-16T10:00:00+02:00",
        reason="left the depot",
        carrier="DPD",
        tracking_number="01405012345678",
        tracking_url="https://dpd.example/01405012345678",
        label_url="https://example.com/labels/SA-2001.pdf",
        pickup_time="2026-04-16T08:00:00Z",
    )
    assert decode(body) == Snapshot(
        courier_order_id="SA-2001",
        recency=after(0),
        events=(
            Event(
                status="in_transit",
                courier_status="shipped",
                occurred_at=after(0),
                reported_at=after(0),
                step=[*driver.words].index("shipped"),
                reason="left the depot",
            ),
        ),
        reference="S-2001",
        details={
            "tracking_url": "https://dpd.example/01405012345678",
            "label_url": "https://example.com/labels/SA-2001.pdf",
            "pickup_at": "2026-04-16T08:00:00Z",
        },
        parcels={
            "01405012345678": {
                "tracking_url": "https://dpd.example/01405012345678",
                "courier_name": "DPD",
            }
        },
        time_count=1,
    )


def test_callback_with_nothing_but_id_and_status() -> None:
    assert decode(shipmentapi_order()) == Snapshot(
        courier_order_id="SA-2001",
        recency=HEARD_AT,
        events=(
            Event(
                status="info_received",
                courier_status="accepted",
                occurred_at=HEARD_AT,
                step=[*driver.words].index("accepted"),
                flags=frozenset({"time_inferred"}),
            ),
        ),
        details={"tracking_url": None, "label_url": None, "pickup_at": None},
    )


@pytest.mark.parametrize(
    ("first", "second", "name", "values"),
    [
        ("client_reference", "reference", "reference", ("one", "other")),
        ("label_url", "label", "label_url", ("https://one.example/", "https://other.example/")),
        ("pickup_time", "pickup_at", "pickup_at", ("2026-01-01T00:00:00Z", "2026-02-02T00:00:00Z")),
    ],
)
def test_second_name_of_a_field_counts_where_the_first_is_absent_or_empty(
    first: str, second: str, name: str, values: tuple[str, str]
) -> None:
    def found(**fields: Any) -> Any:
        snapshot = decode(shipmentapi_order(**fields))
        return snapshot.reference if name == "reference" else snapshot.details[name]

    one, other = values
    assert found(**{first: one, second: other}) == one
    assert found(**{second: other}) == other
    assert found(**{first: None, second: other}) == other
    assert found(**{first: "", second: other}) == other
    assert found() is None


def test_reason_may_be_a_cancellation_reason() -> None:
    body = shipmentapi_order(status="cancelled", cancellation_reason="no driver")
    assert event_of(body).reason == "no driver"


def test_reason_is_kept_word_for_word_up_to_a_thousand_characters() -> None:
    assert event_of(shipmentapi_order(reason="x" * 1_000)).reason == "x" * 1_000
    assert event_of(shipmentapi_order(reason="x" * 9_000)).reason == "x" * 1_000


# Words


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("In Transit", "in_transit"),
        ("IN-TRANSIT", "in_transit"),
        ("  in_transit ", "in_transit"),
        ("Out for Delivery", "out_for_delivery"),
        ("out-for_delivery", "out_for_delivery"),
        ("Picked Up", "picked_up"),
        ("CANCELED", "cancelled"),
        ("Cancelled", "cancelled"),
    ],
)
def test_spelling_of_a_word_does_not_matter_and_is_kept(word: str, status: str) -> None:
    event = event_of(shipmentapi_order(status=word))
    assert (event.status, event.courier_status) == (status, word.strip())


@pytest.mark.parametrize("word", ["accepted", "confirmed", "placed", "processed", "Accepted"])
def test_accepted_awaits_pickup_once_a_pickup_time_is_known(word: str) -> None:
    body = shipmentapi_order(status=word, pickup_time="2026-04-17T14:00:00+02:00")
    assert event_of(shipmentapi_order(status=word)).status == statuses.INFO_RECEIVED
    assert event_of(body).status == statuses.AWAITING_PICKUP


@pytest.mark.parametrize(
    ("word", "status"),
    [("in_transit", "in_transit"), ("cancelled", "cancelled"), ("odd", "unknown")],
)
def test_pickup_time_changes_no_other_word(word: str, status: str) -> None:
    body = shipmentapi_order(status=word, pickup_time="2026-04-17T14:00:00+02:00")
    assert event_of(body).status == status


@pytest.mark.parametrize(
    "pickup_time", ["10-12", "1400", "tomorrow morning", "2026-04-31T10:00:00Z"]
)
def test_pickup_time_that_cannot_be_read_does_not_cost_the_state(pickup_time: str) -> None:
    body = shipmentapi_order(status="accepted", pickup_time=pickup_time)
    decoded = driver.topics["orders"].decode(body, MessageContext(HEARD_AT))
    (snapshot,) = decoded.orders
    assert snapshot.events[0].status == statuses.INFO_RECEIVED
    assert snapshot.details["pickup_at"] is None
    assert [item.field for item in decoded.left_out] == ["pickup_at"]


def test_unknown_word_is_unknown() -> None:
    assert event_of(shipmentapi_order(status="abducted")).status == statuses.UNKNOWN


# Times


@pytest.mark.parametrize("name", ["status_changed_at", "updated_at"])
@pytest.mark.parametrize(
    ("told", "flags"),
    [
        ("2026-04-16T09:00:00+02:00", set()),
        # In Riga it is ten o'clock when it is seven in UTC.
        ("2026-04-16T10:00:00", {"zone_assumed"}),
        ("20260416100000", {"zone_assumed"}),
        (1776322800, set()),
        ("1776322800", set()),
    ],
)
def test_time_is_iso_or_unix_seconds(name: str, told: object, flags: set[str]) -> None:
    event = event_of(shipmentapi_order(**{name: told}))
    assert (event.occurred_at, event.reported_at, event.flags) == (
        after(0),
        after(0),
        frozenset(flags),
    )


def test_status_changed_at_counts_over_updated_at() -> None:
    body = shipmentapi_order(
        status_changed_at=after(1).isoformat(), updated_at=after(9).isoformat()
    )
    assert event_of(body).occurred_at == after(1)


def test_time_that_is_no_time_is_left_out() -> None:
    body = shipmentapi_order(updated_at="a moment ago")
    decoded = driver.topics["orders"].decode(body, MessageContext(HEARD_AT))
    assert decoded.orders[0].events[0].occurred_at == HEARD_AT
    assert [item.field for item in decoded.left_out] == ["occurred_at"]


def test_recency_is_the_told_time_of_a_hook_and_the_asking_of_a_poll() -> None:
    body = shipmentapi_order(updated_at=after(1).isoformat())
    assert decode(body).recency == after(1)
    assert decode(body, kind="poll").recency == HEARD_AT
    assert decode(shipmentapi_order()).recency == HEARD_AT


def test_recency_does_not_lie_ahead_of_arrival() -> None:
    body = shipmentapi_order(updated_at=(HEARD_AT + timedelta(days=9)).isoformat())
    assert decode(body).recency == HEARD_AT


def test_pickup_time_learnt_later_moves_the_order_on() -> None:
    """The callback knows none; asked again, the courier still says `accepted`, now with a time."""
    callback = decode(shipmentapi_order(), received_at=after(0))
    poll = decode(
        shipmentapi_order(pickup_time="2026-04-17T14:00:00Z"), received_at=after(20), kind="poll"
    )
    assert fold_events([*callback.events, *poll.events]).status == statuses.AWAITING_PICKUP


# Parcels


def test_tracking_number_makes_the_parcel() -> None:
    assert decode(shipmentapi_order(tracking_number=None, carrier="DPD")).parcels == {}
    assert decode(shipmentapi_order(tracking_number="", carrier="DPD")).parcels == {}
    assert decode(shipmentapi_order(tracking_number=1405)).parcels == {
        "1405": {"tracking_url": None, "courier_name": None}
    }


# A shop's own field map


def test_own_map_reads_the_body_where_it_has_its_fields() -> None:
    body = {
        "order": {"ids": [{"value": "SA-77"}], "state": {"name": "Shipped", "since": 1776322800}},
        "client_reference": "S-77",
    }
    own = {
        "courier_order_id": "order.ids[0].value",
        "courier_status": "order.state.name",
        "occurred_at": "order.state.since",
    }
    snapshot = decode(body, own)
    (event,) = snapshot.events
    assert (snapshot.courier_order_id, snapshot.reference) == ("SA-77", "S-77")
    assert (event.status, event.occurred_at) == ("in_transit", after(0))


def test_own_statuses_add_to_the_words() -> None:
    own = {"statuses": {"Ready-For Pickup": "awaiting_pickup"}}
    assert event_of(shipmentapi_order(status="ready_for_pickup"), own).status == "awaiting_pickup"
    assert event_of(shipmentapi_order(status="delivered"), own).status == "delivered"


def test_own_statuses_change_a_word() -> None:
    own = {"statuses": {"failed": "delivery_failed"}}
    assert event_of(shipmentapi_order(status="failed")).status == "cancelled"
    assert event_of(shipmentapi_order(status="failed"), own).status == "delivery_failed"


def test_own_words_of_one_second_follow_the_maps_order() -> None:
    own = {"statuses": {"sorted": "in_transit", "loaded": "in_transit"}}
    stamp = after(1).isoformat()
    first, last = (
        event_of(shipmentapi_order(status=word, updated_at=stamp), own)
        for word in ("sorted", "loaded")
    )
    assert fold_events([last, first]).courier_status == "loaded"


def test_own_map_that_does_not_fit_a_body_costs_its_field() -> None:
    own = {"reference": "join('-', references)"}
    context = MessageContext(HEARD_AT, "webhook", own)
    decoded = driver.topics["orders"].decode(shipmentapi_order(), context)
    assert decoded.orders[0].reference is None
    assert [item.field for item in decoded.left_out] == ["reference"]


def test_own_map_that_does_not_find_the_order_leaves_the_body_undecodable() -> None:
    with pytest.raises(Undecodable, match=r"courier_order_id at .*COURIER_<ACCOUNT>_FIELDS"):
        decode(shipmentapi_order(), {"courier_order_id": "join('-', references)"})


@pytest.mark.parametrize(
    ("field_map", "faults"),
    [
        ({}, []),
        ({"courier_order_id": "id", "statuses": {"gone": "lost"}}, []),
        ({"order_id": "id"}, ["unknown field 'order_id'"]),
        ({"reference": "a ||"}, ["reference is not a JMESPath expression"]),
        ({"reference": 5}, ["reference is not a JMESPath expression"]),
        ({"statuses": ["lost"]}, ["statuses is not a JSON object"]),
        ({"statuses": {"gone": "vanished"}}, ["statuses maps 'gone' to 'vanished'"]),
    ],
)
def test_faults_of_a_field_map_are_named(field_map: dict[str, Any], faults: list[str]) -> None:
    assert driver.check_field_map is not None
    told = driver.check_field_map(field_map)
    assert len(told) == len(faults)
    assert all(line.startswith(fault) for line, fault in zip(told, faults, strict=True))


# What cannot be read


@pytest.mark.parametrize("value", [None, "", [], {}, True, False])
def test_callback_without_an_id_says_where_it_was_looked_for(value: object) -> None:
    with pytest.raises(Undecodable, match=r"'order_reference'.*COURIER_<ACCOUNT>_FIELDS"):
        decode(shipmentapi_order(value))


@pytest.mark.parametrize("value", [None, "", [], {}, True])
def test_callback_without_a_status_says_where_it_was_looked_for(value: object) -> None:
    with pytest.raises(Undecodable, match=r"'status'.*COURIER_<ACCOUNT>_FIELDS"):
        decode(shipmentapi_order(status=value))


def test_empty_body_cannot_be_read() -> None:
    with pytest.raises(Undecodable, match="courier_order_id"):
        decode({})


def test_id_may_be_a_number() -> None:
    assert decode(shipmentapi_order(2001)).courier_order_id == "2001"


@pytest.mark.parametrize(
    ("field", "name"), [("order_reference", "courier_order_id"), ("status", "courier_status")]
)
def test_what_orders_are_found_by_has_at_most_255_characters(field: str, name: str) -> None:
    assert decode(shipmentapi_order() | {field: "x" * 255}).events
    with pytest.raises(Undecodable, match=name):
        decode(shipmentapi_order() | {field: "x" * 256})


def test_the_end_of_the_calendar_is_read() -> None:
    at = datetime(9999, 12, 31, tzinfo=UTC)
    assert event_of(shipmentapi_order(updated_at=at.isoformat())).reported_at == at


# Asking about an order


def test_an_order_is_shown_at_the_path_that_the_shop_gives() -> None:
    assert driver.api is not None
    access = Access("https://api.example/v2", None, "token-1")
    (request,) = driver.api.list_order_requests(access, OrderNames("SA 2001/b"))
    assert request.url == "https://api.example/v2/orders/SA%202001%2Fb"
    own = Access("https://api.example/v2", None, "token-1", "/get?ref={id}&full=1")
    (request,) = driver.api.list_order_requests(own, OrderNames("a&b=c"))
    assert request.url == "https://api.example/v2/get?ref=a%26b%3Dc&full=1"
    assert driver.api.headers(own) == {"Authorization": "Bearer token-1"}


def test_an_answer_has_the_body_of_a_callback_and_is_as_recent_as_the_question() -> None:
    assert driver.api is not None
    body = shipmentapi_order(status="delivered", updated_at="2026-04-16T09:00:00Z")
    (snapshot,) = driver.api.decode(body, MessageContext(after(300), "poll")).orders
    assert snapshot.recency == after(300)
    assert snapshot.events[0].occurred_at == after(120)
