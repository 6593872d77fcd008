"""Tiramizoo: unsigned snapshots of an order, which arrive in any order, and tour plans.

Source: the courier's documents 003 (current API: order states, webhooks, tour plan), 000 and 001
(the older API, v1: no *_at columns, state `processing`).

A webhook's body is the whole order. So one snapshot gives several events: one for each *_at
column, one for each entry of history[] and events[], and one for `state` itself.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import available_timezones

from marshmallow import fields

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.contract import STUCK_AFTER, Access, Api, Driver, SampleState
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.snapshot import (
    STATE_DISAGREES,
    TIME_INFERRED,
    Decoded,
    Eta,
    Event,
    MessageContext,
    Moment,
    Proof,
    Snapshot,
    Stop,
    Tour,
    make_event,
    recency_of,
)
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

TIMED_STATES = tuple(word for word in WORDS if word != "processing")

# The event types that document 003 lists as reasons of a state. By them an entry of events[]
# without current_state (as in "Return process") still has a state.
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

# The states of a package in document 003; a package in any other state follows its order.
PACKAGE_STATES = {
    "picked_up": statuses.PICKED_UP,
    "not_picked_up": statuses.PICKUP_FAILED,
    "delivered": statuses.DELIVERED,
    "not_delivered": statuses.DELIVERY_FAILED,
}

# The fields with signatures, by the state that they belong to.
SIGNATURE_FIELDS = {
    "picked_up": ("pickup_signature",),
    "delivered": ("delivery_signature", "signature"),
    "returned": ("return_signature",),
}


class PictureSchema(parsing.Body):
    url = parsing.optional_text()
    name = parsing.optional_text()


class EntrySchema(parsing.Body):
    """One entry of history[] or events[]; "Return process" has flat signature_* fields."""

    type = parsing.optional_name()
    current_state = parsing.optional_name()
    recorded_at = parsing.optional_text()
    signature = parsing.optional_object(PictureSchema)
    photo_proof = parsing.optional_object(PictureSchema)
    signature_url = parsing.optional_text()
    signature_name = parsing.optional_text()


class PackageSchema(parsing.Body):
    identifier = parsing.required_name()
    state = parsing.optional_text()
    pickup_state = parsing.optional_text()


# The documents show only null for `eta`.
PlaceSchema = parsing.Body.from_dict({"eta": fields.Raw(allow_none=True, load_default=None)})


class OrderSchema(parsing.Body):
    uuid = parsing.required_name()
    state = parsing.required_name()
    identifier = parsing.optional_name()
    tracking_code = parsing.optional_name()
    external_id = parsing.optional_name()
    timezone = parsing.optional_text()
    tracking_url = parsing.optional_text()
    cancellation_reason = parsing.optional_text()
    signature = parsing.optional_object(PictureSchema)
    pickup_signature = parsing.optional_object(PictureSchema)
    delivery_signature = parsing.optional_object(PictureSchema)
    return_signature = parsing.optional_object(PictureSchema)
    pickup = parsing.optional_object(PlaceSchema)
    delivery = parsing.optional_object(PlaceSchema)
    packages = parsing.optional_list(PackageSchema)
    history = parsing.optional_list(EntrySchema)
    events = parsing.optional_list(EntrySchema)


class TimeWindowSchema(parsing.Body):
    from_ = parsing.optional_text(data_key="from")
    to = parsing.optional_text()


class TourOrderSchema(parsing.Body):
    id = parsing.required_name()
    delivery_eta = parsing.optional_text()
    packages = parsing.optional_list(parsing.Body.from_dict({"id": parsing.required_name()}))


class TourSchema(parsing.Body):
    id = parsing.required_name()
    courier = parsing.optional_text()
    pick_up_at = parsing.optional_text()
    orders = parsing.optional_list(TourOrderSchema)


class TourPlanSchema(parsing.Body):
    time_window = parsing.optional_object(TimeWindowSchema)
    tours = fields.List(fields.Nested(TourSchema), required=True)


ORDER = OrderSchema()
TOUR_PLAN = TourPlanSchema()


@dataclass(frozen=True, slots=True)
class DatedState:
    """A state that a snapshot gives with its time, in a column or in an entry of its history."""

    state: str
    moment: Moment
    reason: str | None = None
    proofs: frozenset[Proof] = frozenset()

    @property
    def sort_key(self) -> tuple[datetime, int]:
        return self.moment.at, STEPS.get(self.state, -1)


def decode_order(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode an order webhook or a Show Order response.

    Shape:  {"uuid", "state", "<state>_at"..., "history": [{"type", "recorded_at",
            "current_state", "signature", "photo_proof"}], "packages": [{"identifier", "state"}],
            "pickup_signature", "delivery_signature", "return_signature", ...}
    Units:  times are ISO 8601 with an offset; one without is read in the order's own timezone.
    Raises: Undecodable where uuid or state is missing, or a time cannot be read.
    Source: document 003, "Order states", "Return process" and "Web Hooks"; document 001 for v1.
    """
    order = parsing.load_body(ORDER, body)
    zone = order["timezone"] if order["timezone"] in ZONES else ZONE
    dated = [*_states_of_columns(body, order, zone), *_states_of_entries(order, zone)]
    newest = max((state.moment.at for state in dated), default=None)
    is_current_api = newest is not None and _has_columns(body)

    events: dict[str, Event] = {}
    for state in dated:
        event = _event(state.state, context, state)
        if (known := events.get(event.key)) is not None:
            # A column and an entry give the same state: the entry has the reason and the proofs.
            event = replace(
                event, reason=event.reason or known.reason, proofs=event.proofs | known.proofs
            )
        events[event.key] = event
    state_event = _state_event(order["state"], dated if is_current_api else [], context)
    if state_event is not None:
        events[state_event.key] = state_event

    pickup_at = _expected_time((order["pickup"] or {}).get("eta"), zone)
    eta = _expected_time((order["delivery"] or {}).get("eta"), zone)
    snapshot = Snapshot(
        courier_order_id=order["uuid"],
        recency=recency_of(newest if is_current_api else None, context),
        events=tuple(events.values()),
        reference=order["external_id"] or None,
        identifiers={name: order[name] for name in ("identifier", "tracking_code") if order[name]},
        details={
            "tracking_url": parsing.web_url(order["tracking_url"]),
            "pickup_at": rfc3339(pickup_at),
        },
        eta=Eta(eta, eta, "poll" if context.kind == "poll" else "order") if eta else None,
        parcels={
            package["identifier"]: {
                "status": PACKAGE_STATES.get(package["state"] or package["pickup_state"] or "")
            }
            for package in order["packages"] or ()
        },
    )
    return Decoded(orders=(snapshot,))


