"""Tiramizoo: unsigned snapshots of an order, which arrive in any order, and tour plans.

Source: the courier's documents 003 (current API: order states, webhooks, tour plan), 000 and 001
(the older API, v1: often no *_at column but created_at, state `processing`).

A webhook's body is the whole order. So one snapshot gives several events: one for each *_at
column, one for each entry of history[] and events[], and one for `state` itself. The times of
states that were not reached may be null or missing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import available_timezones

from receiver import statuses
from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.couriers.contract import STUCK_AFTER, Driver, SampleState, Topic
from receiver.couriers.polling import (
    Access,
    Api,
    OrderNames,
    Page,
    Request,
    read_items,
    requests_by_path,
)
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.snapshot import (
    CLOCK_TOLERANCE,
    FOLLOWS_ORDER,
    STATE_DISAGREES,
    TIME_INFERRED,
    Decoded,
    Event,
    MessageContext,
    Moment,
    Proof,
    Snapshot,
    Stop,
    Tour,
    make_eta,
    make_event,
    make_window,
    recency_of,
)
from receiver.errors import Undecodable
from receiver.times import rfc3339

ZONE = "Europe/Berlin"
ZONES = available_timezones()

# The words beside those of document 003 are v1's: document 001, and its pages of 2012.
WORDS = {
    "awaiting_payment": statuses.INFO_RECEIVED,
    "created": statuses.INFO_RECEIVED,
    "processing": statuses.INFO_RECEIVED,
    "dispatched": statuses.AWAITING_PICKUP,
    "pickup_unreachable": statuses.PICKUP_FAILED,
    "pickup_failed": statuses.PICKUP_FAILED,
    "picked_up": statuses.PICKED_UP,
    "payment_failed": statuses.EXCEPTION,
    "delivery_unreachable": statuses.DELIVERY_FAILED,
    "delivery_failed": statuses.DELIVERY_FAILED,
    "cancelled": statuses.CANCELLED,
    "returned": statuses.RETURNED,
    "delivered": statuses.DELIVERED,
}
STEPS = {word: step for step, word in enumerate(WORDS)}

# The columns with the times of states.
COLUMNS = {
    state: f"{state}_at"
    for state in (
        *("created", "dispatched", "pickup_failed", "picked_up", "delivery_failed", "cancelled"),
        *("returned", "delivered"),
    )
}

BEGINNING = datetime.min.replace(tzinfo=UTC)
NO_PLACE: dict[str, Any] = {"eta": None, "after": None, "before": None}

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
# The state of an entry without current_state, by its type.
STATE_OF_TYPE = {
    "pick_up": "picked_up",
    "drop_off": "delivered",
    **{reason: state for state, reasons in REASONS.items() for reason in reasons},
}

# The states of a package in document 003; a package in any other state follows its order.
PACKAGE_STATES = {
    "picked_up": statuses.PICKED_UP,
    "not_picked_up": statuses.PICKUP_FAILED,
    "delivered": statuses.DELIVERED,
    "not_delivered": statuses.DELIVERY_FAILED,
}

# The states that have signatures, and the fields of these.
SIGNATURE_FIELDS = (
    ("picked_up", "pickup_signature"),
    ("delivered", "delivery_signature"),
    ("delivered", "signature"),
    ("returned", "return_signature"),
)


class PictureSchema(parsing.Body):
    url = parsing.optional_url()
    name = parsing.optional_name()


class EntrySchema(parsing.Body):
    """One entry of history[] or events[]; "Return process" has flat signature_* fields."""

    type = parsing.optional_name()
    current_state = parsing.optional_name()
    recorded_at = parsing.optional_time()
    signature = parsing.optional_object(PictureSchema)
    photo_proof = parsing.optional_object(PictureSchema)
    signature_url = parsing.optional_url()
    signature_name = parsing.optional_name()


class PackageSchema(parsing.Body):
    identifier = parsing.required_name()
    external_id = parsing.optional_name()
    state = parsing.optional_text()
    pickup_state = parsing.optional_text()


class PickupSchema(parsing.Body):
    eta = parsing.optional_time()


class DeliverySchema(parsing.Body):
    eta = parsing.optional_time()
    after = parsing.optional_time()
    before = parsing.optional_time()


class OrderSchema(parsing.Body):
    uuid = parsing.required_name()
    state = parsing.required_name()
    identifier = parsing.optional_name()
    tracking_code = parsing.optional_name()
    external_id = parsing.optional_name()
    tour_identifier = parsing.optional_name()
    timezone = parsing.optional_text()
    tracking_url = parsing.optional_url()
    labels_url = parsing.optional_url()
    created_at = parsing.optional_time()
    dispatched_at = parsing.optional_time()
    pickup_failed_at = parsing.optional_time()
    picked_up_at = parsing.optional_time()
    delivery_failed_at = parsing.optional_time()
    cancelled_at = parsing.optional_time()
    returned_at = parsing.optional_time()
    delivered_at = parsing.optional_time()
    cancellation_reason = parsing.optional_text()
    signature = parsing.optional_object(PictureSchema)
    pickup_signature = parsing.optional_object(PictureSchema)
    delivery_signature = parsing.optional_object(PictureSchema)
    return_signature = parsing.optional_object(PictureSchema)
    pickup = parsing.optional_object(PickupSchema)
    delivery = parsing.optional_object(DeliverySchema)
    packages = parsing.optional_list(PackageSchema)
    history = parsing.optional_list(EntrySchema)
    events = parsing.optional_list(EntrySchema)


class TimeWindowSchema(parsing.Body):
    from_ = parsing.optional_time(data_key="from")
    to = parsing.optional_time()


class TourPackageSchema(parsing.Body):
    id = parsing.required_name()


class TourOrderSchema(parsing.Body):
    id = parsing.required_name()
    delivery_eta = parsing.optional_time()
    packages = parsing.optional_list(TourPackageSchema)


class TourSchema(parsing.Body):
    id = parsing.required_name()
    courier = parsing.optional_text()
    pick_up_at = parsing.optional_time()
    orders = parsing.optional_list(TourOrderSchema)


class TourPlanSchema(parsing.Body):
    time_window = parsing.optional_object(TimeWindowSchema)
    tours = parsing.Entries(TourSchema, required=True)


@dataclass(slots=True)
class ReportedState:
    """A state with its time in a column or an entry of the history; without one it is observed."""

    state: str
    moment: Moment | None
    reason: str | None = None
    proofs: list[Proof] = field(default_factory=list)
    flags: frozenset[str] = frozenset()

    @property
    def sort_key(self) -> tuple[datetime, int]:
        return self.moment.at if self.moment else BEGINNING, STEPS.get(self.state, -1)

    def add(self, reason: str | None, proofs: list[Proof]) -> None:
        """Add what another part of the snapshot says about the state.

        Of two reasons the one that sorts first: it does not depend on where each of them stands.
        """
        self.reason = min(filter(None, (self.reason, reason)), default=None)
        self.proofs += proofs


@dataclass(slots=True)
class ReportedStates:
    """The states of a snapshot that have a time, and what it says about states without one.

    A column and an entry of the same second are one report.
    """

    dated: dict[tuple[str, datetime], ReportedState] = field(default_factory=dict)
    undated: dict[str, ReportedState] = field(default_factory=dict)

    def add(
        self, state: str, moment: Moment | None, reason: str | None, proofs: list[Proof]
    ) -> None:
        """Add a report. moment: None where it has no time."""
        if moment is not None:
            second = moment.at.replace(microsecond=0)
            known = self.dated.setdefault((state, second), ReportedState(state, moment))
            known.add(reason, proofs)
        elif reason or proofs:
            self.undated.setdefault(state, ReportedState(state, None)).add(reason, proofs)


def decode_order(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode an order webhook or a Show Order response.

    Shape:  {"uuid", "state", "<state>_at"..., "history": [{"type", "recorded_at",
            "current_state", "signature", "photo_proof"}], "packages": [{"identifier", "state"}],
            "pickup_signature", "delivery_signature", "return_signature", ...}
    Units:  times are ISO 8601 with an offset; one without is read in the order's own timezone.
    Raises: Undecodable where uuid or state cannot be read.
    Source: document 003, "Order states", "Return process" and "Web Hooks"; document 001 for v1.
    """
    order, left_out = read_fields(OrderSchema, body)
    zone = order["timezone"] if order["timezone"] in ZONES else context.zone or ZONE
    states = _list_states(order, zone)
    dated = [*states.dated.values()]
    _lend_reasons(dated)
    last_word = _last_word(order["state"], dated)
    reported = dated if last_word is None else [*dated, last_word]
    if states.undated:
        _add_undated(reported, states.undated)
    is_observed = last_word is not None and last_word.moment is None
    newest = max((item.moment.at for item in dated if item.moment), default=None)

    pickup, delivery = order["pickup"] or NO_PLACE, order["delivery"] or NO_PLACE
    delivery = parsing.aware_times(delivery, zone)
    snapshot = Snapshot(
        courier_order_id=order["uuid"],
        recency=recency_of(None if is_observed else newest, context),
        events=tuple([_event(item, context) for item in reported]),
        reference=order["external_id"],
        identifiers={name: order[name] for name in ("identifier", "tracking_code") if order[name]},
        details={
            "tracking_url": order["tracking_url"],
            "label_url": order["labels_url"],
            "pickup_at": rfc3339(_utc(pickup["eta"], zone)),
            "promised": make_window(delivery["after"], delivery["before"]),
            "tour_identifier": order["tour_identifier"],
        },
        eta=make_eta(delivery["eta"], context),
        parcels={
            package["identifier"]: _read_package(package) for package in order["packages"] or ()
        },
        time_count=len(dated),
    )
    return Decoded(orders=(snapshot,), left_out=left_out)


