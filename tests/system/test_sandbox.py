"""The stand-ins for the couriers: do they behave as the documents say, and as badly as told?"""

import gzip
import itertools
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from receiver import statuses
from receiver.couriers.shipmentapi import driver as shipmentapi_driver
from receiver.couriers.snapshot import MessageContext, Snapshot
from receiver.couriers.tiramizoo import decode_order as decode_tiramizoo
from receiver.settings import Settings
from tests.bodies import START, after
from tests.digests import hmac_sha256_hex
from tests.sandbox import (
    COURIERS,
    Chances,
    Clock,
    Cottoncast,
    Courier,
    Order,
    ShipmentAPI,
    Tiramizoo,
    evenly,
)
from tests.sandbox.faults import Faults
from tests.sandbox.server import Server
from tests.sandbox.wire import Answer, Request
from tests.service import PATIENCE, running, wait_until

HALF_HOUR = timedelta(minutes=30)
TIRAMIZOO = evenly("created", "dispatched", "picked_up", "delivered", start=START, apart=HALF_HOUR)
COTTONCAST = evenly(*"NLRCED", start=START, apart=HALF_HOUR)
SHIPMENTAPI = evenly("placed", "accepted", "collected", start=START, apart=HALF_HOUR)


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture
def tiramizoo(clock: Clock) -> Iterator[Tiramizoo]:
    with Tiramizoo(now=clock) as courier:
        yield courier


@pytest.fixture
def cottoncast(clock: Clock) -> Iterator[Cottoncast]:
    with Cottoncast(now=clock) as courier:
        yield courier


@pytest.fixture
def shipmentapi(clock: Clock) -> Iterator[ShipmentAPI]:
    with ShipmentAPI(now=clock) as courier:
        yield courier


@pytest.fixture
def asker() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=PATIENCE, trust_env=False) as client:
        yield client


class Shop:
    """Takes in webhooks, and answers each with `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.webhooks: list[Request] = []
        self.server = Server(self.take)
        self.url = f"http://127.0.0.1:{self.server.port}/webhooks"

    def take(self, request: Request, at: float) -> Answer:
        self.webhooks.append(request)
        return Answer(self.status)

    def bodies(self) -> list[dict[str, Any]]:
        return [json.loads(webhook.body) for webhook in self.webhooks]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    shop.server.start()
    yield shop
    shop.server.stop()


def pass_time(courier: Courier, clock: Clock) -> None:
    """Let a courier's clock run from one due webhook to the next until there is none."""
    while (due := courier.webhooks.next_due()) is not None:
        clock.move_to(max(due, clock()))
        courier.webhooks.send_due()


def only(decoded: Any) -> Snapshot:
    (snapshot,) = decoded.orders
    assert isinstance(snapshot, Snapshot)
    return snapshot


# Tiramizoo


def test_tiramizoo_shows_an_order_as_far_as_it_has_come(
    tiramizoo: Tiramizoo, clock: Clock, asker: httpx.Client
) -> None:
    order = tiramizoo.create(TIRAMIZOO, reference="41")
    url = f"{tiramizoo.url}/orders/{order.id}"
    headers = {"Api-Token": tiramizoo.token}
    assert asker.get(url, headers=headers).json()["state"] == "created"
    clock.move_to(after(70))
    shown = only(
        decode_tiramizoo(asker.get(url, headers=headers).json(), MessageContext(after(70), "poll"))
    )
    assert (shown.courier_order_id, shown.reference) == (order.id, "41")
    assert [(event.status, event.occurred_at) for event in shown.events] == [
        (statuses.INFO_RECEIVED, after(0)),
        (statuses.AWAITING_PICKUP, after(30)),
        (statuses.PICKED_UP, after(60)),
    ]


