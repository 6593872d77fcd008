"""The transport against a real server that behaves as badly as a courier's may; nothing is mocked.

How long is waited is handed in, so that a courier that hangs costs these tests no seconds.
"""

import gzip
import json
import logging
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.couriers import DRIVERS
from receiver.couriers.polling import Access, Api, Request
from receiver.errors import (
    BrokenAnswer,
    CourierBusy,
    CourierRefused,
    CourierUnavailable,
    OrdertrailError,
    OutsideApi,
    UnknownToCourier,
)
from workers.polling.courier_api import CourierApi
from workers.polling.http_client import Timeouts, parse_retry_after, trusted_certificates

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
TOKEN = "tkn-5f2c9a77"
SHORT = Timeouts(connect=1.0, read=1.0, whole=1.5)
# What a machine that is busy elsewhere may take on top.
SLACK = 6.0
LIMIT = 10_000

# Made for these tests, for 127.0.0.1, good from 2020 to 2120, trusted by nobody.
CERTIFICATE = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgi3FYCehN+/hUovyJ
VzP4VzDmfYMn1nQAC90R0c63couhRANCAASSbr7rsLQogWTHKtK33GzXlGDtPho5
xmxSohdTKoWwhx/sinuC3xlUw/vBZexHzHIBYPzJeCSLOcYDT3S9IjEP
-----END PRIVATE KEY-----
-----BEGIN CERTIFICATE-----
MIIBYTCCAQigAwIBAgIBATAKBggqhkjOPQQDAjAXMRUwEwYDVQQDDAxjb3VyaWVy
LnRlc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBcxFTATBgNV
BAMMDGNvdXJpZXIudGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABJJuvuuw
tCiBZMcq0rfcbNeUYO0+GjnGbFKiF1MqhbCHH+yKe4LfGVTD+8Fl7EfMcgFg/Ml4
JIs5xgNPdL0iMQ+jQzBBMA8GA1UdEQQIMAaHBH8AAAEwDwYDVR0TAQH/BAUwAwEB
/zAdBgNVHQ4EFgQUg2pqAXih4DpqT+UtEKFaVnFxqwkwCgYIKoZIzj0EAwIDRwAw
RAIgQjpDuQ2T9u3LQEkcP1FpZMG6IR5F6bALNPUWzHcg1wYCIEzcMMd1gwa57gdS
/KkbtoQQ5WtEMBdh8/vf7kXqYtLY
-----END CERTIFICATE-----
"""

Play = Callable[[socket.socket], None]


@dataclass
class Courier:
    """A server that plays a part on each connection, and what it was sent."""

    listener: socket.socket
    play: Play
    scheme: str = "http"
    requests: list[str] = field(default_factory=list)
    connections: int = 0

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.listener.getsockname()[1]}/api"

    def serve(self, tls: ssl.SSLContext | None) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self.converse, args=(connection, tls), daemon=True).start()

    def converse(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        with suppress(OSError):
            if tls is not None:
                connection = tls.wrap_socket(connection, server_side=True)
            with connection:
                while request := self.hear(connection):
                    self.requests.append(request)
                    self.play(connection)

    def hear(self, connection: socket.socket) -> str:
        heard = b""
        while b"\r\n\r\n" not in heard:
            piece = connection.recv(65_536)
            if not piece:
                return ""
            heard += piece
        return heard.decode()


Serve = Callable[..., Courier]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a courier that plays a part."""
    started: list[Courier] = []

    def start(play: Play, tls: ssl.SSLContext | None = None) -> Courier:
        listener = socket.create_server(("127.0.0.1", 0))
        courier = Courier(listener, play, "https" if tls else "http")
        started.append(courier)
        threading.Thread(target=courier.serve, args=(tls,), daemon=True).start()
        return courier

    yield start
    for courier in started:
        # A listener that is only closed leaves its thread in accept() for good.
        with suppress(OSError):
            courier.listener.shutdown(socket.SHUT_RDWR)
        courier.listener.close()