def _read_package(package: dict[str, Any]) -> dict[str, str]:
    status = PACKAGE_STATES.get(package["state"])
    parcel = {"status": status or PACKAGE_STATES.get(package["pickup_state"], FOLLOWS_ORDER)}
    if package["external_id"]:
        parcel["external_id"] = package["external_id"]
    return parcel


def _utc(moment: Moment | None, zone: str) -> datetime | None:
    in_utc = parsing.in_zone(moment, zone)
    return in_utc.at if in_utc else None


def _list_states(order: dict[str, Any], zone: str) -> ReportedStates:
    """Return what the columns, the entries of history[] and events[] and the signatures report."""
    states = ReportedStates()
    for state, column in COLUMNS.items():
        if order[column] is not None:
            states.add(state, parsing.in_zone(order[column], zone), None, [])
    for entry in (*(order["history"] or ()), *(order["events"] or ())):
        entry_type = entry["type"]
        state = entry["current_state"] or STATE_OF_TYPE.get(entry_type, entry_type)
        if state:
            # The type of other states repeats the action (`pick_up`) and is no reason.
            reason = entry_type if state in REASONS else None
            flat_signature = {"url": entry["signature_url"], "name": entry["signature_name"]}
            proofs = [
                *_proofs("signature", entry["signature"], flat_signature),
                *_proofs("photo", entry["photo_proof"]),
            ]
            states.add(state, parsing.in_zone(entry["recorded_at"], zone), reason, proofs)
    states.add("cancelled", None, order["cancellation_reason"], [])
    for state, name in SIGNATURE_FIELDS:
        if order[name]:
            states.add(state, None, None, _proofs("signature", order[name]))
    return states


