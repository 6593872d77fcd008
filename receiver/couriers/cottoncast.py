"""Cottoncast: signed single states, each told once, and nothing but 200 counts as delivered.

Source: the courier's document 002 (orderstatus web hook), and its public pages for the signature
and for asking about an order.

The letter C stands twice on one page: "Complete" beside status.code, "Collected" in the table of
codes. It is read as collected and never as delivered, which D says without ambiguity.

Asked about an order, it tells codes of two lists: those of the hook for each shipment, and others
for the order (`F` is Fulfilled). Where both have a letter only its label says which is meant.
"""

import re
from base64 import b64encode
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from marshmallow import fields, validate

from receiver import statuses
from receiver.couriers.contract import (
    MINUTE_ONLY,
    STAYS,
    Access,
    Api,
    Decoded,
    Driver,
    Event,
    Heard,
    Keys,
    Moment,
    Moved,
    Snapshot,
    tell,
)
from receiver.couriers.parsing import (
    MOST_CHARACTERS,
    Body,
    load,
    one_segment,
    read_seconds,
    read_time,
    web_address,
)
from receiver.couriers.schedule import Rhythm, Schedule
from receiver.errors import Undecodable

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
# Of a hook, then of an answer.
KEYS = Keys(order=frozenset({"orderID", "id"}), reference=frozenset({"ref", "order_id"}))
SECONDS = re.compile(r":[0-9]{2}:[0-9]{2}")

IDENTIFIER = validate.Length(min=1, max=MOST_CHARACTERS)
# An empty one counts as none.
OPTIONAL = validate.Length(max=MOST_CHARACTERS)


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
    trackingcode = fields.String(allow_none=True, load_default=None, validate=OPTIONAL)
    trackingurl = fields.String(allow_none=True, load_default=None)
    carrier = fields.String(allow_none=True, load_default=None)
    carrierName = fields.String(allow_none=True, load_default=None)
    code = fields.String(allow_none=True, load_default=None, validate=OPTIONAL)
    timestamp = fields.Raw(allow_none=True, load_default=None)
    new = fields.Raw(allow_none=True, load_default=None)


class OrderStatus(Body):
    orderID = Identifier(required=True, validate=IDENTIFIER)
    ref = Identifier(allow_none=True, load_default=None, validate=OPTIONAL)
    status = fields.Nested(State, required=True)
    shipments = fields.List(fields.Nested(Shipment), allow_none=True, load_default=None)


class ShownState(Body):
    code = fields.String(allow_none=True, load_default=None, validate=OPTIONAL)
    label = fields.String(allow_none=True, load_default=None)
    since = fields.String(allow_none=True, load_default=None)


class ShownStore(Body):
    order_id = Identifier(allow_none=True, load_default=None, validate=OPTIONAL)


class ShownTracking(Body):
    code = fields.String(allow_none=True, load_default=None, validate=OPTIONAL)
    url = fields.String(allow_none=True, load_default=None)


class ShownShipment(Body):
    status = fields.Nested(ShownState, allow_none=True, load_default=None)
    tracking = fields.Nested(ShownTracking, allow_none=True, load_default=None)


class ShownOrder(Body):
    id = Identifier(required=True, validate=IDENTIFIER)
    store = fields.Nested(ShownStore, allow_none=True, load_default=None)
    status = fields.Nested(ShownState, allow_none=True, load_default=None)
    shipments = fields.List(fields.Nested(ShownShipment), allow_none=True, load_default=None)


class ShownResponse(Body):
    order = fields.Nested(ShownOrder, required=True)


class ShowOrder(Body):
    response = fields.Nested(ShownResponse, required=True)


ORDER_STATUS = OrderStatus()
SHOW_ORDER = ShowOrder()


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
        if not tracking_number:
            continue
        parcels[tracking_number] = {
            "tracking_url": web_address(shipment["trackingurl"]),
            "courier_name": shipment["carrierName"] or shipment["carrier"],
            "is_new": shipment["new"] if isinstance(shipment["new"], bool) else None,
        }
        if shipment["code"]:
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
        reference=order["ref"] or None,
        parcels=parcels,
    )
    return Decoded(orders=(snapshot,))


def _recency(when: Moment | None, heard: Heard) -> datetime:
    return min(when.at, heard.received_at) if when else heard.received_at


