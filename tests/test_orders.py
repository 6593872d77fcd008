"""The shop's side of orders: the shapes, answers and bounds of CONTRACT.md, section 3."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs
from werkzeug.test import TestResponse

from receiver.cli.sending.webhook_request import build_request
from receiver.couriers import DRIVERS
from receiver.db.models import Order
from receiver.settings import Settings
from tests.bodies import (
    START,
    cottoncast_shipment,
    cottoncast_status,
    history_entry,
    life,
    payload,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tiramizoo_snapshots,
)
from tests.hostile import HOSTILE
from tests.hypothesis_profiles import examples
from tests.shop import deliver, fill, get, problem_of

Drain = Callable[[], int]
Sessions = sessionmaker[Session]

UUID = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11"
EXAMPLE = "2a9eeeb3-16ba-4184-b894-c9734f613e93"
API_TOKEN = "test-api-token-01"

# What anything at the API may be given: all of it is somebody's text, and none of it a command.


def ids(page: dict[str, Any]) -> list[str]:
    return [order["courier_order_id"] for order in page["orders"]]


def is_stamp(text: str) -> bool:
    return text.endswith("Z") and datetime.fromisoformat(text).utcoffset() == timedelta(0)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failures are logged with their traceback, which takes a terminal seconds to draw."""
    with capture_logs():
        yield


# One order


def test_order_has_the_shape_of_the_contract(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, payload("tiramizoo/order_web_hook.json"))
    drain()
    order = get(shop, f"/orders/tiramizoo/{EXAMPLE}")
    stamps = {name: order.pop(name) for name in ("last_heard_at", "created_at", "updated_at")}
    stamps["received_at"] = order["source"].pop("received_at")
    message_id = order["source"].pop("message_id")
    assert order == {
        "account": "tiramizoo",
        "courier": "tiramizoo",
        "courier_order_id": EXAMPLE,
        "identifiers": {"identifier": "ZVW8GV", "tracking_code": "ID4K7-EHQX-62RA"},
        "reference": "external id",
        "status": "info_received",
        "status_group": "pre_transit",
        "courier_status": "created",
        "status_at": "2012-04-16T07:00:00Z",
        "reason": None,
        "is_terminal": False,
        "needs_attention": False,
        "source": {"kind": "webhook", "trust": "token"},
        "tracking_url": "http://www.tiramizoo.com/orders/ID4K7EHQX62RA/tracking_status?locale=en",
        "eta": None,
        "label_url": "http://www.tiramizoo.com/orders/ID4K7EHQX62RA/labels.pdf",
        "promised": {"from": "2012-04-17T08:00:00Z", "to": "2012-04-17T10:00:00Z"},
        "pickup_at": None,
        "parcels": [
            {
                "tracking_number": "18A24901BE5D49C3",
                "tracking_url": None,
                "courier_name": None,
                "status": "info_received",
            }
        ],
        "parcel_count": 1,
        "milestones": {"info_received": "2012-04-16T07:00:00Z"},
        "polling": {
            "next_poll_at": None,
            "last_polled_at": None,
            "failures": 0,
            "unknown_since": None,
            "stopped_at": None,
            "stop_reason": None,
        },
        "tracking": "active",
        "sample": False,
        "metadata": {},
        "version": 1,
    }
    assert all(map(is_stamp, stamps.values()))
    assert isinstance(message_id, str)
    assert message_id


# CONTRACT.md, section 4, for the bodies that the couriers' documents show.
PAYLOADS = [
    ("tiramizoo", "tiramizoo/order_web_hook.json", EXAMPLE, "info_received", "created"),
    (
        "tiramizoo",
        "tiramizoo/show_order.json",
        "ca8dcb4c-ef0f-4564-a87a-64b40fbeb944",
        "info_received",
        "created",
    ),
    (
        "tiramizoo",
        "tiramizoo/show_order_delivery_failed.json",
        "fcf32ce9-7ab9-4a0c-96bd-04f62332396d",
        "delivery_failed",
        "delivery_failed",
    ),
    (
        "tiramizoo",
        "tiramizoo/show_order_v1.json",
        "a505ff78-67c5-4fbd-ab4f-a8db81f2c45a",
        "info_received",
        "processing",
    ),
    ("cottoncast", "cottoncast/orderstatus.json", "3AF7", "picked_up", "C"),
]


@pytest.mark.parametrize(("account", "name", "order_id", "status", "word"), PAYLOADS)
def test_documented_body_is_read_back_with_the_contracts_status(
    shop: FlaskClient, drain: Drain, account: str, name: str, order_id: str, status: str, word: str
) -> None:
    deliver(shop, payload(name), account=account)
    drain()
    order = get(shop, f"/orders/{account}/{order_id}")
    assert (order["status"], order["courier_status"]) == (status, word)
    assert order["source"]["trust"] == ("signed" if account == "cottoncast" else "token")