def _expected_time(value: Any, zone: str) -> datetime | None:
    """Read an ETA; an unreadable one is left out, because it must not cost the states beside it."""
    try:
        moment = parsing.parse_courier_time(value, zone)
    except Undecodable:
        return None
    return moment.at if moment else None


def _has_columns(body: dict[str, Any]) -> bool:
    """Return whether the body is of the current API: v1 has no column but created_at."""
    return any(f"{state}_at" in body for state in TIMED_STATES if state != "created")


def _states_of_columns(
    body: dict[str, Any], order: dict[str, Any], zone: str
) -> Iterator[DatedState]:
    """Yield the states that the *_at columns give, each with its signature."""
    for state in TIMED_STATES:
        moment = parsing.parse_courier_time(body.get(f"{state}_at"), zone, f"{state}_at")
        if moment is not None:
            reason = order["cancellation_reason"] if state == "cancelled" else None
            signatures = [order[name] for name in SIGNATURE_FIELDS.get(state, ())]
            yield DatedState(state, moment, reason, _proofs(signature=signatures))


def _states_of_entries(order: dict[str, Any], zone: str) -> Iterator[DatedState]:
    """Yield the states that the entries of history[] and events[] give, where they have a time."""
    for entry in [*(order["history"] or ()), *(order["events"] or ())]:
        moment = parsing.parse_courier_time(entry["recorded_at"], zone, "recorded_at")
        entry_type = entry["type"]
        state = entry["current_state"] or STATE_OF_REASON.get(entry_type or "") or entry_type
        if moment is not None and state:
            flat_signature = {"url": entry["signature_url"], "name": entry["signature_name"]}
            yield DatedState(
                state,
                moment,
                # The type of other states repeats the action (`pick_up`) and is no reason.
                entry_type if state in REASONS else None,
                _proofs(
                    signature=[entry["signature"], flat_signature], photo=[entry["photo_proof"]]
                ),
            )


