"""EasyPost's trackers: a history in each body, and a state that may be newer than it."""

from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.couriers.contract import Heard
from receiver.couriers.easypost import driver
from receiver.couriers.polling import Access, OrderNames
from receiver.couriers.signatures import sign
from receiver.couriers.snapshot import MessageContext, Snapshot
from receiver.errors import Undecodable
from receiver.orders.fold import fold_order
from tests.couriers.case import Case

RECEIVED_AT = datetime(2026, 4, 20, 12, 0, tzinfo=UTC)
SCANS = [
    ("pre_transit", "2026-04-16T09:00:00Z", "Shipping label created"),
    ("in_transit", "2026-04-17T21:30:00Z", "Arrived at the sorting facility"),
    ("in_transit", "2026-04-18T05:10:00Z", "Departed the sorting facility"),
    ("out_for_delivery", "2026-04-19T07:00:00Z", "Out for delivery"),
]


def scan(status: str, at: str | None, message: str) -> dict[str, Any]:
    return {
        "object": "TrackingDetail",
        "message": message,
        "description": "",
        "status": status,
        "status_detail": "status_update",
        "datetime": at,
        "source": "USPS",
        "tracking_location": {"object": "TrackingLocation", "city": "HOUSTON", "zip": None},
    }


def tracker(
    status: str = "out_for_delivery",
    scans: list[tuple[str, str, str]] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A Tracker as its page shows it."""
    return {
        "id": "trk_00000000000000000000000000000001",
        "object": "Tracker",
        "mode": "production",
        "tracking_code": "9400100000000000000001",
        "status": status,
        "status_detail": "status_update",
        "created_at": "2026-04-16T09:00:00Z",
        "updated_at": "2026-04-19T07:05:00Z",
        "signed_by": None,
        "weight": None,
        "est_delivery_date": "2026-04-19T00:00:00Z",
        "shipment_id": "shp_00000000000000000000000000000001",
        "carrier": "USPS",
        "tracking_details": [scan(*each) for each in (SCANS if scans is None else scans)],
        "carrier_detail": None,
        "public_url": "https://track.example.com/abc",
        **changes,
    }


def webhook(result: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """An Event as its page shows it."""
    return {
        "id": "evt_00000000000000000000000000000001",
        "object": "Event",
        "description": "tracker.updated",
        "mode": "production",
        "previous_attributes": {"status": "in_transit"},
        "result": result or tracker(),
        "status": "pending",
        "pending_urls": ["https://shop.example/webhooks/easypost/orders"],
        "completed_urls": [],
        **changes,
    }


CASE = Case(
    words={
        "pre_transit": "info_received",
        "in_transit": "in_transit",
        "available_for_pickup": "in_transit",
        "out_for_delivery": "out_for_delivery",
        "failure": "exception",
        "error": "exception",
        "return_to_sender": "returning",
        "cancelled": "cancelled",
        "delivered": "delivered",
    },
    bodies={"orders": [webhook(), webhook(tracker("cancelled"))]},
    answers=[tracker("delivered"), {"trackers": [tracker()], "has_more": False}],
    essential=frozenset(
        {
            *("result", "result.id", "result.status"),
            *("id", "status", "trackers", "trackers.id", "trackers.status"),
        }
    ),
    places=["/trackers/{}", "/trackers?tracking_code={}"],
    # tkn-5f2c9a77 without a password.
    credentials={"Authorization": "Basic dGtuLTVmMmM5YTc3Og=="},
    tells_reference=False,
)


def decode(body: dict[str, Any], kind: str = "webhook") -> Snapshot:
    assert driver.api is not None
    decode_body = driver.api.decode if kind == "poll" else driver.topics["orders"].decode
    (snapshot,) = decode_body(body, MessageContext(RECEIVED_AT, kind)).orders
    return snapshot


def test_each_scan_is_an_event_in_whatever_order_they_come() -> None:
    snapshot = decode(webhook(tracker(scans=SCANS[::-1])))
    assert [(event.courier_status, event.occurred_at.isoformat()) for event in snapshot.events] == [
        (word, at.replace("Z", "+00:00")) for word, at, _ in SCANS
    ]
    assert {event.reason for event in snapshot.events} == {None}
    assert snapshot.recency == datetime(2026, 4, 19, 7, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "scans", "at"),
    [
        # The tracker's own state has no scan and happened when it was updated.
        ("cancelled", SCANS, "2026-04-19T07:05:00+00:00"),
        ("in_transit", [], "2026-04-19T07:05:00+00:00"),
        ("out_for_delivery", SCANS, "2026-04-19T07:00:00+00:00"),
    ],
)
def test_the_trackers_state_counts_where_its_scans_do_not_tell_it(
    status: str, scans: list[tuple[str, str, str]], at: str
) -> None:
    folded, _ = fold_order(decode(webhook(tracker(status, scans))).events)
    assert (folded.courier_status, folded.status_at and folded.status_at.isoformat()) == (
        status,
        at,
    )


def test_the_carriers_text_is_the_reason_of_a_failure_only() -> None:
    failed = ("failure", "2026-04-19T18:00:00Z", "Addressee unknown")
    folded, _ = fold_order(decode(webhook(tracker("failure", [*SCANS, failed]))).events)
    assert (folded.status, folded.reason) == ("exception", "Addressee unknown")


def test_a_tracker_is_an_order_with_a_parcel() -> None:
    snapshot = decode(webhook())
    assert (snapshot.courier_order_id, snapshot.identifiers) == (
        "trk_00000000000000000000000000000001",
        {
            "tracking_code": "9400100000000000000001",
            "shipment": "shp_00000000000000000000000000000001",
        },
    )
    assert snapshot.parcels == {
        "9400100000000000000001": {
            "tracking_url": "https://track.example.com/abc",
            "courier_name": "USPS",
        }
    }


@pytest.mark.parametrize(
    ("expected", "until"),
    [
        ("2026-04-19T00:00:00Z", datetime(2026, 4, 20, tzinfo=UTC)),
        ("2026-04-19T20:00:00Z", datetime(2026, 4, 19, 20, tzinfo=UTC)),
    ],
)
def test_midnight_is_expected_on_that_day(expected: str, until: datetime) -> None:
    eta = decode(webhook(tracker(est_delivery_date=expected))).eta
    assert eta is not None
    assert (eta.from_, eta.to) == (datetime.fromisoformat(expected), until)


def test_a_tracker_of_which_nothing_is_known_is_no_state() -> None:
    new = tracker("unknown", [])
    is_noise = driver.topics["orders"].is_noise
    assert is_noise is not None
    assert is_noise(webhook(new), Heard())
    assert is_noise(webhook({"id": "batch_1", "object": "Batch", "state": "created"}), Heard())
    assert not is_noise(webhook(), Heard())
    assert not is_noise({}, Heard())
    with pytest.raises(Undecodable):
        decode(webhook(new))
    assert decode(new, "poll").events == ()


def test_it_is_asked_by_the_trackers_id_then_by_tracking_codes() -> None:
    assert driver.api is not None
    access = Access("https://api.example/v2", None, "key")
    names = OrderNames("trk_1", is_courier_id=True, tracking_numbers=["94 00&1"])
    assert [request.url for request in driver.api.order_requests(access, names)] == [
        "https://api.example/v2/trackers/trk_1",
        "https://api.example/v2/trackers?tracking_code=94%2000%261",
    ]
    assert decode({"trackers": [tracker()]}, "poll").courier_order_id == tracker()["id"]
    no_tracker: dict[str, Any] = {"trackers": [], "has_more": False}
    assert driver.api.decode(no_tracker, MessageContext(RECEIVED_AT, "poll")).orders == ()


def test_the_signature_has_the_prefix_of_the_couriers_own_library() -> None:
    # printf %s '{"result":{}}' | openssl dgst -sha256 -hmac 'sesame'
    digest = "b6fda0dff87a6d85290223f658dc4956a88af3915f12011d719fefb649ebc27c"
    assert sign(driver.signature, "sesame", b'{"result":{}}', RECEIVED_AT) == {
        "X-Hmac-Signature": f"hmac-sha256-hex={digest}"
    }