def test_documented_list_is_read_back_order_by_order(shop: FlaskClient, drain: Drain) -> None:
    listed = payload("tiramizoo/list_orders.json")["orders"]
    deliver(shop, *listed)
    drain()
    for order in listed:
        assert get(shop, f"/orders/tiramizoo/{order['uuid']}")["status"] == "info_received"


@pytest.mark.parametrize("name", DRIVERS)
def test_sample_of_each_driver_is_read_back(
    shop: FlaskClient, drain: Drain, settings: Settings, name: str
) -> None:
    driver, account = DRIVERS[name], settings.accounts[name]
    field_map = account.field_map
    message = build_request(account, "orders", "", driver.sample_body(field_map=field_map))
    answer = shop.post(message.url, data=message.body, headers=dict(message.headers))
    assert answer.status_code == 200
    drain()
    order = get(shop, f"/orders/{name}/{driver.sample_order_id}")
    assert (order["courier"], order["courier_order_id"]) == (name, driver.sample_order_id)
    assert order["status"] == driver.map_word(driver.sample_word(field_map), field_map)


def test_order_with_everything_in_it(shop: FlaskClient, drain: Drain) -> None:
    body = shipmentapi_order(
        status="accepted",
        client_reference="S-1",
        carrier="DPD",
        tracking_number="0140",
        tracking_url="https://dpd.example/0140",
        label_url="https://example.com/1.pdf",
        pickup_time="2026-04-17T14:00:00+02:00",
        updated_at=START.isoformat(),
    )
    deliver(shop, body, account="shipmentapi")
    drain()
    order = get(shop, "/orders/shipmentapi/SA-2001")
    assert order["status"] == "awaiting_pickup"
    assert order["pickup_at"] == "2026-04-17T12:00:00Z"
    assert order["label_url"] == "https://example.com/1.pdf"
    assert order["tracking_url"] == "https://dpd.example/0140"
    assert order["parcels"] == [
        {
            "tracking_number": "0140",
            "tracking_url": "https://dpd.example/0140",
            "courier_name": "DPD",
            "status": "awaiting_pickup",
        }
    ]


@pytest.mark.parametrize(
    ("states", "terminal", "attention", "group"),
    [
        (("created",), False, False, "pre_transit"),
        (("created", "delivery_failed"), False, True, "exception"),
        (("created", "picked_up", "delivered"), True, False, "delivered"),
        (("created", "cancelled"), True, False, "cancelled"),
        (("created", "delivery_failed", "returned"), True, False, "returned"),
        (("created", "cancelled", "picked_up"), False, True, "in_transit"),
    ],
)
def test_order_says_whether_it_has_ended_and_whether_a_person_should_look(
    shop: FlaskClient,
    drain: Drain,
    states: tuple[str, ...],
    terminal: bool,
    attention: bool,
    group: str,
) -> None:
    deliver(shop, tiramizoo_order(UUID, life(*states)))
    drain()
    order = get(shop, f"/orders/tiramizoo/{UUID}")
    assert (order["is_terminal"], order["needs_attention"]) == (terminal, attention)
    assert order["status_group"] == group


# Which order


@pytest.mark.parametrize("name", [EXAMPLE, "ZVW8GV", "ID4K7-EHQX-62RA"])
def test_order_is_found_by_any_identifier_the_courier_gave_it(
    shop: FlaskClient, drain: Drain, name: str
) -> None:
    deliver(shop, payload("tiramizoo/order_web_hook.json"))
    drain()
    assert get(shop, f"/orders/tiramizoo/{name}")["courier_order_id"] == EXAMPLE
    assert len(get(shop, f"/orders/tiramizoo/{name}/events")["events"]) == 1


def test_order_is_not_found_under_another_account(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, payload("tiramizoo/order_web_hook.json"))
    drain()
    for account in ("tiramizoo-parking", "cottoncast", "nowhere"):
        problem_of(shop.get(f"/v1/orders/{account}/{EXAMPLE}"), 404)


@pytest.mark.parametrize("rest", ["", "/events"])
def test_order_that_nobody_knows_is_not_found(shop: FlaskClient, rest: str) -> None:
    problem = problem_of(shop.get(f"/v1/orders/tiramizoo/nowhere{rest}"), 404)
    assert "nowhere" in problem["detail"]


def test_identifier_that_several_orders_carry_is_refused(shop: FlaskClient, drain: Drain) -> None:
    for order_id in ("one", "other"):
        deliver(shop, tiramizoo_order(order_id, identifier="ZVW8GV"))
    drain()
    problem_of(shop.get("/v1/orders/tiramizoo/ZVW8GV"), 409)
    assert get(shop, "/orders/tiramizoo/one")["courier_order_id"] == "one"


def test_courier_order_id_counts_over_another_orders_identifier(
    shop: FlaskClient, drain: Drain
) -> None:
    deliver(shop, tiramizoo_order("A"), tiramizoo_order("B", identifier="A"))
    drain()
    assert get(shop, "/orders/tiramizoo/A")["courier_order_id"] == "A"


