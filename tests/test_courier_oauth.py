"""Access tokens over HTTP, from a server that behaves as badly as a courier's may."""

import hmac
import json
import threading
import time
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest

from receiver.couriers.polling import Access, Api, OAuth, Request, json_request, path_requests
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.snapshot import Decoded
from receiver.errors import CourierBusy, CourierRefused, CourierUnavailable, OrdertrailError
from tests.oauth_courier import TOKEN_PATH, OAuthCourier, Reply, serving
from workers.polling.courier_api import CourierApi
from workers.polling.http_client import Timeouts

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
CLIENT, SECRET = "client-7", "scrt-5f2c/9a+77="
SHORT = Timeouts(connect=1.0, read=0.5, whole=0.5)
PATIENT = Timeouts(connect=10.0, read=10.0, whole=10.0)
OAUTH = OAuth(token_path=TOKEN_PATH)
API = Api(
    order_requests=path_requests("/orders/{id}"),
    decode=lambda _content, _context: Decoded(),
    schedule=Schedule(Backoff(timedelta(hours=1), timedelta(hours=6))),
    per_second=5,
    oauth=OAUTH,
)


@pytest.fixture
def courier() -> Iterator[OAuthCourier]:
    with serving() as started:
        yield started


@pytest.fixture
def make_api() -> Iterator[Callable[..., CourierApi]]:
    with ExitStack() as stack:

        def make(
            courier: OAuthCourier, oauth: OAuth = OAUTH, timeouts: Timeouts = PATIENT, **access: Any
        ) -> CourierApi:
            known = Access(courier.url, CLIENT, SECRET, **access)
            api = CourierApi("shop-1", known, replace(API, oauth=oauth), timeouts)
            return stack.enter_context(closing(api))

        yield make


MakeApi = Callable[..., CourierApi]


def ask(api: CourierApi) -> bytes:
    return api.fetch(Request(f"{api._access.url}/orders/41"), 10_000, NOW)


def fails(kind: type[OrdertrailError], api: CourierApi) -> str:
    """The text of the error that asking comes to, which holds neither secret nor token."""
    with pytest.raises(kind) as caught:
        ask(api)
    shown = "".join(traceback.format_exception(caught.value)) + repr(vars(caught.value))
    assert type(caught.value) is kind
    assert SECRET not in shown
    assert "t-1" not in shown
    assert str(caught.value).startswith("account shop-1: the courier")
    return str(caught.value)


# How it is requested


def test_the_token_is_requested_once_and_sent_with_every_request(
    courier: OAuthCourier, make_api: MakeApi
) -> None:
    api = make_api(courier)
    assert [ask(api) for _ in range(3)] == [b'{"id": "41"}'] * 3
    (request,) = courier.token_requests
    assert request.method == "POST"
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    basic = b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
    assert request.headers["authorization"] == f"Basic {basic}"
    assert parse_qs(request.body.decode()) == {"grant_type": ["client_credentials"]}
    sent = [heard.headers["authorization"] for heard in courier.requests("/orders/41")]
    assert sent == ["Bearer t-1"] * 3


@pytest.mark.parametrize(
    ("oauth", "fields"),
    [
        (
            OAuth(scope="read write", client_auth="body", extra={"audience": "api"}),
            {
                "grant_type": "client_credentials",
                "scope": "read write",
                "audience": "api",
                "client_id": CLIENT,
                "client_secret": SECRET,
            },
        ),
        (
            OAuth(grant="password"),
            {"grant_type": "password", "username": CLIENT, "password": SECRET},
        ),
        (
            OAuth(
                grant="",
                client_auth="body",
                encoding="json",
                credential_names=("email", "password"),
                token_name="token",
            ),
            {"email": CLIENT, "password": SECRET},
        ),
    ],
    ids=["body", "password", "login"],
)
def test_credentials_are_sent_as_the_driver_says(
    courier: OAuthCourier, make_api: MakeApi, oauth: OAuth, fields: dict[str, str]
) -> None:
    courier.tokens_given = 1
    courier.token_replies = [Reply({oauth.token_name: "t-1"}, 201)]
    assert ask(make_api(courier, replace(oauth, token_path=TOKEN_PATH))) == b'{"id": "41"}'
    (request,) = courier.token_requests
    assert "authorization" not in request.headers
    if oauth.encoding == "json":
        assert json.loads(request.body) == fields
    else:
        assert {name: value for name, (value,) in parse_qs(request.body.decode()).items()} == fields


