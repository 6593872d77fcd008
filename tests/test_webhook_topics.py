"""Webhooks that are not a JSON object by POST: what a topic declares, to the order.

ShipmentAPI's driver stands in for couriers that need it: its account gets other topics here.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from receiver.couriers.contract import Answer, Heard, Topic
from receiver.couriers.snapshot import Decoded, MessageContext, Parameters, Snapshot, make_event
from receiver.db.models import Message, Order
from receiver.errors import Undecodable, UnreadableBody
from receiver.inbox.content import PARSERS, parse_content, parse_parameters
from receiver.orders.erasure import find_names
from tests.applications import context_of
from tests.bodies import cottoncast_signature, raw
from tests.conftest import API_TOKEN
from tests.console import sign_in
from tests.service import Web
from workers.upkeep.rebuild import rebuild_orders
from workers.upkeep.retention import Retention

Sessions = sessionmaker[Session]
TOKEN = "shipmentapi-token"
ORDERS = f"/webhooks/shipmentapi/orders/{TOKEN}"
WORDS = DRIVERS["shipmentapi"].words


def snapshot_of(given: Mapping[str, Any], context: MessageContext) -> Decoded:
    """One order with its `id` and `word`, which a parameter or a header may name."""
    order_id, word = given.get("id"), given.get("word")
    if not isinstance(order_id, str) or not isinstance(word, str):
        raise Undecodable("no id or no word")
    event = make_event(word, WORDS.get(word), context, None)
    return Decoded((Snapshot(order_id, context.received_at, (event,), reference=context.method),))


def decode_body(content: Any, context: MessageContext) -> Decoded:
    return snapshot_of(content[0] if isinstance(content, list) else content, context)


def decode_query(content: Any, context: MessageContext) -> Decoded:
    assert content == {}
    return snapshot_of(context.query, context)


def decode_header(content: dict[str, Any], context: MessageContext) -> Decoded:
    return snapshot_of({**content, "word": context.headers.get("x-event")}, context)


def echo(query: Parameters) -> Answer:
    return Answer(200, str(query["check"]).encode(), "text/html")


def answer_in_xml(_content: Any, heard: Heard) -> Answer:
    body = f"<push><pushid>{int(str(heard.query['id']))}</pushid></push>"
    return Answer(200, body.encode(), "text/xml")


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch, app: Flask) -> Callable[..., FlaskClient]:
    """Give ShipmentAPI's account one topic, and return a client."""

    def run(topic: Topic) -> FlaskClient:
        driver = replace(DRIVERS["shipmentapi"], topics={"orders": topic}, api=None)
        monkeypatch.setitem(DRIVERS, "shipmentapi", driver)
        return app.test_client()

    return run


Declare = Callable[..., FlaskClient]
Drain = Callable[[], int]


def statuses(sessions: Sessions) -> dict[str, str]:
    with sessions() as session:
        return {
            row[0]: row[1] for row in session.execute(select(Order.courier_order_id, Order.status))
        }


def stored(sessions: Sessions) -> list[tuple[str, int, Any]]:
    with sessions() as session:
        rows = select(Message.outcome, Message.repetitions, Message.request).order_by(Message.id)
        return [(row[0], row[1], row[2]) for row in session.execute(rows)]


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ("array", b'[{"id": "A-1", "word": "delivered"}]'),
        ("any", b'[{"id": "A-1", "word": "delivered"}]'),
        ("any", b'{"id": "A-1", "word": "delivered"}'),
        ("form", b"id=A-1&word=delivered"),
        ("form", b"\xef\xbb\xbfid=A%2D1&word=delivered&empty=\r\n"),
    ],
)
def test_a_body_is_of_the_kind_that_its_topic_declares(
    body: Any, sent: bytes, declare: Declare, sessions: Sessions, drain: Drain
) -> None:
    client = declare(Topic(decode_body, body=body))
    # Whatever Content-Type says.
    for content_type in ("application/json", "text/plain", "multipart/form-data"):
        answer = client.post(ORDERS, data=sent, content_type=content_type)
        assert (answer.status_code, answer.data) == (200, b'{"status":"ok"}')
    assert stored(sessions) == [("pending", 2, None)]
    drain()
    assert statuses(sessions) == {"A-1": "delivered"}


