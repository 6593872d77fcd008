"""Tiramizoo: unsigned snapshots of an order, in any order of arrival, and tour plans.

Source: the courier's documents 003 (current API: order states, web hooks, tour plan), 000 and 001
(older API, v1: no *_at columns, state `processing`).

A hook's body is the whole order. One snapshot therefore tells several events: one for each *_at
column, one for each entry of history[] and events[], and one for `state` itself.
"""

import functools
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import available_timezones

from marshmallow import fields, validate

from receiver import statuses
from receiver.couriers.contract import (
    STATE_DISAGREES,
    STAYS,
    TIME_INFERRED,
    Access,
    Api,
    Decoded,
    Driver,
    Eta,
    Event,
    Heard,
    Keys,
    Moment,
    Moved,
    Page,
    Proof,
    Snapshot,
    Stop,
    Tour,
    tell,
)
from receiver.couriers.parsing import (
    MOST_CHARACTERS,
    Body,
    load,
    one_segment,
    read_time,
    web_address,
)
from receiver.couriers.schedule import Rhythm, Schedule
from receiver.errors import Undecodable
from receiver.times import rfc3339

ZONE = "Europe/Berlin"
ZONES = available_timezones()

WORDS = {
    "created": statuses.INFO_RECEIVED,
    "processing": statuses.INFO_RECEIVED,
    "dispatched": statuses.AWAITING_PICKUP,
    "pickup_failed": statuses.PICKUP_FAILED,
    "picked_up": statuses.PICKED_UP,
    "delivery_failed": statuses.DELIVERY_FAILED,
    "cancelled": statuses.CANCELLED,
    "returned": statuses.RETURNED,
    "delivered": statuses.DELIVERED,
}
STEPS = {word: step for step, word in enumerate(WORDS)}

# The states that lead to most others.
USUAL = ("created", "dispatched", "picked_up")
TIMED_STATES = tuple(word for word in WORDS if word != "processing")

# The event types that the document lists as reasons, so that an entry of events[] without
# current_state (the return process shows such) still says which state it explains.
REASONS = {
    "pickup_failed": (
        "package_was_not_ready",
        "sender_wants_to_cancel",
        "sender_was_not_at_home",
        "wrong_package_size",
    ),
    "delivery_failed": (
        "abort_delivery",
        "address_not_found",
        "failed_due_to_business_closed",
        "name_not_found_on_doorbell",
        "no_attempt_due_to_being_late",
        "not_enough_money_for_payment",
        "package_is_damaged",
        "package_was_delivered_too_late",
        "package_was_not_accepted",
        "package_was_not_ordered",
        "recipient_was_not_at_home",
    ),
}
STATE_OF_REASON = {reason: state for state, reasons in REASONS.items() for reason in reasons}

# Package states as 003 shows them; any other follows its order.
PACKAGE_STATES = {
    "picked_up": statuses.PICKED_UP,
    "not_picked_up": statuses.PICKUP_FAILED,
    "delivered": statuses.DELIVERED,
    "not_delivered": statuses.DELIVERY_FAILED,
}

# `id` is an order's name in a tour plan, whichever of them.
KEYS = Keys(
    order=frozenset({"uuid", "identifier", "tracking_code", "id"}),
    reference=frozenset({"external_id"}),
)

# Whose signature a snapshot shows beside its states, by the state that it belongs to.
SIGNATURES = {
    "picked_up": ("pickup_signature",),
    "delivered": ("delivery_signature", "signature"),
    "returned": ("return_signature",),
}

IDENTIFIER = validate.Length(min=1, max=MOST_CHARACTERS)


optional_text = functools.partial(fields.String, allow_none=True, load_default=None)
# An empty one counts as none.
optional_id = functools.partial(optional_text, validate=validate.Length(max=MOST_CHARACTERS))


class Picture(Body):
    url = optional_text()
    name = optional_text()


class Entry(Body):
    """One entry of history[] or events[]; the return process shows flat signature_* names."""

    type = optional_text(validate=validate.Length(max=MOST_CHARACTERS))
    current_state = optional_text(validate=validate.Length(max=MOST_CHARACTERS))
    recorded_at = optional_text()
    signature = fields.Nested(Picture, allow_none=True, load_default=None)
    photo_proof = fields.Nested(Picture, allow_none=True, load_default=None)
    signature_url = optional_text()
    signature_name = optional_text()


class Package(Body):
    identifier = fields.String(required=True, validate=IDENTIFIER)
    state = optional_text()
    pickup_state = optional_text()


class Place(Body):
    # The documents show only null here.
    eta = fields.Raw(allow_none=True, load_default=None)