@pytest.mark.parametrize(
    "order_id",
    ["a/b", "a//b", "a/", "a b", "a+b", "a%b", "a%2Fb", "a?b", "a#b", "é", "🚚", "..", "a/../b"],
)
def test_id_of_any_characters_is_found(shop: FlaskClient, drain: Drain, order_id: str) -> None:
    deliver(shop, cottoncast_status("E", order_id=order_id), account="cottoncast")
    drain()
    at = f"/v1/orders/cottoncast/{quote(order_id, safe='')}"
    answer = shop.get(at)
    assert answer.status_code == 200
    assert json.loads(answer.data)["courier_order_id"] == order_id
    assert len(json.loads(shop.get(f"{at}/events").data)["events"]) == 1


# Versions and ETags


def test_etag_is_strong_and_unchanged_order_is_not_sent_again(
    shop: FlaskClient, drain: Drain
) -> None:
    deliver(shop, tiramizoo_order(UUID))
    drain()
    etag = shop.get(f"/v1/orders/tiramizoo/{UUID}").headers["ETag"]
    assert etag.startswith('"')
    for told in (etag, f"W/{etag}", f'"7", {etag}', "*"):
        answer = shop.get(f"/v1/orders/tiramizoo/{UUID}", headers={"If-None-Match": told})
        assert (answer.status_code, answer.data) == (304, b"")
        assert answer.headers["ETag"] == etag


def test_a_name_that_comes_to_mean_another_order_has_another_etag(
    shop: FlaskClient, drain: Drain
) -> None:
    deliver(shop, tiramizoo_order(UUID, identifier="SHARED"))
    drain()
    path = "/v1/orders/tiramizoo/SHARED"
    etag = shop.get(path).headers["ETag"]
    assert shop.get(path, headers={"If-None-Match": etag}).status_code == 304
    deliver(shop, tiramizoo_order("SHARED"))
    drain()
    answer = shop.get(path, headers={"If-None-Match": etag})
    assert answer.status_code == 200
    assert answer.headers["ETag"] != etag


def test_what_is_told_of_orders_is_kept_in_no_shared_cache(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, tiramizoo_order(UUID))
    drain()
    for path in ("", f"/tiramizoo/{UUID}", f"/tiramizoo/{UUID}/events", "/tiramizoo/nobody"):
        headers = shop.get(f"/v1/orders{path}").headers
        assert headers["Cache-Control"].startswith("private, no-")
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_changed_order_is_sent_with_a_new_etag(shop: FlaskClient, drain: Drain) -> None:
    known: list[tuple[int, str]] = []
    for snapshot in tiramizoo_snapshots(UUID, life("created", "picked_up", "delivered")):
        deliver(shop, snapshot)
        drain()
        headers = {"If-None-Match": known[-1][1]} if known else {}
        answer = shop.get(f"/v1/orders/tiramizoo/{UUID}", headers=headers)
        assert answer.status_code == 200
        known.append((json.loads(answer.data)["version"], answer.headers["ETag"]))
    assert [version for version, _ in known] == [1, 2, 3]
    assert len({etag for _, etag in known}) == 3


def test_repeated_body_changes_nothing(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, tiramizoo_order(UUID))
    drain()
    before = get(shop, f"/orders/tiramizoo/{UUID}")
    deliver(shop, tiramizoo_order(UUID), tiramizoo_order(UUID))
    assert drain() == 0
    assert get(shop, f"/orders/tiramizoo/{UUID}") == before


def test_updated_at_moves_with_the_version(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, tiramizoo_order(UUID))
    drain()
    before = get(shop, f"/orders/tiramizoo/{UUID}")
    deliver(shop, tiramizoo_order(UUID, life("created", "picked_up")))
    drain()
    after = get(shop, f"/orders/tiramizoo/{UUID}")
    assert after["updated_at"] > before["updated_at"]
    assert after["created_at"] == before["created_at"]


# The timeline


def test_event_has_the_shape_of_the_contract(shop: FlaskClient, drain: Drain) -> None:
    entry = history_entry("abort_delivery", START, "delivery_failed")
    deliver(shop, tiramizoo_order(UUID, {"delivery_failed": START}, history=[entry]))
    drain()
    (event,) = get(shop, f"/orders/tiramizoo/{UUID}/events")["events"]
    assert is_stamp(event.pop("received_at"))
    assert event.pop("source").items() >= {"kind": "webhook", "trust": "token"}.items()
    shown: dict[str, Any] = {
        "occurred_at": "2026-04-16T07:00:00Z",
        "status": "delivery_failed",
        "courier_status": "delivery_failed",
        "reason": "abort_delivery",
        "parcel": None,
        "applied": True,
        "not_applied_why": None,
        "flags": [],
    }
    assert {name: event[name] for name in shown} == shown


def test_timeline_is_told_oldest_first_with_what_did_not_apply(
    shop: FlaskClient, drain: Drain
) -> None:
    times = life("created", "delivered", "picked_up")
    deliver(shop, tiramizoo_order(UUID, times, state="picked_up"))
    drain()
    events = get(shop, f"/orders/tiramizoo/{UUID}/events")["events"]
    assert [event["courier_status"] for event in events] == list(times)
    assert [event["applied"] for event in events] == [True, True, False]
    assert events[2]["not_applied_why"] == "picked_up cannot follow delivered"