def test_tiramizoo_finds_an_order_by_any_of_its_names_and_no_other(
    tiramizoo: Tiramizoo, asker: httpx.Client
) -> None:
    order = tiramizoo.create(TIRAMIZOO, reference="4/1")
    tiramizoo.create(TIRAMIZOO)
    later = tiramizoo.create([("created", after(5))])
    asker.headers["Api-Token"] = tiramizoo.token

    def ask(path: str) -> tuple[int, str | None]:
        answer = asker.get(f"{tiramizoo.url}/orders/{path}")
        return answer.status_code, answer.json().get("uuid")

    assert ask(order.id) == (200, order.id)
    assert ask(order.names["identifier"]) == (200, order.id)
    assert ask("by_external_id/4%2F1") == (200, order.id)
    for unknown in ("nobody", later.id, order.names["tracking_code"], "by_external_id/nobody"):
        assert ask(unknown) == (404, None)


def test_tiramizoo_lists_by_pages_what_was_created_later(
    tiramizoo: Tiramizoo, asker: httpx.Client
) -> None:
    lives = [[("created", START - timedelta(minutes=number))] for number in range(5)]
    orders = tiramizoo.create_all(lives)
    asker.headers["Api-Token"] = tiramizoo.token

    def ask(**arguments: Any) -> tuple[list[str], int]:
        answer = asker.get(f"{tiramizoo.url}/orders", params=arguments)
        assert answer.status_code == 201
        body = answer.json()
        return [order["uuid"] for order in body["orders"]], body["meta"]["total_pages"]

    ids = [order.id for order in reversed(orders)]
    assert ask() == (ids, 1)
    assert ask(page=2, per_page=2) == (ids[2:4], 3)
    assert ask(page=9, per_page=2) == ([], 3)
    assert ask(external_id=orders[3].reference) == ([orders[3].id], 1)
    since = START - timedelta(minutes=2)
    assert ask(**{"from": since.isoformat().replace("+00:00", "Z")}) == (ids[3:], 1)
    assert asker.get(f"{tiramizoo.url}/orders?per_page=101").status_code == 422
    assert asker.get(f"{tiramizoo.url}/orders?from=yesterday").status_code == 400


def test_tiramizoo_takes_its_token_in_the_header_or_in_the_query(
    tiramizoo: Tiramizoo, asker: httpx.Client
) -> None:
    tiramizoo.create(TIRAMIZOO)
    url = f"{tiramizoo.url}/orders"
    assert asker.get(url, headers={"Api-Token": tiramizoo.token}).is_success
    assert asker.get(url, params={"api_token": tiramizoo.token}).is_success
    assert asker.get(url).status_code == 401
    assert asker.get(url, headers={"Api-Token": "wrong"}).status_code == 401


# Cottoncast


def test_cottoncast_shows_an_order(
    cottoncast: Cottoncast, clock: Clock, asker: httpx.Client
) -> None:
    order = cottoncast.create(COTTONCAST, reference="41")
    auth = (cottoncast.store, cottoncast.token)

    def ask() -> dict[str, Any]:
        body = asker.get(f"{cottoncast.url}/order/{order.id}", auth=auth).json()
        assert body["status"] == "ok"
        return dict(body["response"]["order"])

    shown = ask()
    assert (shown["id"], shown["store"]["order_id"]) == (order.id, "41")
    # START is 07:00 UTC, in summer.
    assert shown["status"] == {"code": "O", "label": "Open", "since": "2026-04-16 09:00"}
    assert shown["shipments"] == [
        {"status": {"code": "N", "label": "New"}, "tracking": {"code": None, "url": None}}
    ]
    clock.move_to(after(130))
    shown = ask()
    assert shown["status"] == {"code": "F", "label": "Fulfilled", "since": "2026-04-16 11:00"}
    assert shown["shipments"][0]["status"] == {"code": "E", "label": "En route"}
    assert shown["shipments"][0]["tracking"]["code"] == order.names["tracking_code"]


def test_cottoncast_refuses_in_its_own_form(cottoncast: Cottoncast, asker: httpx.Client) -> None:
    auth = (cottoncast.store, cottoncast.token)
    answer = asker.get(f"{cottoncast.url}/order/41", auth=auth)
    assert answer.status_code == 404
    assert answer.json() == {"status": "error", "message": "Order 41 not found"}
    for wrong in ((cottoncast.store, "wrong"), ("wrong", cottoncast.token)):
        answer = asker.get(f"{cottoncast.url}/order/41", auth=wrong)
        assert (answer.status_code, answer.json()["status"]) == (401, "error")
    assert asker.get(f"{cottoncast.url}/order/41").status_code == 401


