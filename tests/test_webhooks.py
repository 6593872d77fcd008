"""What couriers call: every row of the contract's answer table, and every kind of bad input.

Over a real gunicorn where the wire matters, else through Flask's test client.
"""

import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from select import select as readable
from time import monotonic
from typing import Any

import psycopg
import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker
from werkzeug.test import TestResponse

from receiver.db.models import APPLIED, PARKED, PENDING, QUARANTINED, Message, Order, Tour
from receiver.queue.redis_client import TIMEOUT_SECONDS
from tests.bodies import (
    cottoncast_status,
    payload,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tour_plan,
)
from tests.digests import hmac_sha256_hex
from tests.service import (
    PATIENCE,
    Answer,
    Web,
    at_once,
    chunked,
    head,
    read_answer,
    running_web,
    wait_until,
    waiting_for,
)

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

LIMIT = 1_048_576
SECRETS = {
    "tiramizoo": "tiramizoo-token",
    "cottoncast": "cottoncast-key",
    "shipmentapi": "shipmentapi-token",
    "cottoncast-parking": "parking-key",
    "tiramizoo-parking": "parking-token",
}
# One body for each thing that couriers tell us about.
HOOKS = {
    "tiramizoo orders": ("tiramizoo", "orders", raw(tiramizoo_order())),
    "tiramizoo tours": ("tiramizoo", "tours", raw(tour_plan())),
    "cottoncast orders": ("cottoncast", "orders", raw(cottoncast_status())),
    "shipmentapi orders": ("shipmentapi", "orders", raw(shipmentapi_order())),
}
every_hook = pytest.mark.parametrize(
    ("account", "topic", "body"), HOOKS.values(), ids=[name.replace(" ", "-") for name in HOOKS]
)
TIRAMIZOO = "/webhooks/tiramizoo/orders/tiramizoo-token"


def address(
    account: str, body: bytes, topic: str = "orders", secret: str | None = None
) -> tuple[str, dict[str, str]]:
    """The path and the headers with which the account's courier sends a body."""
    secret = SECRETS[account] if secret is None else secret
    if account.startswith("cottoncast"):
        return f"/webhooks/{account}/{topic}", {
            "Cottoncast-Authentication": hmac_sha256_hex(secret, body)
        }
    return f"/webhooks/{account}/{topic}/{secret}", {}


def post(
    client: FlaskClient | Web,
    account: str,
    body: bytes,
    topic: str = "orders",
    secret: str | None = None,
) -> Answer:
    """Send a body as the account's courier would."""
    path, headers = address(account, body, topic, secret)
    answer = client.post(path, data=body, headers=headers)
    return Answer(answer.status_code, dict(answer.headers), answer.data)


def read(shop: FlaskClient, path: str) -> Any:
    """What the shop reads under /v1."""
    return shop.get(f"/v1/{path}").json


def events(shop: FlaskClient, account: str, order_id: str) -> list[dict[str, Any]]:
    """The timeline as the shop reads it."""
    return list(read(shop, f"orders/{account}/{order_id}/events")["events"])


def messages(sessions: Sessions) -> list[Message]:
    """The whole inbox, oldest first."""
    with sessions() as session:
        return list(session.scalars(select(Message).order_by(Message.id)))


def refused(client: FlaskClient | Web, account: str, reason: str) -> float:
    """How many requests were refused so far, as /metrics tells."""
    shown = client.get("/metrics", headers={"Authorization": "Bearer test-metrics-token"})
    labels = {"account": account, "reason": reason}
    return sum(
        sample.value
        for family in text_string_to_metric_families(shown.data.decode())
        for sample in family.samples
        if sample.name == "ordertrail_messages_refused_total" and sample.labels == labels
    )


def assert_refused(answer: Answer | TestResponse, status_code: int, told: str = "") -> None:
    """The answer is an error in the shape that couriers know, and its message holds `told`."""
    assert answer.status_code == status_code, answer.data
    assert answer.headers["Content-Type"] == "application/json"
    body = json.loads(answer.data)
    assert body == {"status": "error", "message": body["message"]}
    assert told in body["message"]


# Kept


@every_hook
def test_every_courier_gets_status_ok_and_nothing_more(
    account: str, topic: str, body: bytes, web: Web, sessions: Sessions
) -> None:
    answer = post(web, account, body, topic)
    assert answer.status_code == 200
    assert answer.data == b'{"status":"ok"}'
    assert answer.headers["Content-Type"] == "application/json"
    [kept] = messages(sessions)
    assert (kept.account, kept.topic, kept.body) == (account, topic, body)
    assert (kept.kind, kept.outcome, kept.reason) == ("webhook", PENDING, None)
    assert kept.trust == ("signed" if account == "cottoncast" else "token")


@every_hook
def test_a_repeated_body_is_answered_the_same_and_kept_once(
    account: str, topic: str, body: bytes, client: FlaskClient, sessions: Sessions
) -> None:
    answers = [post(client, account, body, topic) for _ in range(3)]
    assert [(answer.status_code, answer.data) for answer in answers] == [
        (200, b'{"status":"ok"}')
    ] * 3
    [kept] = messages(sessions)
    assert kept.repetitions == 2
    assert kept.last_seen_at > kept.received_at