def _proofs(kind: str, *pictures: dict[str, Any] | None) -> list[Proof]:
    return [
        Proof(kind, picture["url"] or "", picture["name"] or "")
        for picture in pictures
        if picture and (picture["url"] or picture["name"])
    ]


def _last_word(state: str, dated: list[ReportedState]) -> ReportedState | None:
    """Return what `state` itself reports, None where a dated state reports it already.

    A state without a time of its own is an observation. One whose time is not the newest of the
    snapshot is what the courier says last, as when it dispatches again after a failed pickup: it
    counts right after that newest time. So this snapshot, sent again in a week, still takes its
    old place.
    """
    if not any(item.state == state for item in dated):
        # v1's `processing` says nothing beside the time of a later state.
        is_passed = state == "processing" and any(item.state != "created" for item in dated)
        return None if is_passed else ReportedState(state, None)
    counting = [item for item in dated if item.state in WORDS or item.state == state]
    if max(counting, key=lambda item: item.sort_key).state == state:
        return None
    newest = max(dated, key=lambda item: item.sort_key).moment
    return ReportedState(state, newest, flags=frozenset({STATE_DISAGREES, TIME_INFERRED}))


def _lend_reasons(dated: list[ReportedState]) -> None:
    """Give a failure without a reason that of the nearest entry of its state.

    The column and the entry of one failure may be stamped by two clocks: the courier's server and
    the driver's telephone. An entry further away is another attempt.
    """
    reported = [(item.state, item.moment.at, item.reason) for item in dated if item.moment]
    for item in dated:
        if item.reason is None and item.state in REASONS and item.moment:
            apart = [
                (abs(at - item.moment.at), reason)
                for state, at, reason in reported
                if state == item.state and reason
            ]
            distance, reason = min(apart, default=(CLOCK_TOLERANCE, None))
            item.reason = reason if distance <= CLOCK_TOLERANCE else None