# ShipmentAPI


def test_shipmentapi_tells_more_as_time_goes_by(
    shipmentapi: ShipmentAPI, clock: Clock, asker: httpx.Client
) -> None:
    order = shipmentapi.create(SHIPMENTAPI, reference="41")
    asker.headers["Authorization"] = f"Bearer {shipmentapi.token}"

    def ask(minutes: float) -> Snapshot:
        clock.move_to(after(minutes))
        body = asker.get(f"{shipmentapi.url}/orders/{order.id}").json()
        return only(
            shipmentapi_driver.topics["orders"].decode(body, MessageContext(clock(), "poll"))
        )

    placed, accepted = ask(0), ask(31)
    assert (placed.events[0].status, placed.reference) == (statuses.INFO_RECEIVED, "41")
    assert accepted.events[0].courier_status == "accepted"
    assert not accepted.parcels
    labelled = ask(32)
    assert list(labelled.parcels) == [order.names["tracking_number"]]
    assert labelled.details["label_url"].endswith(f"{order.id}.pdf")
    assert labelled.details["pickup_at"] is None
    assert ask(60).details["pickup_at"] == "2026-04-16T10:00:00Z"
    assert ask(60).events[0].status == statuses.PICKED_UP


def test_shipmentapi_does_not_know_an_order_right_after_its_placing(
    shipmentapi: ShipmentAPI, clock: Clock, asker: httpx.Client
) -> None:
    shipmentapi.unknown_for = timedelta(minutes=1)
    order = shipmentapi.create(SHIPMENTAPI)
    asker.headers["Authorization"] = f"Bearer {shipmentapi.token}"
    url = f"{shipmentapi.url}/orders/{order.id}"
    assert asker.get(url).status_code == 404
    clock.move_to(after(1))
    assert asker.get(url).status_code == 200
    assert asker.get(url, headers={"Authorization": "Bearer wrong"}).status_code == 401


# Faults


@pytest.fixture
def ask(tiramizoo: Tiramizoo, asker: httpx.Client) -> Any:
    """Ask about one order; how many seconds to wait for any part of the answer may be said."""
    order = tiramizoo.create(TIRAMIZOO)
    url = f"{tiramizoo.url}/orders/{order.id}"
    headers = {"Api-Token": tiramizoo.token}

    def get(timeout: float = PATIENCE) -> httpx.Response:
        return asker.get(url, headers=headers, timeout=timeout)

    return get


def test_429_says_how_long_to_wait(tiramizoo: Tiramizoo, ask: Any) -> None:
    tiramizoo.faults.next(1, "too_many")
    tiramizoo.faults.next(1, "too_many", seconds=5, retry_after="seconds")
    tiramizoo.faults.next(1, "too_many", seconds=90, retry_after="date", silent=True)
    first, second, third = ask(), ask(), ask()
    assert first.text == "Too many requests, please retry request in 30 seconds."
    assert "Retry-After" not in first.headers
    assert (second.status_code, second.headers["Retry-After"]) == (429, "5")
    assert "in 5 seconds" in second.text
    assert third.text == ""
    told = parsedate_to_datetime(third.headers["Retry-After"])
    assert 80 < (told - datetime.now(UTC)).total_seconds() <= 90
    assert ask().status_code == 200


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_an_error_comes_as_often_as_told(tiramizoo: Tiramizoo, ask: Any, status: int) -> None:
    tiramizoo.faults.next(2, "status", status=status)
    assert [ask().status_code for _ in range(3)] == [status, status, 200]