def test_a_header_is_sent_once_whatever_its_capitals(
    courier: OAuthCourier, make_api: MakeApi
) -> None:
    api = make_api(courier, headers={"accept": "text/x", "authorization": "none"})
    api.fetch(Request(f"{courier.url}/orders/41", headers={"ACCEPT": "text/y"}), 10_000, NOW)
    (request,) = courier.requests("/orders/41")
    assert [value for name, value in request.sent if name.lower() == "accept"] == ["text/y"]
    assert [value for name, value in request.sent if name.lower() == "authorization"] == [
        "Bearer t-1"
    ]


def test_a_token_may_come_from_another_host_that_the_driver_names(
    courier: OAuthCourier, make_api: MakeApi
) -> None:
    with serving() as server:
        server.token_replies = [Reply({"access_token": "t-1"})]
        courier.tokens_given = 1
        ask(make_api(courier, OAuth(token_url=f"{server.url}{TOKEN_PATH}")))
        ((heard,), ours) = server.heard, courier.heard
    assert heard.path == TOKEN_PATH
    assert [request.path for request in ours] == ["/orders/41"]


def test_an_account_with_its_own_way_to_authenticate_needs_no_token(
    courier: OAuthCourier, make_api: MakeApi
) -> None:
    courier.tokens_given = 1
    api = make_api(
        courier, auth="header:X-Key", headers={"X-Lang": "lv", "Authorization": "Bearer t-1"}
    )
    ask(api)
    assert api.fetch_access_token(NOW) is None
    (request,) = courier.heard
    assert (request.headers["x-key"], request.headers["x-lang"]) == (SECRET, "lv")


def test_a_driver_may_sign_each_request(courier: OAuthCourier) -> None:
    """As those do whose clients make a JWT, or sign the method, the path and the body."""

    def sign(access: Access, request: Request, now: datetime) -> dict[str, str]:
        said = f"{now.isoformat()} {request.method} {request.url.removeprefix(access.url)} "
        key = access.token.encode()
        digest = hmac.digest(key, said.encode() + (request.body or b""), "sha256")
        return {"X-Signature": digest.hex()}

    courier.needs_token = False
    signing = replace(API, oauth=None, sign_request=sign)
    known = Access(courier.url, CLIENT, SECRET)
    for access in (known, replace(known, auth="bearer")):
        with closing(CourierApi("shop-1", access, signing, PATIENT)) as api:
            api.fetch(json_request(f"{courier.url}/find", {"id": 41}), 10_000, NOW)
    signed, bearer = courier.heard
    said = b'2026-05-01T12:00:00+00:00 POST /find {"id":41}'
    assert signed.headers["x-signature"] == hmac.digest(SECRET.encode(), said, "sha256").hex()
    # The account's own way replaces the driver's.
    assert "x-signature" not in bearer.headers
    assert bearer.headers["authorization"] == f"Bearer {SECRET}"


# How long it lives


@pytest.mark.parametrize(
    ("expires_in", "requests"),
    [(3600, 1), ("3600", 1), (None, 1), (0, 1), (-5, 1), ("soon", 1), ([], 1), (0.2, 2)],
)
def test_a_token_is_renewed_shortly_before_it_expires(
    courier: OAuthCourier, make_api: MakeApi, expires_in: Any, requests: int
) -> None:
    """One whose life is not given, or makes no sense, is used until it is refused."""
    courier.expires_in = expires_in
    api = make_api(courier)
    ask(api)
    time.sleep(0.25)
    ask(api)
    assert len(courier.token_requests) == requests