def test_states_of_one_second_are_told_by_rank(shop: FlaskClient, drain: Drain) -> None:
    times = dict.fromkeys(["picked_up", "delivered", "created", "dispatched"], START)
    deliver(shop, tiramizoo_order(UUID, times, state="delivered"))
    drain()
    events = get(shop, f"/orders/tiramizoo/{UUID}/events")["events"]
    words = [event["courier_status"] for event in events]
    assert words == ["created", "dispatched", "picked_up", "delivered"]


def test_run_of_equal_observations_is_shown_as_one_event(shop: FlaskClient, drain: Drain) -> None:
    bodies = [shipmentapi_order(status="shipped", note=number) for number in range(4)]
    deliver(shop, *bodies, account="shipmentapi")
    drain()
    (event,) = get(shop, "/orders/shipmentapi/SA-2001/events")["events"]
    assert (event["status"], event["flags"]) == ("in_transit", ["time_inferred"])


def test_event_of_a_parcel_names_it(shop: FlaskClient, drain: Drain) -> None:
    body = cottoncast_status("E", shipments=[cottoncast_shipment("P1", "I")])
    deliver(shop, body, account="cottoncast")
    drain()
    events = get(shop, "/orders/cottoncast/3AF7/events")["events"]
    assert {event["parcel"]: event["status"] for event in events} == {
        None: "in_transit",
        "P1": "exception",
    }


def test_unknown_word_is_on_the_timeline(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, cottoncast_status("Q"), account="cottoncast")
    drain()
    order = get(shop, "/orders/cottoncast/3AF7")
    assert (order["status"], order["courier_status"]) == ("unknown", "Q")
    assert order["needs_attention"]
    (event,) = get(shop, "/orders/cottoncast/3AF7/events")["events"]
    assert (event["status"], event["applied"]) == ("unknown", False)
    assert "'Q'" in event["not_applied_why"]


# Lists


def test_list_has_the_shape_of_the_contract(shop: FlaskClient, drain: Drain) -> None:
    assert get(shop, "/orders") == {"orders": [], "next_cursor": None}
    deliver(shop, tiramizoo_order(UUID, external_id="41"))
    drain()
    listed = get(shop, "/orders", reference="41")
    assert listed == {"orders": [get(shop, f"/orders/tiramizoo/{UUID}")], "next_cursor": None}


DAY = datetime(2026, 4, 16, tzinfo=UTC)


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, [3, 2, 1, 0]),
        ({"reference": "41"}, [3, 0]),
        ({"reference": "4"}, []),
        ({"account": "cottoncast"}, [1]),
        ({"account": "shipmentapi"}, []),
        ({"status": "delivered"}, [2, 1]),
        ({"status_group": "delivered"}, [2, 1]),
        ({"status": "pending , lost"}, [3, 0]),
        ({"status_group": "exception,pre_transit"}, [3, 0]),
        ({"status": "lost", "status_group": "delivered"}, []),
        ({"status_group": "exception"}, [3]),
        ({"status_group": "pre_transit"}, [0]),
        ({"needs_attention": "true"}, [3]),
        ({"needs_attention": "1"}, [3]),
        ({"needs_attention": "false"}, [2, 1, 0]),
        ({"updated_since": "2026-04-16T02:00:00Z"}, [3, 2]),
        ({"updated_since": "2026-04-16T04:00:00+02:00"}, [3, 2]),
        ({"updated_since": "2026-04-16T02:00:00.000001Z"}, [3]),
        ({"updated_since": "0001-01-01T00:00:00Z"}, [3, 2, 1, 0]),
        ({"updated_since": "9999-12-31T23:59:59Z"}, []),
        ({"reference": "41", "status": "lost"}, [3]),
        ({"reference": "41", "status": "delivered"}, []),
    ],
)
def test_filters_narrow_the_list(
    shop: FlaskClient, sessions: Sessions, parameters: dict[str, str], found: list[int]
) -> None:
    rows: list[dict[str, Any]] = [
        {"reference": "41"},
        {"account": "cottoncast", "status": "delivered"},
        {"reference": "42", "status": "delivered"},
        {"reference": "41", "status": "lost", "needs_attention": True},
    ]
    for hour, row in enumerate(rows):
        row["updated_at"] = DAY + timedelta(hours=hour)
    fill(sessions, *rows)
    assert ids(get(shop, "/orders", **parameters)) == [f"order {number}" for number in found]


def test_pages_hold_every_order_once(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, *({} for _ in range(7)))
    pages = []
    parameters: dict[str, Any] = {"limit": 3}
    while True:
        page = get(shop, "/orders", **parameters)
        pages.append(ids(page))
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert [order for page in pages for order in page] == [f"order {n}" for n in range(6, -1, -1)]


def test_last_page_that_is_full_has_no_next(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, *({} for _ in range(3)))
    page = get(shop, "/orders", limit=3)
    assert (len(page["orders"]), page["next_cursor"]) == (3, None)


