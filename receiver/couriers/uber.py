"""Uber Direct: a delivery in each webhook, signed; polled by an OAuth access token.

`event.courier_update` comes every 20 seconds with the courier's position, and is discarded unread,
as the events about refunds and shopping are.

`returned` is the end of a delivery that failed: its goods come back by a delivery of their own,
which names the first one as `original`. What happens to it happened to the order, so its states
are words beside the delivery's own (`return_delivered`).

Source: developer.uber.com/docs/deliveries (Webhooks, Delivery Status Webhook, Get Delivery, List
Deliveries, Authentication); `related_deliveries` as the documents of Postmates, from which the API
came, show it.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from marshmallow import fields

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.contract import STUCK_AFTER, Driver, Heard, SampleState, Topic
from receiver.couriers.polling import (
    Access,
    Api,
    OAuth,
    OrderNames,
    Page,
    Request,
    read_items,
    requests_by_name,
)
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.signatures import Hmac
from receiver.couriers.snapshot import (
    Decoded,
    MessageContext,
    Moment,
    Proof,
    Snapshot,
    make_eta,
    make_event,
    make_window,
    recency_of,
)
from receiver.errors import Undecodable
from receiver.times import rfc3339

WORDS = {
    "pending": statuses.INFO_RECEIVED,
    "pickup": statuses.AWAITING_PICKUP,
    "pickup_complete": statuses.PICKED_UP,
    "dropoff": statuses.OUT_FOR_DELIVERY,
    "delivered": statuses.DELIVERED,
    "canceled": statuses.CANCELLED,
    "returned": statuses.RETURNING,
    "return_pending": statuses.RETURNING,
    "return_pickup": statuses.RETURNING,
    "return_pickup_complete": statuses.RETURNING,
    "return_dropoff": statuses.RETURNING,
    "return_canceled": statuses.EXCEPTION,
    "return_delivered": statuses.RETURNED,
}
STEPS = {word: step for step, word in enumerate(WORDS)}

# The zone of times without one; Uber's own have theirs.
ZONE = "UTC"

UNDER_WAY = ("pending", "pickup", "pickup_complete", "dropoff")
NOISE = ("event.courier_update", "event.refund_request", "event.shopping_progress")
PAGE_SIZE = 100


class PictureSchema(parsing.Body):
    image_url = parsing.optional_url()
    signer_name = parsing.optional_text()


class VerificationSchema(parsing.Body):
    picture = parsing.optional_object(PictureSchema)
    signature = parsing.optional_object(PictureSchema)


class WaypointSchema(parsing.Body):
    verification = parsing.optional_object(VerificationSchema)


class ManifestSchema(parsing.Body):
    reference = parsing.optional_name()


class RelatedSchema(parsing.Body):
    id = parsing.optional_name()
    relationship = parsing.optional_name()


class CancellationSchema(parsing.Body):
    primary_reason = parsing.optional_text()


class DeliverySchema(parsing.Body):
    id = parsing.required_name()
    status = parsing.required_name()
    uuid = parsing.optional_name()
    external_id = parsing.optional_name()
    manifest = parsing.optional_object(ManifestSchema)
    tracking_url = parsing.optional_url()
    pickup_eta = parsing.optional_time()
    dropoff_eta = parsing.optional_time()
    dropoff_ready = parsing.optional_time()
    dropoff_deadline = parsing.optional_time()
    dropoff = parsing.optional_object(WaypointSchema)
    undeliverable_reason = parsing.optional_text()
    cancelation_reason = parsing.optional_object(CancellationSchema)
    related_deliveries = parsing.optional_list(RelatedSchema)


class WebhookSchema(parsing.Body):
    created = parsing.optional_time()
    data = parsing.required_object(DeliverySchema)


def decode_webhook(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode one event.delivery_status.

    Shape:  {"kind", "created", "delivery_id", "status", "data": {...}}, see decode_delivery().
    Raises: Undecodable where data, its id or its status cannot be read.
    """
    webhook, left_out = read_fields(WebhookSchema, body)
    created = parsing.in_zone(webhook["created"], context.zone or ZONE)
    return Decoded(orders=(_read_delivery(webhook["data"], context, created),), left_out=left_out)


