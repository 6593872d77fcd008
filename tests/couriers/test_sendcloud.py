"""Sendcloud's parcels: which of two times counts, and what its other webhooks come to."""

from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.couriers.contract import Heard
from receiver.couriers.sendcloud import driver
from receiver.couriers.snapshot import MessageContext, Snapshot
from receiver.errors import Undecodable
from tests.couriers.case import Case

RECEIVED_AT = datetime(2026, 4, 16, 12, 0, tzinfo=UTC)


def parcel(message: str = "Parcel en route", **changes: Any) -> dict[str, Any]:
    """A parcel as the page "Retrieve a parcel" shows it, without what nobody reads."""
    return {
        "id": 3172,
        "name": "Ann Example",
        "city": "Utrecht",
        "date_created": "16-04-2026 08:00:00",
        "tracking_number": "3SABCD000000001",
        "tracking_url": "https://tracking.example.com/3SABCD000000001",
        "label": {
            "normal_printer": ["https://panel.example.com/label/normal/3172?start_from=0"],
            "label_printer": "https://panel.example.com/label/3172",
        },
        "customs_declaration": {},
        "status": {"id": 91, "message": message},
        "carrier": {"code": "postnl"},
        "order_number": "T-1001",
        "shipment_uuid": "6f1c5a52-0000-4000-8000-000000000001",
        "external_order_id": "EXT-77",
        "weight": "2.000",
        **changes,
    }


def webhook(message: str = "Parcel en route", **changes: Any) -> dict[str, Any]:
    """A webhook as the page "Parcel status changed" shows it."""
    return {
        "action": "parcel_status_changed",
        "timestamp": 1776333600123,
        "carrier_status_change_timestamp": 1776330000,
        "parcel": parcel(message),
        **changes,
    }


CASE = Case(
    words={
        "no label": "info_received",
        "being announced": "info_received",
        "announced": "info_received",
        "cancellation requested": "info_received",
        "submitting cancellation request": "info_received",
        "ready to send": "awaiting_pickup",
        "announced: not collected": "awaiting_pickup",
        "error collecting": "pickup_failed",
        "shipment picked up by driver": "picked_up",
        "en route to sorting center": "in_transit",
        "at sorting centre": "in_transit",
        "being sorted": "in_transit",
        "not sorted": "in_transit",
        "sorted": "in_transit",
        "at customs": "in_transit",
        "parcel en route": "in_transit",
        "delivery date changed": "in_transit",
        "delivery address changed": "in_transit",
        "delivery method changed": "in_transit",
        "awaiting customer pickup": "in_transit",
        "driver en route": "out_for_delivery",
        "announcement failed": "exception",
        "parcel cancellation failed": "exception",
        "address invalid": "exception",
        "delivery delayed": "exception",
        "exception": "exception",
        "delivery attempt failed": "delivery_failed",
        "refused by recipient": "delivery_failed",
        "unable to deliver": "delivery_failed",
        "cancelled upstream": "cancelled",
        "cancelled": "cancelled",
        "returned to sender": "returned",
        "shipment collected by customer": "delivered",
        "delivered": "delivered",
    },
    bodies={"orders": [webhook(), webhook("Delivered", carrier_status_change_timestamp=None)]},
    answers=[{"parcel": parcel("Delivered")}],
    essential=frozenset({"parcel", "parcel.id", "parcel.status", "parcel.status.message"}),
    places=["/parcels/{}"],
    # Shop and tkn-5f2c9a77.
    credentials={"Authorization": "Basic U2hvcDp0a24tNWYyYzlhNzc="},
)


def decode(body: dict[str, Any], kind: str = "webhook") -> Snapshot:
    (snapshot,) = driver.topics["orders"].decode(body, MessageContext(RECEIVED_AT, kind)).orders
    return snapshot


def test_the_carriers_time_is_that_of_the_state_and_sendclouds_that_of_the_snapshot() -> None:
    snapshot = decode(webhook())
    (event,) = snapshot.events
    assert event.occurred_at == datetime(2026, 4, 16, 9, 0, tzinfo=UTC)
    assert snapshot.recency == datetime(2026, 4, 16, 10, 0, 0, 123_000, tzinfo=UTC)
    # A state that is Sendcloud's own has no time of the carrier.
    (event,) = decode(webhook("Cancelled", carrier_status_change_timestamp=None)).events
    assert event.occurred_at == snapshot.recency


def test_a_parcel_is_an_order_with_all_its_names() -> None:
    snapshot = decode(webhook())
    assert (snapshot.courier_order_id, snapshot.reference) == ("3172", "T-1001")
    assert snapshot.identifiers == {
        "shipment_uuid": "6f1c5a52-0000-4000-8000-000000000001",
        "external_order_id": "EXT-77",
    }
    assert snapshot.parcels == {
        "3SABCD000000001": {
            "tracking_url": "https://tracking.example.com/3SABCD000000001",
            "courier_name": "postnl",
        }
    }
    assert snapshot.details["label_url"] == "https://panel.example.com/label/3172"


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("Delivered", "delivered"),
        ("At Customs", "in_transit"),
        ("Parcel cancellation failed.", "exception"),
        ("Unknown status - check carrier track & trace page for more insights", "unknown"),
    ],
)
def test_a_status_is_read_by_its_text_in_any_capitals(message: str, status: str) -> None:
    (event,) = decode(webhook(message)).events
    assert (event.status, event.courier_status) == (status, message)


def test_an_answer_to_a_poll_is_the_parcel_alone_and_has_no_time() -> None:
    snapshot = decode({"parcel": parcel("Delivered")}, "poll")
    assert (snapshot.courier_order_id, snapshot.recency) == ("3172", RECEIVED_AT)
    assert snapshot.events[0].occurred_at == RECEIVED_AT


@pytest.mark.parametrize(
    ("body", "noise"),
    [
        ({"action": "integration_updated", "timestamp": 1, "integration": {"id": 1}}, True),
        ({"action": "return_created", "timestamp": 1, "data": {"id": 42}}, True),
        (webhook(), False),
        ({"parcel": parcel()}, False),
        ({}, False),
    ],
)
def test_webhooks_about_integrations_and_returns_are_thrown_away(
    body: dict[str, Any], noise: bool
) -> None:
    is_noise = driver.topics["orders"].is_noise
    assert is_noise is not None
    assert is_noise(body, Heard()) is noise


def test_a_parcel_without_a_status_is_refused() -> None:
    with pytest.raises(Undecodable, match=r"parcel\.status"):
        decode(webhook(parcel=parcel(status=None)))
