"""What couriers' APIs want beside a GET of one order: by settings, and as a driver declares."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any, cast
from urllib.parse import parse_qs

import pytest
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from receiver.couriers.polling import (
    Access,
    Api,
    OrderNames,
    Page,
    Request,
    form_request,
    json_request,
    read_items,
)
from receiver.couriers.snapshot import Decoded, MessageContext
from receiver.db.models import APPLIED, QUARANTINED
from receiver.settings import Settings
from tests.bodies import START
from tests.oauth_courier import TOKEN_PATH, OAuthCourier, Reply, serving
from tests.polling import HOUR, World
from tests.sandbox import Clock, Courier
from workers.upkeep.rebuild import rebuild_orders

MAP = {"courier_order_id": "id", "courier_status": "state", "reference": "ref"}
WORDS = {"moving": "in_transit", "done": "delivered"}
OAUTH = {"oauth": {"token_path": TOKEN_PATH}}


class Shop:
    """An account that is polled at a courier that the test plays."""

    account = "SHOP"
    signs = False

    def __init__(self, courier: OAuthCourier) -> None:
        self.server = courier

    @property
    def ledger(self) -> list[Any]:
        return self.server.heard


MakeShop = Callable[..., tuple[World, OAuthCourier]]


@pytest.fixture
def new_shop(
    environ: dict[str, str],
    sessions: sessionmaker[Session],
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[MakeShop]:
    """Make an account of the driver `fields`, of which a test may change the API."""
    with ExitStack() as stack:

        def make(
            api: dict[str, Any] = OAUTH,
            field_map: dict[str, Any] | None = None,
            changed: dict[str, Any] | None = None,
            per_second: float = 1000,
        ) -> tuple[World, OAuthCourier]:
            driver = DRIVERS["fields"]
            assert driver.api is not None
            changes = {"per_second": per_second, **(changed or {})}
            declared = replace(driver, api=replace(driver.api, **changes))
            monkeypatch.setitem(DRIVERS, "fields", declared)
            courier = stack.enter_context(serving())
            given = {
                "DRIVER": "fields",
                "SECRETS": "shop-token-0123456789",
                "FIELDS": json.dumps({**MAP, "statuses": WORDS, **(field_map or {})}),
                "API_URL": f"{courier.url}/v1",
                "API_USER": "client-7",
                "API_TOKEN": "api-secret-9",
                "API": json.dumps(api),
            }
            own = {f"COURIER_SHOP_{name}": value for name, value in given.items()}
            settings = Settings.from_env({**environ, **own})
            clock = Clock(START)
            world = World(cast("Courier", Shop(courier)), clock, settings, sessions, redis)
            stack.callback(world.close)
            return world, courier

        yield make


def poll(world: World, name: str = "41", **given: Any) -> Any:
    """Register an order, and poll it once."""
    world.register(name, **given)
    world.clock.move_to(world.clock() + HOUR)
    world.poll_due()
    return world.order(name)


def decode(body: Any, context: MessageContext) -> Decoded:
    """Decode by the account's field map what stands under `data`; nothing there is no order."""
    return by_map(body["data"], context) if body["data"] else Decoded()


by_map = cast("Api", DRIVERS["fields"].api).decode
AN_ORDER = {"id": "41", "state": "moving"}


# By settings


def test_an_account_says_how_its_orders_are_requested(new_shop: MakeShop) -> None:
    path = "/track/{tracking_number}/{postcode}?full=1"
    api = {"path": path, "auth": "header:X-Key", "headers": {"X-Lang": "lv"}}
    world, courier = new_shop(api)
    courier.needs_token = False
    courier.pages = {"/v1/track/3S%20BEL/1234%20AB": Reply(AN_ORDER)}
    poll(world, "3S BEL", metadata={"postcode": "1234 AB"})
    (request,) = courier.heard
    assert request.path == "/v1/track/3S%20BEL/1234%20AB?full=1"
    assert (request.headers["x-key"], request.headers["x-lang"]) == ("api-secret-9", "lv")
    assert "authorization" not in request.headers


def test_once_its_parcels_are_known_an_order_is_requested_by_their_numbers(
    new_shop: MakeShop,
) -> None:
    world, courier = new_shop(
        {"path": "/track/{tracking_number}"}, {"tracking_number": "parcels", "reference": "ref"}
    )
    courier.needs_token = False
    known = {**AN_ORDER, "parcels": ["P-1", "P-2"]}
    courier.pages = {"/v1/track/41": Reply(known), "/v1/track/P-2": Reply(known)}
    poll(world)
    world.clock.move_to(world.clock() + HOUR)
    world.poll_due()
    # The first parcel's number is unknown to the courier, and the second one's is not.
    paths = [request.path.removeprefix("/v1/track/") for request in courier.heard]
    assert paths == ["41", "P-1", "P-2"]
    assert world.poll("41").unknown_since is None


