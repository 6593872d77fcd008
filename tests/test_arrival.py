"""Registrations, webhooks and a tour plan of one order are one order, in every order of arrival.

HYPOTHESIS_PROFILE=long tries 1,000 of them.
"""

import itertools
import json
import random
from collections.abc import Callable, Sequence
from typing import Any

from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.bodies import after, history_entry, life, raw, tiramizoo_order, tour_plan
from tests.hypothesis_profiles import examples

WEBHOOKS = "/webhooks/tiramizoo/{}/tiramizoo-token"
# What says when, and by which message, we heard of something; and the name that the shop registered
# first, under which an order stays.
ARRIVAL = {"source", "received_at", "last_heard_at", "version", "created_at", "updated_at"}
ARRIVAL |= {"polling", "courier_order_id", "id"}
NUMBER = "000000000000"
JSON = "application/json"
# What the steps come to when they are taken in turn, by the name in the tour plan.
EXPECTED: dict[str, Any] = {}

numbers = itertools.count(1)
stops = st.sampled_from(["uuid", "identifier", "package", "other spelling"])
randoms = st.randoms(use_true_random=False)

Step = tuple[str, dict[str, Any]]


def steps_of(stop: str) -> list[Step]:
    """What the shop and its courier post: (path, body). stop: the name in the tour plan."""
    uuid = f"6d1f0b1e-5f0e-4c39-8f0c-{NUMBER}"
    names: dict[str, Any] = {"identifier": f"ZV{NUMBER}", "tracking_code": f"ID4K7-{NUMBER}"}
    times = life("created", "dispatched", "cancelled", "pickup_failed")
    reasons = ("package_was_not_ready", "wrong_package_size")
    entries = [history_entry(reason, times["pickup_failed"], "pickup_failed") for reason in reasons]
    packages = [{"identifier": f"P{NUMBER}A", "state": "picked_up"}]
    again = tiramizoo_order(uuid, times, "dispatched", packages=packages, **names)
    bodies = [
        tiramizoo_order(uuid, life("created"), **names),
        tiramizoo_order(uuid, times, history=entries[:1], **names),
        tiramizoo_order(uuid, times | {"picked_up": after(95)}, "picked_up", entries[1:], **names),
        # A snapshot that leaves out what is null.
        {name: value for name, value in again.items() if value is not None},
    ]
    plan_name = {
        "uuid": uuid,
        "identifier": names["identifier"],
        "package": packages[0]["identifier"],
        "other spelling": f" id4k7{NUMBER}",
    }[stop]
    registered = ({"account": "tiramizoo", "courier_order_id": name} for name in names.values())
    return [
        *(("/v1/orders", new) for new in registered),
        *((WEBHOOKS.format("orders"), body) for body in bodies),
        (WEBHOOKS.format("tours"), tour_plan({plan_name: after(300)}, f"T{NUMBER}")),
    ]


def without_arrival(value: Any) -> Any:
    if isinstance(value, dict):
        kept = {name: it for name, it in value.items() if name not in ARRIVAL}
        return {name: without_arrival(it) for name, it in kept.items()}
    return [without_arrival(it) for it in value] if isinstance(value, list) else value


def come_to(
    shop: FlaskClient,
    drain: Callable[[], int],
    steps: Sequence[Step],
    choose: random.Random | None = None,
) -> Any:
    """Take steps, drain after the chosen ones, and return the order, its timeline and conflicts."""
    number = f"{next(numbers):012}"
    for path, body in steps:
        answer = shop.post(
            path, data=raw(body).replace(NUMBER.encode(), number.encode()), content_type=JSON
        )
        assert answer.status_code in {200, 201}
        if choose is not None and choose.random() < 0.4:
            drain()
    drain()
    path = f"/v1/orders/tiramizoo/6d1f0b1e-5f0e-4c39-8f0c-{number}"
    conflicts = shop.get(f"{path}/explain").get_json()["conflicts"]
    found = [shop.get(path).json, shop.get(f"{path}/events").json, conflicts]
    for name in (f"zv{number}", f"ID4K7{number}", f"p{number}A"):
        assert shop.get(f"/v1/orders/tiramizoo/{name}").json == found[0]
    return without_arrival(json.loads(json.dumps(found).replace(number, NUMBER)))


@given(stops, randoms)
@settings(examples(0.2), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_order_of_arrival_comes_to_the_same(
    shop: FlaskClient, drain: Callable[[], int], stop: str, choose: random.Random
) -> None:
    steps = steps_of(stop)
    if stop not in EXPECTED:
        EXPECTED[stop] = come_to(shop, drain, steps)
        assert EXPECTED[stop][2]
    again = [*steps, *choose.choices(steps, k=2)]
    choose.shuffle(again)
    assert come_to(shop, drain, again, choose) == EXPECTED[stop]