def test_a_lasting_fault_lasts_until_cleared_and_a_fault_minds_its_path(
    tiramizoo: Tiramizoo, ask: Any, asker: httpx.Client
) -> None:
    tiramizoo.faults.next(1, "status", status=403, path="/orders/")
    tiramizoo.faults.always("status", path="/orders/")
    listed = asker.get(f"{tiramizoo.url}/orders", headers={"Api-Token": tiramizoo.token})
    assert listed.status_code == 201
    assert [ask().status_code for _ in range(3)] == [403, 500, 500]
    tiramizoo.faults.clear()
    assert ask().status_code == 200


def test_a_rate_limit_refuses_what_is_too_much_for_one_second() -> None:
    faults = Faults()
    faults.limit(3, seconds=1, path="/orders/")

    def refused(at: float) -> bool:
        return faults.take("/orders/41", at) is not None

    assert [refused(at) for at in (10.0, 10.2, 10.4, 10.6, 10.8)] == [False] * 3 + [True] * 2
    assert faults.take("/orders", 10.8) is None
    assert [refused(at) for at in (11.1, 11.15, 11.2, 11.3)] == [False, True, False, True]


def test_a_slow_answer_is_a_whole_one(tiramizoo: Tiramizoo, ask: Any) -> None:
    tiramizoo.faults.next(1, "slow", seconds=0.2)
    start = time.monotonic()
    assert ask().json()["state"] == "created"
    assert time.monotonic() - start >= 0.2


def test_a_hanging_request_is_never_answered(tiramizoo: Tiramizoo, ask: Any) -> None:
    tiramizoo.faults.next(1, "hang")
    with pytest.raises(httpx.ReadTimeout):
        ask(timeout=0.2)
    assert [line.status for line in tiramizoo.ledger.lines()] == [None]


def test_a_dripping_body_comes_a_byte_at_a_time(tiramizoo: Tiramizoo, asker: httpx.Client) -> None:
    tiramizoo.faults.next(1, "drip", seconds=0.01)
    with asker.stream("GET", f"{tiramizoo.url}/orders?api_token={tiramizoo.token}") as answer:
        assert answer.status_code == 201
        pieces = answer.iter_raw()
        assert [len(next(pieces)) for _ in range(5)] == [1] * 5


def test_a_dripping_head_comes_a_byte_at_a_time(tiramizoo: Tiramizoo) -> None:
    tiramizoo.faults.next(1, "drip_head", seconds=0.02)
    port = int(tiramizoo.origin.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"GET /api/v1/orders HTTP/1.1\r\nHost: tiramizoo\r\n\r\n")
        assert [connection.recv(100) for _ in range(4)] == [b"H", b"T", b"T", b"P"]


@pytest.mark.parametrize("kind", ["broken_json", "html"])
def test_what_should_be_json_is_none(tiramizoo: Tiramizoo, ask: Any, kind: str) -> None:
    tiramizoo.faults.next(1, kind)
    answer = ask()
    assert answer.status_code == 200
    with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
        answer.json()


def test_json_of_the_wrong_shape(tiramizoo: Tiramizoo, ask: Any) -> None:
    tiramizoo.faults.next(1, "wrong_shape")
    tiramizoo.faults.next(1, "wrong_shape", body='{"orders": null}')
    assert ask().json() == [1, "two", None]
    assert ask().json() == {"orders": None}


@pytest.mark.parametrize("announced", [False, True])
def test_a_huge_body_is_sound_json(tiramizoo: Tiramizoo, ask: Any, announced: bool) -> None:
    tiramizoo.faults.next(1, "huge", size=3_000_000, announced=announced)
    answer = ask()
    assert ("Content-Length" in answer.headers) is announced
    assert len(answer.json()["a"]) == 3_000_000


def test_a_bomb_is_small_until_it_is_unpacked(tiramizoo: Tiramizoo, asker: httpx.Client) -> None:
    tiramizoo.faults.next(1, "bomb", size=5_500_000)
    with asker.stream("GET", f"{tiramizoo.url}/orders") as answer:
        assert answer.headers["Content-Encoding"] == "gzip"
        sent = b"".join(answer.iter_raw())
    assert len(sent) < 20_000
    assert len(json.loads(gzip.decompress(sent))) == 5_500_000