def test_pages_do_not_shift_under_inserts_and_updates(
    shop: FlaskClient, sessions: Sessions
) -> None:
    fill(sessions, *({} for _ in range(9)))
    seen: list[str] = []
    parameters: dict[str, Any] = {"limit": 2}
    for number in range(5):
        page = get(shop, "/orders", **parameters)
        seen += ids(page)
        parameters["cursor"] = page["next_cursor"]
        fill(sessions, {"courier_order_id": f"new {number}"})
        with sessions.begin() as session:
            for order in session.query(Order).where(Order.courier_order_id.like("order %")):
                order.version += 1
                order.updated_at += timedelta(seconds=1)
    assert parameters["cursor"] is None
    assert seen == [f"order {number}" for number in range(8, -1, -1)]


def test_pages_keep_their_filters(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, *({"reference": f"{number % 2}"} for number in range(6)))
    first = get(shop, "/orders", reference="1", limit=2)
    second = get(shop, "/orders", reference="1", limit=2, cursor=first["next_cursor"])
    assert ids(first) + ids(second) == ["order 5", "order 3", "order 1"]


@pytest.mark.parametrize("limit", [1, 200])
def test_limit_within_its_bounds(shop: FlaskClient, sessions: Sessions, limit: int) -> None:
    fill(sessions, *({} for _ in range(3)))
    assert len(get(shop, "/orders", limit=limit)["orders"]) == min(3, limit)


def test_limit_is_fifty_where_nothing_is_said(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, *({} for _ in range(51)))
    assert len(get(shop, "/orders")["orders"]) == 50


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "-1"),
        ("limit", "many"),
        ("limit", ""),
        ("limit", "1.5"),
        ("status", "teleported"),
        ("status_group", "teleported"),
        ("needs_attention", "perhaps"),
        ("status", ""),
        ("status", "lost,,delivered"),
        ("status", "lost, "),
        ("status", ",".join(f"status-{number}" for number in range(600))),
        ("status_group", "delivered;lost"),
        ("created_since", ""),
        ("created_until", "tomorrow"),
        ("updated_until", "2026-04-16T07:00:00"),
        ("tracking_number", " "),
        ("updated_since", "yesterday"),
        ("updated_since", "2026-04-16T07:00:00"),
        ("updated_since", "2026-04-16"),
        ("updated_since", "0001-01-01T00:00:00+14:00"),
        ("updated_since", "1776322800"),
        ("reference", ""),
        ("reference", "x" * 256),
        ("reference", "\x00"),
        ("account", ""),
        ("stauts", "delivered"),
        ("page", "2"),
        ("'; DROP TABLE orders; --", "x"),
        ("\x00", "x"),
    ],
)
def test_parameter_that_cannot_be_used_is_named(shop: FlaskClient, name: str, value: str) -> None:
    problem = problem_of(shop.get("/v1/orders", query_string={name: value}), 422)
    assert list(problem["errors"]["query"]) == [name]


@pytest.mark.parametrize("column", ["created", "updated"])
def test_a_range_that_ends_before_it_begins_is_refused(shop: FlaskClient, column: str) -> None:
    noon = {f"{column}_since": "2026-04-16T12:00:00Z"}
    assert (
        get(shop, "/orders", **noon, **{f"{column}_until": "2026-04-16T12:00:00Z"})["orders"] == []
    )
    sooner = {f"{column}_until": "2026-04-16T13:59:00+02:00"}
    problem = problem_of(shop.get("/v1/orders", query_string=noon | sooner), 422)
    assert list(problem["errors"]["query"]) == [f"{column}_until"]


def test_a_list_of_an_account_that_does_not_exist_is_404(
    shop: FlaskClient, sessions: Sessions
) -> None:
    problem_of(shop.get("/v1/orders?account=tiramizo"), 404)
    # One that was switched off is there as long as its orders are.
    fill(sessions, {"account": "switched-off"})
    assert len(get(shop, "/orders", account="switched-off")["orders"]) == 1
    assert get(shop, "/orders", account="switched-off", status="lost")["orders"] == []


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "!!!", "bzE", "bzE=", "b3g", "é", "\x00", "b" * 201, "bzk5OTk5OTk5OTk5OTk5OTk5OTk"],
)
def test_cursor_that_is_not_ours_is_refused(
    shop: FlaskClient, sessions: Sessions, cursor: str
) -> None:
    """Or, where it is in the shape of ours, it is a place in the list."""
    fill(sessions, {}, {})
    answer = shop.get("/v1/orders", query_string={"cursor": cursor})
    if cursor.rstrip("=") == "bzE":
        assert answer.status_code == 200
        assert ids(json.loads(answer.data)) == []
    else:
        problem_of(answer, 422)


# Tokens


PATHS = [
    "/v1",
    "/v1/",
    "/v1/orders",
    "/v1/orders/",
    f"/v1/orders/tiramizoo/{UUID}",
    f"/v1/orders/tiramizoo/{UUID}/events",
    "/v1/tours/tiramizoo/EDFIL1-1",
    "/v1/statuses",
    "/v1/openapi.json",
    "/v1/docs",
    "/v1/nowhere",
    "/v1//orders",
    "/v1/%00",
]