def answer(body: bytes = b"{}", status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer as it goes over the wire."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def says(*pieces: bytes, every: float = 0.0, hangs: bool = False, cut: bool = False) -> Play:
    """A part: these pieces one after the other, then hang, or cut the connection."""

    def play(connection: socket.socket) -> None:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(every)
        if hangs:
            connection.recv(1)
        if cut:
            connection.shutdown(socket.SHUT_RDWR)

    return play


def drips(answered: bytes, at_once: int) -> Play:
    """A part: so many bytes at once, then one every 50 ms for as long as anybody listens."""
    rest = (answered[at_once + i : at_once + i + 1] for i in range(len(answered) - at_once))
    return says(answered[:at_once], *rest, every=0.05)


def api(
    courier: Courier | str,
    driver: str = "tiramizoo",
    token: str = TOKEN,
    timeouts: Timeouts = SHORT,
) -> CourierApi:
    url = courier if isinstance(courier, str) else courier.url
    return CourierApi("shop-1", Access(url, "shop", token), known(driver), timeouts)


def known(driver: str) -> Api:
    found = DRIVERS[driver].api
    assert found is not None
    return found


def ask(courier: Courier, most_bytes: int = LIMIT) -> bytes:
    with closing(api(courier)) as asked:
        return asked.fetch(Request(f"{courier.url}/orders/41"), most_bytes, NOW)


def refused(
    kind: type[OrdertrailError], courier: Courier | CourierApi, most_bytes: int = LIMIT
) -> OrdertrailError:
    """The error that asking comes to; whichever it is, it names the account and not the token."""
    asked = api(courier) if isinstance(courier, Courier) else courier
    with closing(asked), pytest.raises(kind) as caught:
        asked.fetch(Request(f"{asked._access.url}/orders/41"), most_bytes, NOW)
    told = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert TOKEN not in told
    assert str(caught.value).startswith("account shop-1: the courier ")
    return caught.value


def broken(courier: Courier, most_bytes: int = LIMIT) -> BrokenAnswer:
    error = refused(BrokenAnswer, courier, most_bytes)
    assert isinstance(error, BrokenAnswer)
    return error


# What is asked, and what comes back


def test_answer_comes_back_word_for_word(serve: Serve) -> None:
    body = b' {"id" : "41",\n "name": "\\u00e9\xc3\xa9", "n": 1.0e2}\n'
    assert ask(serve(says(answer(body)))) == body


def test_a_list_of_orders_may_be_answered_with_201_as_the_document_shows(serve: Serve) -> None:
    assert ask(serve(says(answer(b"{}", "201 Created")))) == b"{}"


def test_the_request_says_who_asks_and_wants_its_answer_plain(serve: Serve) -> None:
    courier = serve(says(answer()))
    ask(courier)
    line, *headers = courier.requests[0].strip().split("\r\n")
    told = dict(header.split(": ", 1) for header in headers)
    assert line == "GET /api/orders/41 HTTP/1.1"
    assert told.pop("User-Agent").startswith("Ordertrail/")
    assert told.pop("Host") == courier.url.split("/")[2]
    assert told == {"Api-Token": TOKEN, "Accept": "application/json", "Accept-Encoding": "identity"}


def test_a_connection_is_used_again_and_no_cookie_is_kept(serve: Serve) -> None:
    courier = serve(says(answer(b"{}", "200 OK", "Set-Cookie: session=1; Path=/")))
    with closing(api(courier)) as asked:
        for _ in range(3):
            asked.fetch(Request(f"{courier.url}/orders/41"), LIMIT, NOW)
    assert (courier.connections, len(courier.requests)) == (1, 3)
    assert "cookie" not in "".join(courier.requests).lower()


def test_neither_proxies_nor_passwords_are_taken_from_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    courier = serve(says(answer()))
    assert ask(courier) == b"{}"
    assert "authorization" not in courier.requests[0].lower()


def test_nothing_is_logged_of_an_address_or_a_token(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    courier = serve(says(answer()))
    with caplog.at_level(logging.INFO):
        ask(courier)
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG):
        ask(courier)
    assert TOKEN not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://other.example/api/orders/41",
        "{base}.other.example/orders/41",
        "{base}",
        "{base}-2/orders/41",
        "{base}/../orders/41",
        "{base}/orders/./41",
        "{base}/orders/..",
        "{base}/orders/..?page=1",
        "{host}/orders/41",
    ],
)
def test_an_address_outside_the_accounts_api_is_never_asked(serve: Serve, url: str) -> None:
    courier = serve(says(answer()))
    host = courier.url.removesuffix("/api")
    with closing(api(courier)) as asked, pytest.raises(OutsideApi, match="account shop-1") as told:
        asked.fetch(Request(url.format(base=courier.url, host=host)), LIMIT, NOW)
    assert TOKEN not in str(told.value)
    assert courier.requests == []


