"""EasyPost: signed webhooks about trackers; each body is the whole history of a parcel.

Source: the public pages https://docs.easypost.com/docs/trackers, .../docs/events, .../docs/webhooks
and .../guides/webhooks-guide; the prefix of the signature is in the courier's public client library
(github.com/EasyPost/easypost-python, easypost/util.py).

An order is a tracker: its id (`trk_...`) is in the answer to the request that made it, and in
`tracker.id` of a bought shipment. It is also found by its tracking code, and does not name the
shop's own number. Its history is in tracking_details[]; `status` is the state of now, which may be
the tracker's own (`cancelled`, `error`) and then has no entry. All times have a zone.
"""

from base64 import b64encode
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.contract import STUCK_AFTER, Driver, Heard, SampleState, Topic
from receiver.couriers.polling import Access, Api, OrderNames, Request, requests_by_name
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.signatures import Hmac
from receiver.couriers.snapshot import (
    Decoded,
    Eta,
    Event,
    MessageContext,
    Moment,
    Snapshot,
    make_event,
    recency_of,
)
from receiver.errors import Undecodable

# Times without location are UTC; one without a zone is not documented.
ZONE = "UTC"

WORDS = {
    "pre_transit": statuses.INFO_RECEIVED,
    "in_transit": statuses.IN_TRANSIT,
    # At a post office or a locker, where it waits for days.
    "available_for_pickup": statuses.IN_TRANSIT,
    "out_for_delivery": statuses.OUT_FOR_DELIVERY,
    "failure": statuses.EXCEPTION,
    "error": statuses.EXCEPTION,
    "return_to_sender": statuses.RETURNING,
    "cancelled": statuses.CANCELLED,
    "delivered": statuses.DELIVERED,
}
STEPS = {word: step for step, word in enumerate(WORDS)}
# The carrier has said nothing yet.
NOTHING_KNOWN = "unknown"
# Beside these, the carrier's text is a reason; beside the others it tells of a scan.
REASONED = {"failure", "error", "return_to_sender", "cancelled"}


class DetailSchema(parsing.Body):
    status = parsing.optional_name()
    datetime = parsing.optional_time()
    message = parsing.optional_text()


class TrackerSchema(parsing.Body):
    id = parsing.required_name()
    status = parsing.required_name()
    tracking_code = parsing.optional_name()
    carrier = parsing.optional_text()
    public_url = parsing.optional_url()
    shipment_id = parsing.optional_name()
    est_delivery_date = parsing.optional_time()
    updated_at = parsing.optional_time()
    tracking_details = parsing.optional_list(DetailSchema)


class EventSchema(parsing.Body):
    result = parsing.required_object(TrackerSchema)


class TrackersSchema(parsing.Body):
    trackers = parsing.optional_list(TrackerSchema)


