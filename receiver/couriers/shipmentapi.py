"""ShipmentAPI: one webhook in the life of an order, everything later only by polling.

Source: the courier's document 004. Its public pages show neither a body nor the words of the later
states, so bodies are read through a field map of JMESPath expressions that a shop can correct
(COURIER_<ACCOUNT>_FIELDS) without a change to this file.
"""

import functools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.contract import STUCK_AFTER, Driver, SampleState, Topic
from receiver.couriers.polling import Access, Api, path_requests
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.snapshot import (
    Decoded,
    LeftOut,
    MessageContext,
    Snapshot,
    make_event,
    recency_of,
)
from receiver.errors import Undecodable
from receiver.times import rfc3339

# The zone of times without one: ShipmentAPI is the API of a Latvian company.
ZONE = "Europe/Riga"

WORDS = {
    "accepted": statuses.INFO_RECEIVED,
    "confirmed": statuses.INFO_RECEIVED,
    "placed": statuses.INFO_RECEIVED,
    "processed": statuses.INFO_RECEIVED,
    "collected": statuses.PICKED_UP,
    "picked_up": statuses.PICKED_UP,
    "in_transit": statuses.IN_TRANSIT,
    "shipped": statuses.IN_TRANSIT,
    "out_for_delivery": statuses.OUT_FOR_DELIVERY,
    "exception": statuses.EXCEPTION,
    "problem": statuses.EXCEPTION,
    "delayed": statuses.EXCEPTION,
    "lost": statuses.LOST,
    "canceled": statuses.CANCELLED,
    "cancelled": statuses.CANCELLED,
    "rejected": statuses.CANCELLED,
    "failed": statuses.CANCELLED,
    "returned": statuses.RETURNED,
    "delivered": statuses.DELIVERED,
}

FIELDS: dict[str, Any] = {
    "courier_order_id": "order_reference",
    "reference": "client_reference || reference",
    "courier_status": "status",
    "occurred_at": "status_changed_at || updated_at",
    "reason": "reason || cancellation_reason",
    "courier_name": "carrier",
    "tracking_number": "tracking_number",
    "tracking_url": "tracking_url",
    "label_url": "label_url || label",
    "pickup_at": "pickup_time || pickup_at",
    "statuses": {},
}


class FoundSchema(parsing.Body):
    """What the expressions find in a body."""

    courier_order_id = parsing.optional_name()
    courier_status = parsing.optional_name()
    reference = parsing.optional_name()
    occurred_at = parsing.optional_time()
    reason = parsing.optional_text()
    courier_name = parsing.optional_text()
    tracking_number = parsing.optional_name()
    tracking_url = parsing.optional_url()
    label_url = parsing.optional_url()
    pickup_at = parsing.optional_time()


@functools.lru_cache(maxsize=256)
def _compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def check_field_map(field_map: Mapping[str, Any]) -> list[str]:
    """Return the faults of an account's field map, one line each."""
    faults = [f"unknown field {name!r}" for name in field_map if name not in FIELDS]
    for name in FIELDS.keys() & field_map.keys() - {"statuses"}:
        try:
            _compiled(field_map[name])
        except (JMESPathError, TypeError, AttributeError) as error:
            faults.append(f"{name} is not a JMESPath expression: {str(error).splitlines()[0]}")
    words = field_map.get("statuses", {})
    if not isinstance(words, Mapping):
        return [*faults, "statuses is not a JSON object"]
    for word, status in words.items():
        if not isinstance(status, str) or status not in statuses.VOCABULARY:
            faults.append(f"statuses maps {word!r} to {status!r}, which is no status")
    return faults


def _normalize_word(word: str) -> str:
    """Return the spelling of the map: `In transit` and `IN-TRANSIT` are in_transit."""
    return "_".join(word.casefold().replace("-", " ").replace("_", " ").split())