def _proofs(**pictures: list[dict[str, Any] | None]) -> frozenset[Proof]:
    """Return the proofs in pictures, given by kind as {"url", "name"}."""
    proofs = (
        Proof(
            kind,
            parsing.web_url(picture["url"]) or "",
            (picture["name"] or "")[: parsing.MAX_NAME_LENGTH],
        )
        for kind, shown in pictures.items()
        for picture in shown
        if picture
    )
    return frozenset(proof for proof in proofs if proof.url or proof.name)


def _state_event(state: str, dated: list[DatedState], context: MessageContext) -> Event | None:
    """Return the event that `state` itself gives, None where a dated state gives it already.

    v1 gives no time for its state, so it is an observation. In a snapshot with columns, a state
    that is not the one with the newest time is what the courier says last: it has that newest time
    and counts after it. So this snapshot, sent again in a week, still takes its old place.
    """
    mapped = [item for item in dated if item.state in WORDS]
    if not mapped:
        return _event(state, context, None)
    if max(mapped, key=lambda item: item.sort_key).state == state:
        return None
    newest = Moment(max(item.moment.at for item in dated))
    flags = frozenset({STATE_DISAGREES, TIME_INFERRED})
    return _event(state, context, DatedState(state, newest), flags)


def _event(
    state: str,
    context: MessageContext,
    dated: DatedState | None,
    flags: frozenset[str] = frozenset(),
) -> Event:
    return make_event(
        state,
        WORDS.get(state),
        context,
        dated.moment if dated else None,
        step=STEPS.get(state, 0),
        reason=dated.reason if dated else None,
        proofs=dated.proofs if dated else frozenset(),
        flags=flags,
    )


