"""Cottoncast: signed single states, each sent once; only a 200 counts as delivered.

Source: the courier's document 002 (orderstatus webhook), and its public pages for the signature
and for polling an order.

The letter C has two meanings on one page of document 002: "Complete" beside status.code,
"Collected" in the table of codes. It is read as collected, and never as delivered, for which D is
unambiguous.

The response to a poll has codes of two lists: the webhook's codes for each shipment, and other
codes for the order (`F` is Fulfilled). Where both lists have a letter, only the label beside it
says which list is meant.
"""

import functools
import re
from base64 import b64encode
from dataclasses import replace
from datetime import timedelta
from typing import Any

from marshmallow import fields, validate

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.contract import STUCK_AFTER, Access, Api, Driver, SampleState
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.snapshot import (
    MINUTE_ONLY,
    Decoded,
    Event,
    MessageContext,
    Moment,
    Snapshot,
    make_event,
    recency_of,
)
from receiver.errors import Undecodable

# The zone of times without one.
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

# Document 002, "Status codes".
LABELS = {
    "N": "New",
    "L": "Label created",
    "R": "Ready",
    "C": "Collected",
    "E": "En route",
    "I": "Problem",
    "X": "Lost",
    "D": "Delivered",
}
HAS_SECONDS = re.compile(r":[0-9]{2}:[0-9]{2}")


class Identifier(fields.Field[str]):
    """Text, or a number in its place: the document types ids as strings, its samples vary."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise self.make_error("validator_failed")
        return str(value)


required_identifier = functools.partial(
    Identifier, required=True, validate=validate.Length(min=1, max=parsing.MAX_NAME_LENGTH)
)
# An empty identifier counts as none.
optional_identifier = functools.partial(
    Identifier,
    allow_none=True,
    load_default=None,
    validate=validate.Length(max=parsing.MAX_NAME_LENGTH),
)


class StatusSchema(parsing.Body):
    code = parsing.required_name()
    timestamp = fields.Raw(allow_none=True, load_default=None)


class ShipmentSchema(parsing.Body):
    trackingcode = parsing.optional_name()
    trackingurl = parsing.optional_text()
    carrier = parsing.optional_text()
    carrierName = parsing.optional_text()
    code = parsing.optional_name()
    timestamp = fields.Raw(allow_none=True, load_default=None)
    new = fields.Raw(allow_none=True, load_default=None)


class OrderStatusSchema(parsing.Body):
    orderID = required_identifier()
    ref = optional_identifier()
    status = fields.Nested(StatusSchema, required=True)
    shipments = parsing.optional_list(ShipmentSchema)


class PolledStatusSchema(parsing.Body):
    code = parsing.optional_name()
    label = parsing.optional_text()
    since = parsing.optional_text()


class PolledTrackingSchema(parsing.Body):
    code = parsing.optional_name()
    url = parsing.optional_text()


class PolledShipmentSchema(parsing.Body):
    status = parsing.optional_object(PolledStatusSchema)
    tracking = parsing.optional_object(PolledTrackingSchema)


class PolledOrderSchema(parsing.Body):
    id = required_identifier()
    store = parsing.optional_object(parsing.Body.from_dict({"order_id": optional_identifier()}))
    status = parsing.optional_object(PolledStatusSchema)
    shipments = parsing.optional_list(PolledShipmentSchema)


ORDER_STATUS = OrderStatusSchema()
RESPONSE = parsing.Body.from_dict({"order": fields.Nested(PolledOrderSchema, required=True)})
SHOW_ORDER = parsing.Body.from_dict({"response": fields.Nested(RESPONSE, required=True)})()


def decode_order_status(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode one orderstatus webhook.

    Shape:  {"orderID", "ref", "status": {"code", "timestamp"}, "shipments": [{"trackingcode",
            "trackingurl", "carrier", "carrierName", "code"?}]}
    Units:  timestamp is Unix seconds, as a number or in a string.
    Raises: Undecodable where orderID or status.code is missing, or a timestamp is no time.
    Source: document 002.
    """
    order = parsing.load_body(ORDER_STATUS, body)
    moment = parsing.parse_unix_time(order["status"]["timestamp"], ZONE, "status.timestamp")
    events = [_event(order["status"]["code"], context, moment)]
    parcels: dict[str, dict[str, Any]] = {}
    for shipment in order["shipments"] or ():
        tracking_number = shipment["trackingcode"]
        if not tracking_number:
            continue
        parcels[tracking_number] = {
            "tracking_url": parsing.web_url(shipment["trackingurl"]),
            "courier_name": shipment["carrierName"] or shipment["carrier"],
            "is_new": shipment["new"] if isinstance(shipment["new"], bool) else None,
            "listed": True,
        }
        if shipment["code"]:
            shipment_moment = parsing.parse_unix_time(
                shipment["timestamp"], ZONE, "shipments.timestamp"
            )
            events.append(
                _event(shipment["code"], context, shipment_moment or moment, tracking_number)
            )
    snapshot = Snapshot(
        courier_order_id=order["orderID"],
        recency=recency_of(moment.at if moment else None, context),
        events=tuple(events),
        reference=order["ref"] or None,
        parcels=parcels,
    )
    return Decoded(orders=(snapshot,))