def test_sixteen_senders_of_one_body_leave_one_message(web: Web, sessions: Sessions) -> None:
    body = raw(tiramizoo_order())
    answers = at_once(*[lambda: post(web, "tiramizoo", body)] * 16)
    assert {(answer.status_code, answer.data) for answer in answers} == {(200, b'{"status":"ok"}')}
    [kept] = messages(sessions)
    assert kept.repetitions == 15


def test_sixteen_senders_of_different_bodies_leave_each_of_them(
    web: Web, sessions: Sessions
) -> None:
    bodies = [raw(tiramizoo_order(f"order-{number}")) for number in range(16)]
    answers = at_once(*[lambda body=body: post(web, "tiramizoo", body) for body in bodies])
    assert {answer.status_code for answer in answers} == {200}
    assert sorted(message.body or b"" for message in messages(sessions)) == sorted(bodies)


def test_a_body_is_kept_byte_for_byte(client: FlaskClient, sessions: Sessions) -> None:
    body = b' {"uuid" : "a","state":"created","x":"\xc3\xa4 \\u00e4 \\/","x":1.50}\r\n'
    assert post(client, "tiramizoo", body).status_code == 200
    assert messages(sessions)[0].body == body


# Tokens and signatures


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/webhooks/tiramizoo/orders", "missing"),
        ("/webhooks/tiramizoo/orders/", "missing"),
        ("/webhooks/tiramizoo/tours", "missing"),
        ("/webhooks/shipmentapi/orders", "missing"),
        ("/webhooks/tiramizoo/orders/wrong", "wrong"),
        ("/webhooks/tiramizoo/orders/tiramizoo-toke", "wrong"),
        ("/webhooks/tiramizoo/orders/tiramizoo-token-", "wrong"),
        ("/webhooks/tiramizoo/orders/TIRAMIZOO-TOKEN", "wrong"),
        ("/webhooks/tiramizoo/orders/tiramizoo-token,tiramizoo-old-token", "wrong"),
        ("/webhooks/tiramizoo/orders/shipmentapi-token", "wrong"),
        ("/webhooks/tiramizoo/orders/test-api-token-01", "wrong"),
        ("/webhooks/tiramizoo/orders/parking-token", "wrong"),
        ("/webhooks/tiramizoo/orders/%FF%FE", "wrong"),
        ("/webhooks/tiramizoo/orders/%00", "wrong"),
        ("/webhooks/tiramizoo/orders/" + "x" * 5000, "wrong"),
    ],
)
def test_a_wrong_or_missing_token_is_refused_counted_and_not_stored(
    path: str, why: str, client: FlaskClient, sessions: Sessions
) -> None:
    account = path.split("/")[2]
    before = refused(client, account, why)
    assert_refused(client.post(path, data=raw(tiramizoo_order())), 401, "token")
    assert messages(sessions) == []
    assert refused(client, account, why) == before + 1


BODY = raw(cottoncast_status())


@pytest.mark.parametrize(
    ("signature", "why"),
    [
        (None, "missing"),
        ("", "malformed"),
        ("cottoncast-key", "malformed"),
        (hmac_sha256_hex("cottoncast-key", BODY)[:-1], "malformed"),
        (hmac_sha256_hex("cottoncast-key", BODY) + "0", "malformed"),
        ("sha256=" + hmac_sha256_hex("cottoncast-key", BODY), "malformed"),
        ("g" * 64, "malformed"),
        ("\N{FULLWIDTH DIGIT ONE}".encode().decode("latin-1") * 64, "malformed"),
        ("0" * 64, "wrong"),
        (hmac_sha256_hex("another-key", BODY), "wrong"),
        (hmac_sha256_hex("parking-key", BODY), "wrong"),
        (hmac_sha256_hex("cottoncast-key", b""), "wrong"),
        (hmac_sha256_hex("cottoncast-key", BODY + b" "), "wrong"),
        (
            hmac_sha256_hex("cottoncast-key", json.dumps(json.loads(BODY), indent=1).encode()),
            "wrong",
        ),
    ],
)
def test_a_wrong_missing_or_malformed_signature_is_refused_counted_and_not_stored(
    signature: str | None, why: str, client: FlaskClient, sessions: Sessions
) -> None:
    headers = {} if signature is None else {"Cottoncast-Authentication": signature}
    before = refused(client, "cottoncast", why)
    assert_refused(client.post("/webhooks/cottoncast/orders", data=BODY, headers=headers), 401)
    assert messages(sessions) == []
    assert refused(client, "cottoncast", why) == before + 1


@pytest.mark.parametrize("account", ["tiramizoo", "cottoncast"])
def test_an_old_secret_is_still_valid(
    account: str, client: FlaskClient, sessions: Sessions
) -> None:
    body = HOOKS[f"{account} orders"][2]
    old = {"tiramizoo": "tiramizoo-old-token", "cottoncast": "cottoncast-old-key"}[account]
    assert post(client, account, body, secret=old).status_code == 200
    assert post(client, account, body).status_code == 200
    assert [message.repetitions for message in messages(sessions)] == [1]


def test_a_signature_may_be_in_capitals(client: FlaskClient, sessions: Sessions) -> None:
    headers = {"cottoncast-authentication": hmac_sha256_hex("cottoncast-key", BODY).upper()}
    answer = client.post("/webhooks/cottoncast/orders", data=BODY, headers=headers)
    assert answer.status_code == 200
    assert len(messages(sessions)) == 1