def decode_webhook(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode an Event about a tracker.

    Shape:  {"description": "tracker.updated", "result": {"id", "status", "tracking_code",
            "carrier", "public_url", "shipment_id", "est_delivery_date", "updated_at",
            "tracking_details": [{"status", "datetime", "message"}]}}
    Raises: Undecodable where the tracker's id or its status cannot be read, and where it reports
            nothing yet.
    Source: "Event" and "Tracker".
    """
    event, left_out = read_fields(EventSchema, body)
    snapshot = _read_tracker(event["result"], context)
    if not snapshot.events:
        raise Undecodable("the tracker reports no state yet")
    return Decoded(orders=(snapshot,), left_out=left_out)


def decode_answer(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode the answer to a poll: a tracker, or {"trackers": [...]} where its code was asked for.

    Raises: Undecodable where a tracker has no id or status.
    Source: "Retrieve a Tracker" and "Retrieve a list of Trackers", where the newest is the first.
    """
    if "trackers" not in body:
        tracker, left_out = read_fields(TrackerSchema, body)
    else:
        answer, left_out = read_fields(TrackersSchema, body)
        if not answer["trackers"]:
            return Decoded(left_out=left_out)
        tracker = answer["trackers"][0]
    return Decoded(orders=(_read_tracker(tracker, context),), left_out=left_out)


def _read_tracker(tracker: dict[str, Any], context: MessageContext) -> Snapshot:
    zone = context.zone or ZONE
    scans = [
        (moment, detail)
        for detail in tracker["tracking_details"] or ()
        if detail["status"] and (moment := parsing.in_zone(detail["datetime"], zone))
    ]
    scans.sort(key=lambda scan: scan[0].at)
    events = [
        _make_event(detail["status"], context, moment, detail["message"])
        for moment, detail in scans
        if detail["status"] != NOTHING_KNOWN
    ]
    now, updated_at = tracker["status"], parsing.in_zone(tracker["updated_at"], zone)
    if now != NOTHING_KNOWN and (not events or events[-1].courier_status != now):
        events.append(_make_event(now, context, updated_at))
    expected = parsing.in_zone(tracker["est_delivery_date"], zone)
    tracking_code, tracking_url = tracker["tracking_code"], tracker["public_url"]
    names = {"tracking_code": tracking_code, "shipment": tracker["shipment_id"]}
    parcel = {"tracking_url": tracking_url, "courier_name": tracker["carrier"]}
    times = [moment.at for moment, _ in scans] + ([updated_at.at] if updated_at else [])
    return Snapshot(
        courier_order_id=tracker["id"],
        recency=recency_of(max(times, default=None), context),
        # Several scans of one second and state are one event.
        events=tuple({event.key: event for event in events}.values()),
        identifiers={kind: name for kind, name in names.items() if name},
        details={"tracking_url": tracking_url},
        eta=_read_eta(expected, context),
        parcels={tracking_code: parcel} if tracking_code else {},
        time_count=len(scans),
    )


def _make_event(
    word: str, context: MessageContext, moment: Moment | None, message: str | None = None
) -> Event:
    reason = message if word in REASONED else None
    step = STEPS.get(word, 0)
    return make_event(word, WORDS.get(word), context, moment, step=step, reason=reason)


def _read_eta(expected: Moment | None, context: MessageContext) -> Eta | None:
    """Return the carrier's estimate; midnight stands for the whole day."""
    if expected is None:
        return None
    is_day = (expected.at.hour, expected.at.minute, expected.at.second) == (0, 0, 0)
    until = expected.at + timedelta(days=1) if is_day else expected.at
    return Eta(expected.at, until, "poll" if context.kind == "poll" else "order")


def _is_noise(body: dict[str, Any], _heard: Heard) -> bool:
    """Return whether an Event is about another object, or a tracker of which nothing is known."""
    result = body.get("result")
    if not isinstance(result, dict):
        return False
    if result.get("object", "Tracker") != "Tracker":
        return True
    return result.get("status") == NOTHING_KNOWN and not result.get("tracking_details")


def _headers(access: Access) -> dict[str, str]:
    # The API key is the user's name; the password is empty.
    return {"Authorization": f"Basic {b64encode(f'{access.token}:'.encode()).decode()}"}


def _order_requests(access: Access, names: OrderNames) -> Iterator[Request]:
    yield from requests_by_name(access, "/trackers/{id}", names.courier_order_id)
    registered = () if names.is_courier_id else (names.courier_order_id,)
    codes = dict.fromkeys((*registered, *names.tracking_numbers))
    yield from requests_by_name(access, "/trackers?tracking_code={id}", *codes)


def _make_sample(sample: SampleState) -> dict[str, Any]:
    at = sample.at.isoformat()
    tracker: dict[str, Any] = {
        "id": sample.order_id,
        "object": "Tracker",
        "status": sample.word,
        "updated_at": at,
    }
    if sample.is_sample:
        tracker |= {
            "tracking_code": f"{sample.order_id}-PARCEL",
            "carrier": "USPS",
            "tracking_details": [{"status": sample.word, "datetime": at, "message": "Sample"}],
        }
    return {"object": "Event", "description": "tracker.updated", "result": tracker}


driver = Driver(
    name="easypost",
    words=WORDS,
    topics={"orders": Topic(decode_webhook, is_noise=_is_noise)},
    signature=Hmac("X-Hmac-Signature", prefix="hmac-sha256-hex="),
    api=Api(
        url="https://api.easypost.com/v2",
        headers=_headers,
        order_requests=_order_requests,
        decode=decode_answer,
        per_second=5,
        schedule=Schedule(default=Backoff(timedelta(hours=1), timedelta(hours=12))),
    ),
    zone="America/New_York",
    stuck_after={**STUCK_AFTER, statuses.IN_TRANSIT: timedelta(days=10)},
    make_sample=_make_sample,
    sample_order=("ORDERTRAIL-SAMPLE-EP", "in_transit"),
)