def decode_delivery(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode the response to a poll of a delivery. Its state has no time of its own.

    Shape:  {"id", "status", "external_id", "tracking_url", "dropoff_eta", "dropoff_deadline",
            "undeliverable_reason", "related_deliveries": [{"id", "relationship"}], "dropoff":
            {"verification": {"picture": {"image_url"}, "signature": {"image_url"}}}}
    Units:  times are RFC 3339.
    Raises: Undecodable where id or status cannot be read.
    """
    delivery, left_out = read_fields(DeliverySchema, body)
    return Decoded(orders=(_read_delivery(delivery, context, None),), left_out=left_out)


def _read_delivery(
    delivery: dict[str, Any], context: MessageContext, moment: Moment | None
) -> Snapshot:
    related = delivery["related_deliveries"] or ()
    originals = [other["id"] for other in related if other["relationship"] == "original"]
    original = next(filter(None, originals), None)
    word = f"return_{delivery['status']}" if original else delivery["status"]
    cancellation = delivery["cancelation_reason"] or {}
    event = make_event(
        word,
        WORDS.get(word),
        context,
        moment,
        step=STEPS.get(word, 0),
        reason=delivery["undeliverable_reason"] or cancellation.get("primary_reason"),
        proofs=_read_proofs(delivery["dropoff"]) if word.endswith("delivered") else frozenset(),
    )
    reference = delivery["external_id"] or (delivery["manifest"] or {}).get("reference")
    recency, time_count = (
        recency_of(moment.at if moment else None, context),
        int(moment is not None),
    )
    if original:
        # All else in it is about the way back.
        return Snapshot(original, recency, (event,), reference, time_count=time_count)
    delivery = parsing.aware_times(delivery, context.zone or ZONE)
    pickup = delivery["pickup_eta"]
    return Snapshot(
        courier_order_id=delivery["id"],
        recency=recency,
        events=(event,),
        reference=reference,
        identifiers={"uuid": delivery["uuid"]} if delivery["uuid"] else {},
        details={
            "tracking_url": delivery["tracking_url"],
            "pickup_at": rfc3339(pickup.at) if pickup else None,
            "promised": make_window(delivery["dropoff_ready"], delivery["dropoff_deadline"]),
        },
        eta=make_eta(delivery["dropoff_eta"], context) if word in UNDER_WAY else None,
        time_count=time_count,
    )


def _read_proofs(dropoff: dict[str, Any] | None) -> frozenset[Proof]:
    verification = (dropoff or {}).get("verification") or {}
    kinds = {"photo": verification.get("picture"), "signature": verification.get("signature")}
    return frozenset(
        Proof(kind, found["image_url"], found["signer_name"] or "")
        for kind, found in kinds.items()
        if found and found["image_url"]
    )


def _is_noise(content: dict[str, Any], _heard: Heard) -> bool:
    return content.get("kind") in NOISE or content.get("event_type") in NOISE


def _deliveries_path(access: Access) -> str:
    return f"/customers/{parsing.quote_path_segment(access.settings['CUSTOMER_ID'])}/deliveries"


def _order_requests(access: Access, names: OrderNames) -> Iterator[Request]:
    return requests_by_name(access, f"{_deliveries_path(access)}/{{id}}", names.courier_order_id)


def _list_request(access: Access, _since: datetime, cursor: str | None) -> Request:
    """Return the request for a page of the deliveries that have not ended, since there may be any
    number of others, and Uber's list cannot be bounded by time.
    """
    page = {"filter": "ongoing", "limit": PAGE_SIZE, "offset": cursor or "0"}
    return Request(f"{access.url}{_deliveries_path(access)}?{urlencode(page)}")


def _read_list_page(raw: bytes, _cursor: str | None) -> Page:
    """Read a page of List Deliveries: {"data": [{...}], "next_href"}.

    Only the offset of next_href is used, so that no answer leads to another host.
    """
    deliveries, page = read_items(raw, "data")
    if not (next_href := page.get("next_href")):
        return Page(deliveries)
    try:
        offsets = parse_qs(urlsplit(str(next_href)).query).get("offset")
    except ValueError:
        offsets = None
    if not offsets:
        raise Undecodable("next_href of the list of deliveries has no offset")
    return Page(deliveries, offsets[0])


def _make_sample(sample: SampleState) -> dict[str, Any]:
    is_return = sample.word.startswith("return_")
    delivery: dict[str, Any] = {
        "id": f"{sample.order_id}-RETURN" if is_return else sample.order_id,
        "status": sample.word.removeprefix("return_"),
    }
    if is_return:
        delivery["related_deliveries"] = [{"id": sample.order_id, "relationship": "original"}]
    if sample.is_sample:
        delivery |= {"uuid": f"{sample.order_id}-UUID", "external_id": sample.reference}
    return {
        "kind": "event.delivery_status",
        "created": rfc3339(sample.at),
        "delivery_id": delivery["id"],
        "status": delivery["status"],
        "data": delivery,
    }


driver = Driver(
    name="uber",
    words=WORDS,
    topics={"orders": Topic(decode_webhook, is_noise=_is_noise)},
    signature=Hmac("X-Uber-Signature"),
    settings={
        "CUSTOMER_ID": fields.String(
            load_default=None, metadata={"description": "the Customer ID of the Direct Dashboard"}
        )
    },
    api=Api(
        url="https://api.uber.com/v1",
        oauth=OAuth(
            token_url="https://auth.uber.com/oauth/v2/token",  # noqa: S106 - an address
            scope="eats.deliveries",
            client_auth="body",
        ),
        needs_settings=("CUSTOMER_ID",),
        order_requests=_order_requests,
        list_request=_list_request,
        read_list_page=_read_list_page,
        decode=decode_delivery,
        per_second=2,
        schedule=Schedule(default=Backoff(timedelta(minutes=15), timedelta(hours=4))),
    ),
    zone=ZONE,
    # It delivers within the hour.
    stuck_after={
        **STUCK_AFTER,
        statuses.PICKED_UP: timedelta(hours=12),
        statuses.OUT_FOR_DELIVERY: timedelta(hours=12),
        statuses.RETURNING: timedelta(days=1),
    },
    make_sample=_make_sample,
    sample_order=("ORDERTRAIL-SAMPLE-U", "pickup"),
)