# Settings that cannot be sent


@pytest.mark.parametrize("token", [f"{TOKEN}\nX: 1", f"{TOKEN}\r", f" {TOKEN}", f"{TOKEN}\x00", ""])
def test_a_token_that_no_header_can_hold_is_refused_before_anything_is_sent(
    serve: Serve, token: str
) -> None:
    courier = serve(says(answer()))
    error = refused(CourierRefused, api(courier, token=token))
    assert "API_TOKEN" in str(error)
    assert courier.connections == 0


def test_a_token_with_letters_beyond_ascii_is_sent_as_utf_8(serve: Serve) -> None:
    courier = serve(says(answer()))
    with closing(api(courier, token="schlüssel")) as asked:
        asked.fetch(Request(f"{courier.url}/orders/41"), LIMIT, NOW)
    assert "Api-Token: schlüssel\r\n" in courier.requests[0]


@pytest.mark.parametrize("path", ["/a b", "/ä", "/#x", "/\n"])
def test_an_address_that_cannot_be_sent_is_refused_before_anything_is_sent(
    serve: Serve, path: str
) -> None:
    courier = serve(says(answer()))
    error = refused(CourierRefused, api(courier.url + path))
    assert "API_URL" in str(error)
    assert courier.connections == 0


# What is answered instead


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("401 Unauthorized", CourierRefused),
        ("403 Forbidden", CourierRefused),
        ("404 Not Found", UnknownToCourier),
        ("410 Gone", UnknownToCourier),
        ("408 Request Timeout", CourierUnavailable),
        ("500 Internal Server Error", CourierUnavailable),
        ("502 Bad Gateway", CourierUnavailable),
        ("503 Service Unavailable", CourierUnavailable),
        ("599 Whatever", CourierUnavailable),
    ],
)
@pytest.mark.parametrize("body", [b"", b'{"order": 1}', b"<html>" + b"x" * 100_000])
def test_a_refusal_is_told_by_its_meaning_whatever_it_holds(
    serve: Serve, status: str, kind: type[OrdertrailError], body: bytes
) -> None:
    error = refused(kind, serve(says(answer(body, status))))
    assert status[:3] in str(error)


def test_a_refusal_whose_body_never_ends_is_told_at_once(serve: Serve) -> None:
    head = b"HTTP/1.1 401 No\r\nContent-Length: 100\r\n\r\nx"
    waits = Timeouts(30, 30, 30)
    assert in_time(CourierRefused, api(serve(says(head, hangs=True)), timeouts=waits), 0)


@pytest.mark.parametrize(
    "status",
    ["202 Accepted", "204 No Content", "206 Partial", "304 Not Modified", "400 Bad", "418 Teapot"],
)
def test_an_answer_that_is_neither_yes_nor_no_is_kept(serve: Serve, status: str) -> None:
    bodiless = status[:3] in {"204", "304"}
    error = broken(serve(says(answer(b"" if bodiless else b'{"why": 1}', status))))
    assert error.body == (None if bodiless else b'{"why": 1}')
    assert status[:3] in str(error)


def test_an_answer_that_is_neither_yes_nor_no_is_kept_only_where_it_is_small(serve: Serve) -> None:
    assert broken(serve(says(answer(b"x" * 100_000, "400 Bad"))), 1_000_000).body is None


@pytest.mark.parametrize("status", ["301", "302", "303", "307", "308"])
def test_a_redirect_is_never_followed(serve: Serve, status: str) -> None:
    other = serve(says(answer()))
    for target in (f"{other.url}/orders/41", "/api/orders/42", "file:///etc/passwd"):
        courier = serve(says(answer(b"moved", f"{status} Moved", f"Location: {target}")))
        assert broken(courier).body == b"moved"
        assert len(courier.requests) == 1
    assert other.connections == 0