def _event(
    code: str,
    context: MessageContext,
    moment: Moment | None,
    tracking_number: str = "",
    of_shipment: bool = False,
) -> Event:
    return make_event(
        code,
        WORDS.get(code),
        context,
        moment,
        step=STEPS.get(code, 0),
        parcel=tracking_number,
        of_shipment=of_shipment,
    )


def decode_show_order(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode the response to a poll of an order.

    A shipment's state has no time of its own: it has the order's time where both have the same
    code, and is an observation otherwise. Webhooks report whole orders, so the state of a single
    shipment counts for the order too.

    Shape:  {"status": "ok", "response": {"order": {"id", "store": {"order_id"}, "status": {"code",
            "label", "since"}, "shipments": [{"status": {"code"}, "tracking": {"code", "url"}}]}}}
    Units:  since is Dutch local time, to the minute.
    Raises: Undecodable where the response is not `ok` or has no order, or since is no time.
    Source: the courier's public pages, as couriers/README.md has them.
    """
    if body.get("status") != "ok":
        answer = body.get("message") or body.get("status")
        raise Undecodable(f"the courier's answer is not `ok`: {answer!r:.200}")
    order = parsing.load_body(SHOW_ORDER, body)["response"]["order"]
    order_code = _webhook_code(order["status"] or {})
    since = _parse_since((order["status"] or {}).get("since"))

    parcels: dict[str, dict[str, Any]] = {}
    shipment_codes: list[tuple[str, str | None]] = []
    for shipment in order["shipments"] or ():
        tracking = shipment["tracking"] or {}
        tracking_number, code = tracking.get("code"), (shipment["status"] or {}).get("code")
        if tracking_number:
            url = parsing.web_url(tracking.get("url"))
            parcels[tracking_number] = {"tracking_url": url, "listed": True}
        if code:
            shipment_codes.append((code, tracking_number))

    # (code, tracking number); an empty tracking number stands for the whole order.
    reported = [(order_code, "")] if order_code else []
    if shipment_codes and (order_code is None or len(shipment_codes) == 1):
        # The order is as far as its least advanced shipment.
        codes = [code for code, _ in shipment_codes]
        reported.append((min(codes, key=lambda code: STEPS.get(code, -1)), ""))
    if len(shipment_codes) > 1:
        reported += [(code, number) for code, number in shipment_codes if number]
    events = [
        _event(
            code,
            context,
            since if code == order_code else None,
            tracking_number,
            of_shipment=code != order_code,
        )
        for code, tracking_number in reported
    ]
    snapshot = Snapshot(
        courier_order_id=order["id"],
        recency=context.received_at,
        events=tuple({event.key: event for event in events}.values()),
        reference=(order["store"] or {}).get("order_id") or None,
        details={"complete_parcel_list": True if parcels else None},
        parcels=parcels,
    )
    return Decoded(orders=(snapshot,))


def _webhook_code(status: dict[str, Any]) -> str | None:
    """Return the order's code where its label shows that it is of the webhook's list."""
    code, label = status.get("code"), status.get("label")
    if code not in LABELS or label is None or label.strip().casefold() != LABELS[code].casefold():
        return None
    return str(code)


def _parse_since(since: str | None) -> Moment | None:
    moment = parsing.parse_courier_time(since, ZONE, "status.since")
    if moment is None or HAS_SECONDS.search(since or ""):
        return moment
    return replace(moment, flags=moment.flags | {MINUTE_ONLY})


def _headers(access: Access) -> dict[str, str]:
    credentials = f"{access.user}:{access.token}".encode()
    return {"Authorization": f"Basic {b64encode(credentials).decode()}"}


def _order_url(access: Access, order_id: str) -> str:
    return f"{access.url}/order/{parsing.quote_path_segment(order_id)}"


def _identify_order(body: dict[str, Any]) -> tuple[str, str] | None:
    """Return the order's id and its name in the documented 404, which is the shop's own number."""
    try:
        order = parsing.load_body(ORDER_STATUS, body)
    except Undecodable:
        return None
    return order["orderID"], order["ref"] or order["orderID"]


def _make_sample(sample: SampleState) -> dict[str, Any]:
    return {
        "orderID": sample.order_id,
        "ref": sample.reference,
        "status": {"code": sample.word, "timestamp": int(sample.at.timestamp())},
        "shipments": [
            {
                "carrier": "postnl",
                "carrierName": "Postnl",
                "trackingcode": "3SCEBU123456789",
                "trackingurl": "https://jouw.postnl.nl/track-and-trace/3SCEBU123456789-NL-1000AB",
                "new": True,
            }
        ],
    }


driver = Driver(
    name="cottoncast",
    words=WORDS,
    topics={"orders": decode_order_status},
    signature_header="Cottoncast-Authentication",
    identify_order=_identify_order,
    api=Api(
        # The default of the courier's own shop plugin, without the path /order.
        url="https://api.cottoncast.com",
        headers=_headers,
        order_url=_order_url,
        decode=decode_show_order,
        needs_user=True,
        per_second=2,
        schedule=Schedule(default=Backoff(timedelta(hours=1), timedelta(hours=12))),
    ),
    zone=ZONE,
    stuck_after={
        **STUCK_AFTER,
        # It produces the goods that it sends.
        statuses.INFO_RECEIVED: timedelta(days=7),
        statuses.AWAITING_PICKUP: timedelta(days=3),
    },
    make_sample=_make_sample,
    sample_order=("SAMPLE-C", "E"),
)