def test_a_signature_over_the_body_of_another_message_is_refused_on_the_wire(
    web: Web, sessions: Sessions
) -> None:
    before = refused(web, "cottoncast", "wrong")
    answer = web.post(
        "/webhooks/cottoncast/orders",
        raw(cottoncast_status("D")),
        {
            "Cottoncast-Authentication": hmac_sha256_hex(
                "cottoncast-key", raw(cottoncast_status("E"))
            )
        },
    )
    assert_refused(answer, 401)
    assert messages(sessions) == []
    assert refused(web, "cottoncast", "wrong") == before + 1


# Paths and methods


@pytest.mark.parametrize(
    "path",
    [
        "/webhooks/nobody/orders/tiramizoo-token",
        "/webhooks/nobody/orders",
        "/webhooks/TIRAMIZOO/orders/tiramizoo-token",
        "/webhooks/tiramizoo/parcels/tiramizoo-token",
        "/webhooks/tiramizoo/Orders/tiramizoo-token",
        "/webhooks/tiramizoo/",
        "/webhooks/tiramizoo",
        "/webhooks/",
        "/webhooks/tiramizoo/orders/tiramizoo-token/more",
        "/webhooks/tiramizoo/orders/tiramizoo%2Ftoken",
        "/webhooks/shipmentapi/tours/shipmentapi-token",
        "/webhooks/cottoncast/tours",
        "/webhooks/cottoncast/orders/cottoncast-key",
        "/webhooks/%00/orders/tiramizoo-token",
        "/webhooks/%FF/orders/tiramizoo-token",
    ],
)
def test_an_unknown_account_or_topic_is_not_found(
    path: str, client: FlaskClient, sessions: Sessions
) -> None:
    body = raw(cottoncast_status())
    headers = {"Cottoncast-Authentication": hmac_sha256_hex("cottoncast-key", body)}
    assert_refused(client.post(path, data=body, headers=headers), 404)
    assert messages(sessions) == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", [TIRAMIZOO, "/webhooks/cottoncast/orders"])
def test_a_method_other_than_post_is_not_allowed(
    method: str, path: str, client: FlaskClient, sessions: Sessions
) -> None:
    headers = {"Cottoncast-Authentication": hmac_sha256_hex("cottoncast-key", BODY)}
    answer = client.open(path, method=method, data=BODY, headers=headers)
    assert answer.headers["Allow"] == "POST"
    if method == "HEAD":
        assert (answer.status_code, answer.data) == (405, b"")
    else:
        assert_refused(answer, 405)
    assert messages(sessions) == []


@pytest.mark.parametrize(
    ("path", "status_code"),
    [
        (f"{TIRAMIZOO}/", 200),
        ("//webhooks/tiramizoo/orders/tiramizoo-token", 200),
        ("/webhooks//tiramizoo/orders/tiramizoo-token", 404),
        ("/webhooks/tiramizoo//orders/tiramizoo-token", 404),
        ("/webhooks/tiramizoo/orders//tiramizoo-token", 404),
        ("/webhooks/tiramizoo/orders/tiramizoo-token//", 404),
        ("/webhooks/tiramizoo/./orders/tiramizoo-token", 404),
    ],
)
def test_no_path_is_redirected(path: str, status_code: int, web: Web, sessions: Sessions) -> None:
    answer = web.post(path, raw(tiramizoo_order()))
    assert answer.status_code == status_code
    assert "Location" not in answer.headers
    assert len(messages(sessions)) == (1 if status_code == 200 else 0)


# Size and length


def filled(size: int) -> bytes:
    """A readable order that is so many bytes long."""
    empty = raw(tiramizoo_order(description=""))
    return empty.replace(
        b'"description": ""', b'"description": "%s"' % (b"x" * (size - len(empty)))
    )


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1, LIMIT + 3_000_000])
@pytest.mark.parametrize("framing", ["length", "one-chunk", "many-chunks"])
def test_a_body_over_the_limit_is_refused_and_one_at_the_limit_is_kept(
    size: int, framing: str, web: Web, sessions: Sessions
) -> None:
    body = filled(size)
    assert len(body) == size
    before = refused(web, "tiramizoo", "body_too_large")
    if framing == "length":
        answer = web.post(TIRAMIZOO, body)
    else:
        step = size if framing == "one-chunk" else 10_000
        parts = [body[start : start + step] for start in range(0, size, step)]
        answer = web.send(head(TIRAMIZOO, "Transfer-Encoding: chunked") + chunked(*parts))
    if size > LIMIT:
        assert_refused(answer, 413, str(LIMIT))
        assert messages(sessions) == []
        assert refused(web, "tiramizoo", "body_too_large") == before + 1
    else:
        assert answer.status_code == 200
        assert [message.body for message in messages(sessions)] == [body]


def test_the_limit_is_the_one_of_the_settings(
    new_app: Callable[..., Flask], sessions: Sessions
) -> None:
    body = raw(tiramizoo_order())
    client = new_app(MAX_BODY_BYTES=str(len(body))).test_client()
    assert_refused(client.post(TIRAMIZOO, data=body + b" "), 413)
    assert client.post(TIRAMIZOO, data=body).status_code == 200
    assert [message.body for message in messages(sessions)] == [body]


def test_a_connection_is_usable_after_a_body_over_the_limit(web: Web, sessions: Sessions) -> None:
    with web.keeping_alive() as connection:
        for body, status_code in ((filled(3 * LIMIT), 413), (filled(1000), 200)):
            connection.request("POST", TIRAMIZOO, body)
            answer = connection.getresponse()
            answer.read()
            assert answer.status == status_code
    assert [message.body for message in messages(sessions)] == [filled(1000)]