# Size


def of_size(size: int) -> bytes:
    return b'{"x":"' + b"x" * (size - 8) + b'"}'


def in_chunks(body: bytes, size: int = 1_000) -> bytes:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@pytest.mark.parametrize("wire", [answer, in_chunks])
def test_an_answer_may_be_as_large_as_allowed_and_no_larger(
    serve: Serve, wire: Callable[[bytes], bytes]
) -> None:
    assert ask(serve(says(wire(of_size(LIMIT))))) == of_size(LIMIT)
    error = broken(serve(says(wire(of_size(LIMIT + 1)))))
    assert error.body is None
    assert str(LIMIT) in str(error)


def test_an_answer_without_an_end_is_given_up_at_the_limit(serve: Serve) -> None:
    sent = 0

    def flood(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in range(1_000):
            connection.sendall(b"x" * 65_536)
            sent += 65_536

    assert broken(serve(flood)).body is None
    assert sent < 32_000_000


def test_headers_without_an_end_are_given_up(serve: Serve) -> None:
    lines = [b"X-%d: %s\r\n" % (n, b"x" * 1_000) for n in range(1_000)]
    refused(CourierUnavailable, serve(says(b"HTTP/1.1 200 OK\r\n", *lines)))


BOMB = gzip.compress(b"{" + b" " * 2_000_000 + b"}")


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "br", "identity, gzip"])
def test_a_compressed_answer_is_refused_and_never_unpacked(serve: Serve, coding: str) -> None:
    assert len(BOMB) < LIMIT
    error = broken(serve(says(answer(BOMB, "200 OK", f"Content-Encoding: {coding}"))))
    assert error.body is None
    assert "compressed" in str(error)


def test_a_plain_answer_may_say_that_it_is_plain(serve: Serve) -> None:
    assert ask(serve(says(answer(b"{}", "200 OK", "content-encoding: Identity")))) == b"{}"


# Time


def in_time(kind: type[OrdertrailError], courier: Courier | CourierApi, seconds: float) -> bool:
    """Whether asking was given up within these seconds."""
    began = time.monotonic()
    refused(kind, courier)
    return time.monotonic() - began < seconds + SLACK


def test_a_courier_is_waited_for_as_long_as_was_promised() -> None:
    assert Timeouts() == Timeouts(connect=3.0, read=5.0, whole=8.0)
    asked = CourierApi("shop-1", Access("http://127.0.0.1:9", None, TOKEN), known("tiramizoo"))
    with closing(asked):
        assert asked._http._timeouts == Timeouts()


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n",
    ],
)
def test_a_courier_that_hangs_is_given_up(serve: Serve, begun: bytes) -> None:
    courier = serve(says(begun, hangs=True))
    waits = Timeouts(connect=30, read=0.2, whole=30)
    assert in_time(CourierUnavailable, api(courier, timeouts=waits), waits.read)


LONG = answer(of_size(5_000), "200 OK", "X-Padding: " + "x" * 500)


@pytest.mark.parametrize("at_once", [0, 300, 700], ids=["at once", "headers", "body"])
def test_a_courier_that_drips_does_not_outlast_the_deadline(serve: Serve, at_once: int) -> None:
    courier = serve(drips(LONG, at_once))
    began = time.monotonic()
    error = refused(CourierUnavailable, courier)
    # Each byte comes within the time for one, so only the deadline can have ended it.
    assert SHORT.whole - 0.05 < time.monotonic() - began < SHORT.whole + SLACK
    assert "in time" in str(error)


def test_a_courier_that_only_ever_says_wait_does_not_outlast_the_deadline(serve: Serve) -> None:
    courier = serve(says(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 200, every=0.05))
    assert in_time(CourierUnavailable, courier, SHORT.whole)


def test_a_deadline_is_of_one_request_and_not_of_the_next(serve: Serve) -> None:
    courier = serve(says(answer()))
    with closing(api(courier)) as asked:
        assert asked.fetch(Request(f"{courier.url}/orders/41"), LIMIT, NOW) == b"{}"
        time.sleep(SHORT.whole)
        assert asked.fetch(Request(f"{courier.url}/orders/41"), LIMIT, NOW) == b"{}"