class Order(Body):
    uuid = fields.String(required=True, validate=IDENTIFIER)
    state = fields.String(required=True, validate=IDENTIFIER)
    identifier = optional_id()
    tracking_code = optional_id()
    external_id = optional_id()
    timezone = optional_text()
    tracking_url = optional_text()
    cancellation_reason = optional_text()
    signature = fields.Nested(Picture, allow_none=True, load_default=None)
    pickup_signature = fields.Nested(Picture, allow_none=True, load_default=None)
    delivery_signature = fields.Nested(Picture, allow_none=True, load_default=None)
    return_signature = fields.Nested(Picture, allow_none=True, load_default=None)
    pickup = fields.Nested(Place, allow_none=True, load_default=None)
    delivery = fields.Nested(Place, allow_none=True, load_default=None)
    packages = fields.List(fields.Nested(Package), allow_none=True, load_default=None)
    history = fields.List(fields.Nested(Entry), allow_none=True, load_default=None)
    events = fields.List(fields.Nested(Entry), allow_none=True, load_default=None)


class TourPlanWindow(Body):
    from_ = fields.String(data_key="from", allow_none=True, load_default=None)
    to = optional_text()


class TourPackage(Body):
    id = fields.String(required=True, validate=IDENTIFIER)


class TourOrder(Body):
    id = fields.String(required=True, validate=IDENTIFIER)
    delivery_eta = optional_text()
    packages = fields.List(fields.Nested(TourPackage), allow_none=True, load_default=None)


class TourSchema(Body):
    id = fields.String(required=True, validate=IDENTIFIER)
    courier = optional_text()
    pick_up_at = optional_text()
    orders = fields.List(fields.Nested(TourOrder), allow_none=True, load_default=None)


class TourPlan(Body):
    time_window = fields.Nested(TourPlanWindow, allow_none=True, load_default=None)
    tours = fields.List(fields.Nested(TourSchema), required=True)


ORDER = Order()
TOUR_PLAN = TourPlan()


@dataclass(frozen=True, slots=True)
class Fact:
    """A state that a snapshot tells with its time, by a column or by an entry of its history."""

    state: str
    when: Moment
    reason: str | None = None
    proofs: frozenset[Proof] = frozenset()

    @property
    def place(self) -> tuple[datetime, int]:
        return self.when.at, STEPS.get(self.state, -1)


def decode_order(body: dict[str, Any], heard: Heard) -> Decoded:
    """Decode an order hook or a Show Order answer.

    Shape:  {"uuid", "state", "<state>_at"..., "history": [{"type", "recorded_at",
            "current_state", "signature", "photo_proof"}], "packages": [{"identifier", "state"}],
            "pickup_signature", "delivery_signature", "return_signature", ...}
    Units:  times are ISO 8601 with an offset; one without is read in the order's own timezone.
    Raises: Undecodable where uuid or state is missing, or a time is none.
    Source: document 003, "Order states", "Return process" and "Web Hooks"; document 001 for v1.
    """
    order = load(ORDER, body)
    zone = order["timezone"] if order["timezone"] in ZONES else ZONE
    facts = [*_columns(body, order, zone), *_entries(order, zone)]

    events: dict[str, Event] = {}
    for fact in facts:
        event = _event(fact.state, heard, fact)
        known = events.get(event.key)
        if known is not None:
            # A column and an entry tell the same: the entry knows why, and who signed.
            reason, proofs = event.reason or known.reason, event.proofs | known.proofs
            if (reason, proofs) != (event.reason, event.proofs):
                event = replace(event, reason=reason, proofs=proofs)
        events[event.key] = event

    newest = max((fact.when.at for fact in facts), default=None)
    timed = newest is not None and _has_columns(body)
    state_event = _state_event(order["state"], facts if timed else [], heard)
    if state_event is not None:
        events[state_event.key] = state_event

    recency = heard.received_at
    if newest is not None and timed and heard.kind != "poll":
        recency = min(newest, heard.received_at)
    pickup_at = _expected((order["pickup"] or {}).get("eta"), zone)
    eta = _expected((order["delivery"] or {}).get("eta"), zone)
    snapshot = Snapshot(
        courier_order_id=order["uuid"],
        recency=recency,
        events=tuple(events.values()),
        reference=order["external_id"] or None,
        identifiers={name: order[name] for name in ("identifier", "tracking_code") if order[name]},
        details={
            "tracking_url": web_address(order["tracking_url"]),
            "pickup_at": rfc3339(pickup_at),
        },
        eta=Eta(eta, eta, "poll" if heard.kind == "poll" else "order") if eta else None,
        parcels={
            package["identifier"]: {
                "status": PACKAGE_STATES.get(package["state"] or package["pickup_state"] or "")
            }
            for package in order["packages"] or ()
        },
    )
    return Decoded(orders=(snapshot,))