@pytest.mark.parametrize("path", PATHS)
def test_without_a_token_every_path_and_method_looks_alike(client: FlaskClient, path: str) -> None:
    for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE", "PUT"):
        answer = client.open(path, method=method)
        assert answer.status_code == 401, method
        assert answer.headers["WWW-Authenticate"].startswith("Bearer"), method
        assert answer.mimetype == "application/problem+json", method
        assert "Allow" not in answer.headers, method


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        f"Bearer {API_TOKEN}x",
        f"Bearer {API_TOKEN[:-1]}",
        f"Basic {API_TOKEN}",
        API_TOKEN,
        f"Bearer {API_TOKEN} {API_TOKEN}",
        "Bearer test-metrics-token",
        "Bearer tiramizoo-token",
        "Bearer é",
    ],
)
def test_token_that_is_not_the_shops_opens_nothing(client: FlaskClient, value: str) -> None:
    answer = client.get("/v1/statuses", headers={"Authorization": value})
    problem_of(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_scheme_of_the_token_may_be_in_any_case(client: FlaskClient, scheme: str) -> None:
    answer = client.get("/v1/statuses", headers={"Authorization": f"{scheme} {API_TOKEN}"})
    assert answer.status_code == 200


def test_token_in_the_query_opens_nothing(client: FlaskClient) -> None:
    problem_of(client.get("/v1/statuses", query_string={"api_token": API_TOKEN}), 401)


@pytest.mark.parametrize("path", ["/v1/nowhere", "/v1", "/v1/orders/tiramizoo", "/v1/%00"])
def test_unknown_path_is_a_problem(shop: FlaskClient, path: str) -> None:
    problem_of(shop.get(path), 404)


def test_wrong_method_is_a_problem_that_names_the_right_ones(shop: FlaskClient) -> None:
    answer = shop.put("/v1/orders", json={})
    problem_of(answer, 405)
    assert {"GET", "POST"} <= set(answer.headers["Allow"].split(", "))


# Registration


def registered(shop: FlaskClient, /, **fields: Any) -> TestResponse:
    order = {"account": "cottoncast", "courier_order_id": "3AF7", **fields}
    return shop.post("/v1/orders", json=order)


def test_registration_makes_a_pending_order(shop: FlaskClient) -> None:
    answer = registered(shop, reference="41", metadata={"channel": "web"})
    assert answer.status_code == 201
    order = json.loads(answer.data)
    assert order == get(shop, "/orders/cottoncast/3AF7")
    expected: dict[str, Any] = {
        "account": "cottoncast",
        "courier": "cottoncast",
        "courier_order_id": "3AF7",
        "reference": "41",
        "metadata": {"channel": "web"},
        "status": "pending",
        "status_group": "pre_transit",
        "courier_status": None,
        "status_at": None,
        "source": None,
        "last_heard_at": None,
        "milestones": {},
        "parcels": [],
        "parcel_count": 0,
        "identifiers": {},
        "version": 1,
        "is_terminal": False,
        "needs_attention": False,
    }
    assert {name: order[name] for name in expected} == expected
    assert get(shop, "/orders/cottoncast/3AF7/events") == {"events": [], "next_cursor": None}


@pytest.mark.parametrize("fields", [{}, {"reference": None}, {"metadata": None}, {"metadata": {}}])
def test_registration_needs_only_account_and_id(shop: FlaskClient, fields: dict[str, Any]) -> None:
    answer = registered(shop, **fields)
    assert answer.status_code == 201
    order = json.loads(answer.data)
    assert (order["reference"], order["metadata"]) == (None, {})


def test_registration_names_the_place_and_the_etag_of_the_order(
    new_app: Callable[..., Flask], sessions: Sessions
) -> None:
    """Of an order that is polled, at a time which was computed just now."""
    shop = new_app(COURIER_TIRAMIZOO_API_TOKEN="made-up").test_client()
    shop.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    new = {"account": "tiramizoo", "courier_order_id": "a/b c"}
    made = shop.post("/v1/orders", json=new)
    assert json.loads(made.data)["polling"]["next_poll_at"]
    assert made.headers["Location"] == "/v1/orders/tiramizoo/a%2Fb%20c"
    shown = shop.get("/v1/orders/tiramizoo/a%2Fb%20c")
    assert made.headers["ETag"] == shown.headers["ETag"]
    again = shop.post("/v1/orders", json=new)
    assert (again.status_code, again.headers["ETag"]) == (200, shown.headers["ETag"])
    assert "Location" not in again.headers


def test_registering_again_changes_nothing(shop: FlaskClient) -> None:
    fields = {"reference": "41", "metadata": {"channel": "web"}}
    first = registered(shop, **fields)
    again = registered(shop, **fields)
    assert (first.status_code, again.status_code) == (201, 200)
    assert json.loads(again.data) == json.loads(first.data)


def test_registering_again_with_less_keeps_what_is_known(shop: FlaskClient) -> None:
    registered(shop, reference="41", metadata={"channel": "web"})
    order = json.loads(registered(shop).data)
    assert (order["reference"], order["metadata"]) == ("41", {"channel": "web"})
    assert order["version"] == 1


def test_registering_again_with_something_new_changes_it(shop: FlaskClient) -> None:
    first = json.loads(registered(shop, reference="41").data)
    second = json.loads(registered(shop, reference="42").data)
    third = json.loads(registered(shop, metadata={"channel": "shop"}).data)
    assert [order["version"] for order in (first, second, third)] == [1, 2, 3]
    assert (third["reference"], third["metadata"]) == ("42", {"channel": "shop"})
    assert third["updated_at"] > first["updated_at"]
    assert ids(get(shop, "/orders", reference="42")) == ["3AF7"]
    assert ids(get(shop, "/orders", reference="41")) == []


def test_registering_an_order_that_the_courier_told_of_keeps_its_status(
    shop: FlaskClient, drain: Drain
) -> None:
    deliver(shop, cottoncast_status("E", ref="the courier's"), account="cottoncast")
    drain()
    answer = registered(shop, reference="the shop's")
    assert answer.status_code == 200
    order = json.loads(answer.data)
    assert (order["status"], order["reference"]) == ("in_transit", "the shop's")


def test_shops_reference_counts_over_the_couriers(shop: FlaskClient, drain: Drain) -> None:
    registered(shop, reference="the shop's", metadata={"channel": "web"})
    deliver(shop, cottoncast_status("E", ref="the courier's"), account="cottoncast")
    drain()
    order = get(shop, "/orders/cottoncast/3AF7")
    assert (order["status"], order["reference"]) == ("in_transit", "the shop's")
    assert order["metadata"] == {"channel": "web"}


def test_registration_releases_what_waited_for_it(shop: FlaskClient, drain: Drain) -> None:
    bodies = [cottoncast_status(code, START) for code in "DEN"]
    deliver(shop, *bodies, account="cottoncast-parking")
    drain()
    problem_of(shop.get("/v1/orders/cottoncast-parking/3AF7"), 404)
    assert registered(shop, account="cottoncast-parking").status_code == 201
    assert drain() == 3
    assert get(shop, "/orders/cottoncast-parking/3AF7")["status"] == "delivered"


@pytest.mark.parametrize("account", ["nowhere", "Tiramizoo", "cottoncast_parking", "🚚"])
def test_registration_for_an_unknown_account_is_not_found(shop: FlaskClient, account: str) -> None:
    problem_of(registered(shop, account=account), 404)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"account": None}, "account"),
        ({"account": ""}, "account"),
        ({"account": 7}, "account"),
        ({"courier_order_id": None}, "courier_order_id"),
        ({"courier_order_id": ""}, "courier_order_id"),
        ({"courier_order_id": 7}, "courier_order_id"),
        ({"courier_order_id": "x" * 256}, "courier_order_id"),
        ({"courier_order_id": "a\x00b"}, "courier_order_id"),
        ({"courier_order_id": "\ud800"}, "courier_order_id"),
        ({"reference": ""}, "reference"),
        ({"reference": "x" * 256}, "reference"),
        ({"reference": "\x00"}, "reference"),
        ({"reference": "\udfff"}, "reference"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a": {"b": "c"}}}, "metadata"),
        ({"metadata": {"\x00": "b"}}, "metadata"),
        ({"metadata": {"a": "\x00"}}, "metadata"),
        ({"metadata": {"a": "\ud800"}}, "metadata"),
        ({"metadata": {"": "b"}}, "metadata"),
        ({"metadata": {"a": "x" * 1001}}, "metadata"),
        ({"metadata": {str(number): "x" for number in range(51)}}, "metadata"),
        ({"status": "delivered"}, "status"),
    ],
)
def test_registration_that_cannot_be_used_says_which_field(
    shop: FlaskClient, fields: dict[str, Any], named: str
) -> None:
    problem = problem_of(registered(shop, **fields), 422)
    assert list(problem["errors"]["json"]) == [named]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"{",
        b"[]",
        b"null",
        b'"3AF7"',
        b"7",
        b"\xff",
        b'{"account": "\xff"}',
        b'{"account": NaN}',
        b"[" * 100_000,
        b'{"metadata": ' + b'{"a": ' * 5_000 + b"1" + b"}" * 5_000 + b"}",
        b'{"courier_order_id": ' + b"9" * 5_000 + b"}",
    ],
)
def test_registration_with_an_unreadable_body_is_the_shops_fault(
    shop: FlaskClient, body: bytes
) -> None:
    answer = shop.post("/v1/orders", data=body, content_type="application/json")
    assert 400 <= answer.status_code < 500
    assert answer.mimetype == "application/problem+json"


