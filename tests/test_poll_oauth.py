"""Polling a courier that gives out access tokens and lists its orders by cursor: Uber Direct.

Its stand-in is the one server of both: the OAuth server and the API.
"""

import json
import random
import secrets
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qsl

import pytest

from receiver.couriers.contract import SampleState
from receiver.couriers.uber import driver
from tests.bodies import START
from tests.polling import HOUR, MINUTE, MakeWorld, World
from tests.sandbox import Courier, Order, evenly
from tests.sandbox.webhooks import Message, RetryPolicy
from tests.sandbox.wire import Answer, Request, as_json

TOKEN_PATH = "/oauth/v2/token"
CUSTOMER = "cus_Ex4mple"
ONGOING = {"pending", "pickup", "pickup_complete", "dropoff"}


class Uber(Courier):
    """Deliveries of one customer, listed in pages, for whoever has an access token."""

    name = "uber"
    prefix = "/v1"
    first_state = "pending"
    signs = True
    retry_policy = RetryPolicy(accepts=lambda status: status == 200)
    client_id = "client-1"

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.access_tokens: list[str] = []
        self.token_requests = 0

    def environ(self) -> dict[str, str]:
        own = {
            "API_USER": self.client_id,
            "CUSTOMER_ID": CUSTOMER,
            "API": json.dumps({"oauth": {"token_url": f"{self.origin}{TOKEN_PATH}"}}),
        }
        return super().environ() | {
            f"COURIER_{self.account}_{name}": value for name, value in own.items()
        }

    def name_order(self, number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
        return f"del_{number}_{chance.getrandbits(64):016x}", {}

    def authorized(self, request: Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return request.path == TOKEN_PATH or (scheme == "Bearer" and token in self.access_tokens)

    def route(self, request: Request) -> Answer:
        if request.path == TOKEN_PATH:
            return self._give_token(request)
        match request.parts(self.prefix):
            case ("customers", customer, "deliveries") if customer == CUSTOMER:
                return self._list(request.arguments)
            case ("customers", customer, "deliveries", name) if customer == CUSTOMER:
                order = self.find(name)
                return self.error(404) if order is None else self.show(order)
        return self.error(404)

    def _give_token(self, request: Request) -> Answer:
        """Source: Authentication: a form with the client's id and secret."""
        self.token_requests += 1
        form = dict(parse_qsl(request.body.decode()))
        if form != {
            "client_id": self.client_id,
            "client_secret": self.token,
            "grant_type": "client_credentials",
            "scope": "eats.deliveries",
        }:
            return as_json({"error": "invalid_client"}, 401)
        self.access_tokens.append(secrets.token_urlsafe())
        token = {"access_token": self.access_tokens[-1], "token_type": "Bearer"}
        return as_json({**token, "expires_in": 2_592_000, "scope": "eats.deliveries"})

    def _list(self, arguments: dict[str, str]) -> Answer:
        assert arguments["filter"] == "ongoing"
        offset, limit = int(arguments["offset"]), int(arguments["limit"])
        ongoing = [order for order in self.orders if self._state(order) in ONGOING]
        left = len(ongoing) > offset + limit
        href = f"{self.url}/customers/{CUSTOMER}/deliveries?limit={limit}&offset={offset + limit}"
        shown = [self._body(order) for order in ongoing[offset : offset + limit]]
        return as_json({"object": "list", "data": shown, "next_href": href if left else ""})

    def _state(self, order: Order) -> str:
        return order.reached(self.now())[-1].state

    def _body(self, order: Order) -> dict[str, Any]:
        return {"id": order.id, "status": self._state(order), "external_id": order.reference}

    def show(self, order: Order) -> Answer:
        return as_json(self._body(order))

    def error(self, status: int, message: str = "") -> Answer:
        return as_json({"kind": "error", "code": f"error_{status}", "message": message}, status)

    def webhook_message(self, order: Order, number: int) -> Message:
        step = order.life[number]
        return Message(driver.sample_body(SampleState(order.id, step.state, None, step.at)))


@pytest.fixture
def world(new_world: MakeWorld) -> World:
    return new_world(Uber)


def uber(world: World) -> Uber:
    assert isinstance(world.courier, Uber)
    return world.courier


def test_one_access_token_serves_all_pages_of_the_list(world: World) -> None:
    orders = world.place_many(250, evenly("pending", "pickup", start=START, apart=10 * MINUTE))
    world.clock.move_to(START + HOUR)
    assert world.poll_due() == 1 + 3
    assert uber(world).token_requests == 1
    assert {world.order(order.id).status for order in (orders[0], orders[249])} == {
        "awaiting_pickup"
    }
    assert world.order(orders[0].id).reference == orders[0].reference


def test_an_order_that_has_ended_is_in_no_list_and_is_polled_by_its_id(world: World) -> None:
    world.place_many(20, evenly("pending", start=START, apart=MINUTE))
    ended = world.place(evenly("pending", "delivered", start=START, apart=10 * MINUTE))
    world.clock.move_to(START + HOUR)
    assert world.poll_due() == 1 + 1 + 1
    assert world.order(ended.id).status == "delivered"


def test_an_access_token_that_is_refused_is_renewed_once(world: World) -> None:
    order = world.place(evenly("pending", "pickup", start=START, apart=3 * HOUR))
    world.clock.move_to(START + HOUR)
    assert world.poll_due() == 2
    uber(world).access_tokens.clear()
    world.clock.move_to(START + 4 * HOUR)
    # Refused, a new token, and again.
    assert world.poll_due() == 3
    assert uber(world).token_requests == 2
    assert world.order(order.id).status == "awaiting_pickup"


def test_wrong_client_credentials_pause_the_account(world: World) -> None:
    uber(world).client_id = "another"
    world.place(evenly("pending", start=START, apart=HOUR))
    world.clock.move_to(START + HOUR)
    assert world.poll_due() == 1
    assert world.state().paused_until == world.clock() + timedelta(hours=1)
