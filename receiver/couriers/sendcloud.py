"""Sendcloud: signed webhooks about parcels of many carriers, in Sendcloud's own words.

Source: the public pages https://sendcloud.dev/api/v2/webhooks (signature, retries, order of
arrival), .../v2/webhooks/parcel-status-changed, .../v2/parcels/retrieve-a-parcel and
https://sendcloud.dev/docs/archive/tracking/tracking-statuses (the words).

An order is a parcel of Sendcloud: `parcel.id` of the answer to the request that made it. Calls may
arrive in any order. A parcel's status is an id and a text in English; the text is its word, in any
capitals, because the pages list the texts.
"""

from base64 import b64encode
from datetime import timedelta
from typing import Any

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.contract import STUCK_AFTER, Driver, Heard, SampleState, Topic
from receiver.couriers.polling import Access, Api, path_requests
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.signatures import Hmac
from receiver.couriers.snapshot import Decoded, MessageContext, Snapshot, make_event, recency_of

# Of times without one; Sendcloud's own are Unix times.
ZONE = "Europe/Amsterdam"

WORDS = {
    "no label": statuses.INFO_RECEIVED,
    "being announced": statuses.INFO_RECEIVED,
    "announced": statuses.INFO_RECEIVED,
    # Nothing has happened to the parcel yet: it is cancelled once the carrier has confirmed it.
    "cancellation requested": statuses.INFO_RECEIVED,
    "submitting cancellation request": statuses.INFO_RECEIVED,
    "ready to send": statuses.AWAITING_PICKUP,
    "announced: not collected": statuses.AWAITING_PICKUP,
    "error collecting": statuses.PICKUP_FAILED,
    "shipment picked up by driver": statuses.PICKED_UP,
    "en route to sorting center": statuses.IN_TRANSIT,
    "at sorting centre": statuses.IN_TRANSIT,
    "being sorted": statuses.IN_TRANSIT,
    "not sorted": statuses.IN_TRANSIT,
    "sorted": statuses.IN_TRANSIT,
    "at customs": statuses.IN_TRANSIT,
    "parcel en route": statuses.IN_TRANSIT,
    "delivery date changed": statuses.IN_TRANSIT,
    "delivery address changed": statuses.IN_TRANSIT,
    "delivery method changed": statuses.IN_TRANSIT,
    "driver en route": statuses.OUT_FOR_DELIVERY,
    # At a service point, where it waits for days.
    "awaiting customer pickup": statuses.IN_TRANSIT,
    "announcement failed": statuses.EXCEPTION,
    "parcel cancellation failed": statuses.EXCEPTION,
    "address invalid": statuses.EXCEPTION,
    "delivery delayed": statuses.EXCEPTION,
    "exception": statuses.EXCEPTION,
    "delivery attempt failed": statuses.DELIVERY_FAILED,
    "refused by recipient": statuses.DELIVERY_FAILED,
    "unable to deliver": statuses.DELIVERY_FAILED,
    "cancelled upstream": statuses.CANCELLED,
    "cancelled": statuses.CANCELLED,
    "returned to sender": statuses.RETURNED,
    "shipment collected by customer": statuses.DELIVERED,
    "delivered": statuses.DELIVERED,
}
STEPS = {word: step for step, word in enumerate(WORDS)}

ACTION = "parcel_status_changed"


class StatusSchema(parsing.Body):
    message = parsing.required_name()


class CarrierSchema(parsing.Body):
    code = parsing.optional_text()


class LabelSchema(parsing.Body):
    label_printer = parsing.optional_url()


class ParcelSchema(parsing.Body):
    id = parsing.required_name()
    status = parsing.required_object(StatusSchema)
    order_number = parsing.optional_name()
    shipment_uuid = parsing.optional_name()
    external_order_id = parsing.optional_name()
    tracking_number = parsing.optional_name()
    tracking_url = parsing.optional_url()
    carrier = parsing.optional_object(CarrierSchema)
    label = parsing.optional_object(LabelSchema)


