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

from datetime import timedelta
from typing import Any

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.contract import STUCK_AFTER, Answer, Driver, SampleState, Topic
from receiver.couriers.polling import Access, Api, basic_credentials, path_requests
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.signatures import Hmac
from receiver.couriers.snapshot import (
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


class StatusSchema(parsing.Body):
    code = parsing.required_name()
    timestamp = parsing.optional_time()


class ShipmentSchema(parsing.Body):
    trackingcode = parsing.optional_name()
    trackingurl = parsing.optional_url()
    carrier = parsing.optional_text()
    carrierName = parsing.optional_text()
    code = parsing.optional_name()
    timestamp = parsing.optional_time()
    new = parsing.optional_flag()


class OrderStatusSchema(parsing.Body):
    orderID = parsing.required_name()
    ref = parsing.optional_name()
    status = parsing.required_object(StatusSchema)
    shipments = parsing.optional_list(ShipmentSchema)


class PolledStatusSchema(parsing.Body):
    code = parsing.optional_name()
    label = parsing.optional_text()
    since = parsing.optional_time()


class PolledTrackingSchema(parsing.Body):
    code = parsing.optional_name()
    url = parsing.optional_url()


class PolledShipmentSchema(parsing.Body):
    status = parsing.optional_object(PolledStatusSchema)
    tracking = parsing.optional_object(PolledTrackingSchema)


class PolledStoreSchema(parsing.Body):
    order_id = parsing.optional_name()


class PolledOrderSchema(parsing.Body):
    id = parsing.required_name()
    store = parsing.optional_object(PolledStoreSchema)
    status = parsing.optional_object(PolledStatusSchema)
    shipments = parsing.optional_list(PolledShipmentSchema)


class ResponseSchema(parsing.Body):
    order = parsing.required_object(PolledOrderSchema)


class ShowOrderSchema(parsing.Body):
    response = parsing.required_object(ResponseSchema)


def decode_order_status(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode one orderstatus webhook.

    Shape:  {"orderID", "ref", "status": {"code", "timestamp"}, "shipments": [{"trackingcode",
            "trackingurl", "carrier", "carrierName", "code"?}]}
    Units:  timestamp is Unix seconds, as a number or in a string.
    Raises: Undecodable where orderID or status.code cannot be read.
    Source: document 002.
    """
    order, left_out = read_fields(OrderStatusSchema, body)
    zone = context.zone or ZONE
    moment = parsing.in_zone(order["status"]["timestamp"], zone)
    events = [_event(order["status"]["code"], context, moment)]
    parcels: dict[str, dict[str, Any]] = {}
    for shipment in order["shipments"] or ():
        tracking_number = shipment["trackingcode"]
        if not tracking_number:
            continue
        parcels[tracking_number] = {
            "tracking_url": shipment["trackingurl"],
            "courier_name": shipment["carrierName"] or shipment["carrier"],
            "is_new": shipment["new"],
            "listed": True,
        }
        if shipment["code"]:
            shipment_moment = parsing.in_zone(shipment["timestamp"], zone) or moment
            events.append(_event(shipment["code"], context, shipment_moment, tracking_number))
    snapshot = Snapshot(
        courier_order_id=order["orderID"],
        recency=recency_of(moment.at if moment else None, context),
        events=tuple(events),
        reference=order["ref"],
        parcels=parcels,
        time_count=sum(event.reported_at is not None for event in events),
    )
    return Decoded(orders=(snapshot,), left_out=left_out)


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


def decode_product(_body: dict[str, Any], _context: MessageContext) -> Decoded:
    """Refuse a product webhook, which is answered and not stored; see `topics`.

    The courier sends one each time that the shop edits a product, to a URL of its own in the sales
    channel's settings, and wants a 202.

    Source: the courier's public page "Products" of its webhooks.
    """
    raise Undecodable("a product webhook reports no order")


def decode_show_order(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode the response to a poll of an order.

    A shipment's state has no time of its own: it has the order's time where both have the same
    code, and is an observation otherwise. Webhooks report whole orders, so the state of a single
    shipment counts for the order too.

    Shape:  {"status": "ok", "response": {"order": {"id", "store": {"order_id"}, "status": {"code",
            "label", "since"}, "shipments": [{"status": {"code"}, "tracking": {"code", "url"}}]}}}
    Units:  since is Dutch local time, to the minute.
    Raises: Undecodable where the response is not `ok` or has no order with an id.
    Source: the courier's public pages, as couriers/README.md has them.
    """
    if body.get("status") != "ok":
        answer = body.get("message") or body.get("status")
        raise Undecodable(f"the courier's answer is not `ok`: {answer!r:.200}")
    answer, left_out = read_fields(ShowOrderSchema, body)
    order = answer["response"]["order"]
    order_status = order["status"] or {}
    order_code = _webhook_code(order_status)
    since = parsing.in_zone(order_status.get("since"), context.zone or ZONE)

    parcels: dict[str, dict[str, Any]] = {}
    shipment_codes: list[tuple[str, str | None]] = []
    for shipment in order["shipments"] or ():
        tracking = shipment["tracking"] or {}
        tracking_number, code = tracking.get("code"), (shipment["status"] or {}).get("code")
        if tracking_number:
            parcels[tracking_number] = {"tracking_url": tracking.get("url"), "listed": True}
        if code:
            shipment_codes.append((code, tracking_number))

    # (code, tracking number); an empty tracking number stands for the whole order.
    of_shipments: list[tuple[str, str]] = []
    if shipment_codes and (order_code is None or len(shipment_codes) == 1):
        # The order is as far as its least advanced shipment.
        codes = [code for code, _ in shipment_codes]
        of_shipments.append((min(codes, key=lambda code: STEPS.get(code, -1)), ""))
    if len(shipment_codes) > 1:
        of_shipments += [(code, number) for code, number in shipment_codes if number]
    events = [_event(order_code, context, since)] if order_code else []
    for code, number in of_shipments:
        moment = since if code == order_code else None
        events.append(_event(code, context, moment, number, of_shipment=moment is None))
    snapshot = Snapshot(
        courier_order_id=order["id"],
        recency=context.received_at,
        # A shipment in the order's own state reports nothing more.
        events=tuple({event.key: event for event in reversed(events)}.values())[::-1],
        reference=(order["store"] or {}).get("order_id"),
        details={"complete_parcel_list": True if parcels else None},
        parcels=parcels,
        time_count=1 if since else 0,
    )
    return Decoded(orders=(snapshot,), left_out=left_out)


def _webhook_code(status: dict[str, Any]) -> str | None:
    """Return the order's code where its label shows that it is of the webhook's list."""
    code, label = status.get("code"), status.get("label")
    if code not in LABELS or label is None or label.strip().casefold() != LABELS[code].casefold():
        return None
    return str(code)


def _headers(access: Access) -> dict[str, str]:
    return {"Authorization": basic_credentials(access.user or "", access.token)}


def _identify_order(body: dict[str, Any]) -> tuple[str, str] | None:
    """Return the order's id and its name in the documented 404, which is the shop's own number."""
    # Not the shipments: there may be thousands, and this is read while the courier waits.
    identifying = {name: value for name, value in body.items() if name != "shipments"}
    try:
        order, _left_out = read_fields(OrderStatusSchema, identifying)
    except Undecodable:
        return None
    return order["orderID"], order["ref"] or order["orderID"]


def _make_sample(sample: SampleState) -> dict[str, Any]:
    status = {"code": sample.word, "timestamp": int(sample.at.timestamp())}
    if not sample.is_sample:
        return {"orderID": sample.order_id, "status": status}
    tracking_code = f"{sample.order_id}-PARCEL"
    return {
        "orderID": sample.order_id,
        "ref": sample.reference,
        "status": status,
        "shipments": [
            {
                "carrier": "postnl",
                "carrierName": "Postnl",
                "trackingcode": tracking_code,
                "trackingurl": f"https://jouw.postnl.nl/track-and-trace/{tracking_code}-NL-1000AB",
                "new": True,
            }
        ],
    }


driver = Driver(
    name="cottoncast",
    words=WORDS,
    topics={
        "orders": Topic(decode_order_status),
        "product": Topic(decode_product, answer=Answer(202), is_noise=lambda _body, _heard: True),
    },
    signature=Hmac("Cottoncast-Authentication"),
    identify_order=_identify_order,
    api=Api(
        # The default of the courier's own shop plugin, without the path /order.
        url="https://api.cottoncast.com",
        headers=_headers,
        order_requests=path_requests("/order/{id}"),
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
    sample_order=("ORDERTRAIL-SAMPLE-C", "E"),
)