def test_a_courier_that_takes_no_connection_is_given_up() -> None:
    with socket.socket() as listener, socket.socket() as one, socket.socket() as two:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for waiting in (one, two):
            waiting.setblocking(False)
            with suppress(BlockingIOError):
                waiting.connect(listener.getsockname())
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        began = time.monotonic()
        assert "connection in time" in str(refused(CourierUnavailable, api(url)))
        assert time.monotonic() - began < SHORT.connect + SLACK


def test_threads_that_share_an_api_neither_wait_for_each_other_nor_lend_each_other_time(
    serve: Serve,
) -> None:
    def play(connection: socket.socket) -> None:
        slow = "/slow" in courier.requests[-1]
        (drips(LONG, 0) if slow else says(answer()))(connection)

    courier = serve(play)
    given_up: list[float] = []

    def ask_slowly(asked: CourierApi) -> None:
        began = time.monotonic()
        with suppress(CourierUnavailable):
            asked.fetch(Request(f"{courier.url}/slow"), LIMIT, NOW)
        given_up.append(time.monotonic() - began)

    quick = 0
    with closing(api(courier)) as asked:
        slow = threading.Thread(target=ask_slowly, args=(asked,))
        slow.start()
        while not courier.requests:
            time.sleep(0.01)
        until = time.monotonic() + 2 * SLACK
        while slow.is_alive() and time.monotonic() < until:
            quick += asked.fetch(Request(f"{courier.url}/quick"), LIMIT, NOW) == b"{}"
            time.sleep(0.05)
        slow.join()
    assert quick > 1
    assert given_up[0] < SHORT.whole + SLACK


# Connections that fail


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a": 1}',
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n{"a": 1}\r\n',
        b"<html>no HTTP at all</html>\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_an_answer_that_breaks_off_or_is_no_http_is_no_answer(serve: Serve, begun: bytes) -> None:
    refused(CourierUnavailable, serve(says(begun, cut=True)))


def test_a_courier_that_echoes_our_token_as_no_http_does_not_bring_it_into_an_error(
    serve: Serve,
) -> None:
    error = refused(CourierUnavailable, serve(says(f"Api-Token: {TOKEN}\r\n\r\n".encode())))
    assert "in HTTP" in str(error)


def test_a_courier_that_is_not_there_cannot_be_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    assert "cannot be reached" in str(refused(CourierUnavailable, api(url)))


def test_the_lookup_of_a_name_does_not_outlast_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slow = threading.Event()
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: slow.wait(SHORT.whole + SLACK) or []
    )
    try:
        assert in_time(CourierUnavailable, api("http://courier.example"), SHORT.connect)
    finally:
        slow.set()


def test_a_courier_whose_name_cannot_be_one_cannot_be_reached() -> None:
    refused(CourierUnavailable, api(f"http://{'a' * 70}.example"))


# TLS


@pytest.fixture
def tls(tmp_path: Path) -> Iterator[tuple[ssl.SSLContext, Path]]:
    """A server's side of TLS, and the file with its certificate."""
    file = tmp_path / "certificate.pem"
    file.write_text(CERTIFICATE)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    trusted_certificates.cache_clear()
    yield context, file
    trusted_certificates.cache_clear()


def test_a_certificate_that_nobody_vouches_for_is_refused(
    serve: Serve, tls: tuple[ssl.SSLContext, Path]
) -> None:
    courier = serve(says(answer()), tls[0])
    assert "certificate verify failed" in str(refused(CourierUnavailable, courier))
    assert courier.requests == []


def test_a_certificate_for_another_name_is_refused(
    serve: Serve, tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[1]))
    courier = serve(says(answer()), tls[0])
    error = refused(CourierUnavailable, api(courier.url.replace("127.0.0.1", "localhost")))
    assert "certificate verify failed" in str(error)
    assert courier.requests == []


def test_a_certificate_that_is_vouched_for_is_taken_and_the_deadline_holds_there_too(
    serve: Serve, tls: tuple[ssl.SSLContext, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tls[1]))
    assert ask(serve(says(answer()), tls[0])) == b"{}"
    assert in_time(CourierUnavailable, serve(drips(LONG, 300), tls[0]), SHORT.whole)


