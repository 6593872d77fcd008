"""Tour plans and snapshots in any order of arrival: the newest plan of each tour gives the ETAs.

A plan may name an order in two tours, or twice in one.

HYPOTHESIS_PROFILE=long tries 5,000 of them.
"""

import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session, sessionmaker

from receiver.orders.names import spell
from receiver.settings import Settings
from receiver.times import rfc3339
from tests.bodies import after, life, tiramizoo_order
from tests.one_transaction import trial

UUIDS = [f"6d1f0b1e-5f0e-4c39-8f0c-00000000000{number}" for number in range(2)]
# All that may name an order in a plan; no message says "odd".
NAMES = [*((uuid, f"Zv-{number}W8", f"P-{number}a") for number, uuid in enumerate(UUIDS)), ("odd",)]

randoms = st.randoms(use_true_random=False)
# Few, so that two of them are often the same.
etas = st.sampled_from([None, 60, 61, 200])


@dataclass(frozen=True)
class Plan:
    """A plan of one tour or two. stops, by the tour: (name, packages, minutes of the ETA)."""

    stops: dict[str, list[tuple[str, list[str], int | None]]]
    at: datetime

    def body(self) -> dict[str, Any]:
        tours = [
            {
                "id": tour_id,
                "orders": [
                    {
                        "id": name,
                        "delivery_eta": None if minutes is None else after(minutes).isoformat(),
                        "packages": [{"id": each} for each in packages],
                    }
                    for name, packages, minutes in stops
                ],
            }
            for tour_id, stops in self.stops.items()
        ]
        # Without the time the second of two equal plans would be the first one again.
        return {"at": self.at.isoformat(), "tours": tours}


@st.composite
def plans(draw: st.DrawFn) -> list[Plan]:
    """Plans of two tours in the order in which they are received."""
    # Never at the time of a snapshot.
    drawn, at = [], after(0.5)
    for _ in range(draw(st.integers(1, 5))):
        at += timedelta(minutes=draw(st.integers(1, 60)))
        tour_ids = st.sampled_from(["T1", "T2"])
        drawn.append(Plan({}, at))
        for tour_id in draw(st.lists(tour_ids, min_size=1, max_size=2, unique=True)):
            stops = drawn[-1].stops[tour_id] = []
            for its_names in draw(st.lists(st.sampled_from(NAMES), max_size=3)):
                name = draw(st.sampled_from(its_names))
                spelled = draw(st.sampled_from([name, name.swapcase(), name.replace("-", "")]))
                packages = draw(st.lists(st.just(its_names[-1]), max_size=1))
                stops.append((spelled, packages, draw(etas)))
    return drawn


@st.composite
def snapshots(draw: st.DrawFn, number: int) -> list[dict[str, Any]]:
    """One order's snapshots: sparse, and the last one with every name and perhaps its tour."""
    uuid, identifier, parcel = NAMES[number]
    states = ("created", "dispatched", "picked_up")[: draw(st.integers(1, 3))]
    tour = draw(st.sampled_from([None, "T1", "t-2"]))
    bodies = []
    for reached in range(1, len(states) + 1):
        shown = reached == len(states)
        eta = draw(etas)
        body = tiramizoo_order(
            uuid,
            life(*states[:reached]),
            identifier=identifier if shown or draw(st.booleans()) else None,
            packages=[{"identifier": parcel}] if shown or draw(st.booleans()) else [],
            tour_identifier=tour if shown else None,
            delivery={"eta": None if eta is None else after(eta).isoformat()},
        )
        bodies.append(body)
    return bodies


def expected_eta(drawn: list[Plan], bodies: list[dict[str, Any]]) -> tuple[str | None, str] | None:
    """The newest ETA that an order's newest plans and its own snapshots give: (to, source).

    Of several ETAs in one plan it is the latest.
    """
    last = bodies[-1]
    names = {
        spell(last["uuid"]),
        spell(last["identifier"]),
        spell(last["packages"][0]["identifier"]),
    }
    found = []
    newest_plans = {tour_id: plan for plan in drawn for tour_id in plan.stops}
    for tour_id, plan in newest_plans.items():
        stops = plan.stops[tour_id]
        for name, packages, minutes in stops:
            named = {spell(each) for each in (name, *packages)} & names
            tour = spell(last["tour_identifier"] or "")
            is_tours = len(stops) == 1 and tour == spell(tour_id)
            if (named or is_tours) and minutes is not None:
                found.append((plan.at, after(minutes), "tour_plan"))
    for body in bodies:
        newest = max(
            datetime.fromisoformat(at) for name, at in body.items() if name.endswith("_at") and at
        )
        if body["delivery"]["eta"]:
            found.append((newest, datetime.fromisoformat(body["delivery"]["eta"]), "order"))
    if not found:
        return None
    _, eta, source = max(found)
    return rfc3339(eta), source


@given(plans(), snapshots(0), snapshots(1), randoms)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_plan_received_last_counts_in_every_order_of_arrival(
    sessions: sessionmaker[Session],
    settings: Settings,
    drawn: list[Plan],
    first: list[dict[str, Any]],
    second: list[dict[str, Any]],
    choose: random.Random,
) -> None:
    """An order that a newer plan of its tour leaves out loses that tour's ETA."""
    messages = [*first, *second]
    messages += choose.choices(messages, k=1)
    choose.shuffle(messages)
    # Plans keep their order. The same bytes again are the old plan.
    received = [*drawn, choose.choice(drawn)]
    are_plans = [*[True] * len(received), *[False] * len(messages)]
    choose.shuffle(are_plans)
    with trial(sessions, settings) as attempt:
        for is_plan in are_plans:
            if is_plan:
                plan = received.pop(0)
                attempt.receive(plan.body(), "tours", plan.at)
            else:
                attempt.receive(messages.pop())
            if choose.random() < 0.4:
                attempt.drain()
        attempt.drain()
        found = attempt.find(UUIDS)
        for uuid, bodies in zip(UUIDS, (first, second), strict=True):
            (order,) = found[uuid]
            shown = order.eta and (order.eta["to"], order.eta["source"])
            assert shown == expected_eta(drawn, bodies)