def test_registration_of_a_novel_is_too_large(shop: FlaskClient) -> None:
    problem_of(registered(shop, metadata={"novel": "x" * 1_000_000}), 413)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_registration_of_another_content_type_is_the_shops_fault(
    shop: FlaskClient, content_type: str | None
) -> None:
    body = raw({"account": "cottoncast", "courier_order_id": "3AF7"})
    answer = shop.post("/v1/orders", data=body, content_type=content_type)
    assert 400 <= answer.status_code < 500
    assert answer.mimetype == "application/problem+json"


# Whatever is asked


def test_a_hostile_etag_is_another_one(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, tiramizoo_order(UUID, external_id="41"))
    drain()
    known = get(shop, f"/orders/tiramizoo/{UUID}")
    for text in HOSTILE:
        asked = quote(text, safe="")
        answer = shop.get(f"/v1/orders/tiramizoo/{UUID}", headers={"If-None-Match": asked})
        assert json.loads(answer.data) == known


# One application serves all examples: nothing that they ask changes anything.
quickly = hypothesis_settings(
    parent=examples(0.5), suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quickly
@given(place=st.integers(0, 5), text=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_in_a_path_is_answered(shop: FlaskClient, place: int, text: str) -> None:
    asked = quote(text, safe="/")
    path = [
        f"/v1/{asked}",
        f"/v1/orders/{asked}",
        f"/v1/orders/tiramizoo/{asked}",
        f"/v1/orders/{asked}/events",
        f"/v1/tours/{asked}",
        f"/v1/tours/tiramizoo/{asked}",
    ][place]
    assert shop.get(path).status_code < 500


FILTERS = [
    "reference",
    "account",
    "status",
    "status_group",
    "needs_attention",
    "updated_since",
    "created_until",
    "tracking_number",
    "limit",
    "cursor",
]


@quickly
@given(
    parameters=st.dictionaries(
        st.sampled_from(FILTERS),
        st.text(st.characters(exclude_categories=["Cs"]))
        | st.datetimes().map(datetime.isoformat)
        | st.datetimes(timezones=st.timezones()).map(datetime.isoformat)
        | st.integers().map(str),
    )
)
def test_any_parameters_are_answered(shop: FlaskClient, parameters: dict[str, str]) -> None:
    assert shop.get("/v1/orders", query_string=parameters).status_code in {200, 404, 422}


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3)
    ),
    max_leaves=5,
)