def _add_undated(reported: list[ReportedState], undated: dict[str, ReportedState]) -> None:
    """Add what is said without a time to the newest report of its state."""
    newest = {item.state: item for item in sorted(reported, key=lambda item: item.sort_key)}
    for state, extra in undated.items():
        if (item := newest.get(state)) is not None:
            item.add(None if item.reason else extra.reason, extra.proofs)


def _event(item: ReportedState, context: MessageContext) -> Event:
    return make_event(
        item.state,
        WORDS.get(item.state),
        context,
        item.moment,
        step=STEPS.get(item.state, 0),
        reason=item.reason,
        proofs=frozenset(item.proofs),
        flags=item.flags,
    )


def decode_tour_plan(body: dict[str, Any], context: MessageContext) -> Decoded:
    """Decode a tour-plan webhook: ETAs, never a status.

    Shape:  {"time_window": {"from", "to"}, "tours": [{"id", "courier", "pick_up_at",
            "orders": [{"id", "delivery_eta", "packages": [{"id"}]}]}]}
    Raises: Undecodable where there are no tours.
    Source: document 003, "Tour plan".
    """
    plan, left_out = read_fields(TourPlanSchema, body)
    zone = context.zone or ZONE
    window = plan["time_window"] or {"from_": None, "to": None}
    window_from, window_to = _utc(window["from_"], zone), _utc(window["to"], zone)
    tours = [
        Tour(
            tour_id=tour["id"],
            courier_name=tour["courier"],
            pick_up_at=_utc(tour["pick_up_at"], zone),
            window_from=window_from,
            window_to=window_to,
            stops=tuple(
                [
                    Stop(
                        order_key=stop["id"],
                        eta=_utc(stop["delivery_eta"], zone),
                        packages=tuple([package["id"] for package in stop["packages"] or ()]),
                    )
                    for stop in tour["orders"] or ()
                ]
            ),
        )
        for tour in plan["tours"]
    ]
    return Decoded(tours=tuple(tours), left_out=left_out)


# Polling: document 003, "API Tokens", "List Orders", "Show Order".