def test_a_connection_is_cut_in_the_middle(tiramizoo: Tiramizoo, ask: Any) -> None:
    tiramizoo.faults.next(1, "cut")
    with pytest.raises(httpx.RemoteProtocolError):
        ask()
    assert ask().status_code == 200


def test_a_redirect_shows_who_follows_it(
    tiramizoo: Tiramizoo, ask: Any, asker: httpx.Client
) -> None:
    tiramizoo.faults.next(1, "redirect")
    answer = ask()
    assert (answer.status_code, answer.next_request is not None) == (302, True)
    assert tiramizoo.ledger.lines("/elsewhere") == []
    asker.send(answer.next_request)
    assert len(tiramizoo.ledger.lines("/elsewhere")) == 1


@pytest.mark.parametrize("courier_class", COURIERS)
def test_an_answer_about_another_order(courier_class: type[Courier], asker: httpx.Client) -> None:
    with courier_class() as courier:
        courier.faults.next(1, "other_order")
        answer = asker.get(f"{courier.url}/orders/41")
    assert answer.status_code == 200
    assert courier.orders == []
    assert "SHOP-0--1" in answer.text


def test_an_unknown_fault_is_refused(tiramizoo: Tiramizoo) -> None:
    with pytest.raises(ValueError, match="no fault is called 'earthquake'; there are too_many"):
        tiramizoo.faults.always("earthquake")


# The ledger


def test_the_ledger_has_each_request_with_its_time_and_status(
    tiramizoo: Tiramizoo, ask: Any
) -> None:
    before = time.monotonic()
    ask()
    pause = time.monotonic()
    tiramizoo.faults.next(1, "status", status=403)
    ask()
    first, second = tiramizoo.ledger.lines()
    assert before < first.at < pause < second.at < time.monotonic()
    assert (first.method, first.status, first.fault) == ("GET", 200, None)
    assert (second.status, second.fault) == (403, "status")
    assert tiramizoo.ledger.lines(after=pause, path="/orders/") == [second]
    assert tiramizoo.ledger.lines(status=200, before=pause) == [first]
    assert tiramizoo.ledger.statuses() == {200: 1, 403: 1}