def _expected(value: Any, zone: str) -> datetime | None:
    """An expected time, None where it is none: it must not cost us the states beside it."""
    try:
        moment = read_time(value, zone)
    except Undecodable:
        return None
    return moment.at if moment else None


def _has_columns(body: dict[str, Any]) -> bool:
    """Whether the body is of the current API: v1 has created_at, but no later state's column."""
    return any(f"{state}_at" in body for state in TIMED_STATES if state != "created")


def _columns(body: dict[str, Any], order: dict[str, Any], zone: str) -> Iterator[Fact]:
    """What the *_at columns tell, each with the signature that belongs to it."""
    for state in TIMED_STATES:
        when = read_time(body.get(f"{state}_at"), zone, f"{state}_at")
        if when is not None:
            reason = order["cancellation_reason"] if state == "cancelled" else None
            pictures = [order[name] for name in SIGNATURES.get(state, ())]
            yield Fact(state, when, reason, _proofs(signature=pictures))


def _entries(order: dict[str, Any], zone: str) -> Iterator[Fact]:
    """What the entries of history[] and events[] tell, where they have a time."""
    for entry in [*(order["history"] or ()), *(order["events"] or ())]:
        when = read_time(entry["recorded_at"], zone, "recorded_at")
        kind = entry["type"]
        state = entry["current_state"] or STATE_OF_REASON.get(kind or "") or kind
        if when is not None and state:
            flat = {"url": entry["signature_url"], "name": entry["signature_name"]}
            # Elsewhere the type only names the deed again (`pick_up`): that is no reason.
            yield Fact(
                state,
                when,
                kind if state in REASONS else None,
                _proofs(signature=[entry["signature"], flat], photo=[entry["photo_proof"]]),
            )


def _proofs(**pictures: list[dict[str, Any] | None]) -> frozenset[Proof]:
    proofs = (
        Proof(kind, web_address(picture["url"]) or "", (picture["name"] or "")[:MOST_CHARACTERS])
        for kind, shown in pictures.items()
        for picture in shown
        if picture and (picture["url"] or picture["name"])
    )
    return frozenset(proof for proof in proofs if proof.url or proof.name)


def _state_event(state: str, facts: list[Fact], heard: Heard) -> Event | None:
    """The event that `state` itself tells, where no fact tells it already.

    v1 gives no time for its state, so it is an observation. In a snapshot with columns a state
    that is not the one with the newest time is believed, since the courier says it last: it counts
    just after that newest time, by the courier's clock, so that this snapshot sent again in a week
    still takes its old place.
    """
    mapped = [fact for fact in facts if fact.state in WORDS]
    if not mapped:
        return _event(state, heard, None)
    latest = max(mapped, key=lambda fact: fact.place)
    if latest.state == state:
        return None
    newest = max(fact.when.at for fact in facts)
    try:
        just_after = Moment(newest + timedelta(microseconds=1))
    except OverflowError:
        just_after = Moment(newest)
    return _event(
        state, heard, Fact(state, just_after), frozenset({STATE_DISAGREES, TIME_INFERRED})
    )


def _event(
    state: str, heard: Heard, fact: Fact | None, flags: frozenset[str] = frozenset()
) -> Event:
    return tell(
        state,
        WORDS.get(state),
        heard,
        fact.when if fact else None,
        step=STEPS.get(state, 0),
        reason=fact.reason if fact else None,
        proofs=fact.proofs if fact else frozenset(),
        flags=flags,
    )


def decode_tour_plan(body: dict[str, Any], heard: Heard) -> Decoded:
    """Decode a tour-plan hook: times of arrival, never a status.

    Shape:  {"time_window": {"from", "to"}, "tours": [{"id", "courier", "pick_up_at",
            "orders": [{"id", "delivery_eta", "packages": [{"id"}]}]}]}
    Raises: Undecodable where a tour or an order has no id, or a time is none.
    Source: document 003, "Tour plan".
    """
    plan = load(TOUR_PLAN, body)
    window = plan["time_window"] or {}

    def at(value: str | None, name: str) -> datetime | None:
        moment = read_time(value, ZONE, name)
        return moment.at if moment else None

    return Decoded(
        tours=tuple(
            Tour(
                tour_id=tour["id"],
                courier_name=tour["courier"],
                pick_up_at=at(tour["pick_up_at"], "pick_up_at"),
                window_from=at(window.get("from_"), "time_window.from"),
                window_to=at(window.get("to"), "time_window.to"),
                stops=tuple(
                    Stop(
                        order_key=stop["id"],
                        eta=at(stop["delivery_eta"], "delivery_eta"),
                        packages=tuple(package["id"] for package in stop["packages"] or ()),
                    )
                    for stop in tour["orders"] or ()
                ),
            )
            for tour in plan["tours"]
        )
    )


