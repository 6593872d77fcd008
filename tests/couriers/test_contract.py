"""What holds for every driver: the words of CONTRACT.md, and that no body gets past its schema."""

import copy
import dataclasses
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from receiver import statuses
from receiver.couriers import DRIVERS
from receiver.couriers.base import Decoded, Heard
from receiver.errors import Undecodable
from receiver.fold import fold
from tests.bodies import (
    cottoncast_shipment,
    cottoncast_status,
    history_entry,
    life,
    package,
    payload,
    shipmentapi_order,
    tiramizoo_order,
    tiramizoo_v1,
    tour_plan,
)

HEARD = Heard(datetime(2026, 5, 1, 12, 0, tzinfo=UTC))

# CONTRACT.md, section 4, and for ShipmentAPI the words of couriers/README.md.
WORDS = {
    "tiramizoo": {
        "created": "info_received",
        "processing": "info_received",
        "dispatched": "awaiting_pickup",
        "pickup_failed": "pickup_failed",
        "picked_up": "picked_up",
        "delivery_failed": "delivery_failed",
        "cancelled": "cancelled",
        "returned": "returned",
        "delivered": "delivered",
    },
    "cottoncast": {
        "N": "info_received",
        "L": "info_received",
        "R": "awaiting_pickup",
        "C": "picked_up",
        "E": "in_transit",
        "I": "exception",
        "X": "lost",
        "D": "delivered",
    },
    "shipmentapi": {
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
}

# Per courier and topic: bodies that it might send, to be spoilt.
BODIES: dict[tuple[str, str], list[dict[str, Any]]] = {
    ("tiramizoo", "orders"): [
        payload("tiramizoo/order_web_hook.json"),
        payload("tiramizoo/show_order_delivery_failed.json"),
        tiramizoo_v1(),
        tiramizoo_order(
            times=life("created", "picked_up", "delivered"),
            state="picked_up",
            history=[history_entry("abort_delivery", "2026-04-16T09:00:00", "delivery_failed")],
            packages=[package("P1", "delivered")],
            delivery={"eta": "2026-04-16T10:00:00+02:00"},
        ),
    ],
    ("tiramizoo", "tours"): [payload("tiramizoo/tour_plan_web_hook.json"), tour_plan()],
    ("cottoncast", "orders"): [
        payload("cottoncast/orderstatus.json"),
        cottoncast_status("D", shipments=[cottoncast_shipment(code="D", timestamp="1776322800")]),
    ],
    ("shipmentapi", "orders"): [
        json.loads(DRIVERS["shipmentapi"].sample),
        shipmentapi_order(status_changed_at="2026-04-16T09:00:00+02:00", pickup_time="10-12"),
    ],
}
ENTRANCES = [(name, topic) for name, driver in DRIVERS.items() for topic in driver.topics]

END_OF_TIME = "9999-12-31T23:59:59.999999+00:00"
TIMES = [
    "0001-01-01T00:00:00",
    "0001-01-01T00:00:00+14:00",
    "1970-01-01T00:00:00Z",
    "2026-02-29T00:00:00Z",
    "2026-04-16",
    "2026-04-16T09:00:00.123456789+02:00",
    "2099-01-01T00:00:00Z",
    END_OF_TIME,
    "9999-12-31T23:59:59.999999-14:00",
    "nan",
    "-1e400",
    "1776322800",
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    # What stands in a JSON body that was UTF-8: anything but lone surrogates.
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    | st.sampled_from(TIMES)
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
objects = st.dictionaries(st.text(max_size=8), values, max_size=5)


@st.composite
def spoilt(draw: st.DrawFn, bodies: list[dict[str, Any]]) -> dict[str, Any]:
    """A body with up to four of its values replaced or removed, however deep they stand."""
    body: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(bodies)))
    for _ in range(draw(st.integers(1, 4))):
        place: Any = body
        while True:
            at = draw(
                st.sampled_from(list(place) if isinstance(place, dict) else range(len(place)))
            )
            inner = place[at]
            if isinstance(inner, dict | list) and inner and draw(st.booleans()):
                place = inner
                continue
            break
        if draw(st.booleans()):
            place[at] = draw(values)
        elif place is not body or len(place) > 1:
            del place[at]
    return body


def times_in(told: Any) -> Iterator[datetime]:
    """Every time in what was decoded, also those written out in details."""
    if isinstance(told, datetime):
        yield told
    elif dataclasses.is_dataclass(told):
        for field in dataclasses.fields(told):
            yield from times_in(getattr(told, field.name))
    elif isinstance(told, tuple | list):
        for item in told:
            yield from times_in(item)
    elif isinstance(told, dict):
        for name, item in told.items():
            if name in {"pickup_at", "from", "to"} and item is not None:
                assert item.endswith("Z")
                yield datetime.fromisoformat(item)
            else:
                yield from times_in(item)