@pytest.mark.parametrize(
    ("body", "sent", "why"),
    [
        ("array", b'{"id": "A-1"}', "the body is JSON, but not an array"),
        ("any", b'"A-1"', "the body is JSON, but neither an object nor an array"),
        ("object", b"[1]", "the body is JSON, but not an object"),
        ("form", b"", "the body is empty"),
        ("form", b'{"id": "A-1"}', "the body is not a form: it has no `name=value`"),
        ("form", b"id=%FF", "the body is a form, but not UTF-8: invalid start byte"),
        ("form", b"id=\xff", "the body is a form, but not UTF-8: invalid start byte"),
        ("form", b"a=1" + b"&a=1" * 1_000, "the body is a form of more than 1000 fields"),
    ],
)
def test_a_body_of_another_kind_is_refused_and_kept(
    body: Any, sent: bytes, why: str, declare: Declare, sessions: Sessions
) -> None:
    answer = declare(Topic(decode_body, body=body)).post(ORDERS, data=sent)
    assert (answer.status_code, answer.json) == (400, {"status": "error", "message": why})
    assert stored(sessions) == [("quarantined", 0, None)]


def test_a_repeated_key_of_a_form_has_the_list_of_its_values(
    declare: Declare, sessions: Sessions, drain: Drain
) -> None:
    seen: list[Any] = []

    def decode(content: Any, context: MessageContext) -> Decoded:
        seen.append(content)
        return decode_body({"id": "A-1", "word": "delivered"}, context)

    client = declare(Topic(decode, body="form"))
    client.post(ORDERS, data="a=1&b=x+y%00&a=2&a=&c[]=3", content_type="text/plain")
    drain()
    assert seen == [{"a": ["1", "2", ""], "b": "x y\u2400", "c[]": "3"}]


def test_pushes_with_an_empty_body_differ_by_their_query(
    declare: Declare, sessions: Sessions, drain: Drain, shop: FlaskClient
) -> None:
    client = declare(Topic(decode_query, body="empty", keeps_query=True, answer=answer_in_xml))
    for order_id, word in (("1", "in_transit"), ("2", "delivered"), ("1", "in_transit")):
        answer = client.post(ORDERS, query_string={"id": order_id, "word": word})
        assert (answer.status_code, answer.mimetype) == (200, "text/xml")
        assert answer.data == f"<push><pushid>{order_id}</pushid></push>".encode()
    expected = {"method": "POST", "headers": {}, "query": {"id": "1", "word": "in_transit"}}
    assert [row[1] for row in stored(sessions)] == [1, 0]
    drain()
    assert statuses(sessions) == {"1": "in_transit", "2": "delivered"}
    first, *_ = shop.get("/v1/messages").get_json()["messages"][::-1]
    assert "request" not in first
    shown = shop.get(f"/v1/messages/{first['id']}").get_json()
    assert (shown["request"], shown["body"], shown["size"]) == (expected, "", 0)


def test_what_is_kept_of_a_request_is_folded_again_by_a_rebuild(
    declare: Declare, sessions: Sessions, drain: Drain, app: Flask
) -> None:
    client = declare(Topic(decode_query, body="empty", keeps_query=True))
    client.post(ORDERS, query_string={"id": "1", "word": "delivered"})
    drain()
    with sessions.begin() as session:
        session.execute(text("UPDATE orders SET status = 'lost'"))
    for _report in rebuild_orders(sessions, context_of(app).settings, {}, datetime.now(UTC)):
        pass
    assert statuses(sessions) == {"1": "delivered"}


