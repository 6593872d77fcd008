"""A courier by settings alone: what a field map makes of a body."""

from collections.abc import Mapping
from typing import Any

from receiver.couriers.field_map.compiled_map import Preset
from receiver.couriers.field_map.preset import make_driver
from receiver.couriers.fields import SCHEDULE, driver
from receiver.couriers.snapshot import Decoded, MessageContext, Snapshot
from tests.bodies import after
from tests.couriers.case import TOKEN, Case

# What test_contract.py checks: a driver of this map, as an account's settings make it.
WORDS = {
    "booked": "info_received",
    "collected": "picked_up",
    "on_the_road": "in_transit",
    "at_the_door": "delivered",
}
MAP = {
    "orders": "data.shipments",
    "courier_order_id": "id",
    "courier_status": "state.code || state",
    "reference": "customer_reference",
    "occurred_at": "state.since",
    "reason": "state.text",
    "tracking_number": "barcode",
    "tracking_url": "links.tracking",
    "label_url": "label",
    "parcels": "parcels[].{tracking_number: barcode, status: state, tracking_url: url}",
}
PRESET_DRIVER = make_driver(
    "fields",
    Preset({**MAP, "courier_status": "state.code"}, WORDS, "UTC"),
    schedule=SCHEDULE,
    body="any",
    sample_order=("ORDERTRAIL-SAMPLE-F", "booked"),
)
BODIES = [
    {
        "data": {
            "shipments": [
                {
                    "id": 17,
                    "customer_reference": "S-17",
                    "state": {"code": "On the road", "since": "2026-04-16T09:00:00Z"},
                    "links": {"tracking": "https://courier.example/17"},
                    "barcode": "0170",
                    "parcels": [{"barcode": "0171", "state": "at_the_door", "url": None}],
                }
            ]
        }
    }
]
CASE = Case(
    words=WORDS,
    bodies={"orders": BODIES},
    answers=BODIES,
    essential=frozenset(
        {
            *("data", "data.shipments", "data.shipments.id"),
            *("data.shipments.state", "data.shipments.state.code"),
        }
    ),
    places=["/orders/{}"],
    credentials={"Authorization": f"Bearer {TOKEN}"},
)

RECEIVED_AT = after(24 * 60)


def decode(body: Any, field_map: Mapping[str, Any], **context: Any) -> Decoded:
    assert driver.check_field_map is not None
    assert driver.check_field_map(field_map) == []
    return driver.topics["orders"].decode(
        body, MessageContext(RECEIVED_AT, field_map=field_map, **context)
    )


def decode_one(body: Any, field_map: Mapping[str, Any], **context: Any) -> Snapshot:
    (snapshot,) = decode(body, field_map, **context).orders
    return snapshot