# How the courier is asked: document 003, "API Tokens", "List Orders", "Show Order".

PER_PAGE = 100
RETRY_IN = re.compile(r"retry request in ([0-9]{1,9}) second", re.IGNORECASE)
# What stands between two values in JSON.
GAP = re.compile(r"[ \t\n\r,:]*")


def headers(access: Access) -> dict[str, str]:
    return {"Api-Token": access.token}


def show(access: Access, order_id: str) -> str:
    return f"{access.url}/orders/{one_segment(order_id)}"


def show_by_reference(access: Access, reference: str) -> str:
    return f"{access.url}/orders/by_external_id/{one_segment(reference)}"


def list_page(access: Access, since: datetime, page: int) -> str:
    # Whole seconds, rounded down: an order too many is none too few.
    created = rfc3339(since.replace(microsecond=0))
    query = urlencode({"from": created, "page": page, "per_page": PER_PAGE}, safe=":")
    return f"{access.url}/orders?{query}"


def read_page(raw: bytes) -> Page:
    """Read a page of List Orders.

    Shape:  {"orders": [{...}], "meta": {"total_pages"}}; v1 has total_pages beside the orders.
    Raises: Undecodable where it is no such page.
    Source: document 003, "List Orders"; document 001 for v1.
    """
    try:
        text = raw.decode()
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise Undecodable("a page of the list of orders is not JSON") from None
    body = body if isinstance(body, dict) else {}
    meta = body.get("meta")
    pages = {**body, **(meta if isinstance(meta, dict) else {})}.get("total_pages")
    if not isinstance(body.get("orders"), list):
        raise Undecodable("a page of the list of orders has no orders")
    if not isinstance(pages, int) or isinstance(pages, bool):
        raise Undecodable("a page of the list of orders does not say how many pages there are")
    return Page(tuple(_word_for_word(text, "orders")), pages)


def _word_for_word(text: str, name: str) -> Iterator[bytes]:
    """The items of the list `name` in a JSON object, each as it was written.

    The text is known to be JSON, and that name to hold a list.
    """
    scan = json.JSONDecoder().raw_decode

    def past_gap(at: int) -> int:
        gap = GAP.match(text, at)
        return gap.end() if gap else at

    at, found = past_gap(text.index("{") + 1), 0
    while text[at] != "}":
        key, at = scan(text, at)
        at = past_gap(at)
        # Of a name that is there twice JSON's readers take the last.
        found = at if key == name else found
        _, at = scan(text, at)
        at = past_gap(at)
    at = past_gap(found + 1)
    while text[at] != "]":
        _, end = scan(text, at)
        yield text[at:end].encode()
        at = past_gap(end)


def wait_told(text: str) -> float | None:
    """The seconds in `Too many requests, please retry request in 30 seconds.`"""
    told = RETRY_IN.search(text)
    return float(told[1]) if told else None


def sample(moved: Moved) -> dict[str, Any]:
    """A snapshot with half an hour between the states that lead to the one it is in."""
    passed = [word for word in USUAL if STEPS[word] < STEPS.get(moved.word, 0)]
    reached = [word for word in [*passed, moved.word] if word in TIMED_STATES]
    apart = timedelta(minutes=30)
    return {
        "uuid": moved.order_id,
        "identifier": "OT4TRY",
        "tracking_code": "ORDER-TRAI-LTRY",
        "external_id": moved.reference,
        "timezone": ZONE,
        "state": moved.word,
        **{
            f"{word}_at": (moved.at - number * apart).isoformat()
            for number, word in enumerate(reversed(reached))
        },
        "packages": [{"identifier": "18A24901BE5D49C3", "state": "pending"}],
    }


driver = Driver(
    name="tiramizoo",
    words=WORDS,
    topics={"orders": decode_order, "tours": decode_tour_plan},
    keys=KEYS,
    api=Api(
        url="https://app.tiramizoo.com/api/v1",
        headers=headers,
        show=show,
        show_by_reference=show_by_reference,
        list_page=list_page,
        read_page=read_page,
        decode=decode_order,
        wait_told=wait_told,
        per_second=5,
        schedule=Schedule(silence=Rhythm(timedelta(minutes=15), timedelta(hours=6))),
    ),
    zone=ZONE,
    stays={
        **STAYS,
        # It brings what it picked up on the same day, now and then on the next.
        statuses.PICKED_UP: timedelta(hours=18),
    },
    sample=sample,
    sample_of=("0b5ad38b-6c4c-4b6a-9f0e-0d6f7c1f2a55", "picked_up"),
)
