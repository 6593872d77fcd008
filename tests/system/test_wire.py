"""What is no HTTP, or only half of it, sent to a real gunicorn: one honest answer, and no harm."""

import json
import socket
from http import HTTPStatus
from pathlib import Path

import psutil
import pytest

from tests.bodies import raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.faults.slow_clients import SlowClients
from tests.service import Web, chunked, head, read_answer, wait_until

HOOK = "/webhooks/tiramizoo/orders/tiramizoo-token"

# What is sent, its status, and what is said of it.
NO_HTTP = {
    "no request line": (b"hello\r\n\r\n", 400, "request line"),
    "binary": (bytes(range(256)) + b"\r\n\r\n", 400, ""),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", 400, ""),
    "a method of no kind": (b"GE\x00T / HTTP/1.1\r\n\r\n", 400, ""),
    "version 9": (b"GET / HTTP/9.9\r\n\r\n", 400, "HTTP version"),
    "a header without a name": (b"GET / HTTP/1.1\r\n: x\r\n\r\n", 400, "header"),
    "a header without a colon": (b"GET / HTTP/1.1\r\nHost\r\n\r\n", 400, "header"),
    "a header with a bare CR": (b"GET / HTTP/1.1\r\nX: a\rb\r\n\r\n", 400, "header"),
    "two lengths": (head(HOOK, "Content-Length: 2", "Content-Length: 3") + b"{}", 400, "header"),
    "a length of no number": (head(HOOK, "Content-Length: +2") + b"{}", 400, "header"),
    "length and chunks": (
        head(HOOK, "Content-Length: 2", "Transfer-Encoding: chunked") + chunked(b"{}"),
        400,
        "header",
    ),
    "a coding that nobody knows": (
        head(HOOK, "Transfer-Encoding: x") + b"{}",
        400,
        "Transfer-Encoding",
    ),
    "an address without end": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "too long"),
    "too many headers": (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 500 + b"\r\n", 431, "headers"),
    "a header without end": (b"GET / HTTP/1.1\r\nX: " + b"y" * 20_000 + b"\r\n\r\n", 431, ""),
    "a novel after an address without end": (
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + b"x" * 500_000,
        414,
        "too long",
    ),
}


@pytest.mark.parametrize(("sent", "status", "about"), NO_HTTP.values(), ids=NO_HTTP)
def test_what_is_no_http_is_told_so_in_json(web: Web, sent: bytes, status: int, about: str) -> None:
    answer = web.send(sent)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["Connection"] == "close"
    assert answer.json["status"] == status
    assert answer.json["title"] == HTTPStatus(status).phrase
    assert about in answer.json["detail"]


def test_a_token_in_a_line_that_cannot_be_read_is_neither_answered_nor_logged(web: Web) -> None:
    answer = web.send(f"POST {HOOK} HTTP/7.7\r\n\r\n".encode())
    assert answer.status_code == 400
    assert b"tiramizoo-token" not in answer.data
    wait_until(lambda: "invalid_request_refused" in Path(web.log).read_text())
    log = Path(web.log).read_text()
    assert "InvalidHTTPVersion" in log
    assert "tiramizoo-token" not in log


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}XX0\r\n\r\n",
        b"-2\r\n{}\r\n0\r\n\r\n",
        b"2;" + b"e" * 20_000 + b"\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_chunks_that_are_none_are_a_body_that_broke_off(web: Web, body: bytes) -> None:
    answer = web.send(head(HOOK, "Transfer-Encoding: chunked") + body)
    assert answer.status_code == 400
    assert answer.json["status"] == "error"


def test_a_second_request_hidden_behind_a_broken_one_is_not_answered(web: Web) -> None:
    hidden = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    with web.connected() as connection:
        connection.sendall(head(HOOK, "Content-Length: 2", "Content-Length: 3") + b"{}" + hidden)
        assert read_answer(connection).status_code == 400
        assert connection.recv(1) == b""


def test_after_all_that_the_worker_still_takes_messages(web: Web) -> None:
    for sent, _, _ in NO_HTTP.values():
        web.send(sent)
    answer = web.post(HOOK, raw(tiramizoo_order()))
    assert (answer.status_code, json.loads(answer.data)) == (200, {"status": "ok"})


@pytest.mark.timeout(180)
def test_clients_that_send_a_byte_a_second_are_sent_away_and_hold_up_nobody(web: Web) -> None:
    slow = SlowClients(web.port, 200)
    with slow.dripping():
        for number in range(50):
            body = raw(tiramizoo_order(f"u-{number}"))
            assert web.post(HOOK, body).status_code == 200
        # Both those who drip a head and those who drip a body.
        wait_until(lambda: len(slow.held) >= 200, 90)
    # A head has 5 s and a body 10, and a machine that is busy takes its time besides.
    assert max(slow.held) < 60


def test_a_client_that_does_not_read_its_answer_is_let_go(web: Web) -> None:
    large = tiramizoo_order("large", description="x" * 1_000_000)
    assert web.post(HOOK, raw(large)).status_code == 200
    token = f"Authorization: Bearer {API_TOKEN}\r\n\r\n"
    shown = web.get("/v1/messages?limit=1", {"Authorization": f"Bearer {API_TOKEN}"})
    path = f"/v1/messages/{shown.json['messages'][0]['id']}"
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", web.port))
        # Several, for the kernel takes in a few megabytes for whoever does not read.
        deaf.sendall(12 * f"GET {path} HTTP/1.1\r\nHost: x\r\n{token}".encode())
        own = deaf.getsockname()[1]

        def is_held() -> bool:
            """Whether a process has the other end; the kernel may still have something to send."""
            return any(
                it.pid
                and it.laddr
                and it.raddr
                and (it.laddr.port, it.raddr.port) == (web.port, own)
                for it in psutil.net_connections("tcp")
            )

        wait_until(is_held)
        wait_until(lambda: not is_held(), 90)