def decode_tour_plan(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode a tour-plan webhook: ETAs, never a status.

    Shape:  {"time_window": {"from", "to"}, "tours": [{"id", "courier", "pick_up_at",
            "orders": [{"id", "delivery_eta", "packages": [{"id"}]}]}]}
    Raises: Undecodable where a tour or an order has no id, or a time cannot be read.
    Source: document 003, "Tour plan".
    """
    plan = parsing.load_body(TOUR_PLAN, body)
    window = plan["time_window"] or {}
    window_from = _plan_time(window.get("from_"), "time_window.from")
    window_to = _plan_time(window.get("to"), "time_window.to")
    return Decoded(
        tours=tuple(
            Tour(
                tour_id=tour["id"],
                courier_name=tour["courier"],
                pick_up_at=_plan_time(tour["pick_up_at"], "pick_up_at"),
                window_from=window_from,
                window_to=window_to,
                stops=tuple(
                    Stop(
                        order_key=stop["id"],
                        eta=_plan_time(stop["delivery_eta"], "delivery_eta"),
                        packages=tuple(package["id"] for package in stop["packages"] or ()),
                    )
                    for stop in tour["orders"] or ()
                ),
            )
            for tour in plan["tours"]
        )
    )


def _plan_time(value: str | None, field_name: str) -> datetime | None:
    moment = parsing.parse_courier_time(value, ZONE, field_name)
    return moment.at if moment else None


# Polling: document 003, "API Tokens", "List Orders", "Show Order".

PER_PAGE = 100
RETRY_IN = re.compile(r"retry request in ([0-9]{1,9}) second", re.IGNORECASE)
JSON_SEPARATORS = re.compile(r"[ \t\n\r,:]*")


def _headers(access: Access) -> dict[str, str]:
    return {"Api-Token": access.token}


def _order_url(access: Access, order_id: str) -> str:
    return f"{access.url}/orders/{parsing.quote_path_segment(order_id)}"


def _order_url_by_reference(access: Access, reference: str) -> str:
    return f"{access.url}/orders/by_external_id/{parsing.quote_path_segment(reference)}"


def _list_url(access: Access, since: datetime, page: int) -> str:
    # Rounded down to whole seconds: it may list an order too many, but never one too few.
    created_from = rfc3339(since.replace(microsecond=0))
    query = urlencode({"from": created_from, "page": page, "per_page": PER_PAGE}, safe=":")
    return f"{access.url}/orders?{query}"


def _read_list_page(raw: bytes) -> tuple[list[bytes], int]:
    """Read a page of List Orders.

    Shape:  {"orders": [{...}], "meta": {"total_pages"}}; v1 has total_pages beside the orders.
    Raises: Undecodable where the response is no such page.
    Source: document 003, "List Orders"; document 001 for v1.
    """
    try:
        text = raw.decode()
        body = json.loads(text)
    except (ValueError, RecursionError):
        raise Undecodable("a page of the list of orders is not JSON") from None
    body = body if isinstance(body, dict) else {}
    meta = body.get("meta")
    page_count = {**body, **(meta if isinstance(meta, dict) else {})}.get("total_pages")
    if not isinstance(body.get("orders"), list):
        raise Undecodable("a page of the list of orders has no orders")
    if not isinstance(page_count, int) or isinstance(page_count, bool):
        raise Undecodable("a page of the list of orders does not say how many pages there are")
    return list(_raw_items(text, "orders")), page_count


def _raw_items(text: str, name: str) -> Iterator[bytes]:
    """Yield the items of the list `name` in a JSON object, each with its bytes unchanged.

    An order is stored as the message that Show Order would have given. text is valid JSON, and
    name holds a list.
    """
    scan = json.JSONDecoder().raw_decode

    def skip_separators(at: int) -> int:
        separators = JSON_SEPARATORS.match(text, at)
        return separators.end() if separators else at

    at, found = skip_separators(text.index("{") + 1), 0
    while text[at] != "}":
        key, at = scan(text, at)
        at = skip_separators(at)
        # Of a duplicate key the last value counts, as for json.loads.
        found = at if key == name else found
        _, at = scan(text, at)
        at = skip_separators(at)
    at = skip_separators(found + 1)
    while text[at] != "]":
        _, end = scan(text, at)
        yield text[at:end].encode()
        at = skip_separators(end)


def _read_retry_after(text: str) -> float | None:
    """Return the 30 of `Too many requests, please retry request in 30 seconds.`"""
    seconds = RETRY_IN.search(text)
    return float(seconds[1]) if seconds else None


def _make_sample(sample: SampleState) -> dict[str, Any]:
    """Return a snapshot with half an hour between the states that lead to its own."""
    usual = ("created", "dispatched", "picked_up")
    passed = [word for word in usual if STEPS[word] < STEPS.get(sample.word, 0)]
    reached = [word for word in [*passed, sample.word] if word in TIMED_STATES]
    return {
        "uuid": sample.order_id,
        "identifier": "OT4TRY",
        "tracking_code": "ORDER-TRAI-LTRY",
        "external_id": sample.reference,
        "timezone": ZONE,
        "state": sample.word,
        **{
            f"{word}_at": (sample.at - number * timedelta(minutes=30)).isoformat()
            for number, word in enumerate(reversed(reached))
        },
        "packages": [{"identifier": "18A24901BE5D49C3", "state": "pending"}],
    }


driver = Driver(
    name="tiramizoo",
    words=WORDS,
    topics={"orders": decode_order, "tours": decode_tour_plan},
    api=Api(
        url="https://app.tiramizoo.com/api/v1",
        headers=_headers,
        order_url=_order_url,
        order_url_by_reference=_order_url_by_reference,
        list_url=_list_url,
        read_list_page=_read_list_page,
        decode=decode_order,
        read_retry_after=_read_retry_after,
        per_second=5,
        schedule=Schedule(default=Backoff(timedelta(minutes=15), timedelta(hours=6))),
    ),
    zone=ZONE,
    stuck_after={
        **STUCK_AFTER,
        # It delivers on the day of the pickup, now and then on the next.
        statuses.PICKED_UP: timedelta(hours=18),
        # Document 003, "Return process": it is back at the sender within 24 hours.
        statuses.DELIVERY_FAILED: timedelta(hours=24),
    },
    make_sample=_make_sample,
    sample_order=("0b5ad38b-6c4c-4b6a-9f0e-0d6f7c1f2a55", "picked_up"),
)