def test_an_order_without_what_its_path_needs_costs_no_request(new_shop: MakeShop) -> None:
    world, courier = new_shop({"path": "/track/{tracking_number}/{postcode}"})
    poll(world)
    assert courier.heard == []
    assert world.poll("41").unknown_since is not None


def test_an_account_gets_its_access_token_where_its_settings_say(new_shop: MakeShop) -> None:
    world, courier = new_shop({"oauth": {"token_path": "/oauth/token"}})
    courier.pages = {"/v1/orders/41": Reply(AN_ORDER)}
    assert poll(world).status == "in_transit"
    assert [request.path for request in courier.heard] == ["/v1/oauth/token", "/v1/orders/41"]


def test_refused_client_credentials_pause_the_account(
    new_shop: MakeShop, caplog: pytest.LogCaptureFixture
) -> None:
    world, courier = new_shop()
    courier.token_replies = [Reply({"error": "invalid_client"}, 401)]
    poll(world)
    state = world.state()
    assert (state.pause_reason, state.paused_until) == ("refused", world.clock() + HOUR)
    assert world.poll("41").leased_until is None
    assert "api-secret-9" not in caplog.text


def test_an_oauth_server_that_fails_pauses_the_account_after_five_failures(
    new_shop: MakeShop,
) -> None:
    world, courier = new_shop()
    courier.token_replies = [Reply(b"<html>maintenance</html>") for _ in range(9)]
    for number in range(9):
        world.register(f"order-{number}")
    world.clock.move_to(world.clock() + HOUR)
    world.poll_due()
    assert (world.state().pause_reason, world.state().failures) == ("failing", 5)
    assert world.messages() == []


# As a driver declares


def test_an_order_is_requested_by_post_and_by_its_next_name_where_the_first_is_unknown(
    new_shop: MakeShop,
) -> None:
    def order_requests(access: Access, names: OrderNames) -> Iterator[Request]:
        query = {"query": "query($id: ID!) { order(id: $id) { id state } }"}
        variables = {"variables": {"id": names.courier_order_id}}
        yield json_request(f"{access.url}/graphql", {**query, **variables})
        yield form_request(f"{access.url}/find", {"ref": names.reference or ""})

    changed = {"order_requests": order_requests, "decode": decode}
    world, courier = new_shop({}, changed=changed)
    courier.needs_token = False
    courier.pages = {
        "/v1/graphql": Reply({"data": None}),
        "/v1/find": Reply({"data": {**AN_ORDER, "ref": "A&B"}}),
    }
    assert poll(world, reference="A&B").status == "in_transit"
    by_query, by_form = courier.heard
    assert (by_query.method, by_query.headers["content-type"]) == ("POST", "application/json")
    assert json.loads(by_query.body)["variables"] == {"id": "41"}
    assert by_query.headers["authorization"] == "Bearer api-secret-9"
    assert by_form.headers["content-type"] == "application/x-www-form-urlencoded"
    assert parse_qs(by_form.body.decode()) == {"ref": ["A&B"]}
    assert world.state().requests == len(courier.heard)


def test_an_answer_need_not_repeat_the_id_by_which_it_was_requested(new_shop: MakeShop) -> None:
    world, courier = new_shop({})
    courier.needs_token = False
    for name in ("41", "42"):
        courier.pages[f"/v1/orders/{name}"] = Reply({"state": "moving"})
    assert poll(world, "41").status == "in_transit"
    assert poll(world, "42").status == "in_transit"
    reports = [*rebuild_orders(world.sessions, world.settings, {}, world.clock())]
    assert sum(report.messages for report in reports) == 2
    assert [line for report in reports for line in report.unreadable] == []
    assert world.order("42").status == "in_transit"
    # Polled again, the same answer is no news.
    world.clock.move_to(world.clock() + HOUR)
    world.poll_due()
    assert len(world.messages()) == 2