def decode_mapped_order(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode a webhook or a Get Order response, which have the same body.

    Shape:  as the account's field map says.
    Units:  times as parse_time() reads them; without one the state is an observation.
    Raises: Undecodable where the map finds no courier_order_id or no courier_status.
    Source: document 004; the default map is our guess until a real body is known.
    """
    field_map = {**FIELDS, **context.field_map}
    zone = context.zone or ZONE
    found, not_found = _search(field_map, body)
    order, refused = read_fields(FoundSchema, found)
    left_out = (*not_found, *refused)
    for name in ("courier_order_id", "courier_status"):
        if order[name] is None:
            why = next((f" ({item.why})" for item in left_out if item.field == name), "")
            raise Undecodable(
                f"no {name} at {field_map[name]!r}{why}: correct COURIER_<ACCOUNT>_FIELDS if the"
                " body has it elsewhere"
            )
    pickup_at = parsing.in_zone(order["pickup_at"], zone)
    moment = parsing.in_zone(order["occurred_at"], zone)
    word = order["courier_status"]
    words = driver.words_with(field_map)
    normalized = _normalize_word(word)
    status = words.get(normalized)
    if status == statuses.INFO_RECEIVED and pickup_at is not None:
        status = statuses.AWAITING_PICKUP
    event = make_event(
        word,
        status,
        context,
        moment,
        step=[*words].index(normalized) if status else 0,
        reason=order["reason"],
    )
    tracking_url, tracking_number = order["tracking_url"], order["tracking_number"]
    parcel = {"tracking_url": tracking_url, "courier_name": order["courier_name"]}
    snapshot = Snapshot(
        courier_order_id=order["courier_order_id"],
        recency=recency_of(moment.at if moment else None, context),
        events=(event,),
        reference=order["reference"],
        details={
            "tracking_url": tracking_url,
            "label_url": order["label_url"],
            "pickup_at": rfc3339(pickup_at.at) if pickup_at else None,
        },
        parcels={tracking_number: parcel} if tracking_number else {},
        time_count=1 if moment else 0,
    )
    return Decoded(orders=(snapshot,), left_out=left_out)


def _search(
    field_map: Mapping[str, Any], body: dict[str, Any]
) -> tuple[dict[str, Any], list[LeftOut]]:
    """Return what the expressions find, and the fields whose expression fails on this body."""
    found: dict[str, Any] = {}
    failed: list[LeftOut] = []
    for name in FIELDS.keys() - {"statuses"}:
        try:
            found[name] = _compiled(field_map[name]).search(body)
        except JMESPathError as error:
            failed.append(LeftOut(name, f"the field map: {str(error).splitlines()[0]}"))
    return found, failed


def _headers(access: Access) -> dict[str, str]:
    return {"Authorization": f"Bearer {access.token}"}


# Document 004: an order is accepted within 20 minutes, and should not be polled at once.
SCHEDULE = Schedule(
    calls_once=True,
    not_before=timedelta(minutes=1),
    until_accepted=Backoff(timedelta(minutes=1), timedelta(minutes=30), steady=20),
    until_complete=Backoff(timedelta(minutes=5), timedelta(hours=1), steady=12),
    pickup_every=timedelta(minutes=5),
    default=Backoff(timedelta(minutes=30), timedelta(hours=4)),
)


def _make_sample(sample: SampleState) -> dict[str, Any]:
    """Return a body in the shape of the default field map."""
    state = {
        "order_reference": sample.order_id,
        "status": sample.word,
        "status_changed_at": rfc3339(sample.at),
    }
    if not sample.is_sample:
        return state
    return {
        **state,
        "client_reference": sample.reference,
        "carrier": "DPD",
        "tracking_number": f"{sample.order_id}-PARCEL",
        "label_url": "https://example.com/labels/sample.pdf",
    }


driver = Driver(
    name="shipmentapi",
    words=WORDS,
    topics={"orders": Topic(decode_mapped_order)},
    normalize_word=_normalize_word,
    check_field_map=check_field_map,
    api=Api(
        headers=_headers,
        order_requests=path_requests("/orders/{id}"),
        decode=decode_mapped_order,
        schedule=SCHEDULE,
        per_second=5,
    ),
    zone=ZONE,
    # It reports that an order is accepted; of its later life only what a field map is set up for.
    stuck_after={name: STUCK_AFTER[name] for name in (statuses.PENDING, statuses.INFO_RECEIVED)},
    make_sample=_make_sample,
    sample_order=("ORDERTRAIL-SAMPLE-S", "accepted"),
)