def test_a_sender_that_closes_after_the_answer_still_learns_that_its_body_is_too_large(
    web: Web, sessions: Sessions
) -> None:
    # Closed with bytes unread, a connection is broken under a sender before it reads why.
    for _ in range(5):
        answer = web.post(TIRAMIZOO, filled(8 * LIMIT), {"Connection": "close"})
        assert_refused(answer, 413)
    assert messages(sessions) == []


@pytest.mark.parametrize("promised", [100_000, 3 * LIMIT])
def test_a_body_shorter_than_promised_is_refused_and_not_stored(
    promised: int, web: Web, sessions: Sessions
) -> None:
    # What came is a whole order, so that only the length tells that something is missing.
    before = refused(web, "tiramizoo", "body_cut_off")
    body = raw(tiramizoo_order())
    request = head(TIRAMIZOO, f"Content-Length: {promised}") + body
    assert_refused(web.send(request, half_close=True), 400, str(promised))
    assert messages(sessions) == []
    assert refused(web, "tiramizoo", "body_cut_off") == before + 1


def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(web: Web, sessions: Sessions) -> None:
    before = refused(web, "tiramizoo", "body_cut_off")
    with web.connected() as connection:
        connection.sendall(head(TIRAMIZOO, "Content-Length: 9999") + raw(tiramizoo_order()))
    wait_until(lambda: refused(web, "tiramizoo", "body_cut_off") == before + 1)
    assert messages(sessions) == []


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(chunked(raw(tiramizoo_order()), last=b""), id="no-last-chunk"),
        pytest.param(b"fff\r\n" + raw(tiramizoo_order()), id="in-a-chunk"),
        pytest.param(b"0\r\n", id="before-the-end"),
        pytest.param(b"", id="at-once"),
    ],
)
def test_a_chunked_body_that_is_cut_off_is_refused_and_not_stored(
    sent: bytes, web: Web, sessions: Sessions
) -> None:
    request = head(TIRAMIZOO, "Transfer-Encoding: chunked") + sent
    assert_refused(web.send(request, half_close=True), 400)
    assert messages(sessions) == []


def test_a_chunked_body_with_a_broken_chunk_is_refused_and_not_stored(
    web: Web, sessions: Sessions
) -> None:
    body = chunked(raw(tiramizoo_order()), last=b"zz\r\n\r\n")
    answer = web.send(head(TIRAMIZOO, "Transfer-Encoding: chunked") + body)
    assert_refused(answer, 400)
    assert messages(sessions) == []


def test_a_body_over_the_limit_that_is_cut_off_is_refused_as_too_large(
    web: Web, sessions: Sessions
) -> None:
    request = head(TIRAMIZOO, "Transfer-Encoding: chunked") + chunked(filled(2 * LIMIT), last=b"")
    assert_refused(web.send(request, half_close=True), 413)
    assert messages(sessions) == []


def trickle(web: Web) -> Answer:
    """Send a body so slowly that it would take half an hour, until there is an answer."""
    with web.connected() as connection:
        connection.sendall(head(TIRAMIZOO, "Content-Length: 9999"))
        deadline = monotonic() + PATIENCE
        while not readable([connection], [], [], 0.2)[0]:
            assert monotonic() < deadline
            connection.sendall(b" ")
        return read_answer(connection)


@pytest.mark.system
def test_senders_that_stall_or_trickle_are_given_up_on(web: Web, sessions: Sessions) -> None:
    # They would hold a connection each for good, of which a worker has a thousand.
    whole = raw(tiramizoo_order())
    promised, too_large, slow = at_once(
        lambda: web.send(head(TIRAMIZOO, "Content-Length: 9999") + whole),
        lambda: web.send(
            head(TIRAMIZOO, "Transfer-Encoding: chunked") + chunked(filled(2 * LIMIT), last=b"")
        ),
        lambda: trickle(web),
    )
    assert_refused(promised, 400)
    assert_refused(too_large, 413)
    assert_refused(slow, 400)
    assert messages(sessions) == []


def test_a_body_longer_than_promised_is_only_what_was_promised(
    web: Web, sessions: Sessions
) -> None:
    body = raw(tiramizoo_order())
    answer = web.send(head(TIRAMIZOO, "Content-Length: 10") + body)
    assert_refused(answer, 400, "not JSON")
    # HTTP makes the rest a request of its own, which is none: no order comes of either.
    assert [(message.body, message.outcome) for message in messages(sessions)] == [
        (body[:10], QUARANTINED)
    ]


def test_a_signed_body_longer_than_promised_does_not_fit_its_signature(
    web: Web, sessions: Sessions
) -> None:
    signature = f"Cottoncast-Authentication: {hmac_sha256_hex('cottoncast-key', BODY)}"
    request = head("/webhooks/cottoncast/orders", f"Content-Length: {len(BODY) - 1}", signature)
    assert_refused(web.send(request + BODY), 401)
    assert messages(sessions) == []


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: -1",),
        ("Content-Length: ten",),
        ("Content-Length: 10", "Content-Length: 11"),
        ("Content-Length: 10", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, chunked",),
    ],
)
def test_a_request_whose_length_cannot_be_told_is_refused_and_not_stored(
    lines: tuple[str, ...], web: Web, sessions: Sessions
) -> None:
    answer = web.send(head(TIRAMIZOO, *lines) + chunked(raw(tiramizoo_order())))
    assert answer.status_code == 400
    assert messages(sessions) == []