@quickly
@given(
    fields=st.dictionaries(
        st.sampled_from(["courier_order_id", "reference", "metadata"] * 2 + ["account"])
        | st.text(),
        # Lone surrogates too: JSON can spell them, and PostgreSQL cannot keep them.
        anything | st.text(st.characters(categories=["Cs", "Lu"]), min_size=1),
    )
)
def test_any_registration_is_answered(shop: FlaskClient, fields: dict[str, Any]) -> None:
    answer = registered(shop, **fields)
    assert answer.status_code in {200, 201, 400, 404, 422}


# The vocabulary

# CONTRACT.md, section 4: group, terminal, attention, rank.
VOCABULARY = {
    "pending": ("pre_transit", False, False, 0),
    "info_received": ("pre_transit", False, False, 10),
    "awaiting_pickup": ("pre_transit", False, False, 20),
    "pickup_failed": ("exception", False, True, 25),
    "picked_up": ("in_transit", False, False, 30),
    "in_transit": ("in_transit", False, False, 40),
    "out_for_delivery": ("in_transit", False, False, 50),
    "exception": ("exception", False, True, 55),
    "delivery_failed": ("exception", False, True, 60),
    "returning": ("returned", False, True, 65),
    "lost": ("exception", False, True, 70),
    "cancelled": ("cancelled", True, False, 80),
    "returned": ("returned", True, False, 90),
    "delivered": ("delivered", True, False, 95),
    "unknown": ("unknown", False, True, None),
}


def test_statuses_are_those_of_the_contract(shop: FlaskClient) -> None:
    rows = get(shop, "/statuses")["statuses"]
    assert [row["status"] for row in rows] == list(VOCABULARY)
    for row in rows:
        group, terminal, attention, rank = VOCABULARY[row["status"]]
        assert (row["group"], row["is_terminal"], row["needs_attention"]) == (
            group,
            terminal,
            attention,
        )
        assert rank in {None, row["rank"]}
    ranks = [row["rank"] for row in rows if row["status"] != "unknown"]
    assert ranks == sorted(ranks)


def test_statuses_tell_each_couriers_words(shop: FlaskClient, settings: Settings) -> None:
    rows = {row["status"]: row["couriers"] for row in get(shop, "/statuses")["statuses"]}
    assert {"created", "processing"} <= set(rows["info_received"]["tiramizoo"])
    assert rows["info_received"]["cottoncast"] == ["N", "L"]
    assert {name: rows["delivered"][name] for name in ("cottoncast", "shipmentapi")} == {
        "cottoncast": ["D"],
        "shipmentapi": ["delivered"],
    }
    assert rows["unknown"] == {}
    for name, driver in DRIVERS.items():
        told = {word for couriers in rows.values() for word in couriers.get(name, [])}
        assert told == set(driver.words_with(settings.accounts[name].field_map))