@pytest.mark.parametrize("status", [202, 400])
def test_a_driver_declares_what_other_status_codes_mean(new_shop: MakeShop, status: int) -> None:
    statuses = {"success_statuses": frozenset({202}), "unknown_statuses": frozenset({400})}
    world, courier = new_shop({}, changed=statuses)
    courier.needs_token = False
    courier.pages = {"/v1/orders/41": Reply(AN_ORDER, status)}
    poll(world)
    assert (world.poll("41").unknown_since is None) == (status == 202)
    assert world.state().failures == 0


def test_an_answer_may_be_a_list_that_also_holds_other_orders(new_shop: MakeShop) -> None:
    world, courier = new_shop(
        {"path": "/search?ref={reference}"}, {"orders": "@"}, {"answer_body": "array"}
    )
    courier.needs_token = False
    courier.pages = {"/v1/search": Reply([{"id": "77", "state": "done"}, AN_ORDER])}
    assert poll(world).status == "in_transit"
    # It was not asked about 77, which the shop has not registered.
    (message,) = world.messages()
    assert message.outcome == APPLIED


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'"text"',
        b"<html>Maintenance</html>",
        b'{"a": 1',
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b"[" * 5_000,
    ],
)
def test_an_answer_that_is_no_json_of_its_kind_is_quarantined_as_it_came(
    new_shop: MakeShop, body: bytes
) -> None:
    world, courier = new_shop({}, changed={"answer_body": "object"})
    courier.needs_token = False
    courier.pages = {"/v1/orders/41": Reply(body)}
    poll(world)
    (message,) = world.messages()
    assert (message.outcome, message.body) == (QUARANTINED, body)
    assert "cannot be read" in (message.reason or "")
    assert world.state().failures == 1


def test_an_empty_answer_is_a_failure_of_which_nothing_is_kept(new_shop: MakeShop) -> None:
    world, courier = new_shop({})
    courier.needs_token = False
    courier.pages = {"/v1/orders/41": Reply(b"")}
    poll(world)
    assert (world.messages(), world.state().failures) == ([], 1)


# Lists


def list_request(access: Access, _since: datetime, cursor: str | None) -> Request:
    return Request(cursor or f"{access.url}/list")


def read_list_page(raw: bytes, _cursor: str | None) -> Page:
    bodies, page = read_items(raw, "items")
    return Page(bodies, page.get("next"))


LIST = {"list_request": list_request, "read_list_page": read_list_page}


@pytest.mark.parametrize(
    ("next_urls", "pages"),
    [
        (["{api}/list2", None], 2),
        (["{api}/list2", "{api}/list2"], 2),
        (["{api}/list2", "{api}/list"], 3),
        (["http://127.0.0.1:9/list"], 1),
        (["{api}/../list2"], 1),
    ],
    ids=["two pages", "itself", "circle", "another host", "up the path"],
)
def test_pages_are_followed_under_the_api_and_each_once(
    new_shop: MakeShop, next_urls: list[str | None], pages: int
) -> None:
    world, courier = new_shop({}, changed=LIST)
    courier.needs_token = False
    names = [f"order-{number}" for number in range(8)]
    for name in names:
        world.register(name)
        courier.pages[f"/v1/orders/{name}"] = Reply({"id": name, "state": "done"})
    for number, url in enumerate(next_urls):
        listed = names[:4] if number == 0 else []
        items = [{"id": name, "state": "done"} for name in listed]
        next_url = url and url.format(api=f"{courier.url}/v1")
        path = f"/v1/list{number + 1 if number else ''}"
        courier.pages[path] = Reply({"items": items, "next": next_url})
    world.clock.move_to(world.clock() + HOUR)
    world.poll_due()
    lists = [request for request in courier.heard if "/list" in request.path]
    assert (len(lists), len(courier.heard) - len(lists)) == (pages, 4)
    assert {world.order(name).status for name in names} == {"delivered"}


def test_a_list_that_never_ends_costs_no_more_requests_than_its_orders(new_shop: MakeShop) -> None:
    def read_endless_page(raw: bytes, cursor: str | None) -> Page:
        return Page(read_items(raw, "items")[0], f"{(cursor or '')}x")

    def request(access: Access, _since: datetime, cursor: str | None) -> Request:
        return Request(f"{access.url}/list?after={cursor or ''}")

    changed = {"list_request": request, "read_list_page": read_endless_page}
    world, courier = new_shop({}, changed=changed)
    courier.needs_token = False
    courier.pages["/v1/list"] = Reply({"items": []})
    for number in range(6):
        world.register(f"order-{number}")
    world.clock.move_to(world.clock() + HOUR)
    world.poll_due()
    assert len(courier.requests("/v1/list")) == 6
