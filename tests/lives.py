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

from hypothesis import strategies as st

from receiver.couriers import DRIVERS
from receiver.couriers.snapshot import MessageContext
from receiver.db.models import Message, Order
from receiver.orders.timeline import StoredEvent, TimelineEntry
from tests.bodies import (
    START,
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


timed_lives = st.one_of(tiramizoo_lives(), cottoncast_lives())
all_lives = st.one_of(timed_lives, observed_lives())


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
        decoded = DRIVERS[life.courier].topics["orders"](sent.body, heard)
        told += [ReceivedSnapshot(message, snapshot) for snapshot in decoded.orders]
    return told


def folded(batches: Sequence[Sequence[ReceivedSnapshot]]) -> dict[str, Any]:
    """What an order comes to when its messages are folded in these batches, one after the other.

    Goes the way of the drain without its tables: entries and details are kept between batches as
    rows would keep them.
    """
    order = Order(id=1, conflicts=[], details={})
    rows: dict[str, dict[str, Any]] = {}
    entries: dict[str, TimelineEntry] = {}
    for batch in batches:
        known = merge_snapshots(entries, order.details, batch)
        stored = {key: StoredEvent(**values) for key, values in rows.items()}
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