PER_PAGE = 100
# Document 003, "Tracking page" and its samples: DWJHREONREDW7, ID4K7-EHQX-62RA. Show Order takes
# an id, an identifier or an external id, and no tracking code.
TRACKING_CODE = "[A-Z0-9]{0,5}-?[A-Z0-9]{4}-?[A-Z0-9]{4}"
RETRY_IN = re.compile(r"retry request in ([0-9]{1,9}) second", re.IGNORECASE)


def _headers(access: Access) -> dict[str, str]:
    return {"Api-Token": access.token}


def _order_requests(access: Access, names: OrderNames) -> Iterator[Request]:
    yield from requests_by_path(access, "/orders/{id}", names)
    if not names.is_courier_id:
        yield from requests_by_path(access, "/orders/by_external_id/{reference}", names)


def _list_request(access: Access, since: datetime, cursor: str | None) -> Request:
    """Return the request for a page of List Orders; its cursor is the number of the page."""
    # Rounded down to whole seconds: it may list an order too many, but never one too few.
    created_from = rfc3339(since.replace(microsecond=0))
    page = {"page": cursor or "1", "per_page": PER_PAGE}
    query = urlencode({"from": created_from, **page}, safe=":")
    return Request(f"{access.url}/orders?{query}")


def _read_list_page(raw: bytes, cursor: str | None) -> Page:
    """Read a page of List Orders.

    Shape:  {"orders": [{...}], "meta": {"total_pages"}}; v1 has total_pages beside the orders.
    Raises: Undecodable where the response is no such page.
    Source: document 003, "List Orders"; document 001 for v1.
    """
    orders, body = read_items(raw, "orders")
    meta = body.get("meta")
    page_count = {**body, **(meta if isinstance(meta, dict) else {})}.get("total_pages")
    if not isinstance(page_count, int) or isinstance(page_count, bool):
        raise Undecodable("a page of the list of orders does not say how many pages there are")
    page = int(cursor or 1)
    left = max(0, page_count - page)
    return Page(orders, f"{page + 1}" if left else None, left)


def _read_retry_after(text: str) -> float | None:
    """Return the 30 of `Too many requests, please retry request in 30 seconds.`"""
    seconds = RETRY_IN.search(text)
    return float(seconds[1]) if seconds else None


def _make_sample(sample: SampleState) -> dict[str, Any]:
    """Return a snapshot, of a sample with half an hour between the states that lead to its own."""
    if not sample.is_sample:
        column = {f"{sample.word}_at": sample.at.isoformat()} if sample.word in COLUMNS else {}
        return {"uuid": sample.order_id, "timezone": ZONE, "state": sample.word, **column}
    usual = ("created", "dispatched", "picked_up")
    passed = [word for word in usual if STEPS[word] < STEPS.get(sample.word, 0)]
    reached = [word for word in [*passed, sample.word] if word in COLUMNS]
    return {
        "uuid": sample.order_id,
        "identifier": f"{sample.order_id}-IDENTIFIER",
        "tracking_code": f"{sample.order_id}-TRACKING",
        "external_id": sample.reference,
        "timezone": ZONE,
        "state": sample.word,
        **{
            f"{word}_at": (sample.at - number * timedelta(minutes=30)).isoformat()
            for number, word in enumerate(reversed(reached))
        },
        "packages": [{"identifier": f"{sample.order_id}-PACKAGE", "state": "pending"}],
    }


driver = Driver(
    name="tiramizoo",
    words=WORDS,
    topics={"orders": Topic(decode_order), "tours": Topic(decode_tour_plan)},
    api=Api(
        url="https://app.tiramizoo.com/api/v1",
        headers=_headers,
        order_requests=_order_requests,
        names_orders_by_reference=True,
        list_request=_list_request,
        listed_name=TRACKING_CODE,
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
    sample_order=("ORDERTRAIL-SAMPLE-T", "picked_up"),
)
