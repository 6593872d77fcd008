"""Each courier of deploy/docs/couriers.md that works by settings: with exactly those of the page.

The bodies are invented, in the shape that the page's sources show.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from receiver.couriers import DRIVERS
from receiver.couriers.contract import Heard
from receiver.couriers.polling import OrderNames
from receiver.couriers.signatures import sign, verify
from receiver.errors import RefusedCredential
from receiver.settings import Settings
from tests.service import ROOT

PAGE = (ROOT / "deploy/docs/couriers.md").read_text(encoding="utf-8")
# The settings of each section, by its courier.
SECTIONS = {
    title: dict(word.split("=", 1) for word in shlex.split(block))
    for title, block in re.findall(
        r"^### (.+?)\n.*?^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
    )
}
BASE = {
    "DATABASE_URL": "postgresql:///",
    "REDIS_URL": "redis://127.0.0.1",
    "API_TOKENS": "shop:a-token-for-the-shop",
}
RECEIVED_AT = datetime(2026, 4, 16, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Read:
    """What a body comes to.

    at     None where the time of arrival counts
    url    where it is polled
    noise  what another kind of message has in the place of the same keys
    """

    body: Any
    order_id: str
    word: str
    status: str
    at: str | None = "2026-04-16T09:00:00+00:00"
    reference: str | None = None
    parcels: tuple[str, ...] = ()
    url: str | None = None
    header: str | None = None
    noise: Mapping[str, Any] | None = None


READ = {
    "Shippo": Read(
        {
            "event": "track_updated",
            "test": False,
            "data": {
                "carrier": "usps",
                "tracking_number": "9400100000000000000001",
                "eta": "2026-04-18T00:00:00Z",
                "tracking_status": {
                    "object_id": "1",
                    "status": "TRANSIT",
                    "status_details": "Departed the facility",
                    "status_date": "2026-04-16T09:00:00Z",
                },
                "tracking_history": [],
            },
        },
        *("9400100000000000000001", "TRANSIT", "in_transit"),
        parcels=("9400100000000000000001",),
        noise={"event": "transaction_created"},
        header="Shippo-Auth-Signature",
    ),
    "AfterShip": Read(
        {
            "ts": 1776330000,
            "event": "tracking_update",
            "event_id": "0f2d1c6e-0000-4000-8000-000000000001",
            "msg": {"id": "a1", "tracking_number": "3S1", "slug": "postnl", "tag": "AttemptFail"},
        },
        *("a1", "AttemptFail", "delivery_failed"),
        parcels=("3S1",),
        noise={"event": "edd_revise"},
        header="aftership-hmac-sha256",
    ),
    "17TRACK": Read(
        {
            "event": "TRACKING_UPDATED",
            "data": {
                "number": "RR1CN",
                "carrier": 3011,
                "track_info": {
                    "latest_status": {"status": "InTransit", "sub_status": "InTransit_Other"},
                    "latest_event": {
                        "time_iso": "2026-04-16T11:00:00+02:00",
                        "time_utc": "2026-04-16T09:00:00Z",
                        "description": "Departed",
                    },
                },
            },
        },
        *("RR1CN", "InTransit", "in_transit"),
        parcels=("RR1CN",),
        noise={"event": "TRACKING_STOPPED"},
    ),
    "ShipStation": Read(
        {
            "resource_type": "API_TRACK",
            "resource_url": "https://api.example/v2/tracking?carrier_code=ups",
            "data": {
                "tracking_number": "1Z1",
                "status_code": "DE",
                "status_description": "Delivered",
                "events": [
                    {"occurred_at": "2026-04-16T09:00:00Z", "status_code": "DE"},
                    {"occurred_at": "2026-04-14T09:00:00Z", "status_code": "AC"},
                ],
            },
        },
        *("1Z1", "DE", "delivered"),
        parcels=("1Z1",),
        noise={"resource_type": "API_BATCH"},
    ),
    "Easyship": Read(
        {
            "event_type": "shipment.tracking.status.changed",
            "resource_type": "shipment",
            "resource_id": "ESTEST1",
            "tracking_status": {
                "easyship_shipment_id": "ESTEST1",
                "platform_order_number": "T-1001",
                "status": "Delivered",
                "tracking_number": "12345",
                "tracking_page_url": "https://tracking.example.com/ESTEST1",
            },
        },
        *("ESTEST1", "Delivered", "delivered"),
        at=None,
        reference="T-1001",
        parcels=("12345",),
        noise={"event_type": "shipment.label.created"},
    ),
    "Shiprocket": Read(
        {
            "awb": "59629792084",
            "courier_name": "Delhivery Surface",
            "current_status": "OUT FOR DELIVERY",
            "current_timestamp": "16 04 2026 14:30:00",
            "order_id": "T-1001",
            "sr_order_id": 12345678,
            "scans": [
                {"date": "2026-04-15 10:00:00", "status": "X-UCI", "sr-status-label": "PICKED UP"},
                {"date": "2026-04-16 14:30:00", "status": "X-OFD"},
            ],
        },
        *("59629792084", "OUT FOR DELIVERY", "out_for_delivery"),
        reference="T-1001",
        parcels=("59629792084",),
        header="x-api-key",
    ),
    "Delhivery": Read(
        {
            "Shipment": {
                "AWB": "1234567890",
                "ReferenceNo": "T-1001",
                "NSLCode": "EOD-38",
                "Status": {
                    "Status": "Delivered",
                    "StatusDateTime": "2026-04-16T14:30:00.000",
                    "StatusType": "DL",
                    "Instructions": "Delivered to the recipient",
                },
            }
        },
        *("1234567890", "Delivered", "delivered"),
        reference="T-1001",
        parcels=("1234567890",),
        header="Authorization",
    ),
    "Ninja Van": Read(
        {
            "id": "6a1e0000-0000-4000-8000-000000000001",
            "status": "Successful Pickup",
            "previous_status": "Van en-route to pickup",
            "shipper_order_ref_no": "T-1001",
            "tracking_id": "NVSGSHOP000000001",
            "timestamp": "2026-04-16T17:00:00+0800",
            "comments": None,
        },
        *("NVSGSHOP000000001", "Successful Pickup", "picked_up"),
        reference="T-1001",
        parcels=("NVSGSHOP000000001",),
        header="X-Ninjavan-Hmac-Sha256",
    ),
    "Lalamove": Read(
        {
            "apiKey": "pk_test",
            "timestamp": 1776330001,
            "signature": "00",
            "eventType": "ORDER_STATUS_CHANGED",
            "data": {
                "updatedAt": "2026-04-16T09:00:00Z",
                "order": {"orderId": "186100000001", "status": "COMPLETED"},
            },
        },
        *("186100000001", "COMPLETED", "delivered"),
        noise={"eventType": "DRIVER_ASSIGNED"},
    ),
    "DoorDash Drive": Read(
        {
            "external_delivery_id": "D-12345",
            "event_name": "DASHER_PICKED_UP",
            "created_at": "2026-04-16T08:00:00Z",
            "updated_at": "2026-04-16T09:00:00Z",
            "dasher_name": "Sam",
            "tracking_url": "https://track.example.com/D-12345",
        },
        *("D-12345", "DASHER_PICKED_UP", "picked_up"),
        header="Authorization",
    ),
    "MyParcel": Read(
        {
            "data": {
                "hooks": [
                    {
                        "event": "shipment_status_change",
                        "shipment_id": 124352,
                        "shop_id": 54,
                        "status": 3,
                        "barcode": "3SMYPA1",
                        "shipment_reference_identifier": "T-1001",
                    }
                ]
            }
        },
        # The meaning of the numbers is for the shop to add.
        *("124352", "3", "unknown"),
        at=None,
        reference="T-1001",
        parcels=("3SMYPA1",),
        header="X-MyParcel-Authorization",
    ),
    "UPS Track Alert": Read(
        {
            "trackingNumber": "1Z1",
            "localActivityDate": "20260416",
            "localActivityTime": "050000",
            "activityStatus": {"type": "D", "code": "FS", "description": "Delivered"},
            "gmtActivityDate": "20260416",
            "gmtActivityTime": "090000",
        },
        *("1Z1", "delivered", "delivered"),
        parcels=("1Z1",),
    ),
    "DHL (Unified tracking)": Read(
        {
            "url": "/shipments?trackingNumber=7777777770",
            "shipments": [
                {
                    "id": 7777777770,
                    "service": "express",
                    "status": {
                        "timestamp": "2026-04-16T09:00:00Z",
                        "statusCode": "transit",
                        "description": "Arrived",
                    },
                }
            ],
        },
        *("7777777770", "transit", "in_transit"),
        parcels=("7777777770",),
        url="https://api-eu.dhl.com/track/shipments?trackingNumber=7777777770",
    ),
    "Sendle": Read(
        {
            "state": "Out for Delivery",
            "status": {"description": "Soon", "last_changed_at": "2026-04-16 09:00:00 UTC"},
            "tracking_events": [],
        },
        *("S3NDL3", "Out for Delivery", "out_for_delivery"),
        url="https://api.sendle.com/api/tracking/S3NDL3",
    ),
    "GLS (Track and Trace)": Read(
        {
            "parcels": [
                {
                    "requested": "36301917596",
                    "unitno": "36301917596",
                    "status": "INDELIVERY",
                    "statusDateTime": "2026-04-16T11:00:00+0200",
                    "events": [],
                }
            ]
        },
        *("36301917596", "INDELIVERY", "out_for_delivery"),
        parcels=("36301917596",),
        url="https://api.gls-group.net/track-and-trace-v1/tracking/simple/trackids/36301917596",
    ),
}


def account_of(courier: str) -> Any:
    """The account that a section's settings make, with a secret and credentials for polling."""
    settings = SECTIONS[courier]
    prefix = next(iter(settings)).removesuffix("DRIVER")
    secrets = {f"{prefix}SECRETS": "a-secret,an-older-secret"}
    if f"{prefix}API" in settings:
        secrets[f"{prefix}API_TOKEN"] = "tkn-5f2c9a77"
    accounts = Settings.from_env({**BASE, **settings, **secrets}).accounts
    return accounts[prefix.removeprefix("COURIER_").lower().rstrip("_").replace("_", "-")]