def decode_show_order(body: dict[str, Any], heard: Heard) -> Decoded:
    """Decode an answer to a question about an order.

    A shipment's state has no time of its own: it has the order's where both tell the same, and is
    an observation elsewhere. Hooks tell of whole orders, so the state of a single shipment is told
    as the order's too.

    Shape:  {"status": "ok", "response": {"order": {"id", "store": {"order_id"}, "status": {"code",
            "label", "since"}, "shipments": [{"status": {"code"}, "tracking": {"code", "url"}}]}}}
    Units:  since is Dutch local time, to the minute.
    Raises: Undecodable where the answer is not `ok` or has no order, or since is no time.
    Source: the courier's public pages, as couriers/README.md has them.
    """
    if body.get("status") != "ok":
        told = body.get("message") or body.get("status")
        raise Undecodable(f"the courier's answer is not `ok`: {told!r:.200}")
    order = load(SHOW_ORDER, body)["response"]["order"]
    state = order["status"] or {}
    code, since = _counted(state), _read_since(state.get("since"))

    def event(word: str, tracking_number: str | None = None) -> Event:
        when = since if word == code else None
        step = STEPS.get(word, 0)
        parcel = tracking_number or ""
        return tell(word, WORDS.get(word), heard, when, step=step, parcel=parcel)

    events = [event(code)] if code else []
    parcels: dict[str, dict[str, Any]] = {}
    states: list[tuple[str, str | None]] = []
    for shipment in order["shipments"] or ():
        own, tracking = shipment["status"] or {}, shipment["tracking"] or {}
        word, tracking_number = own.get("code"), tracking.get("code")
        if tracking_number:
            parcels[tracking_number] = {"tracking_url": web_address(tracking.get("url"))}
        if word:
            states.append((word, tracking_number))
    if states and (code is None or len(states) == 1):
        # The order is as far as the shipment that is least far.
        events.append(event(min((word for word, _ in states), key=lambda it: STEPS.get(it, -1))))
    if len(states) > 1:
        events += [
            event(word, tracking_number) for word, tracking_number in states if tracking_number
        ]
    snapshot = Snapshot(
        courier_order_id=order["id"],
        recency=heard.received_at,
        events=tuple({event.key: event for event in events}.values()),
        reference=(order["store"] or {}).get("order_id") or None,
        parcels=parcels,
    )
    return Decoded(orders=(snapshot,))


def _counted(state: dict[str, Any]) -> str | None:
    """The order's code where its label says that it is one of the shipments' too."""
    code, label = state.get("code"), state.get("label")
    if code not in LABELS or label is None or label.strip().casefold() != LABELS[code].casefold():
        return None
    return str(code)


def _read_since(since: str | None) -> Moment | None:
    moment = read_time(since, ZONE, "status.since")
    if moment is None or SECONDS.search(since or ""):
        return moment
    return replace(moment, flags=moment.flags | {MINUTE_ONLY})


def headers(access: Access) -> dict[str, str]:
    credentials = f"{access.user}:{access.token}".encode()
    return {"Authorization": f"Basic {b64encode(credentials).decode()}"}


def show(access: Access, order_id: str) -> str:
    return f"{access.url}/order/{one_segment(order_id)}"


def names_order(body: dict[str, Any]) -> tuple[str, str] | None:
    """The order's id, and the name for it in the documented 404: the shop's own number."""
    try:
        order = load(ORDER_STATUS, body)
    except Undecodable:
        return None
    return order["orderID"], order["ref"] or order["orderID"]


def sample(moved: Moved) -> dict[str, Any]:
    return {
        "orderID": moved.order_id,
        "ref": moved.reference,
        "status": {"code": moved.word, "timestamp": int(moved.at.timestamp())},
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
    keys=KEYS,
    signature_header="Cottoncast-Authentication",
    names_order=names_order,
    api=Api(
        headers=headers,
        show=show,
        decode=decode_show_order,
        needs_user=True,
        per_second=2,
        schedule=Schedule(silence=Rhythm(timedelta(hours=1), timedelta(hours=12))),
    ),
    zone=ZONE,
    stays={
        **STAYS,
        # It makes what it sends.
        statuses.INFO_RECEIVED: timedelta(days=7),
        statuses.AWAITING_PICKUP: timedelta(days=3),
    },
    sample=sample,
    sample_of=("SAMPLE-C", "E"),
)