def test_a_server_without_tls_is_not_asked_over_https(serve: Serve) -> None:
    courier = serve(says(answer()))
    refused(CourierUnavailable, api(courier.url.replace("http:", "https:")))


def test_a_server_that_never_shakes_hands_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        assert in_time(CourierUnavailable, api(url), SHORT.connect)


# 429


def busy(courier: Courier | CourierApi) -> float | None:
    error = refused(CourierBusy, courier)
    assert isinstance(error, CourierBusy)
    return error.seconds


SAYS_30 = b"Too many requests, please retry request in 30 seconds."
DAY = 86_400.0


@pytest.mark.parametrize(
    ("header", "body", "seconds"),
    [
        ("Retry-After: 120", b"", 120.0),
        ("retry-after:  7 ", b"", 7.0),
        ("Retry-After: 1.5", b"", 1.5),
        ("Retry-After: 120", SAYS_30, 120.0),
        ("Retry-After: 0", SAYS_30, 0.0),
        ("Retry-After: Fri, 01 May 2026 12:02:00 GMT", b"", 120.0),
        ("Retry-After: Friday, 01-May-26 12:02:00 GMT", b"", 120.0),
        ("Retry-After: Fri, 01 May 2026 12:02:00 -0000", b"", 120.0),
        ("Retry-After: Fri, 01 May 2026 14:02:00 +0200", b"", 120.0),
        ("Retry-After: Fri, 01 May 2026 11:00:00 GMT", b"", 0.0),
        ("Retry-After: Sat, 01 May 2099 12:00:00 GMT", b"", DAY),
        ("Retry-After: 999999999", b"", DAY),
        ("Retry-After: " + "9" * 5_000, b"", DAY),
        ("Retry-After: -5", SAYS_30, 30.0),
        ("Retry-After: soon", SAYS_30, 30.0),
        ("Retry-After: \xb2", SAYS_30, 30.0),
        ("Retry-After:", SAYS_30, 30.0),
        ("X: 1", SAYS_30, 30.0),
        ("X: 1", json.dumps({"error": SAYS_30.decode()}).encode(), 30.0),
        ("X: 1", b"please retry request in 999999999 seconds", DAY),
        ("X: 1", b"\xff" + SAYS_30, 30.0),
        ("X: 1", b"Too many requests", None),
        ("X: 1", b"", None),
        ("Retry-After: soon", b"", None),
    ],
)
def test_a_busy_courier_says_when_to_come_back(
    serve: Serve, header: str, body: bytes, seconds: float | None
) -> None:
    assert busy(serve(says(answer(body, "429 Too Many Requests", header)))) == seconds


def test_a_busy_courier_of_which_no_words_are_documented_says_nothing_in_words(
    serve: Serve,
) -> None:
    courier = serve(says(answer(SAYS_30, "429 Too Many Requests")))
    assert busy(api(courier, "cottoncast")) is None


def test_a_busy_courier_that_breaks_off_or_goes_on_for_ever_is_still_busy(serve: Serve) -> None:
    head = b"HTTP/1.1 429 No\r\nContent-Length: 100000\r\n\r\n"
    assert busy(serve(says(head, cut=True))) is None
    assert busy(serve(says(head, hangs=True))) is None
    assert busy(serve(says(head, SAYS_30 + b"x" * 90_000))) is None


@pytest.mark.parametrize("offset", [timedelta(0), timedelta(hours=2)])
def test_a_date_to_come_back_at_is_counted_from_now(offset: timedelta) -> None:
    assert parse_retry_after("Fri, 01 May 2026 12:02:00 GMT", NOW - offset) == 120 + (
        offset.total_seconds()
    )


@pytest.mark.parametrize(
    "value", ["", "soon", "1e9", "+5", "Fri, 99 May 2026 12:02:00 GMT", "\u0661"]
)
def test_what_names_no_time_to_come_back_at_is_none(value: str) -> None:
    assert parse_retry_after(value, NOW) is None


@given(st.text(max_size=40) | st.text("0123456789 ,:+-.FriMayGMT", max_size=40))
def test_any_words_are_a_time_to_come_back_at_or_none(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or isinstance(seconds, float)