def test_declared_headers_are_kept_and_no_others(
    declare: Declare, sessions: Sessions, drain: Drain
) -> None:
    client = declare(Topic(decode_header, headers=("X-Event", "X-Odd", "Authorization")))
    body = raw({"id": "A-1"})
    odd = {"X-Odd": "caf\u00c3\u00a9 \u00ff", "Authorization": "Bearer x", "Cookie": "a=b"}
    for word in ("picked_up", "delivered"):
        answer = client.post(f"{ORDERS}?id=x", data=body, headers={"X-Event": word, **odd})
        assert answer.status_code == 200
    kept = {"x-event": "delivered", "x-odd": "caf\u00e9 \ufffd"}
    assert stored(sessions)[1:] == [
        ("pending", 0, {"method": "POST", "headers": kept, "query": {}})
    ]
    drain()
    assert statuses(sessions) == {"A-1": "delivered"}


@pytest.mark.parametrize("methods", [("PUT",), ("POST", "PUT", "PATCH")])
def test_a_topic_takes_its_own_methods_only(
    methods: tuple[str, ...], declare: Declare, sessions: Sessions, drain: Drain
) -> None:
    client = declare(Topic(decode_body, methods=methods))
    for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        body = raw({"id": method, "word": "delivered"})
        override = {"X-HTTP-Method-Override": "PUT"}
        answer = client.open(ORDERS, method=method, data=body, headers=override)
        assert answer.status_code == (200 if method in methods else 405), method
        if method not in methods:
            assert answer.headers["Allow"] == ", ".join(sorted(methods))
    drain()
    with sessions() as session:
        methods_seen = session.scalars(select(Order.reference)).all()
    # The decoder knows by which method a message came.
    assert sorted(map(str, methods_seen)) == sorted(methods)


def test_a_handshake_is_answered_and_stores_nothing(declare: Declare, sessions: Sessions) -> None:
    client = declare(Topic(decode_body, handshake=echo))
    answer = client.get(ORDERS, query_string={"check": "<b>7</b>\r\nX: 1"})
    assert (answer.status_code, answer.data) == (200, b"<b>7</b>\r\nX: 1")
    # Nobody can make a page of it.
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert client.get(ORDERS, query_string={"check": "x" * 1_001}).status_code == 400
    assert client.get(f"{ORDERS}x", query_string={"check": "7"}).status_code == 401
    assert client.get("/webhooks/shipmentapi/orders?check=7").status_code == 401
    # An account that is off, a topic that is none, and the same for any other method.
    assert client.get("/webhooks/shipmentapi-riga/orders/x?check=7").status_code == 404
    assert client.get(f"/webhooks/shipmentapi/tours/{TOKEN}?check=7").status_code == 404
    refused = client.head(ORDERS)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, POST")
    assert stored(sessions) == []


def test_noise_is_answered_counted_and_not_stored(
    declare: Declare, sessions: Sessions, shop: FlaskClient, app: Flask
) -> None:
    client = declare(
        Topic(decode_body, is_noise=lambda content, _: "position" in content, answer=Answer(202))
    )
    answer = client.post(ORDERS, data=b'{"position": [1, 2]}')
    assert (answer.status_code, answer.data) == (202, b'{"status":"ok"}')
    # What cannot be judged is kept.
    assert client.post(ORDERS, data=b"position").status_code == 400
    assert client.post(ORDERS, data=b"5").status_code == 400
    assert [row[0] for row in stored(sessions)] == ["quarantined", "quarantined"]
    context_of(app).discard_recorder.flush()
    accounts = {row["account"]: row for row in shop.get("/v1/couriers").get_json()["couriers"]}
    account = accounts["shipmentapi"]
    assert (account["discarded"], account["webhooks"]) == (1, 0)
    # It is heard, and yet it reported nothing.
    assert account["last_heard_at"] is not None
    assert account["last_webhook_at"] is None
    metrics = client.get("/metrics", headers={"Authorization": f"Bearer {API_TOKEN}"}).text
    line = 'ordertrail_messages_discarded_total{account="shipmentapi",topic="orders"}'
    assert any(found.startswith(line) for found in metrics.splitlines())


