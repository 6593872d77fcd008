"""Cottoncast's orderstatus hook, read as its document 002 describes it."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from receiver import statuses
from receiver.couriers.base import Event, Heard, Snapshot
from receiver.couriers.cottoncast import driver
from receiver.errors import Undecodable
from receiver.fold import fold
from tests.bodies import after, cottoncast_shipment, cottoncast_status, payload

HEARD_AT = after(24 * 60)

STATUS_OF = {
    "N": statuses.INFO_RECEIVED,
    "L": statuses.INFO_RECEIVED,
    "R": statuses.AWAITING_PICKUP,
    "C": statuses.PICKED_UP,
    "E": statuses.IN_TRANSIT,
    "I": statuses.EXCEPTION,
    "X": statuses.LOST,
    "D": statuses.DELIVERED,
}


def decode(body: Mapping[str, Any], received_at: datetime = HEARD_AT) -> Snapshot:
    (snapshot,) = driver.topics["orders"](dict(body), Heard(received_at)).orders
    return snapshot


def of_parcel(snapshot: Snapshot, parcel: str) -> list[Event]:
    return [event for event in snapshot.events if event.parcel == parcel]


def test_orderstatus_of_the_document() -> None:
    snapshot = decode(payload("cottoncast/orderstatus.json"))
    collected_at = datetime(2021, 5, 26, 5, 34, 47, tzinfo=UTC)
    (event,) = snapshot.events
    assert (snapshot.courier_order_id, snapshot.reference) == ("3AF7", "41")
    assert snapshot.recency == collected_at
    assert (event.status, event.courier_status) == ("picked_up", "C")
    assert event.occurred_at == event.told_at == collected_at
    assert (event.reason, event.parcel, event.flags) == (None, "", frozenset())
    assert snapshot.parcels == {
        "3SCEBU123456789": {
            "tracking_url": "https://jouw.postnl.nl/track-and-trace/3SCEBU123456789-NL-1000AB",
            "courier_name": "Postnl",
            "is_new": True,
        }
    }


# Codes


@pytest.mark.parametrize(("code", "status"), STATUS_OF.items())
def test_each_code_is_one_event(code: str, status: str) -> None:
    (event,) = decode(cottoncast_status(code, after(5))).events
    assert (event.courier_status, event.status, event.occurred_at) == (code, status, after(5))
    assert (event.told_at, event.flags) == (after(5), frozenset())


def test_collected_is_never_delivered() -> None:
    """C is called Complete in one place of the document and Collected in another."""
    body = cottoncast_status("C", shipments=[cottoncast_shipment(code="C")])
    snapshot = decode(body)
    assert {event.status for event in snapshot.events} == {statuses.PICKED_UP}
    assert fold(of_parcel(snapshot, "")).status == statuses.PICKED_UP


@pytest.mark.parametrize("code", ["F", "d", "Delivered", "?"])
def test_code_that_is_not_in_the_document_is_unknown(code: str) -> None:
    (event,) = decode(cottoncast_status(code)).events
    assert (event.status, event.courier_status) == (statuses.UNKNOWN, code)


def test_codes_of_one_status_and_one_second_follow_the_documents_order() -> None:
    new, labelled = (decode(cottoncast_status(code, after(5))).events[0] for code in "NL")
    assert fold([labelled, new]).courier_status == "L"


# Timestamps


@pytest.mark.parametrize("stamp", [1622007287, "1622007287", 1622007287.0, "1622007287.0"])
def test_timestamp_is_unix_seconds_as_a_number_or_in_a_string(stamp: object) -> None:
    body = cottoncast_status("D")
    body["status"]["timestamp"] = stamp
    (event,) = decode(body).events
    assert event.occurred_at == datetime(2021, 5, 26, 5, 34, 47, tzinfo=UTC)
    assert event.flags == frozenset()


@pytest.mark.parametrize("nothing", [None, ""])
def test_status_without_a_timestamp_is_an_observation(nothing: str | None) -> None:
    snapshot = decode(cottoncast_status("D", nothing))
    (event,) = snapshot.events
    assert (event.occurred_at, event.told_at, event.flags) == (
        HEARD_AT,
        None,
        frozenset({"time_inferred"}),
    )
    assert snapshot.recency == HEARD_AT


def test_status_where_the_timestamp_is_absent_is_an_observation() -> None:
    body = cottoncast_status("D")
    del body["status"]["timestamp"]
    (event,) = decode(body).events
    assert (event.occurred_at, event.flags) == (HEARD_AT, frozenset({"time_inferred"}))


@pytest.mark.parametrize(
    ("stamp", "hour", "flags"),
    [
        ("2030-05-11 13:19", 11, {"zone_assumed"}),
        ("2030-01-11T13:19", 12, {"zone_assumed"}),
        ("2030-05-11T13:19:00Z", 13, set()),
    ],
)
def test_time_written_out_without_a_zone_is_dutch_local_time(
    stamp: str, hour: int, flags: set[str]
) -> None:
    heard_at = datetime(2031, 1, 1, tzinfo=UTC)
    (event,) = decode(cottoncast_status("D", stamp), heard_at).events
    assert (event.occurred_at.hour, event.occurred_at.minute) == (hour, 19)
    assert event.flags == flags


def test_timestamp_ahead_of_ours_counts_at_arrival() -> None:
    ahead = HEARD_AT + timedelta(days=1)
    snapshot = decode(cottoncast_status("D", ahead))
    (event,) = snapshot.events
    assert (event.occurred_at, event.told_at, event.flags) == (
        HEARD_AT,
        ahead,
        frozenset({"clock_skew"}),
    )
    assert snapshot.recency == HEARD_AT


@pytest.mark.parametrize(
    "stamp", [True, False, [], {}, [1622007287], "soon", "nan", "inf", 1e300, -1e300, "9" * 400]
)
def test_timestamp_that_is_no_time_cannot_be_read(stamp: Any) -> None:
    with pytest.raises(Undecodable, match=r"status\.timestamp"):
        decode(cottoncast_status("D", stamp))


# Shipments


def test_shipments_without_a_code_are_parcels_without_events() -> None:
    shipments = [cottoncast_shipment("P1"), cottoncast_shipment("P2")]
    snapshot = decode(cottoncast_status("E", shipments=shipments))
    assert len(snapshot.events) == 1
    assert snapshot.parcels == {
        name: {
            "tracking_url": f"https://postnl.example/{name}",
            "courier_name": "Postnl",
            "is_new": True,
        }
        for name in ("P1", "P2")
    }


def test_shipment_with_a_code_is_an_event_of_its_parcel_at_the_orders_time() -> None:
    shipments = [cottoncast_shipment("P1", "D"), cottoncast_shipment("P2", "I")]
    snapshot = decode(cottoncast_status("E", after(5), shipments=shipments))
    (delivered,) = of_parcel(snapshot, "P1")
    (problem,) = of_parcel(snapshot, "P2")
    assert (delivered.status, delivered.occurred_at) == ("delivered", after(5))
    assert (problem.status, problem.occurred_at) == ("exception", after(5))
    (of_order,) = of_parcel(snapshot, "")
    assert of_order.status == "in_transit"


def test_shipment_with_a_time_of_its_own_counts_at_that() -> None:
    shipment = cottoncast_shipment("P1", "D", timestamp=str(int(after(3).timestamp())))
    snapshot = decode(cottoncast_status("E", after(5), shipments=[shipment]))
    (event,) = of_parcel(snapshot, "P1")
    assert event.occurred_at == after(3)


def test_shipment_without_a_tracking_code_is_no_parcel() -> None:
    snapshot = decode(cottoncast_status("E", shipments=[cottoncast_shipment(None, "D")]))
    assert snapshot.parcels == {}
    assert [event.parcel for event in snapshot.events] == [""]


def test_parcels_courier_is_its_name_or_else_its_short_name() -> None:
    named = cottoncast_shipment("P1", carrier="postnl", carrierName=None)
    nobody = cottoncast_shipment("P2", carrier=None, carrierName=None)
    parcels = decode(cottoncast_status("E", shipments=[named, nobody])).parcels
    assert parcels["P1"]["courier_name"] == "postnl"
    assert parcels["P2"]["courier_name"] is None


@pytest.mark.parametrize(
    ("told", "is_new"), [(True, True), (False, False), ("yes", None), (None, None)]
)
def test_whether_a_shipment_is_new_is_noted_where_it_can_be_told(
    told: object, is_new: bool | None
) -> None:
    body = cottoncast_status("E", shipments=[cottoncast_shipment("P1", new=told)])
    assert decode(body).parcels["P1"]["is_new"] is is_new


@pytest.mark.parametrize("shipments", [None, []])
def test_order_without_shipments_has_no_parcels(shipments: list[Any] | None) -> None:
    body = cottoncast_status("E") | {"shipments": shipments}
    assert decode(body).parcels == {}


def test_unknown_code_of_a_shipment_is_unknown_for_its_parcel_only() -> None:
    shipments = [cottoncast_shipment("P1", "Q")]
    snapshot = decode(cottoncast_status("E", shipments=shipments))
    assert of_parcel(snapshot, "P1")[0].status == statuses.UNKNOWN
    assert of_parcel(snapshot, "")[0].status == statuses.IN_TRANSIT


# Ids


@pytest.mark.parametrize(
    ("given", "told"), [("3AF7", "3AF7"), (41, "41"), ("041", "041"), (0, "0")]
)
def test_ids_are_text_or_numbers_that_stand_for_it(given: object, told: str) -> None:
    snapshot = decode(cottoncast_status(order_id=given, ref=given))
    assert (snapshot.courier_order_id, snapshot.reference) == (told, told)


def test_ref_may_be_missing() -> None:
    body = cottoncast_status()
    del body["ref"]
    assert decode(body).reference is None
    assert decode(cottoncast_status(ref=None)).reference is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"orderID": None}, "orderID"),
        ({"orderID": ""}, "orderID"),
        ({"orderID": True}, "orderID"),
        ({"orderID": 4.5}, "orderID"),
        ({"orderID": ["3AF7"]}, "orderID"),
        ({"orderID": "x" * 256}, "orderID"),
        ({"ref": {}}, "ref"),
        ({"status": None}, "status"),
        ({"status": "D"}, "status"),
        ({"status": {}}, "code"),
        ({"status": {"code": ""}}, "code"),
        ({"status": {"code": 7}}, "code"),
        ({"status": {"code": None}}, "code"),
        ({"shipments": {}}, "shipments"),
        ({"shipments": ["P1"]}, "shipments"),
        ({"shipments": [cottoncast_shipment("")]}, "trackingcode"),
        ({"shipments": [cottoncast_shipment("P1", "D", timestamp="x")]}, r"shipments\.timestamp"),
    ],
)
def test_hook_that_cannot_be_read_says_which_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(Undecodable, match=named):
        decode(cottoncast_status() | change)


@pytest.mark.parametrize("missing", ["orderID", "status"])
def test_hook_without_id_or_status_cannot_be_read(missing: str) -> None:
    body = cottoncast_status()
    del body[missing]
    with pytest.raises(Undecodable, match=missing):
        decode(body)


# The 404 of the document


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"orderID": "3AF7", "ref": "41"}, ("3AF7", "41")),
        ({"orderID": 3, "ref": 41}, ("3", "41")),
        ({"orderID": "3AF7"}, ("3AF7", "3AF7")),
        ({"orderID": "3AF7", "ref": []}, ("3AF7", "3AF7")),
        ({"ref": "41"}, None),
        ({"orderID": None}, None),
        ({}, None),
    ],
)
def test_order_is_named_in_the_404_by_the_shops_own_number(
    body: dict[str, Any], named: tuple[str, str] | None
) -> None:
    assert driver.names_order is not None
    assert driver.names_order(body) == named