def test_each_section_has_a_body_and_a_row_of_the_table() -> None:
    assert SECTIONS.keys() == READ.keys()
    rows = re.findall(r"^\| (.+?) \|.*\| by settings", PAGE, re.MULTILINE)
    # Rows without settings say why.
    without = re.findall(r"^\| (.+?) \|.*no settings here", PAGE, re.MULTILINE)
    assert {row.removesuffix(" (ShipEngine)") for row in rows} - {*without} == SECTIONS.keys()


@pytest.mark.parametrize(("courier", "read"), READ.items(), ids=READ)
def test_a_body_is_read_by_the_settings_of_the_page(courier: str, read: Read) -> None:
    account = account_of(courier)
    kind = "poll" if read.url else "webhook"
    context = account.message_context(RECEIVED_AT, kind, read.order_id if read.url else "")
    decoded = DRIVERS[account.driver].topics["orders"].decode(read.body, context)
    (snapshot,), left_out = decoded.orders, tuple(item.field for item in decoded.left_out)
    event = snapshot.events[0]
    assert (snapshot.courier_order_id, event.courier_status, event.status) == (
        *(read.order_id, read.word, read.status),
    )
    assert event.occurred_at == (datetime.fromisoformat(read.at) if read.at else RECEIVED_AT)
    assert (snapshot.reference, tuple(snapshot.parcels), left_out) == (
        *(read.reference, read.parcels, ()),
    )