def raise_error(*_arguments: object) -> Any:
    raise KeyError("a name that must not be logged")


@pytest.mark.parametrize(
    "topic",
    [
        Topic(decode_body, answer=raise_error),
        Topic(decode_body, answer=lambda _content, _heard: "ok"),  # type: ignore[arg-type, return-value]
        Topic(decode_body, is_noise=raise_error),
    ],
)
def test_a_driver_that_fails_to_answer_costs_no_message(
    topic: Topic,
    declare: Declare,
    sessions: Sessions,
    shop: FlaskClient,
    app: Flask,
    capsys: pytest.CaptureFixture[str],
) -> None:
    body = raw({"id": "A-1", "word": "delivered"})
    answer = declare(topic).post(ORDERS, data=body)
    assert (answer.status_code, answer.data) == (200, b'{"status":"ok"}')
    assert stored(sessions) == [("pending", 0, None)]
    context_of(app).answer_recorder.close()
    alerts = shop.get("/v1/alerts").get_json()["alerts"]
    (alert,) = [alert for alert in alerts if alert["condition"] == "courier_answer_failing"]
    assert (alert["account"], alert["count"]) == ("shipmentapi", 1)
    logged = capsys.readouterr().out
    assert "courier_answer_failed" in logged
    assert "must not be logged" not in logged


def test_a_handshake_that_is_refused_has_the_shape_of_every_refusal(declare: Declare) -> None:
    def refuse(_query: Parameters) -> Answer:
        return Answer(403, b"no check", "text/html")

    answer = declare(Topic(decode_body, handshake=refuse)).get(ORDERS)
    assert (answer.status_code, answer.json) == (400, {"status": "error", "message": "no check"})


def test_an_account_that_is_off_shakes_no_hands(new_app: Callable[..., Flask]) -> None:
    path = "/webhooks/onfleet/orders?check=abc"
    answer = new_app().test_client().get(path)
    assert (answer.status_code, answer.text, answer.mimetype) == (200, "abc", "text/plain")
    off = new_app(COURIER_ONFLEET_SECRETS="").test_client().get(path)
    assert (off.status_code, off.json) == (404, {"status": "error", "message": "no such account"})


def test_a_handshake_that_fails_is_the_usual_answer(declare: Declare) -> None:
    answer = declare(Topic(decode_body, handshake=raise_error)).get(ORDERS)
    assert (answer.status_code, answer.data) == (200, b'{"status":"ok"}')


def test_what_is_kept_of_a_request_is_erased_with_the_body(
    declare: Declare, sessions: Sessions, drain: Drain, shop: FlaskClient
) -> None:
    topic = Topic(decode_query, body="empty", keeps_query=True)
    client = declare(topic)
    client.post(ORDERS, query_string={"id": "A-1001", "word": "delivered", "name": "Ann"})
    # One that cannot be read and names the order.
    client.post(ORDERS, query_string={"order": "A-1001", "name": "Bob"})
    drain()
    assert [row[0] for row in stored(sessions)] == ["applied", "quarantined"]
    found = shop.get("/v1/messages?outcome=quarantined&contains=Bob").get_json()
    assert len(found["messages"]) == 1
    assert shop.delete("/v1/orders/shipmentapi/A-1001/personal-data").status_code < 300
    assert [row[2] for row in stored(sessions)] == [None, None]
    # And what comes after it.
    client.post(ORDERS, query_string={"id": "A-1001", "word": "lost", "name": "Cid"})
    client.post(ORDERS, query_string={"order": "A-1001", "name": "Dan"})
    drain()
    assert [row[2] for row in stored(sessions)] == [None] * 4


