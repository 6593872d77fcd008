"""Whole lives of orders for Hypothesis: what each courier would send, and what it should come to.

A life is a list of messages with the time at which each was sent. `timed` lives carry the
courier's own times in every message; the others are told by observation, so that when a message
arrives is part of what it says.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from receiver.couriers import DRIVERS
from receiver.couriers.cottoncast import LABELS
from receiver.couriers.snapshot import MessageContext
from receiver.db.models import Message, Order
from receiver.orders.timeline import StoredEvent, entries_from_rows
from tests.bodies import (
    START,
    cottoncast_answer,
    cottoncast_shipment,
    cottoncast_status,
    history_entry,
    shipmentapi_order,
    tiramizoo_order,
    tiramizoo_v1,
)
from workers.folding.order_identity import ReceivedSnapshot
from workers.folding.refold import apply_fold, merge_snapshots

TIRAMIZOO = (
    ("created", "dispatched", "picked_up", "delivered"),
    ("created", "dispatched", "pickup_failed", "picked_up", "delivered"),
    ("created", "dispatched", "picked_up", "delivery_failed", "delivered"),
    ("created", "dispatched", "picked_up", "delivery_failed", "returned"),
    ("created", "dispatched", "cancelled", "picked_up", "delivered"),
    ("created", "cancelled"),
    ("created", "dispatched", "delivered", "delivery_failed", "returned"),
)
COTTONCAST = ("NLRCED", "NLRCEXED", "NLRCIED", "NRCEID", "NLD", "NLRCEDI", "NLRCEX")
SHIPMENTAPI = (
    ("accepted", "collected", "in_transit", "out_for_delivery", "delivered"),
    ("accepted", "cancelled"),
    ("accepted", "in_transit", "lost", "in_transit", "delivered"),
    ("rejected",),
)
V1 = (("processing", "delivered"), ("processing", "cancelled"))


@dataclass(frozen=True)
class Sent:
    """A message as its courier sent it."""

    body: dict[str, Any]
    at: datetime
    kind: str = "webhook"


@dataclass(frozen=True)
class Life:
    courier: str
    sent: tuple[Sent, ...]
    timed: bool


# Steps of 0 put several states into one second.
PACKAGE_STATES = st.sampled_from([None, "pending", "picked_up", "delivered", "returned"])
DELAYS = st.sampled_from([0, 1, 20, 70, 4000]).map(lambda seconds: timedelta(seconds=seconds))
gaps = st.lists(st.sampled_from([0, 0, 1, 60, 3600, 90_000]), min_size=12, max_size=12)


@st.composite
def tiramizoo_lives(draw: st.DrawFn) -> Life:
    """Snapshots, one a state; some say why, some are contradicted by their state, some polled."""
    states, steps = draw(st.sampled_from(TIRAMIZOO)), draw(gaps)
    at, times, sent, history = START, {}, [], []
    for state, step in zip(states, steps, strict=False):
        at += timedelta(seconds=step)
        times[state] = at
        if draw(st.booleans()):
            history.append(history_entry(f"{state}_reason", at, state))
        eta = (at + timedelta(hours=draw(st.integers(1, 5)))).isoformat()
        body = tiramizoo_order(
            times=times,
            state=draw(st.sampled_from([state, state, state, states[0]])),
            history=history,
            external_id="41",
            delivery={"eta": eta},
            packages=[
                {"identifier": "P1", "state": draw(st.sampled_from(["pending", "delivered"]))}
            ],
        )
        sent.append(Sent(body, at + timedelta(seconds=5)))
    return Life("tiramizoo", tuple(sent), timed=True)


@st.composite
def cottoncast_lives(draw: st.DrawFn) -> Life:
    """Single states, some told per parcel, with parcels that come and go."""
    codes, steps = draw(st.sampled_from(COTTONCAST)), draw(gaps)
    parcels = draw(st.lists(st.sampled_from(["P1", "P2", "P3"]), unique=True, max_size=3))
    per_parcel = draw(st.booleans())
    at, sent = START, []
    for code, step in zip(codes, steps, strict=False):
        at += timedelta(seconds=step)
        listed = [parcel for parcel in parcels if draw(st.booleans())]
        own = {parcel: draw(st.sampled_from([None, *codes])) for parcel in listed}
        shipments = [
            cottoncast_shipment(parcel, own[parcel] if per_parcel else None) for parcel in listed
        ]
        sent.append(Sent(cottoncast_status(code, at, shipments=shipments), at))
    return Life("cottoncast", tuple(sent), timed=True)


@st.composite
def observed_lives(draw: st.DrawFn) -> Life:
    """Bodies without times, hooks and polls: v1 snapshots and ShipmentAPI."""
    of_v1 = draw(st.booleans())
    words = draw(st.sampled_from(V1 if of_v1 else SHIPMENTAPI))
    at, sent = START, []
    for word, step in zip(words, draw(gaps), strict=False):
        for _ in range(draw(st.integers(1, 3))):
            at += timedelta(seconds=step + 1)
            body = tiramizoo_v1(state=word) if of_v1 else shipmentapi_order(status=word)
            if not of_v1 and draw(st.booleans()):
                body["pickup_time"] = (START + timedelta(days=1)).isoformat()
            sent.append(Sent(body, at, draw(st.sampled_from(["webhook", "poll"]))))
    return Life("tiramizoo" if of_v1 else "shipmentapi", tuple(sent), timed=False)


@st.composite
def sparse_lives(draw: st.DrawFn) -> Life:
    """Snapshots of Tiramizoo that leave out times: of states not reached, of their own state, all.

    Some are of the older API, some are polled, and their packages come and go.
    """
    states = draw(st.sampled_from(TIRAMIZOO))
    at, times, sent = START, {}, []
    for state, step in zip(states, draw(gaps), strict=False):
        at += timedelta(seconds=step)
        times[state] = at
        for _ in range(draw(st.integers(1, 2))):
            body = tiramizoo_order(
                times=times,
                state=draw(st.sampled_from([state, state, states[0], "processing", "new word"])),
                external_id=draw(st.sampled_from([None, "41", "42"])),
                cancellation_reason=draw(st.sampled_from([None, "rain", "snow"])),
                packages=[
                    {"identifier": name, "state": draw(PACKAGE_STATES)}
                    for name in draw(st.lists(st.sampled_from(["P1", "P2"]), unique=True))
                ],
            )
            left_out = draw(st.sampled_from(["null", "own", "all"]))
            columns = [name for name in body if name.endswith("_at")]
            for name in columns:
                is_own = left_out == "own" and name == f"{state}_at"
                if body[name] is None or is_own or (left_out == "all" and name != "created_at"):
                    del body[name]
            sent.append(Sent(body, at + draw(DELAYS), draw(st.sampled_from(["webhook", "poll"]))))
    return Life("tiramizoo", tuple(sent), timed=False)


@st.composite
def polled_lives(draw: st.DrawFn) -> Life:
    """Cottoncast's webhooks, some of them lost, beside answers that know only the minute.

    Parcels get new labels and are merged; some answers show the state of shipments, without times.
    """
    codes = draw(st.sampled_from(COTTONCAST))
    labels = ["P1", "P2"]
    at, sent = START, []
    for code, step in zip(codes, draw(gaps), strict=False):
        at += timedelta(seconds=step)
        labels = draw(st.sampled_from([labels, labels, labels, ["P1"], ["P3", "P2"], ["P1", "P3"]]))
        if draw(st.booleans()):
            own = draw(st.booleans())
            shipments = [cottoncast_shipment(name, code if own else None) for name in labels]
            sent.append(Sent(cottoncast_status(code, at, shipments=shipments), at + draw(DELAYS)))
        if draw(st.booleans()):
            own_code = draw(st.sampled_from(["N", code, "??"]))
            is_webhooks = draw(st.booleans())
            body = cottoncast_answer(
                code if is_webhooks else "F",
                at,
                dict.fromkeys(draw(st.sampled_from([labels, labels, []])), own_code),
                label=LABELS[code] if is_webhooks else "Fulfilled",
            )
            sent.append(Sent(body, at + draw(DELAYS), "poll"))
    assume(sent)
    return Life("cottoncast", tuple(sent), timed=False)


timed_lives = st.one_of(tiramizoo_lives(), cottoncast_lives())
all_lives = st.one_of(timed_lives, observed_lives(), sparse_lives(), polled_lives())


def messages(life: Life, arrivals: Sequence[datetime] | None = None) -> list[ReceivedSnapshot]:
    """A life's messages as the inbox would hold them, each with what it tells.

    arrivals: when each reached us; as sent, where not given.
    """
    told = []
    for number, sent in enumerate(life.sent):
        at = arrivals[number] if arrivals else sent.at
        message = Message(
            id=number + 1, account=life.courier, received_at=at, kind=sent.kind, trust="token"
        )
        heard = MessageContext(at, sent.kind)
        driver = DRIVERS[life.courier]
        decode = driver.topics["orders"].decode
        if sent.kind == "poll" and driver.api is not None:
            decode = driver.api.decode
        decoded = decode(sent.body, heard)
        told += [ReceivedSnapshot(message, snapshot) for snapshot in decoded.orders]
    return told


def folded(batches: Sequence[Sequence[ReceivedSnapshot]]) -> dict[str, Any]:
    """What an order comes to when its messages are folded in these batches, one after the other.

    Goes the way of the drain without its tables: between batches there is nothing but rows.
    """
    order = Order(id=1, courier_order_id="3AF7", conflicts=[], details={}, needs_attention=False)
    rows: dict[str, dict[str, Any]] = {}
    for batch in batches:
        stored = {key: StoredEvent(**values) for key, values in rows.items()}
        entries = entries_from_rows(stored.values())
        known = merge_snapshots(entries, order.details, batch)
        if batch:
            # As the drain notes it; an order that no message was about may need attention for that.
            order.last_heard_at = START
        for values in apply_fold(order, known, list(entries.values()), stored):
            rows[values["key"]] = values
    return {
        "order": {
            name: getattr(order, name)
            for name in (
                "status",
                "courier_status",
                "status_at",
                "reason",
                "needs_attention",
                "milestones",
                "conflicts",
                "source",
                "reference",
                "identifiers",
                "tracking_url",
                "label_url",
                "pickup_at",
                "eta",
                "parcels",
                "details",
            )
        },
        "events": {key: rows[key] for key in sorted(rows)},
    }


ARRIVAL = {"received_at", "message_id", "kind", "trust", "source", "details"}


def without_arrival(state: dict[str, Any]) -> dict[str, Any]:
    """The same less what says when, and by which message, something reached us."""
    return {
        "order": {name: it for name, it in state["order"].items() if name not in ARRIVAL},
        "events": {
            key: {name: it for name, it in row.items() if name not in ARRIVAL}
            for key, row in state["events"].items()
        },
    }


def cut(items: Sequence[ReceivedSnapshot], choose: random.Random) -> list[list[ReceivedSnapshot]]:
    """The items in batches of arbitrary size."""
    batches: list[list[ReceivedSnapshot]] = [[]]
    for item in items:
        if choose.random() < 0.4:
            batches.append([])
        batches[-1].append(item)
    return batches