class ParcelMessageSchema(parsing.Body):
    """A webhook, or the answer to a poll, which has the parcel alone."""

    parcel = parsing.required_object(ParcelSchema)
    timestamp = parsing.optional_time()
    carrier_status_change_timestamp = parsing.optional_time()


def _normalize_word(word: str) -> str:
    return " ".join(word.casefold().rstrip(".").split())


def decode_parcel(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode a webhook, or the answer to a poll of a parcel, whose state has no time of its own.

    Shape:  {"action", "timestamp", "carrier_status_change_timestamp", "parcel": {"id", "status":
            {"id", "message"}, "order_number", "tracking_number", "tracking_url", "carrier":
            {"code"}, "label": {"label_printer"}, "shipment_uuid", "external_order_id"}}
    Units:  both times are Unix times, in seconds or in milliseconds.
    Raises: Undecodable where the parcel's id or its status cannot be read.
    Source: "Parcel status changed" and "Retrieve a parcel".
    """
    found, left_out = read_fields(ParcelMessageSchema, body)
    message = parsing.aware_times(found, context.zone or ZONE)
    parcel, at_sendcloud = message["parcel"], message["timestamp"]
    moment = message["carrier_status_change_timestamp"] or at_sendcloud
    word = parcel["status"]["message"]
    normalized = _normalize_word(word)
    event = make_event(word, WORDS.get(normalized), context, moment, step=STEPS.get(normalized, 0))
    newest = at_sendcloud or moment
    tracking_number, tracking_url = parcel["tracking_number"], parcel["tracking_url"]
    identifiers = {
        "shipment_uuid": parcel["shipment_uuid"],
        "external_order_id": parcel["external_order_id"],
    }
    snapshot = Snapshot(
        courier_order_id=parcel["id"],
        recency=recency_of(newest.at if newest else None, context),
        events=(event,),
        reference=parcel["order_number"],
        identifiers={kind: name for kind, name in identifiers.items() if name},
        details={
            "tracking_url": tracking_url,
            "label_url": (parcel["label"] or {}).get("label_printer"),
        },
        parcels={
            tracking_number: {
                "tracking_url": tracking_url,
                "courier_name": (parcel["carrier"] or {}).get("code"),
            }
        }
        if tracking_number
        else {},
        time_count=1 if moment else 0,
    )
    return Decoded(orders=(snapshot,), left_out=left_out)


def _is_noise(body: dict[str, Any], _heard: Heard) -> bool:
    """Return whether a webhook is about the integration or a return, and not about a parcel."""
    action = body.get("action")
    return isinstance(action, str) and action != ACTION


def _headers(access: Access) -> dict[str, str]:
    credentials = f"{access.user}:{access.token}".encode()
    return {"Authorization": f"Basic {b64encode(credentials).decode()}"}


def _make_sample(sample: SampleState) -> dict[str, Any]:
    parcel: dict[str, Any] = {"id": sample.order_id, "status": {"message": sample.word}}
    if sample.is_sample:
        tracking_number = f"{sample.order_id}-PARCEL"
        parcel |= {
            "order_number": sample.reference,
            "tracking_number": tracking_number,
            "tracking_url": f"https://tracking.example.com/{tracking_number}",
            "carrier": {"code": "postnl"},
        }
    return {"action": ACTION, "timestamp": int(sample.at.timestamp() * 1000), "parcel": parcel}


driver = Driver(
    name="sendcloud",
    words=WORDS,
    normalize_word=_normalize_word,
    topics={"orders": Topic(decode_parcel, is_noise=_is_noise)},
    signature=Hmac("Sendcloud-Signature"),
    api=Api(
        url="https://panel.sendcloud.sc/api/v2",
        headers=_headers,
        order_requests=path_requests("/parcels/{id}"),
        decode=decode_parcel,
        needs_user=True,
        per_second=5,
        schedule=Schedule(default=Backoff(timedelta(hours=1), timedelta(hours=12))),
    ),
    zone=ZONE,
    # A service point keeps a parcel for a week or two.
    stuck_after={**STUCK_AFTER, statuses.IN_TRANSIT: timedelta(days=10)},
    make_sample=_make_sample,
    sample_order=("ORDERTRAIL-SAMPLE-SC", "parcel en route"),
)
