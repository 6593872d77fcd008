"""ShipmentAPI: one callback in the life of an order, everything later only by asking.

Source: the courier's document 004. Its public pages show neither a body nor the words of the later
states, so bodies are read through a field map of JMESPath expressions that a shop can correct
(COURIER_<ACCOUNT>_FIELDS) without touching this file.
"""

import functools
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

import jmespath
from jmespath.exceptions import JMESPathError

from receiver import statuses
from receiver.couriers.contract import (
    STAYS,
    Access,
    Api,
    Decoded,
    Driver,
    Heard,
    Keys,
    Moved,
    Snapshot,
    tell,
)
from receiver.couriers.parsing import MOST_CHARACTERS, one_segment, read_seconds, web_address
from receiver.couriers.schedule import Rhythm, Schedule
from receiver.errors import Undecodable
from receiver.times import rfc3339

# Nothing says which zone a time without one is in.
ZONE = "UTC"

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

KEYS = {"courier_order_id", "reference", "courier_status", "tracking_number"}
PICKUP_AT_UNREADABLE = "pickup_at_unreadable"


@functools.lru_cache(maxsize=256)
def compiled(expression: str) -> Any:
    return jmespath.compile(expression)


def check_fields(field_map: Mapping[str, Any]) -> list[str]:
    """What is wrong with an account's field map, a line each."""
    faults = [f"unknown field {name!r}" for name in field_map if name not in FIELDS]
    for name in FIELDS.keys() & field_map.keys() - {"statuses"}:
        try:
            compiled(field_map[name])
        except (JMESPathError, TypeError, AttributeError) as wrong:
            faults.append(f"{name} is not a JMESPath expression: {str(wrong).splitlines()[0]}")
    words = field_map.get("statuses", {})
    if not isinstance(words, Mapping):
        return [*faults, "statuses is not a JSON object"]
    for word, status in words.items():
        if not isinstance(status, str) or status not in statuses.VOCABULARY:
            faults.append(f"statuses maps {word!r} to {status!r}, which is no status")
    return faults


def keys_of(field_map: Mapping[str, Any]) -> Keys:
    """Every key that a field map names on its way to an order's id and to the shop's number."""

    def named(field: str) -> frozenset[str]:
        expression = field_map.get(field)
        return frozenset(_fields(compiled(expression).parsed) if expression else ())

    return Keys(order=named("courier_order_id"), reference=named("reference"))


def _fields(parsed: Mapping[str, Any]) -> Iterator[str]:
    if parsed["type"] == "field":
        yield parsed["value"]
    for child in parsed["children"]:
        yield from _fields(child)


def normal(word: str) -> str:
    """A word as the map has it: `In transit` and `IN-TRANSIT` are in_transit."""
    return "_".join(word.casefold().replace("-", " ").replace("_", " ").split())


def decode_order(body: dict[str, Any], heard: Heard) -> Decoded:
    """Decode a callback or a Get Order answer, which have the same body.

    Shape:  whatever the account's field map says.
    Units:  times are ISO 8601 or Unix seconds; without one the state is an observation.
    Raises: Undecodable where the map finds no courier_order_id or no courier_status.
    Source: document 004; the default map is ours until a real body tells better.
    """
    field_map = {**FIELDS, **heard.field_map}

    def find(name: str, required: bool = False) -> str | None:
        try:
            value = compiled(field_map[name]).search(body)
        except JMESPathError as wrong:
            told = str(wrong).splitlines()[0]
            raise Undecodable(f"{field_map[name]!r} does not fit this body: {told}") from None
        text = None if isinstance(value, bool | dict | list) else value
        if text is None or text == "":
            if not required:
                return None
            raise Undecodable(
                f"no {name} at {field_map[name]!r}: correct COURIER_<ACCOUNT>_FIELDS if the body"
                " has it elsewhere"
            )
        if name in KEYS and len(str(text)) > MOST_CHARACTERS:
            raise Undecodable(f"{name} is longer than {MOST_CHARACTERS} characters")
        return str(text)

    courier_order_id = find("courier_order_id", required=True) or ""
    word = find("courier_status", required=True) or ""
    own_words = {normal(theirs): ours for theirs, ours in field_map["statuses"].items()}
    status = {**WORDS, **own_words}.get(normal(word))

    flags = frozenset[str]()
    pickup_at = None
    try:
        pickup_at = read_seconds(find("pickup_at"), ZONE, "pickup_at")
    except Undecodable:
        # A pickup time like "10-12" must not cost us the state that comes with it.
        flags = frozenset({PICKUP_AT_UNREADABLE})
    if status == statuses.INFO_RECEIVED and pickup_at is not None:
        status = statuses.AWAITING_PICKUP

    when = read_seconds(find("occurred_at"), ZONE, "occurred_at")
    steps = {theirs: step for step, theirs in enumerate({**WORDS, **own_words})}
    event = tell(
        word,
        status,
        heard,
        when,
        step=steps.get(normal(word), 0),
        reason=find("reason"),
        flags=flags,
    )
    poll = heard.kind == "poll"
    tracking_number = find("tracking_number")
    snapshot = Snapshot(
        courier_order_id=courier_order_id,
        recency=heard.received_at if poll or when is None else min(when.at, heard.received_at),
        events=(event,),
        reference=find("reference"),
        details={
            "tracking_url": web_address(find("tracking_url")),
            "label_url": web_address(find("label_url")),
            "pickup_at": rfc3339(pickup_at.at) if pickup_at else None,
        },
        parcels=(
            {
                tracking_number: {
                    "tracking_url": web_address(find("tracking_url")),
                    "courier_name": find("courier_name"),
                }
            }
            if tracking_number
            else {}
        ),
    )
    return Decoded(orders=(snapshot,))


def headers(access: Access) -> dict[str, str]:
    return {"Authorization": f"Bearer {access.token}"}


def show(access: Access, order_id: str) -> str:
    return access.url + access.order_path.replace("{id}", one_segment(order_id))


# Accepted within 20 minutes of being placed, as document 004 has it, and not to be asked at once.
SCHEDULE = Schedule(
    calls_once=True,
    not_before=timedelta(minutes=1),
    until_accepted=Rhythm(timedelta(minutes=1), timedelta(minutes=30), steady=20),
    until_complete=Rhythm(timedelta(minutes=5), timedelta(hours=1), steady=12),
    pickup_every=timedelta(minutes=5),
    silence=Rhythm(timedelta(minutes=30), timedelta(hours=4)),
)


def sample(moved: Moved) -> dict[str, Any]:
    """As the field map that nobody has corrected yet reads it."""
    return {
        "order_reference": moved.order_id,
        "client_reference": moved.reference,
        "status": moved.word,
        "status_changed_at": rfc3339(moved.at),
        "carrier": "DPD",
        "tracking_number": "01405012345678",
        "label_url": "https://example.com/labels/sample.pdf",
    }


driver = Driver(
    name="shipmentapi",
    words=WORDS,
    topics={"orders": decode_order},
    # The default map's always: what came before an account's own map may be in its shape.
    keys=keys_of(FIELDS),
    check_fields=check_fields,
    map_keys=keys_of,
    api=Api(headers=headers, show=show, decode=decode_order, schedule=SCHEDULE, per_second=5),
    # It tells that an order is accepted, and of its later life only what a field map is set up for.
    stays={name: STAYS[name] for name in (statuses.PENDING, statuses.INFO_RECEIVED)},
    sample=sample,
    sample_of=("SAMPLE-S", "accepted"),
)