def check(name: str, topic: str, body: dict[str, Any]) -> None:
    """A body is decoded or refused, and whatever was decoded can be folded."""
    try:
        decoded = DRIVERS[name].topics[topic](body, HEARD)
    except Undecodable:
        return
    assert isinstance(decoded, Decoded)
    assert all(at.utcoffset() == timedelta(0) for at in times_in(decoded))
    for snapshot in decoded.orders:
        assert snapshot.courier_order_id
        assert snapshot.events
        assert snapshot.recency <= HEARD.received_at
        fold(snapshot.events)
        for event in snapshot.events:
            assert event.status in statuses.VOCABULARY
            assert event.courier_status


def test_every_courier_of_the_contract_has_a_driver() -> None:
    assert set(DRIVERS) == set(WORDS)
    assert set(ENTRANCES) == set(BODIES)


@pytest.mark.parametrize("name", DRIVERS)
def test_words_are_mapped_as_the_contract_says(name: str) -> None:
    assert DRIVERS[name].words == WORDS[name]


@pytest.mark.parametrize("name", DRIVERS)
def test_words_are_mapped_to_statuses_of_the_vocabulary(name: str) -> None:
    assert set(DRIVERS[name].words.values()) <= set(statuses.VOCABULARY) - {"unknown", "pending"}


@pytest.mark.parametrize("name", DRIVERS)
def test_steps_of_two_words_of_one_status_differ(name: str) -> None:
    driver = DRIVERS[name]
    assert list(driver.steps) == list(driver.words)
    assert len(set(driver.steps.values())) == len(driver.words)


@pytest.mark.parametrize("name", DRIVERS)
def test_sample_decodes_to_the_order_it_names(name: str) -> None:
    driver = DRIVERS[name]
    (snapshot,) = driver.topics["orders"](json.loads(driver.sample), HEARD).orders
    assert snapshot.courier_order_id == driver.sample_order_id
    folded = fold([event for event in snapshot.events if not event.parcel])
    assert folded.status not in {statuses.UNKNOWN, statuses.PENDING}


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JavaScript:alert(1)//http://",
        " http://example.com",
        "data:text/html,x",
        "//example.com",
        "ftp://example.com",
        "example.com",
        "http:",
        "https://example.com/" + "x" * 2_000,
    ],
)
def test_address_that_is_none_of_the_web_is_not_shown_and_costs_nothing_else(address: str) -> None:
    bodies = {
        "tiramizoo": tiramizoo_order(tracking_url=address),
        "cottoncast": cottoncast_status(shipments=[cottoncast_shipment(trackingurl=address)]),
        "shipmentapi": shipmentapi_order(
            tracking_url=address, label_url=address, tracking_number="0140"
        ),
    }
    for name, body in bodies.items():
        (snapshot,) = DRIVERS[name].topics["orders"](body, HEARD).orders
        shown = [snapshot.details, *snapshot.parcels.values()]
        assert all(it.get("tracking_url") is None for it in shown)
        assert all(it.get("label_url") is None for it in shown)
        assert snapshot.events


@pytest.mark.parametrize(("name", "topic"), ENTRANCES)
def test_every_topic_refuses_an_empty_object(name: str, topic: str) -> None:
    with pytest.raises(Undecodable):
        DRIVERS[name].topics[topic]({}, HEARD)


@pytest.mark.parametrize(("name", "topic"), ENTRANCES)
@given(body=objects)
def test_any_object_is_decoded_or_refused(name: str, topic: str, body: dict[str, Any]) -> None:
    check(name, topic, body)


@pytest.mark.parametrize(("name", "topic"), ENTRANCES)
@given(data=st.data())
def test_any_spoilt_body_is_decoded_or_refused(name: str, topic: str, data: st.DataObject) -> None:
    check(name, topic, data.draw(spoilt(BODIES[name, topic])))


@pytest.mark.parametrize("state", ["created", "delivered", "teleported"])
def test_state_at_the_end_of_time_is_decoded_or_refused(state: str) -> None:
    check("tiramizoo", "orders", tiramizoo_order(times={"picked_up": END_OF_TIME}, state=state))


word = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=30)


@given(word=word)
@example(word="Delivered")
@example(word=" delivered")
@example(word="d")
def test_word_that_is_not_in_the_map_is_unknown(word: str) -> None:
    bodies = {
        "tiramizoo": tiramizoo_order(times={}, state=word),
        "cottoncast": cottoncast_status(word),
        "shipmentapi": shipmentapi_order(status=word),
    }
    for name, body in bodies.items():
        driver = DRIVERS[name]
        # ShipmentAPI's words come in any spelling.
        spelt = "_".join(word.casefold().replace("-", " ").replace("_", " ").split())
        known = word in driver.words or (name == "shipmentapi" and spelt in driver.words)
        (snapshot,) = driver.topics["orders"](body, HEARD).orders
        (event,) = snapshot.events
        assert (event.status == statuses.UNKNOWN) == (not known)
        assert event.courier_status == word


@pytest.mark.parametrize("name", ["cottoncast", "shipmentapi"])
@given(seconds=st.floats(allow_nan=False, allow_infinity=False) | st.just(math.inf))
def test_any_number_of_seconds_is_a_time_or_refused(name: str, seconds: float) -> None:
    body = (
        cottoncast_status(at=seconds)
        if name == "cottoncast"
        else shipmentapi_order(updated_at=seconds)
    )
    check(name, "orders", body)