@pytest.mark.parametrize(("courier", "read"), READ.items(), ids=READ)
def test_other_kinds_of_messages_are_thrown_away(courier: str, read: Read) -> None:
    account = account_of(courier)
    is_noise = DRIVERS[account.driver].topics["orders"].is_noise
    assert is_noise is not None
    heard = Heard(field_map=account.field_map)
    assert not is_noise(read.body, heard)
    if "noise" in account.field_map:
        assert read.noise is not None
        assert is_noise({**read.body, **read.noise}, heard)


@pytest.mark.parametrize(("courier", "read"), READ.items(), ids=READ)
def test_a_webhook_is_authenticated_or_an_order_asked_for_as_the_page_says(
    courier: str, read: Read
) -> None:
    account = account_of(courier)
    if read.url:
        api = DRIVERS[account.driver].api
        assert api is not None
        assert account.access is not None
        names = OrderNames(read.order_id)
        urls = [request.url for request in api.list_order_requests(account.access, names)]
        assert urls == [read.url]
        return
    raw = json.dumps(read.body).encode()
    headers = sign(account.signature, "an-older-secret", raw, RECEIVED_AT)
    token = None if read.header else "an-older-secret"
    assert [*headers] == ([read.header] if read.header else [])
    assert verify(account.signature, account.secrets, headers, raw, RECEIVED_AT, token) == 1
    forged = sign(account.signature, "a-forged-secret", raw, RECEIVED_AT)
    with pytest.raises(RefusedCredential):
        verify(account.signature, account.secrets, forged, raw, RECEIVED_AT, token and "forged")


def test_a_parcel_that_gls_does_not_know_is_no_order() -> None:
    account = account_of("GLS (Track and Trace)")
    body = {"parcels": [{"requested": "1", "errorCode": "E_404_01", "errorMessage": "Not Found"}]}
    api = DRIVERS[account.driver].api
    assert api is not None
    assert api.decode(body, account.message_context(RECEIVED_AT, "poll", "1")).orders == ()