def test_many_requests_at_once_are_all_in_the_ledger(tiramizoo: Tiramizoo) -> None:
    order = tiramizoo.create(TIRAMIZOO)
    url = f"{tiramizoo.url}/orders/{order.id}?api_token={tiramizoo.token}"

    def ask_often() -> None:
        with httpx.Client(trust_env=False) as client:
            for _ in range(50):
                client.get(url)

    threads = [threading.Thread(target=ask_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tiramizoo.ledger.statuses() == {200: 400}


# Webhooks


def test_tiramizoo_retries_by_its_law_and_then_gives_up(clock: Clock, shop: Shop) -> None:
    shop.status = 503
    courier = Tiramizoo(now=clock, webhook_url=shop.url)
    order = courier.create([("created", START)])
    pass_time(courier, clock)
    (webhook,) = courier.webhooks.webhooks(order)
    times = [attempt.at for attempt in webhook.attempts]
    waits = [(b - a).total_seconds() for a, b in itertools.pairwise(times)]
    assert waits[:6] == [15, 16, 31, 96, 271, 640]
    assert len(waits) == 25
    assert 20 < (times[-1] - times[0]) / timedelta(days=1) < 21
    assert courier.webhooks.missed(order) == list(order.life)
    summary = courier.webhooks.summary()
    assert (summary.given_up, summary.sent, summary.pending) == (1, 26, 0)
    courier.stop()


def test_tiramizoo_tells_each_state_with_the_snapshot_of_that_state(
    clock: Clock, shop: Shop
) -> None:
    courier = Tiramizoo(now=clock, webhook_url=shop.url)
    order = courier.create(TIRAMIZOO)
    clock.move_to(after(120))
    courier.webhooks.send_due()
    assert [body["state"] for body in shop.bodies()] == [step.state for step in TIRAMIZOO]
    assert shop.bodies()[1]["picked_up_at"] is None
    courier.extend(order, [("returned", after(200))])
    pass_time(courier, clock)
    assert shop.bodies()[-1]["state"] == "returned"
    assert courier.webhooks.delivered(order) == list(order.life)
    courier.stop()


def test_cottoncast_signs_and_only_200_counts(clock: Clock, shop: Shop) -> None:
    shop.status = 202
    courier = Cottoncast(now=clock, webhook_url=shop.url)
    order = courier.create(evenly("N", "L", start=START, apart=HALF_HOUR), reference="41")
    courier.webhooks.send_due()
    shop.status = 200
    pass_time(courier, clock)
    told = [(body["status"]["code"], len(body["shipments"])) for body in shop.bodies()]
    assert told == [("N", 0), ("N", 0), ("L", 1)]
    for webhook in shop.webhooks:
        signature = hmac_sha256_hex(courier.secret, webhook.body)
        assert webhook.headers["Cottoncast-Authentication"] == signature
    assert shop.bodies()[0]["orderID"] == order.id
    assert shop.bodies()[0]["status"]["timestamp"] == int(START.timestamp())
    assert courier.webhooks.delivered(order) == list(order.life)
    courier.stop()


@pytest.mark.parametrize("status", [200, 500])
def test_shipmentapi_calls_once_whatever_is_answered(clock: Clock, shop: Shop, status: int) -> None:
    shop.status = status
    courier = ShipmentAPI(now=clock, webhook_url=shop.url)
    order = courier.create([*SHIPMENTAPI, ("cancelled", after(90))])
    cancelled = courier.create([("placed", START), ("cancelled", after(1))])
    pass_time(courier, clock)
    assert sorted(body["status"] for body in shop.bodies()) == ["accepted", "cancelled"]
    wanted = [] if status == 500 else [order.life[1]]
    assert courier.webhooks.delivered(order) == wanted
    assert len(courier.webhooks.missed(cancelled)) == (1 if status == 500 else 0)
    courier.stop()


def many(shop: Shop, seed: int) -> tuple[Tiramizoo, list[Order]]:
    """A courier that loses, repeats and shuffles the webhooks of many orders, all sent."""
    clock = Clock(START)
    chances = Chances(lose=0.2, repeat=0.2, shuffle=timedelta(hours=2))
    courier = Tiramizoo(now=clock, webhook_url=shop.url, chances=chances, seed=seed)
    orders = courier.create_all([TIRAMIZOO] * 50)
    pass_time(courier, clock)
    courier.stop()
    return courier, orders


def test_hooks_are_lost_repeated_and_shuffled_as_the_ledger_says(shop: Shop) -> None:
    courier, orders = many(shop, seed=7)
    got = [(body["uuid"], body["state"]) for body in shop.bodies()]
    for order in orders:
        told = {step.state for step in courier.webhooks.delivered(order)}
        assert told == {state for uuid, state in got if uuid == order.id}
        missed = {step.state for step in courier.webhooks.missed(order)}
        assert told | missed == {step.state for step in order.life}
        assert not told & missed
    summary = courier.webhooks.summary()
    assert (summary.webhooks, summary.pending, summary.given_up) == (200, 0, 0)
    assert summary.delivered + summary.lost == 200
    assert 20 < summary.lost < 60
    assert 15 < summary.repeated < 60
    assert summary.sent == len(got) > summary.delivered
    in_life = [step.state for step in TIRAMIZOO]
    arrived = [[in_life.index(state) for uuid, state in got if uuid == it.id] for it in orders]
    assert any(places != sorted(places) for places in arrived)


def test_the_same_seed_gives_the_same_run(shop: Shop) -> None:
    runs = []
    for seed in (7, 7, 8):
        courier, _ = many(shop, seed)
        runs.append(
            [
                (webhook.order.id, webhook.fate, webhook.copies)
                for webhook in courier.webhooks.webhooks()
            ]
        )
    assert runs[0] == runs[1] != runs[2]


def test_a_silent_courier_sends_nothing_and_says_so(clock: Clock, shop: Shop) -> None:
    courier = Tiramizoo(now=clock, webhook_url=shop.url)
    order = courier.create(TIRAMIZOO)
    courier.webhooks.send_due()
    courier.webhooks.silent = True
    clock.move_to(after(65))
    courier.webhooks.send_due()
    courier.webhooks.silent = False
    pass_time(courier, clock)
    assert [body["state"] for body in shop.bodies()] == ["created", "delivered"]
    assert [step.state for step in courier.webhooks.missed(order)] == ["dispatched", "picked_up"]
    courier.stop()


def test_hooks_are_sent_by_threads_on_a_compressed_clock(shop: Shop) -> None:
    shop.status = 500
    with Tiramizoo(webhook_url=shop.url, speed=1000) as courier:
        now = courier.now()
        orders = courier.create_all([[("created", now), ("dispatched", now)]] * 20)
        courier.webhooks.start()
        wait_until(lambda: len(shop.webhooks) > 60)
        shop.status = 204
        wait_until(lambda: courier.webhooks.unfinished() == 0)
        assert all(courier.webhooks.delivered(order) == list(order.life) for order in orders)


def test_a_shop_that_is_down_is_tried_again(clock: Clock, shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
    courier = Tiramizoo(now=clock, webhook_url=url)
    order = courier.create([("created", START)])
    courier.webhooks.send_due()
    order.webhook_url = shop.url
    pass_time(courier, clock)
    (webhook,) = courier.webhooks.webhooks()
    assert [attempt.status for attempt in webhook.attempts] == [None, 200]
    courier.stop()


# By hand


def test_an_ordertrail_can_be_pointed_at_all_of_them() -> None:
    environ = {"DATABASE_URL": "postgresql://x/x", "REDIS_URL": "redis://x", "API_TOKENS": "x" * 16}
    for courier_class in COURIERS:
        with courier_class(account=f"{courier_class.name.upper()}_2") as courier:
            environ |= courier.environ()
            courier.send_webhooks_to("http://127.0.0.1:8000/")
        assert f"/webhooks/{courier.name}-2/orders" in (courier.webhook_url or "")
    accounts = Settings.from_env(environ).accounts
    assert {account.driver for account in accounts.values()} == {it.name for it in COURIERS}
    assert accounts["cottoncast-2"].api_user == Cottoncast.store


def test_a_sandbox_started_by_hand_is_switched_over_http(
    tmp_path: Path, asker: httpx.Client
) -> None:
    log = tmp_path / "sandbox.log"
    arguments = ("-m", "tests.sandbox", "--port", "0", "--ordertrail", "http://127.0.0.1:9")
    with running(arguments, {}, log) as process:
        wait_until(lambda: process.poll() is not None or "Ctrl-C" in log.read_text())
        told = dict(re.findall(r"(COURIER_\w+)=(\S+)", log.read_text()))
        url = told["COURIER_TIRAMIZOO_API_URL"]
        origin = url.removesuffix("/api/v1")
        asker.headers["Api-Token"] = told["COURIER_TIRAMIZOO_API_TOKEN"]

        created = asker.post(f"{origin}/_sandbox/orders", json={"states": ["created"]}).json()
        show = f"{url}/orders/{created['id']}"
        asker.post(f"{origin}/_sandbox/faults", json={"kind": "too_many", "times": 1})
        assert [asker.get(show).status_code for _ in range(2)] == [429, 200]
        asker.post(f"{origin}/_sandbox/faults", json={"per_second": 0})
        assert asker.get(show).status_code == 429
        asker.post(f"{origin}/_sandbox/faults", json={})
        assert asker.get(show).status_code == 200
        refused = asker.post(f"{origin}/_sandbox/faults", json={"kind": "earthquake"})
        assert (refused.status_code, "earthquake" in refused.text) == (422, True)
        asker.post(f"{origin}/_sandbox/webhooks", json={"silent": True})
        overview = asker.get(f"{origin}/_sandbox").json()
        assert overview["requests"] == {"429": 2, "200": 2}
        assert overview["webhooks"]["silent"] is True
    assert process.returncode == 0