def test_a_request_hidden_in_a_refused_body_is_not_heard(web: Web, sessions: Sessions) -> None:
    order = raw(tiramizoo_order())
    hidden = head(TIRAMIZOO, f"Content-Length: {len(order)}") + order
    with web.keeping_alive() as connection:
        connection.request("POST", "/webhooks/nobody/orders", hidden)
        refusal = connection.getresponse()
        refusal.read()
        connection.request("GET", "/livez")
        assert (refusal.status, connection.getresponse().status) == (404, 200)
    assert messages(sessions) == []


def test_a_body_that_came_in_chunks_is_verified_as_a_whole(web: Web, sessions: Sessions) -> None:
    signature = f"Cottoncast-Authentication: {hmac_sha256_hex('cottoncast-key', BODY)}"
    lines = ("Transfer-Encoding: chunked", signature)
    request = head("/webhooks/cottoncast/orders", *lines) + chunked(BODY[:7], BODY[7:])
    assert web.send(request).status_code == 200
    assert [message.body for message in messages(sessions)] == [BODY]


# Bodies that cannot be read

UNREADABLE = {
    "empty": (b"", "empty"),
    "blank": (b" \r\n\t ", "empty"),
    "text": (b"Hello", "not JSON"),
    "form": (b"uuid=a&state=created", "not JSON"),
    "cut": (b'{"uuid":"a","sta', "not JSON"),
    "two objects": (b'{"uuid":"a","state":"created"}{}', "not JSON"),
    "string": (b'"created"', "not an object"),
    "number": (b"42", "not an object"),
    "null": (b"null", "not an object"),
    "true": (b"true", "not an object"),
    "array": (b'[{"uuid":"a","state":"created"}]', "not an object"),
    "invalid UTF-8": (b'{"uuid":"a","state":"created","x":"\xff"}', "not UTF-8: byte 35"),
    "Latin-1": ('{"uuid":"a","state":"created","x":"ä"}'.encode("latin-1"), "not UTF-8"),
    "UTF-16": ('{"uuid":"a","state":"created"}'.encode("utf-16"), "not UTF-8"),
    "overlong UTF-8": (b'{"uuid":"\xc0\x80","state":"created"}', "not UTF-8"),
    "bare U+0000": (b'{"uuid":"\x00","state":"created"}', "not JSON"),
    "NaN": (b'{"uuid":"a","state":"created","x":NaN}', "not JSON"),
    "Infinity": (b'{"uuid":"a","state":"created","x":-Infinity}', "not JSON"),
    "10,000 arrays": (b"[" * 10_000 + b"]" * 10_000, "not JSON"),
    "10,000 objects": (b'{"x":' * 10_000 + b"1" + b"}" * 10_000, "not JSON"),
}


@pytest.mark.parametrize("account", ["tiramizoo", "cottoncast"])
@pytest.mark.parametrize(("body", "told"), UNREADABLE.values(), ids=list(UNREADABLE))
def test_an_unreadable_body_is_told_what_is_wrong_and_quarantined_once(
    body: bytes, told: str, account: str, client: FlaskClient, sessions: Sessions
) -> None:
    for repetitions in range(2):
        answer = post(client, account, body)
        assert_refused(answer, 400, told)
        [kept] = messages(sessions)
        assert (kept.body, kept.outcome, kept.repetitions) == (body, QUARANTINED, repetitions)
        assert kept.reason == answer.json["message"]
        assert kept.processed_at == kept.received_at


def test_an_unreadable_body_without_a_length_is_quarantined_on_the_wire(
    web: Web, sessions: Sessions
) -> None:
    assert_refused(web.send(head(TIRAMIZOO)), 400, "empty")
    assert [(message.body, message.outcome) for message in messages(sessions)] == [
        (b"", QUARANTINED)
    ]


def test_an_unreadable_body_is_refused_before_it_is_read_where_the_token_is_wrong(
    client: FlaskClient, sessions: Sessions
) -> None:
    assert_refused(post(client, "tiramizoo", b"{", secret="wrong"), 401)
    assert messages(sessions) == []


def test_a_body_is_read_whatever_its_content_type_says(
    client: FlaskClient, sessions: Sessions
) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "x"):
        body = raw(tiramizoo_order(description=kind))
        answer = client.post(TIRAMIZOO, data=body, headers={"Content-Type": kind})
        assert answer.status_code == 200
        assert messages(sessions)[-1].body == body


# Bodies that their courier's driver refuses (tests/couriers says which), and odd ones


@pytest.mark.parametrize(
    ("account", "topic", "body", "told"),
    [
        ("tiramizoo", "orders", {"state": "created"}, "uuid"),
        ("tiramizoo", "tours", {}, "tours"),
        ("cottoncast", "orders", {"orderID": "3AF7", "status": {"timestamp": 1}}, "code"),
        ("shipmentapi", "orders", {"order_reference": "SA-1"}, "courier_status"),
    ],
)
def test_a_body_that_the_driver_refuses_is_answered_ok_and_then_quarantined(
    account: str,
    topic: str,
    body: dict[str, Any],
    told: str,
    client: FlaskClient,
    sessions: Sessions,
    drain: Drain,
) -> None:
    assert post(client, account, raw(body), topic).data == b'{"status":"ok"}'
    drain()
    [kept] = messages(sessions)
    assert (kept.outcome, kept.body) == (QUARANTINED, raw(body))
    assert told in (kept.reason or "")
    assert kept.processed_at is not None
    with sessions() as session:
        assert session.scalars(select(Order)).all() == []
        assert session.scalars(select(Tour)).all() == []


