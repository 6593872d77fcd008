"""A courier and a shop that do what they like, in any order, through the public contract alone.

What the service should say is worked out here anew, from the table of the contract and without the
fold: an order is where the latest word puts it, and delivered stays delivered.
"""

import itertools
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from flask.testing import FlaskClient
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.bodies import after, cottoncast_signature, cottoncast_status, raw
from tests.hypothesis_profiles import examples

# In the order in which Cottoncast uses them, each with its status.
STATUS_OF = {
    "N": "info_received",
    "L": "info_received",
    "R": "awaiting_pickup",
    "C": "picked_up",
    "E": "in_transit",
    "D": "delivered",
}
CODES = list(STATUS_OF)
RANK = {"info_received": 10, "awaiting_pickup": 20, "picked_up": 30, "in_transit": 40}

numbers = itertools.count()


class Courier(RuleBasedStateMachine):
    """Two accounts of one courier: one that accepts unknown orders, one that parks them."""

    client: ClassVar[FlaskClient]
    shop: ClassVar[FlaskClient]
    drain: ClassVar[Callable[[], int]]

    def __init__(self) -> None:
        super().__init__()
        self.order_id = f"S{next(numbers)}"
        self.told: list[tuple[datetime, str]] = []
        self.bodies: list[bytes] = []
        self.registered = False
        self.drained = True

    def post(self, account: str, secret: str, body: bytes) -> int:
        headers = cottoncast_signature(body, secret)
        return self.client.post(
            f"/webhooks/{account}/orders", data=body, headers=headers
        ).status_code

    def send(self, body: bytes) -> None:
        assert self.post("cottoncast", "cottoncast-key", body) == 200
        known = self.post("cottoncast-parking", "parking-key", body)
        assert known == (200 if self.registered else 404)
        self.drained = False

    @rule(code=st.sampled_from(CODES), minute=st.integers(0, 5))
    def courier_tells(self, code: str, minute: int) -> None:
        at = after(minute)
        self.told.append((at, code))
        self.bodies.append(raw(cottoncast_status(code, at, self.order_id, None)))
        self.send(self.bodies[-1])

    @precondition(lambda self: self.bodies)
    @rule(data=st.data())
    def courier_repeats_itself(self, data: st.DataObject) -> None:
        self.send(data.draw(st.sampled_from(self.bodies)))

    @rule()
    def shop_registers(self) -> None:
        new = {"account": "cottoncast-parking", "courier_order_id": self.order_id}
        assert self.shop.post("/v1/orders", json=new).status_code == (
            200 if self.registered else 201
        )
        self.registered, self.drained = True, False

    @rule()
    def worker_drains(self) -> None:
        type(self).drain()
        self.drained = True

    @invariant()
    def shop_reads_the_truth(self) -> None:
        if not self.drained:
            return
        accounts = ["cottoncast"] if self.told else []
        accounts += ["cottoncast-parking"] if self.registered else []
        for account in accounts:
            path = f"/v1/orders/{account}/{self.order_id}"
            order = self.shop.get(path).get_json()
            assert (order["status"], order["courier_status"]) == self.truth()
            events = self.shop.get(f"{path}/events").get_json()["events"]
            assert len(events) == len(set(self.told))
            assert all(event["applied"] or event["not_applied_why"] for event in events)

    def truth(self) -> tuple[str, Any]:
        if not self.told:
            return "pending", None
        if any(code == "D" for _, code in self.told):
            return "delivered", "D"
        _, _, place = max((at, RANK[STATUS_OF[code]], CODES.index(code)) for at, code in self.told)
        return STATUS_OF[CODES[place]], CODES[place]


def test_an_order_is_where_the_courier_last_said_whatever_happens_on_the_way(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int]
) -> None:
    Courier.client, Courier.shop, Courier.drain = client, shop, staticmethod(drain)
    run_state_machine_as_test(Courier, settings=examples(0.15))
