"""Cottoncast: signed single states, each told once, and nothing but 200 counts as delivered.

Source: the courier's document 002 (orderstatus web hook), and its public pages for the signature.

The letter C stands twice on one page: "Complete" beside status.code, "Collected" in the table of
codes. It is read as collected and never as delivered, which D says without ambiguity.
"""

from datetime import datetime
from typing import Any

from marshmallow import fields, validate

from receiver import statuses
from receiver.couriers.base import (
    MOST_CHARACTERS,
    Body,
    Decoded,
    Driver,
    Heard,
    Moment,
    Snapshot,
    load,
    read_seconds,
    tell,
    web_address,
)

# Times without a zone are Dutch local time.
ZONE = "Europe/Amsterdam"

WORDS = {
    "N": statuses.INFO_RECEIVED,
    "L": statuses.INFO_RECEIVED,
    "R": statuses.AWAITING_PICKUP,
    "C": statuses.PICKED_UP,
    "E": statuses.IN_TRANSIT,
    "I": statuses.EXCEPTION,
    "X": statuses.LOST,
    "D": statuses.DELIVERED,
}
STEPS = {word: step for step, word in enumerate(WORDS)}

IDENTIFIER = validate.Length(min=1, max=MOST_CHARACTERS)


class Identifier(fields.Field[str]):
    """Text, or a number that stands for it: the document types ids as strings, samples vary."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.make_error("validator_failed")
        return str(value)


class State(Body):
    code = fields.String(required=True, validate=IDENTIFIER)
    timestamp = fields.Raw(allow_none=True, load_default=None)


class Shipment(Body):
    trackingcode = fields.String(allow_none=True, load_default=None, validate=IDENTIFIER)
    trackingurl = fields.String(allow_none=True, load_default=None)
    carrier = fields.String(allow_none=True, load_default=None)
    carrierName = fields.String(allow_none=True, load_default=None)
    code = fields.String(allow_none=True, load_default=None, validate=IDENTIFIER)
    timestamp = fields.Raw(allow_none=True, load_default=None)
    new = fields.Raw(allow_none=True, load_default=None)


class OrderStatus(Body):
    orderID = Identifier(required=True, validate=IDENTIFIER)
    ref = Identifier(allow_none=True, load_default=None, validate=IDENTIFIER)
    status = fields.Nested(State, required=True)
    shipments = fields.List(fields.Nested(Shipment), allow_none=True, load_default=None)


ORDER_STATUS = OrderStatus()


def decode_order_status(body: dict[str, Any], heard: Heard) -> Decoded:
    """Decode one orderstatus hook.

    Shape:  {"orderID", "ref", "status": {"code", "timestamp"}, "shipments": [{"trackingcode",
            "trackingurl", "carrier", "carrierName", "code"?}]}
    Units:  timestamp is Unix seconds, as a number or in a string.
    Raises: Undecodable where orderID or status.code is missing, or a timestamp is no time.
    Source: document 002.
    """
    order = load(ORDER_STATUS, body)
    when = read_seconds(order["status"]["timestamp"], ZONE, "status.timestamp")
    code = order["status"]["code"]
    events = [tell(code, WORDS.get(code), heard, when, step=STEPS.get(code, 0))]
    parcels: dict[str, dict[str, Any]] = {}
    for shipment in order["shipments"] or ():
        tracking_number = shipment["trackingcode"]
        if tracking_number is None:
            continue
        parcels[tracking_number] = {
            "tracking_url": web_address(shipment["trackingurl"]),
            "courier_name": shipment["carrierName"] or shipment["carrier"],
            "is_new": shipment["new"] if isinstance(shipment["new"], bool) else None,
        }
        if shipment["code"] is not None:
            code = shipment["code"]
            own = read_seconds(shipment["timestamp"], ZONE, "shipments.timestamp") or when
            events.append(
                tell(
                    code,
                    WORDS.get(code),
                    heard,
                    own,
                    step=STEPS.get(code, 0),
                    parcel=tracking_number,
                )
            )
    snapshot = Snapshot(
        courier_order_id=order["orderID"],
        recency=_recency(when, heard),
        events=tuple(events),
        reference=order["ref"],
        parcels=parcels,
    )
    return Decoded(orders=(snapshot,))


def _recency(when: Moment | None, heard: Heard) -> datetime:
    return min(when.at, heard.received_at) if when else heard.received_at


def names_order(body: dict[str, Any]) -> tuple[str, str] | None:
    """The order's id, and the name for it in the documented 404: the shop's own number."""
    order_id, reference = body.get("orderID"), body.get("ref")
    if not isinstance(order_id, str | int):
        return None
    if len(str(order_id)) > MOST_CHARACTERS:
        return None
    return str(order_id), str(reference if isinstance(reference, str | int) else order_id)


driver = Driver(
    name="cottoncast",
    words=WORDS,
    topics={"orders": decode_order_status},
    signature_header="Cottoncast-Authentication",
    names_order=names_order,
    sample=(
        b'{"orderID":"SAMPLE-C","ref":"SAMPLE-41","status":{"code":"E","timestamp":1776322800},'
        b'"shipments":[{"carrier":"postnl","carrierName":"Postnl",'
        b'"trackingcode":"3SCEBU123456789","trackingurl":'
        b'"https://jouw.postnl.nl/track-and-trace/3SCEBU123456789-NL-1000AB","new":true}]}'
    ),
    sample_order_id="SAMPLE-C",
)