def test_a_refused_body_does_not_stand_in_the_way_of_others(
    client: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    for body in ({"uuid": "a", "state": "created"}, {"state": "created"}, tiramizoo_order("b")):
        post(client, "tiramizoo", raw(body))
    drain()
    assert [message.outcome for message in messages(sessions)] == [APPLIED, QUARANTINED, APPLIED]


def test_a_body_with_u0000_is_kept_as_it_is_and_shown_with_a_sign_in_its_place(
    client: FlaskClient, shop: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    body = raw(
        tiramizoo_order(
            "a\x00b",
            external_id="S\x00-1",
            tracking_code="\x00TC",
            history=[{"type": "x\x00y", "recorded_at": "2026-04-16T10:00:00Z"}],
        )
        | {"un\x00known": {"deep": ["\x00"]}}
    )
    assert b"\\u0000" in body
    assert post(client, "tiramizoo", body).status_code == 200
    drain()
    [kept] = messages(sessions)
    assert (kept.body, kept.outcome, kept.courier_order_id) == (body, APPLIED, "a␀b")
    order = read(shop, "orders/tiramizoo/a%00b")
    assert (order["reference"], order["identifiers"]["tracking_code"]) == ("S␀-1", "␀TC")
    words = [event["courier_status"] for event in events(shop, "tiramizoo", "a␀b")]
    assert words == ["created", "x␀y"]


def test_a_backslash_before_the_text_u0000_is_no_u0000(
    client: FlaskClient, shop: FlaskClient, drain: Drain
) -> None:
    for order_id, reference in (("a", "x\\u0000y"), ("b", "x\\\x00y"), ("c", "x\\\\u0000y")):
        post(client, "tiramizoo", raw(tiramizoo_order(order_id, external_id=reference)))
        drain()
        shown = read(shop, f"orders/tiramizoo/{order_id}")["reference"]
        assert shown == reference.replace("\x00", "␀")


@pytest.mark.parametrize("order_id", [rb"\u00\u000000", rb"a\u0\u0000061"])
def test_what_becomes_json_once_u0000_is_cut_out_is_none(
    client: FlaskClient, sessions: Sessions, order_id: bytes
) -> None:
    body = raw(tiramizoo_order("ORDER")).replace(b"ORDER", order_id)
    assert post(client, "tiramizoo", body).status_code == 400
    assert [message.outcome for message in messages(sessions)] == [QUARANTINED]


def test_a_body_as_deep_as_json_may_be_is_folded_also_with_u0000(
    client: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    deep = b'{"x":' * 900 + b'"\\u0000"' + b"}" * 900
    body = raw(tiramizoo_order())[:-1] + b',"x":' + deep + b"}"
    assert post(client, "tiramizoo", body).status_code == 200
    drain()
    assert [message.outcome for message in messages(sessions)] == [APPLIED]


@pytest.mark.parametrize(
    ("account", "body", "order_id", "word"),
    [
        ("tiramizoo", {"uuid": "a", "state": "teleported"}, "a", "teleported"),
        ("cottoncast", cottoncast_status("Q"), "3AF7", "Q"),
        ("cottoncast", cottoncast_status("d"), "3AF7", "d"),
        ("shipmentapi", shipmentapi_order(status="beamed"), "SA-2001", "beamed"),
    ],
)
def test_an_unknown_word_is_on_the_timeline_as_unknown(
    account: str,
    body: dict[str, Any],
    order_id: str,
    word: str,
    client: FlaskClient,
    shop: FlaskClient,
    drain: Drain,
) -> None:
    assert post(client, account, raw(body)).status_code == 200
    drain()
    order = read(shop, f"orders/{account}/{order_id}")
    assert (order["status"], order["courier_status"]) == ("unknown", word)
    assert order["needs_attention"] is True
    [event] = events(shop, account, order_id)
    assert (event["status"], event["courier_status"]) == ("unknown", word)
    assert event["applied"] is False
    assert word in event["not_applied_why"]


def test_an_unknown_word_does_not_displace_a_known_status(
    client: FlaskClient, shop: FlaskClient, drain: Drain
) -> None:
    start = datetime(2026, 4, 16, 7, tzinfo=UTC)
    post(client, "cottoncast", raw(cottoncast_status("E", start)))
    post(client, "cottoncast", raw(cottoncast_status("Q", start + timedelta(hours=1))))
    drain()
    order = read(shop, "orders/cottoncast/3AF7")
    assert (order["status"], order["courier_status"]) == ("in_transit", "E")
    assert [event["status"] for event in events(shop, "cottoncast", "3AF7")] == [
        "in_transit",
        "unknown",
    ]


@pytest.mark.parametrize(
    ("account", "body", "order_id", "occurred_at"),
    [
        (
            "tiramizoo",
            tiramizoo_order("a", created_at="2026-07-16T09:00:00"),
            "a",
            "2026-07-16T07:00:00Z",
        ),
        (
            "tiramizoo",
            tiramizoo_order("a", created_at="2026-07-16T09:00:00", timezone="Europe/London"),
            "a",
            "2026-07-16T08:00:00Z",
        ),
        ("cottoncast", cottoncast_status(at="2026-01-16T09:00:00"), "3AF7", "2026-01-16T08:00:00Z"),
        (
            "shipmentapi",
            shipmentapi_order(updated_at="2026-07-16T09:00:00"),
            "SA-2001",
            "2026-07-16T06:00:00Z",
        ),
    ],
)
def test_a_time_without_a_zone_is_read_in_the_couriers_and_flagged(
    account: str,
    body: dict[str, Any],
    order_id: str,
    occurred_at: str,
    client: FlaskClient,
    shop: FlaskClient,
    drain: Drain,
) -> None:
    post(client, account, raw(body))
    drain()
    [event] = events(shop, account, order_id)
    assert event["occurred_at"] == occurred_at
    assert "zone_assumed" in event["flags"]


@pytest.mark.parametrize(
    ("account", "body", "order_id"),
    [
        ("tiramizoo", tiramizoo_order("a", created_at="2099-01-01T00:00:00Z"), "a"),
        ("cottoncast", cottoncast_status(at=datetime(2099, 1, 1, tzinfo=UTC)), "3AF7"),
        ("shipmentapi", shipmentapi_order(updated_at="2099-01-01T00:00:00Z"), "SA-2001"),
    ],
)
def test_a_time_in_the_year_2099_counts_at_its_arrival_and_is_flagged(
    account: str,
    body: dict[str, Any],
    order_id: str,
    client: FlaskClient,
    shop: FlaskClient,
    drain: Drain,
) -> None:
    post(client, account, raw(body))
    drain()
    [event] = events(shop, account, order_id)
    assert event["occurred_at"] == event["received_at"]
    assert "clock_skew" in event["flags"]
    assert event["applied"] is True
    order = read(shop, f"orders/{account}/{order_id}")
    assert order["status_at"] == event["received_at"] == order["last_heard_at"]


def test_a_time_in_the_year_2099_does_not_hold_up_what_follows(
    client: FlaskClient, shop: FlaskClient, drain: Drain
) -> None:
    post(client, "cottoncast", raw(cottoncast_status("E", datetime(2099, 1, 1, tzinfo=UTC))))
    soon = datetime.now(UTC) + timedelta(minutes=1)
    post(client, "cottoncast", raw(cottoncast_status("D", soon)))
    drain()
    assert read(shop, "orders/cottoncast/3AF7")["status"] == "delivered"


# Orders that the shop has not registered


def test_an_order_not_registered_gets_the_documented_404_and_waits_for_the_shop(
    client: FlaskClient, shop: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    account, body = "cottoncast-parking", raw(payload("cottoncast/orderstatus.json"))
    answer = post(client, account, body)
    assert answer.status_code == 404
    assert answer.json == {"status": "error", "message": "Order 41 not found"}
    assert [message.outcome for message in messages(sessions)] == [PENDING]

    drain()
    [kept] = messages(sessions)
    assert (kept.outcome, kept.courier_order_id, kept.body) == (PARKED, "3AF7", body)
    assert kept.reason
    assert shop.get(f"/v1/orders/{account}/3AF7").status_code == 404
    assert post(client, account, body).status_code == 404
    assert [message.repetitions for message in messages(sessions)] == [1]

    new = {"account": account, "courier_order_id": "3AF7", "reference": "41"}
    assert shop.post("/v1/orders", json=new).status_code == 201
    assert [message.outcome for message in messages(sessions)] == [PENDING]
    drain()
    assert [message.outcome for message in messages(sessions)] == [APPLIED]
    order = read(shop, f"orders/{account}/3AF7")
    assert (order["status"], order["reference"]) == ("picked_up", "41")
    assert [parcel["tracking_number"] for parcel in order["parcels"]] == ["3SCEBU123456789"]
    assert post(client, account, body).data == b'{"status":"ok"}'


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (cottoncast_status(ref=None), "3AF7"),
        (cottoncast_status(ref=41), "41"),
        (cottoncast_status(order_id=7, ref=None), "7"),
        (cottoncast_status(order_id="3A\x00F7", ref="4\x001"), "4␀1"),
    ],
)
def test_the_404_names_the_order_as_the_shop_knows_it(
    body: dict[str, Any], name: str, client: FlaskClient, sessions: Sessions
) -> None:
    answer = post(client, "cottoncast-parking", raw(body))
    assert answer.status_code == 404
    assert answer.json["message"] == f"Order {name} not found"
    assert len(messages(sessions)) == 1


def test_a_body_that_the_driver_refuses_is_answered_ok_also_where_orders_are_registered(
    client: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    assert post(client, "cottoncast-parking", raw({"ref": "41"})).status_code == 200
    drain()
    assert [message.outcome for message in messages(sessions)] == [QUARANTINED]


def test_a_courier_without_a_documented_404_is_answered_ok_while_its_message_waits(
    client: FlaskClient, shop: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    assert post(client, "tiramizoo-parking", raw(tiramizoo_order("a"))).data == b'{"status":"ok"}'
    assert post(client, "tiramizoo-parking", raw(tiramizoo_order("b"))).data == b'{"status":"ok"}'
    drain()
    assert [message.outcome for message in messages(sessions)] == [PARKED, PARKED]

    new = {"account": "tiramizoo-parking", "courier_order_id": "a"}
    assert shop.post("/v1/orders", json=new).status_code == 201
    drain()
    assert [message.outcome for message in messages(sessions)] == [APPLIED, PARKED]
    assert read(shop, "orders/tiramizoo-parking/a")["status"] == "info_received"
    assert shop.get("/v1/orders/tiramizoo-parking/b").status_code == 404


def test_an_account_that_accepts_answers_ok_to_an_order_first_heard_of(
    client: FlaskClient, shop: FlaskClient, drain: Drain
) -> None:
    body = raw(payload("cottoncast/orderstatus.json"))
    assert post(client, "cottoncast", body).data == b'{"status":"ok"}'
    drain()
    assert read(shop, "orders/cottoncast/3AF7")["status"] == "picked_up"


# Without PostgreSQL, without Redis


@pytest.mark.parametrize(
    ("account", "body"),
    [
        ("tiramizoo", raw(tiramizoo_order())),
        ("cottoncast", raw(cottoncast_status())),
        ("cottoncast-parking", raw(cottoncast_status())),
        ("shipmentapi", raw(shipmentapi_order())),
        ("tiramizoo", b"not JSON"),
    ],
)
def test_without_postgresql_nothing_is_promised(
    account: str, body: bytes, new_app: Callable[..., Flask], tmp_path: Path
) -> None:
    client = new_app(DATABASE_URL=f"postgresql://postgres@/gone?host={tmp_path}").test_client()
    answer = post(client, account, body)
    assert_refused(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0
    assert str(tmp_path) not in answer.json["message"]


def test_without_postgresql_a_wrong_token_is_still_wrong(
    new_app: Callable[..., Flask], tmp_path: Path
) -> None:
    client = new_app(DATABASE_URL=f"postgresql://postgres@/gone?host={tmp_path}").test_client()
    assert_refused(post(client, "tiramizoo", b"{}", secret="wrong"), 401)


@pytest.mark.system
def test_a_web_process_takes_up_its_work_when_postgresql_is_back(
    environ: dict[str, str],
    servers: dict[str, str],
    new_database: Callable[[str], str],
    tmp_path: Path,
) -> None:
    body = raw(tiramizoo_order())
    database_url = new_database("comes_and_goes")
    with running_web({**environ, "DATABASE_URL": database_url}, tmp_path / "web.log") as web:
        assert post(web, "tiramizoo", body).status_code == 200
        name = database_url.rpartition("/")[2].partition("?")[0]
        with psycopg.connect(servers["admin"], autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for _ in range(2):
            answer = post(web, "tiramizoo", body)
            assert_refused(answer, 503)
            assert int(answer.headers["Retry-After"]) > 0
        assert web.get("/readyz").status_code == 503
        assert web.get("/livez").status_code == 200

        new_database("comes_and_goes")
        assert post(web, "tiramizoo", body).status_code == 200
        assert web.get("/readyz").status_code == 200
    with psycopg.connect(database_url) as connection:
        kept = connection.execute("SELECT body, repetitions FROM messages").fetchall()
    assert kept == [(body, 0)]


def test_a_web_process_that_waits_for_postgresql_still_answers_others(
    web: Web, sessions: Sessions
) -> None:
    # One gunicorn worker: what blocks it blocks everybody.
    def post_and_time() -> tuple[int, float]:
        return post(web, "tiramizoo", raw(tiramizoo_order())).status_code, monotonic()

    def look_and_time() -> tuple[int, float]:
        wait_until(lambda: waiting_for(sessions, "messages"))
        try:
            return web.get("/livez").status_code, monotonic()
        finally:
            locker.rollback()

    with sessions() as locker:
        locker.execute(text("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE"))
        (posted, posted_at), (looked, looked_at) = at_once(post_and_time, look_and_time)
    assert (posted, looked) == (200, 200)
    assert looked_at < posted_at


# Seconds: twenty answers that wait for Redis take twice as long, however quick the machine.
LESS_THAN_WAITING = 10 * TIMEOUT_SECONDS


def test_without_redis_messages_are_kept_and_quickly_answered(
    new_app: Callable[..., Flask], sessions: Sessions, tmp_path: Path
) -> None:
    client = new_app(REDIS_URL=f"unix://{tmp_path}/gone").test_client()
    start = monotonic()
    for number in range(20):
        assert post(client, "tiramizoo", raw(tiramizoo_order(f"order-{number}"))).data == (
            b'{"status":"ok"}'
        )
    assert monotonic() - start < LESS_THAN_WAITING
    assert [message.outcome for message in messages(sessions)] == [PENDING] * 20


@pytest.mark.system
def test_with_a_redis_that_hangs_messages_are_kept_and_quickly_answered(
    environ: dict[str, str], sessions: Sessions, tmp_path: Path
) -> None:
    # It takes connections, as the kernel does for any listener, and never says a word.
    with socket.create_server(("127.0.0.1", 0)) as mute:
        redis_url = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        with running_web({**environ, "REDIS_URL": redis_url}, tmp_path / "web.log") as web:
            start = monotonic()
            for number in range(20):
                body = raw(tiramizoo_order(f"order-{number}"))
                assert post(web, "tiramizoo", body).data == b'{"status":"ok"}'
            assert monotonic() - start < LESS_THAN_WAITING
    assert [message.outcome for message in messages(sessions)] == [PENDING] * 20