def test_a_token_that_was_revoked_is_renewed_once(courier: OAuthCourier, make_api: MakeApi) -> None:
    api = make_api(courier)
    ask(api)
    courier.revoke()
    assert ask(api) == b'{"id": "41"}'
    assert len(courier.token_requests) == 2
    assert len(courier.requests("/orders/41")) == 3


def test_a_new_token_that_is_refused_means_that_we_are_refused(
    courier: OAuthCourier, make_api: MakeApi
) -> None:
    courier.accepts_none = True
    text = fails(CourierRefused, make_api(courier))
    assert "access token" in text
    assert len(courier.token_requests) == 2
    assert len(courier.requests("/orders/41")) == 2


def test_requests_that_need_a_token_at_once_wait_for_one_fetch(
    courier: OAuthCourier, make_api: MakeApi
) -> None:
    courier.slow_seconds = 0.5
    api = make_api(courier)
    answers: list[bytes] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(api))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [b'{"id": "41"}'] * 4
    assert len(courier.token_requests) == 1


# A server that gives none


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply({"error": "invalid_client"}, 401), CourierRefused, "(401 invalid_client)"),
        (Reply({"error": "invalid_scope"}, 400), CourierRefused, "(400 invalid_scope)"),
        (Reply({"error": f"no {SECRET}"}, 400), CourierRefused, "(400)"),
        (Reply({"error": ["x"]}, 400), CourierRefused, "(400)"),
        (Reply(b"<html>", 403), CourierRefused, "(403)"),
        (Reply({}, 429, {"Retry-After": "7"}), CourierBusy, "7 seconds"),
        (Reply({}, 500), CourierUnavailable, "500"),
        (Reply({}, 404), CourierUnavailable, "404"),
        (Reply({}, 302, {"Location": "/elsewhere"}), CourierUnavailable, "302"),
        (Reply(b"<html>t-1</html>"), CourierUnavailable, "access_token"),
        (Reply([]), CourierUnavailable, "access_token"),
        (Reply({"access_token": ""}), CourierUnavailable, "access_token"),
        (Reply({"access_token": 7}), CourierUnavailable, "access_token"),
        (Reply({"access_token": "a\nX: b"}), CourierUnavailable, "access_token"),
        (Reply({"access_token": "a" * 20_000}), CourierUnavailable, "access_token"),
        (Reply(b'{"access_token": "' + b"a" * 70_000), CourierUnavailable, "access_token"),
        (Reply({}, seconds=2), CourierUnavailable, "in time"),
    ],
)
def test_what_is_wrong_with_the_oauth_server_is_named(
    courier: OAuthCourier, make_api: MakeApi, reply: Reply, kind: type[OrdertrailError], words: str
) -> None:
    courier.token_replies = [reply]
    text = fails(kind, make_api(courier, timeouts=SHORT if reply.seconds else PATIENT))
    assert "OAuth server" in text
    assert words in text
    assert courier.requests("/orders/41") == []
    assert len(courier.heard) == 1


def test_an_oauth_server_that_is_down_is_named_and_tried_again(make_api: MakeApi) -> None:
    with serving() as down:
        pass
    with serving() as courier:
        api = make_api(courier, OAuth(token_url=f"{down.url}/token"))
        assert "OAuth server cannot be reached" in fails(CourierUnavailable, api)
        assert courier.heard == []


def test_a_failed_fetch_is_not_remembered(courier: OAuthCourier, make_api: MakeApi) -> None:
    courier.token_replies = [Reply({}, 500)]
    api = make_api(courier)
    fails(CourierUnavailable, api)
    assert ask(api) == b'{"id": "41"}'