def test_what_is_kept_of_a_request_goes_with_the_body(
    declare: Declare, sessions: Sessions, drain: Drain, app: Flask
) -> None:
    client = declare(Topic(decode_query, body="empty", keeps_query=True))
    client.post(ORDERS, query_string={"id": "1", "word": "in_transit"})
    drain()
    later = datetime.now(UTC) + timedelta(days=91)
    Retention(context_of(app).settings).drop_due(sessions, later, 5)
    assert [row[2] for row in stored(sessions)] == [None]


bodies = st.binary() | st.text().map(str.encode)
forms = st.lists(st.text("a%0=+\0\xe9", min_size=1)).map("&".join).map(str.encode)


@pytest.mark.parametrize("kind", PARSERS)
@given(body=bodies | forms)
def test_any_body_is_parsed_or_refused(kind: Any, body: bytes) -> None:
    with suppress(UnreadableBody):
        parse_content(body, kind)


@given(query=bodies | forms)
def test_any_query_can_be_stored(query: bytes) -> None:
    stored = orjson.loads(orjson.dumps(parse_parameters(query.decode(errors="replace"))))
    assert "\0" not in "".join(f"{name}{value}" for name, value in stored.items())


def test_an_order_is_named_by_a_form_in_any_encoding() -> None:
    assert "Order 41/\u00e4" in find_names(urlencode({"ref": "Order 41/\u00e4"}).encode())


def test_the_page_of_a_message_shows_what_was_said_beside_its_body(
    declare: Declare, client: FlaskClient
) -> None:
    topic = Topic(decode_query, body="empty", keeps_query=True, headers=("X-Event",))
    sent = {"id": "<i>1", "word": ["a", "b"]}
    declare(topic).post(ORDERS, query_string=sent, headers={"X-Event": "<b>"})
    sign_in(client)
    page = client.get("/ops/messages/1").text
    assert "&lt;i&gt;1" in page
    assert "&lt;b&gt;" in page
    assert "<i>1" not in page


def test_studios_product_webhooks_are_accepted_and_not_stored(
    client: FlaskClient, sessions: Sessions
) -> None:
    body = raw({"name": "Shirt", "sku": "34RX", "variants": []})
    path = "/webhooks/cottoncast/product"
    signed = cottoncast_signature(body, "cottoncast-key")
    answer = client.post(path, data=body, headers=signed)
    assert (answer.status_code, answer.data) == (202, b'{"status":"ok"}')
    assert client.post(path, data=body).status_code == 401
    assert stored(sessions) == []


def test_a_long_query_on_the_wire_changes_nothing(web: Web, sessions: Sessions) -> None:
    """Of a topic that keeps none, and of one that has no handshake."""
    answer = web.post(f"{ORDERS}?{'a=1&' * 2_000}", raw({"order_reference": "1", "status": "lost"}))
    assert answer.status_code == 200
    assert stored(sessions) == [("pending", 0, None)]
    assert web.post(f"{ORDERS}?{'a' * 20_000}", b"{}").status_code == 414


def test_the_noise_of_an_account_by_settings_is_what_its_own_map_says(
    new_app: Callable[..., Flask], sessions: Sessions
) -> None:
    field_map = {"courier_order_id": "id", "courier_status": "state", "noise": "kind == 'position'"}
    client = new_app(
        COURIER_BIKEPOST_DRIVER="fields",
        COURIER_BIKEPOST_SECRETS="bikepost-token",
        COURIER_BIKEPOST_FIELDS=json.dumps(field_map),
    ).test_client()
    for body in (b'{"kind": "position", "id": 1}', b'{"kind": "state", "id": 1, "state": "x"}'):
        assert client.post("/webhooks/bikepost/orders/bikepost-token", data=body).status_code == 200
    assert [row[0] for row in stored(sessions)] == ["pending"]
