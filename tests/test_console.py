"""The console without a browser: who gets in, what is refused, what its forms do."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.access.tokens import Token
from receiver.db.models import EndedSession, Message, Notice, Order
from receiver.orders.listing import search
from receiver.web.console.session_guard import COOKIE, HEADERS, create_session_cookie
from tests.bodies import after, cottoncast_shipment, cottoncast_status, life, raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.console import form_token, seen, send, sign_in, text_of
from tests.shop import deliver, fill

Sessions = sessionmaker[Session]
Drain = Callable[[], int]
NewApp = Callable[..., Flask]

PAGES = [
    "/ops",
    "/ops/",
    "/ops/alerts",
    "/ops/orders",
    "/ops/messages",
    "/ops/conflicts",
    "/ops/audit",
    "/ops/performance",
]
ACTIONS = [
    "/ops/signout",
    "/ops/refresh?account=tiramizoo&id=u-1",
    "/ops/correct?account=tiramizoo&id=u-1",
    "/ops/delete?account=tiramizoo&id=u-1",
    "/ops/erase?account=tiramizoo&id=u-1",
    "/ops/messages/1/retry",
    "/ops/messages/1/discard",
    "/ops/alerts/1/acknowledge",
    "/ops/messages/retry",
    "/ops/messages/discard",
    "/ops/conflicts/close?account=tiramizoo&id=u-1&conflict=c",
]
UNAUTHORIZED, FORBIDDEN = 401, 403
# Cannot be read: state is missing.
BROKEN = {"uuid": "u-9"}


@pytest.fixture
def ann(client: FlaskClient) -> FlaskClient:
    """Somebody who is signed in."""
    assert sign_in(client).status_code == 303
    return client


# Sign in


@pytest.mark.parametrize("page", [*PAGES, "/ops/nothing", "/ops/orders/tiramizoo/u-1"])
def test_without_a_session_every_page_redirects_to_sign_in(client: FlaskClient, page: str) -> None:
    answer = client.get(f"{page}?a=1")
    assert answer.status_code == 303
    assert answer.location == f"/ops/signin?to={quote(f'{page}?a=1', safe='/?')}"
    assert "<form" in text_of(client.get(answer.location))


def test_an_api_token_opens_the_console_and_the_page_that_was_wanted(client: FlaskClient) -> None:
    answer = sign_in(client, to="/ops/orders?status=delivered")
    assert (answer.status_code, answer.location) == (303, "/ops/orders?status=delivered")
    assert "Ann" in seen(client.get("/ops/orders"))


def test_without_a_name_the_tokens_name_is_shown(new_app: NewApp) -> None:
    client = new_app(API_TOKENS=f"warehouse:{API_TOKEN}").test_client()
    assert sign_in(client, name=" ").status_code == 303
    assert "warehouse" in seen(client.get("/ops/orders"))


def test_a_read_token_does_not_open_the_console_and_the_page_says_so(new_app: NewApp) -> None:
    client = new_app(READ_TOKENS="report:0123456789abcdef").test_client()
    answer = sign_in(client, "0123456789abcdef")
    assert (answer.status_code, client.get_cookie(COOKIE, path="/ops")) == (403, None)
    assert "This is a read token" in seen(answer)
    bearer = {"Authorization": "Bearer 0123456789abcdef"}
    assert client.get("/ops/orders", headers=bearer).status_code == 403


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens(ann: FlaskClient, page: str) -> None:
    answer = ann.get(page)
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"


@pytest.mark.parametrize(
    "told",
    [
        {"name": "Ann", "token": "wrong"},
        {"name": "Ann", "token": ""},
        {"name": "Ann", "token": "test-metrics-token"},
        {"name": "Ann", "token": "é\u2603"},
        {"name": "Ann"},
        {"other": "x"},
    ],
)
def test_nothing_else_opens_it(client: FlaskClient, told: dict[str, str]) -> None:
    answer = client.post("/ops/signin", data=told)
    assert answer.status_code == UNAUTHORIZED
    assert "Set-Cookie" not in answer.headers
    assert "The API token is wrong" in text_of(answer)
    assert API_TOKEN not in text_of(answer)
    assert client.get("/ops").status_code == 303


@pytest.mark.parametrize(
    "elsewhere",
    [
        "https://evil.example",
        "//evil.example/ops",
        "/ops\\@evil.example",
        "/opsx",
        "/v1/orders",
        "/ops/signin?to=/ops",
        "/ops/\r\nSet-Cookie: a=b",
        "javascript:alert(1)",
    ],
)
def test_signing_in_leads_to_no_other_place(client: FlaskClient, elsewhere: str) -> None:
    assert sign_in(client, to=elsewhere).location == "/ops"


def test_the_cookie_is_for_the_console_and_no_script(client: FlaskClient) -> None:
    told = sign_in(client).headers["Set-Cookie"]
    assert {"HttpOnly", "Path=/ops", "SameSite=Lax"} <= set(told.split("; "))
    assert f"Max-Age={12 * 3600}" in told
    assert "Secure" not in told
    assert API_TOKEN not in told


@pytest.mark.parametrize(
    "how", [{"Origin": "https://track.example"}, {"X-Forwarded-Proto": "https"}]
)
def test_over_https_the_cookie_goes_over_nothing_else(
    client: FlaskClient, how: dict[str, str]
) -> None:
    # A proxy that hands the name on, as those in deploy/ do.
    answer = client.post(
        "/ops/signin",
        data={"name": "Ann", "token": API_TOKEN},
        headers={"Host": "track.example", **how},
    )
    assert "Secure" in answer.headers["Set-Cookie"].split("; ")


def test_signing_out_takes_the_cookie_back(ann: FlaskClient) -> None:
    answer = send(ann, "/ops/signout")
    assert (answer.status_code, answer.location) == (303, "/ops/signin")
    assert ann.get_cookie(COOKIE, path="/ops") is None
    assert ann.get("/ops").status_code == 303


def test_signing_out_ends_the_session_for_every_copy_of_its_cookie(
    new_app: NewApp, ann: FlaskClient
) -> None:
    cookie = ann.get_cookie(COOKIE, path="/ops")
    assert cookie is not None
    copy, bob = new_app().test_client(), new_app().test_client()
    copy.set_cookie(COOKIE, cookie.value, path="/ops")
    sign_in(bob)
    assert copy.get("/ops/orders").status_code == 200
    form = form_token(copy)
    send(ann, "/ops/signout")
    assert copy.get("/ops/orders").status_code == 303
    assert copy.post("/ops/signout", data={"form_token": form}).status_code == UNAUTHORIZED
    assert bob.get("/ops/orders").status_code == 200


def test_ended_sessions_are_kept_for_as_long_as_their_cookies(
    ann: FlaskClient, sessions: Sessions
) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        session.add(EndedSession(id="gone", ended_at=now - timedelta(hours=13)))
        session.add(EndedSession(id="kept", ended_at=now - timedelta(hours=11)))
    send(ann, "/ops/signout")
    with sessions() as session:
        ids = set(session.scalars(select(EndedSession.id)))
    assert "gone" not in ids
    assert "kept" in ids
    assert len(ids) == 2


def test_a_session_ends_after_twelve_hours(client: FlaskClient) -> None:
    now = datetime.now(UTC)
    for ago, opens in (
        (timedelta(hours=11), 200),
        (timedelta(hours=13), 303),
        (-timedelta(1), 303),
    ):
        client.set_cookie(
            COOKIE, create_session_cookie(Token("api-1", API_TOKEN), "Ann", now - ago), path="/ops"
        )
        assert client.get("/ops/orders").status_code == opens


def test_removing_a_token_ends_its_sessions_and_no_others(new_app: NewApp) -> None:
    both = {"API_TOKENS": "first-token-of-two,second-token-of-two"}
    cookies = {}
    for token in ("first-token-of-two", "second-token-of-two"):
        client = new_app(**both).test_client()
        sign_in(client, token)
        cookie = client.get_cookie(COOKIE, path="/ops")
        assert cookie is not None
        cookies[token] = cookie.value
    left = new_app(API_TOKENS="new-token-of-three,second-token-of-two").test_client()
    for token, opens in (("first-token-of-two", 303), ("second-token-of-two", 200)):
        left.set_cookie(COOKIE, cookies[token], path="/ops")
        assert left.get("/ops/orders").status_code == opens


def test_a_forged_cookie_is_refused(client: FlaskClient) -> None:
    true = create_session_cookie(Token("api-1", API_TOKEN), "Ann", datetime.now(UTC))
    payload, _, signature = true.rpartition(".")
    for cookie in ("", "x", payload, f"{payload}.", f"{payload}x.{signature}", f"{true}x", "a.b.c"):
        client.set_cookie(COOKIE, cookie, path="/ops")
        assert client.get("/ops/orders").status_code == 303, cookie


def test_a_script_opens_pages_with_its_bearer_token(shop: FlaskClient) -> None:
    assert shop.get("/ops/orders").status_code == 200


def test_a_wrong_bearer_token_is_refused_and_not_redirected(client: FlaskClient) -> None:
    answer = client.get("/ops", headers={"Authorization": "Bearer wrong"})
    assert answer.status_code == UNAUTHORIZED
    assert answer.mimetype == "text/html"


# Refused forms


@pytest.mark.parametrize("action", ACTIONS)
def test_no_address_does_anything_by_being_opened(ann: FlaskClient, action: str) -> None:
    answer = ann.get(action)
    assert answer.status_code in {404, 405}
    if "/retry" not in action.partition("?")[0].removeprefix("/ops/messages"):
        assert answer.status_code == 405


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({}, {}),
        ({}, {"form_token": ""}),
        ({}, {"form_token": "0" * 64}),
        ({"Sec-Fetch-Site": "cross-site"}, {"form_token": None}),
        ({"Sec-Fetch-Site": "same-site"}, {"form_token": None}),
        ({"Origin": "https://evil.example"}, {"form_token": None}),
        ({"Origin": "null"}, {"form_token": None}),
    ],
    ids=["none", "empty", "made-up", "cross-site", "same-site", "origin", "null"],
)
def test_a_form_that_is_not_ours_does_nothing(
    ann: FlaskClient, action: str, headers: dict[str, str], fields: dict[str, str | None]
) -> None:
    # None: the right one, so that it is the headers alone that are refused.
    true = form_token(ann)
    told = {name: true if value is None else value for name, value in fields.items()}
    answer = ann.post(action, data=told, headers=headers)
    assert answer.status_code == FORBIDDEN
    assert ann.get("/ops/orders").status_code == 200


def test_the_form_token_of_another_session_is_refused(new_app: NewApp, ann: FlaskClient) -> None:
    bob = new_app().test_client()
    sign_in(bob)
    answer = ann.post("/ops/signout", data={"form_token": form_token(bob)})
    assert answer.status_code == FORBIDDEN


@pytest.mark.parametrize("action", ACTIONS)
def test_without_a_session_no_form_does_anything(client: FlaskClient, action: str) -> None:
    assert client.post(action, data={"form_token": "0" * 64}).status_code == UNAUTHORIZED


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"form_token=" + b"x" * 20_000, "application/x-www-form-urlencoded", 413),
        (b"\xff=%ff", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a=b" for _ in range(100)), "application/x-www-form-urlencoded", 400),
        (b"{}", "application/json", 415),
        (b"--x\r\n", "multipart/form-data; boundary=x", 415),
    ],
)
def test_a_form_that_cannot_be_one_is_refused(
    ann: FlaskClient, body: bytes, kind: str, status: int
) -> None:
    answer = ann.post("/ops/messages/retry", data=body, content_type=kind)
    assert answer.status_code == status
    assert answer.mimetype == "text/html"


@pytest.mark.parametrize("page", [*PAGES, "/ops/signin", "/ops/nothing", "/ops/static/console.css"])
def test_every_answer_has_strict_headers(ann: FlaskClient, page: str) -> None:
    answer = ann.get(page)
    answer.close()
    told = answer.headers
    assert (told["X-Frame-Options"], told["X-Content-Type-Options"]) == ("DENY", "nosniff")
    for name, value in HEADERS.items():
        if name != "Cache-Control":
            assert told[name] == value
    kept = "immutable" if "static" in page else "no-store"
    assert kept in told["Cache-Control"]


def test_a_missing_file_is_not_cached(ann: FlaskClient) -> None:
    assert ann.get("/ops/static/nothing.js").headers["Cache-Control"] == "no-store"


def test_nothing_in_a_page_is_inline_or_from_elsewhere(ann: FlaskClient) -> None:
    for page in [*PAGES, "/ops/signin"]:
        text = text_of(ann.get(page))
        assert re.findall(r"<style|\sstyle=|\son[a-z]+=|<script(?! src=\"/ops/static/)", text) == []
        assert re.findall(r"(?:src|href|action)=\"(?!/|#)", text) == []


# Errors


@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("/ops/nothing", "The console has no page /ops/nothing"),
        ("/ops/messages/7", "There is no message 7."),
        ("/ops/order?account=tiramizoo&id=none", "Account 'tiramizoo' has no order 'none'."),
        ("/ops/orders/tiramizoo/none", "Search all accounts for none"),
    ],
)
def test_an_unknown_page_says_what_there_is_not(ann: FlaskClient, page: str, says: str) -> None:
    answer = ann.get(page)
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert says in seen(answer)


@pytest.mark.parametrize(
    ("page", "status"),
    [
        ("/ops/orders?status=nonsense", 422),
        ("/ops/orders?cursor=nonsense", 422),
        ("/ops/orders?limit=0", 422),
        ("/ops/messages?outcome=nonsense", 422),
        ("/ops/order", 400),
        ("/ops/order?account=tiramizoo", 400),
    ],
)
def test_an_invalid_parameter_is_answered_with_a_page(
    ann: FlaskClient, page: str, status: int
) -> None:
    answer = ann.get(page)
    assert (answer.status_code, answer.mimetype) == (status, "text/html")


def test_without_postgresql_a_page_says_so(new_app: NewApp) -> None:
    client = new_app(DATABASE_URL="postgresql://nobody@127.0.0.1:1/none").test_client()
    assert sign_in(client).status_code == 303
    for page in PAGES:
        answer = client.get(page)
        if page.rstrip("/") in {"/ops", "/ops/alerts"}:
            # They show the alerts all the same.
            assert answer.status_code == 200
            assert "PostgreSQL cannot be used" in seen(answer)
            continue
        assert (answer.status_code, answer.mimetype) == (503, "text/html")
        assert "PostgreSQL cannot be reached" in seen(answer)
        assert answer.headers["Retry-After"]


def test_without_redis_the_dashboard_says_so_and_other_pages_work(
    new_app: NewApp, sessions: Sessions
) -> None:
    client = new_app(REDIS_URL="redis://127.0.0.1:1/0").test_client()
    assert sign_in(client).status_code == 303
    for page in PAGES:
        assert client.get(page).status_code == 200
    assert "Redis cannot be reached" in seen(client.get("/ops"))


# Orders


def test_orders_are_filtered(ann: FlaskClient, sessions: Sessions) -> None:
    fill(
        sessions,
        {"courier_order_id": "one", "status": "delivered"},
        {"courier_order_id": "two", "status": "lost", "needs_attention": True},
        {"courier_order_id": "three", "account": "cottoncast", "status": "in_transit"},
    )

    def shown(**chosen: str) -> list[str]:
        # As a browser sends a form: what is not chosen is there, and empty.
        told = {"account": "", "status": "", "status_group": "", "changed": "", **chosen}
        listed = text_of(ann.get("/ops/orders", query_string=told))
        return re.findall(r'<th scope="row"><a [^>]*><bdi[^>]*>([^<]+)</bdi>', listed)

    assert shown() == ["three", "two", "one"]
    assert shown(account="cottoncast") == ["three"]
    assert shown(status_group="exception") == ["two"]
    assert shown(status="delivered") == ["one"]
    assert shown(needs_attention="true") == ["two"]
    assert shown(changed="1h") == ["three", "two", "one"]


def test_a_list_goes_on_with_its_filters(ann: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, *({"courier_order_id": f"n-{n}", "status": "lost"} for n in range(5)))
    place, found = "/ops/orders?status=lost&limit=2", []
    while place:
        text = text_of(ann.get(place))
        found += re.findall(r'<th scope="row"><a [^>]*><bdi[^>]*>([^<]+)</bdi>', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        place = following[1].replace("&amp;", "&") if following else ""
    assert found == ["n-4", "n-3", "n-2", "n-1", "n-0"]


def found(ann: FlaskClient, name: str) -> Any:
    return ann.get("/ops/orders", query_string={"q": name})


@pytest.mark.parametrize("name", ["u-1", " 41 ", "ZVW8GV", "ID4K7-EHQX-62RA"])
def test_one_box_finds_an_order_by_any_of_its_names(
    ann: FlaskClient, drain: Drain, name: str
) -> None:
    named = tiramizoo_order("u-1", external_id="41", identifier="ZVW8GV")
    deliver(ann, named | {"tracking_code": "ID4K7-EHQX-62RA"}, tiramizoo_order("other"))
    drain()
    answer = found(ann, name)
    assert (answer.status_code, answer.location) == (303, "/ops/order?account=tiramizoo&id=u-1")


def test_several_of_a_name_are_listed(ann: FlaskClient, sessions: Sessions) -> None:
    same = {"reference": "41"}
    fill(sessions, {"courier_order_id": "a", **same}, {"courier_order_id": "b", **same})
    fill(sessions, {"courier_order_id": "41", "account": "cottoncast"})
    text = seen(found(ann, "41"))
    assert text.count("41 ") >= 3
    assert "cottoncast" in text


def test_names_that_begin_so_are_shown_too(ann: FlaskClient, drain: Drain) -> None:
    for number in range(3):
        deliver(ann, tiramizoo_order(f"u-{number}", external_id=f"S-12{number}", identifier="ZVW8"))
    drain()
    for begun in ("S-12", "ZVW"):
        text = seen(found(ann, begun))
        assert "3 orders: none has exactly this name, their names begin with it" in text
        assert "S-121" in text
    assert "S-12" not in seen(found(ann, "S-13")).replace("S-13", "")
    assert "3 characters or more" in seen(found(ann, "S-"))


def test_a_search_counts_what_it_finds_and_has_pages(
    ann: FlaskClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(sessions, *({"courier_order_id": f"nr-{number:03}"} for number in range(120)))
    fill(sessions, {"courier_order_id": "NR0", "reference": "other"})
    place, names = "/ops/orders?q=nr0", list[str]()
    while place:
        text = text_of(ann.get(place))
        names += re.findall(r'<th scope="row"><a [^>]*><bdi[^>]*>([^<]+)</bdi>', text)
        following = re.search(r'rel="next" href="([^"]+)"', text)
        place = following[1].replace("&amp;", "&") if following else ""
    # The one that has exactly this name is the first.
    assert names == ["other", *(f"nr-{number:03}" for number in reversed(range(100)))]
    lead = "101 orders: 1 with exactly this name, 100 with a name that begins with it"
    assert lead in seen(found(ann, "nr0"))
    monkeypatch.setattr(search, "ROWS_READ", 40)
    assert "More than 40 orders" in seen(found(ann, "nr0"))
    assert seen(ann.get("/ops/orders?q=nr0&page=99999999999")).count("nr-0") > 0


def test_a_parcel_is_found_by_how_its_number_begins(ann: FlaskClient, drain: Drain) -> None:
    shipment = cottoncast_shipment("3SCEBU123456789")
    deliver(ann, cottoncast_status("C", shipments=[shipment]), account="cottoncast")
    drain()
    assert found(ann, "3scebu-123456789").location == "/ops/order?account=cottoncast&id=3AF7"
    assert "also 3SCEBU123456789" in seen(found(ann, "3SCEBU"))


def test_a_name_that_no_order_can_have_is_not_found(ann: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, {"courier_order_id": "n-1"})
    for name in ("\x00", "\x00\x00\x00", "x" * 300, "%%%", "---", "' OR 1=1 --"):
        assert "No order has this reference" in seen(found(ann, name))


def test_an_order_explains_its_status(ann: FlaskClient, drain: Drain) -> None:
    for code, minute in (("C", 0), ("D", 60), ("E", 90)):
        deliver(ann, cottoncast_status(code, after(minute)), account="cottoncast")
    drain()
    page = text_of(ann.get("/ops/orders/cottoncast/3AF7"))
    text = seen(ann.get("/ops/order?account=cottoncast&id=3AF7"))
    assert "Delivered since 2026-04-16 08:00:00" in text
    assert "Set by the courier's status 'D' in message 2" in text
    assert "in_transit cannot follow delivered" in text
    assert text.count("yes, and set the status") == 1
    assert '<svg class="life"' in page
    assert '"orderID": "3AF7"' in re.sub("&#34;", '"', page)


@pytest.mark.parametrize("name", ["a/b c", "..", "/", "a?b#c&d=e", "x\u202ey", "line\nbreak", "é"])
def test_an_order_of_any_name_has_a_page_and_its_forms_reach_it(
    ann: FlaskClient, sessions: Sessions, name: str
) -> None:
    fill(sessions, {"courier_order_id": name})
    place = found(ann, name.strip()).location
    page = ann.get(place)
    assert page.status_code == 200
    action = re.search(r'action="(/ops/erase[^"]+)"', text_of(page))
    assert action is not None
    answer = send(ann, action[1].replace("&amp;", "&"), confirm=name)
    assert answer.status_code == 303
    with sessions() as session:
        assert session.scalars(select(Order.erased_at)).one() is not None


def test_an_order_is_erased_only_where_that_is_confirmed(
    ann: FlaskClient, sessions: Sessions
) -> None:
    fill(sessions, {"courier_order_id": "u-1"})
    answer = send(ann, "/ops/erase?account=tiramizoo&id=u-1", confirm="u-2")
    assert answer.status_code == 400
    with sessions() as session:
        assert session.scalars(select(Order.erased_at)).one() is None


def test_an_order_is_corrected_stopped_resumed_and_deleted(
    ann: FlaskClient, sessions: Sessions
) -> None:
    fill(sessions, {"courier_order_id": "u-1"})
    path = "account=tiramizoo&id=u-1"

    def stored() -> Order:
        with sessions() as session:
            return session.scalars(select(Order)).one()

    for fields, expected in (
        ({"reference": " T-7 "}, ("T-7", False)),
        ({"tracking": "stopped"}, ("T-7", True)),
        ({"reference": ""}, (None, True)),
        ({"tracking": "active"}, (None, False)),
    ):
        assert send(ann, f"/ops/correct?{path}", **fields).status_code == 303
        assert (stored().reference, stored().tracking_stopped_at is not None) == expected
        page = seen(ann.get(f"/ops/order?{path}"))
        assert ("Resume tracking" in page) == expected[1]
    for bad in ({}, {"tracking": "off"}, {"reference": "x" * 256}):
        assert send(ann, f"/ops/correct?{path}", **bad).status_code == 422
    assert send(ann, f"/ops/delete?{path}", confirm="u-2").status_code == 400
    assert send(ann, f"/ops/delete?{path}", confirm="u-1").location == "/ops/orders?done=deleted"
    with sessions() as session:
        assert session.scalars(select(Order)).all() == []
    assert send(ann, f"/ops/delete?{path}", confirm="u-1").status_code == 404


def test_without_api_there_is_no_refresh(ann: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, {"courier_order_id": "u-1"})
    assert "Refresh" not in seen(ann.get("/ops/order?account=tiramizoo&id=u-1"))
    answer = send(ann, "/ops/refresh?account=tiramizoo&id=u-1")
    assert answer.status_code == 409
    assert "cannot be polled" in seen(answer)


# Alerts


def test_the_runbook_is_a_page_with_the_anchors_of_its_links(ann: FlaskClient) -> None:
    page = text_of(ann.get("/ops/runbook"))
    links = set(re.findall(r'href="#([\w-]+)"', page))
    assert "no-workers" in re.findall(r'<h3 id="([\w-]+)"', page)
    assert links - {"main"} <= set(re.findall(r' id="([\w-]+)"', page))
    assert "<strong>Means</strong>" in page
    for markup in ("**", "](#", "```"):
        assert markup not in page


def open_notice(sessions: Sessions, condition: str, account: str = "") -> int:
    with sessions.begin() as session:
        notice = Notice(
            condition=condition,
            account=account,
            severity="critical",
            summary="No worker is running",
            what_to_do="",
            count=1,
            opened_at=datetime.now(UTC),
        )
        session.add(notice)
        session.flush()
        return notice.id


def test_an_alert_is_acknowledged_snoozed_and_pushed_again(
    ann: FlaskClient, sessions: Sessions
) -> None:
    assert "has not recorded it yet" in seen(ann.get("/ops/alerts"))
    path = f"/ops/alerts/{open_notice(sessions, 'no_workers')}/acknowledge"
    answer = send(ann, path, by="Bob", note="I restart it", hours="")
    assert "not pushed meanwhile" in seen(ann.get(answer.location))
    for page in ("/ops", "/ops/alerts"):
        assert re.search("Acknowledged by Bob at .* I restart it", seen(ann.get(page)))
    history = seen(ann.get("/ops/alerts")).partition("History")[2]
    assert "Acknowledged by Bob" in history
    assert send(ann, path, by="Bob", hours="4").status_code == 303
    assert send(ann, path, by="Bob", hours="1000").status_code == 422
    with sessions() as session:
        until = session.scalars(select(Notice.acknowledged_until)).one()
    assert until is not None
    assert timedelta(hours=3) < until - datetime.now(UTC) < timedelta(hours=5)
    answer = send(ann, path, by="Bob", hours="0")
    assert "pushed again" in seen(ann.get(answer.location))
    assert "Acknowledged" not in seen(ann.get("/ops"))
    assert send(ann, f"/ops/alerts/{'9' * 19}/acknowledge", by="Bob").status_code == 404


def test_an_alert_has_buttons_for_what_its_text_says_and_the_orders_reference(
    ann: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    contradicted = tiramizoo_order("u-1", life("created", "cancelled", "picked_up"))
    deliver(ann, contradicted | {"external_id": "T-1001"}, BROKEN)
    drain()
    open_notice(sessions, "messages_quarantined", "tiramizoo")
    page = ann.get("/ops")
    assert "Example: T-1001 u-1" in seen(page)
    links = dict(
        re.findall(r'<a class="button quiet small" href="([^"]+)">([^<]+)<', text_of(page))
    )
    assert {
        name: ann.get(url.replace("&amp;", "&")).status_code for url, name in links.items()
    } == {"Show and close conflicts": 200, "Show or discard messages": 200}
    pattern = r'<form method="post" action="([^"]+)">(.*?)<button class="small">([^<]+)<'
    forms = {
        label: (url, dict(re.findall(r'name="(\w+)" value="([^"]*)"', fields)))
        for url, fields, label in re.findall(
            pattern, text_of(page).partition("<main")[2], re.DOTALL
        )
    }
    for label, says in (
        ("Retry all", "1 message will be processed again"),
        ("Acknowledge", "Acknowledged by Ann"),
    ):
        url, fields = forms[label]
        assert says in seen(ann.get(ann.post(url, data=fields).location))
    assert ">Acknowledge<" not in text_of(ann.get("/ops"))


# Messages


def test_quarantined_messages_are_listed_first_with_their_reasons(
    ann: FlaskClient, drain: Drain
) -> None:
    deliver(ann, tiramizoo_order(), BROKEN)
    drain()
    text = seen(ann.get("/ops/messages"))
    assert "quarantined 1" in text
    assert "Missing data for required field" in text
    assert seen(ann.get("/ops/messages?outcome=applied")).count("Retry") == 0


def test_a_message_is_retried(ann: FlaskClient, drain: Drain, sessions: Sessions) -> None:
    deliver(ann, BROKEN)
    drain()
    answer = send(ann, "/ops/messages/1/retry")
    assert answer.location == "/ops/messages/1?done=retried"
    with sessions() as session:
        assert session.scalars(select(Message.outcome)).one() == "pending"
    assert "is processed again" in seen(ann.get(answer.location))


def test_all_messages_of_an_account_are_retried(
    ann: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    deliver(ann, BROKEN, {"uuid": "u-8"})
    deliver(ann, {"orderID": "x"}, account="cottoncast")
    drain()
    answer = send(ann, "/ops/messages/retry", outcome="quarantined", account="tiramizoo")
    assert "2 messages will be processed again" in seen(ann.get(answer.location))
    with sessions() as session:
        outcomes = session.execute(select(Message.account, Message.outcome).order_by(Message.id))
        assert [tuple(row) for row in outcomes] == [
            ("tiramizoo", "pending"),
            ("tiramizoo", "pending"),
            ("cottoncast", "quarantined"),
        ]


def test_a_message_is_discarded_with_a_name_and_a_note(
    ann: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    deliver(ann, BROKEN)
    drain()
    assert send(ann, "/ops/messages/1/discard", by="", note="x").status_code == 422
    assert send(ann, "/ops/messages/1/discard", by="Ann", note="a test").status_code == 303
    text = seen(ann.get("/ops/messages/1"))
    assert "discarded by Ann: a test" in text


def test_all_messages_that_match_are_discarded(
    ann: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    deliver(ann, BROKEN, {"uuid": "u-8"})
    deliver(ann, {"orderID": "x"}, account="cottoncast")
    drain()
    form = {"outcome": "quarantined", "account": "tiramizoo", "reason": "Missing", "by": "Ann"}
    assert send(ann, "/ops/messages/discard", **form, note="").status_code == 422
    answer = send(ann, "/ops/messages/discard", **form, note="a test")
    assert "Discarded: 2 messages." in seen(ann.get(answer.location))
    with sessions() as session:
        found = session.scalars(select(Message.outcome).order_by(Message.id)).all()
        assert found == ["discarded", "discarded", "quarantined"]


def test_a_body_that_is_no_text_is_shown_and_handed_out_byte_for_byte(ann: FlaskClient) -> None:
    deliver_raw = ann.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=b"\xff\xfe<script>")
    assert deliver_raw.status_code == 400
    assert "//48c2NyaXB0Pg==" in seen(ann.get("/ops/messages/1"))
    answer = ann.get("/ops/messages/1/raw")
    assert answer.data == b"\xff\xfe<script>"
    assert answer.mimetype == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment")


# Conflicts


def test_a_conflict_is_closed_with_a_name_and_a_note(ann: FlaskClient, drain: Drain) -> None:
    deliver(ann, tiramizoo_order("u-1", life("created", "cancelled", "picked_up")))
    drain()
    page = text_of(ann.get("/ops/conflicts"))
    assert "picked up after cancelled" in page
    action = re.search(r'action="(/ops/conflicts/close[^"]+)"', page)
    assert action is not None
    answer = send(ann, action[1].replace("&amp;", "&"), by="Ann", note="the depot has it")
    assert answer.location == "/ops/conflicts?done=closed"
    assert "no open conflicts" in seen(ann.get(answer.location))
    text = seen(ann.get("/ops/order?account=tiramizoo&id=u-1"))
    assert "by Ann" in text
    assert "the depot has it" in text


# Dashboard


def test_the_dashboard_shows_alerts_counts_and_accounts(ann: FlaskClient, drain: Drain) -> None:
    deliver(ann, tiramizoo_order(), BROKEN)
    ann.post("/webhooks/cottoncast/orders", data=raw({}))
    assert "Pending 2" in seen(ann.get("/ops"))
    drain()
    text = seen(ann.get("/ops"))
    assert "could not be read" in text
    assert "No worker is running" in text
    assert "Refused webhooks, last 30 days" in text
    assert "cottoncast missing" in text
    assert "Quarantined 1" in text
    for account in ("tiramizoo", "cottoncast", "shipmentapi"):
        assert account in text


def test_the_forms_under_the_messages_are_about_those_that_the_page_lists(
    ann: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    for uuid in ("u-1", "u-2", "u-3"):
        deliver(ann, {"uuid": uuid})
    drain()
    with sessions.begin() as session:
        day = datetime(2026, 4, 16, 23, 59, tzinfo=UTC)
        session.execute(update(Message).where(Message.id == 1).values(received_at=day))
    within = {"received_from": "2026-04-16", "received_to": "2026-04-16"}
    page = text_of(ann.get("/ops/messages", query_string=within))
    assert re.findall(r"/ops/messages/(\d+)\"", page) == ["1"]
    assert page.count('name="received_from" value="2026-04-16"') == 3
    found = text_of(ann.get("/ops/messages?outcome=quarantined&contains=u-2"))
    assert re.findall(r"/ops/messages/(\d+)\"", found) == ["2"]
    assert "/ops/messages/retry" not in found
    answer = send(ann, "/ops/messages/retry", outcome="quarantined", **within)
    assert "received_to=2026-04-16" in answer.headers["Location"]
    with sessions() as session:
        outcomes = session.scalars(select(Message.outcome).order_by(Message.id)).all()
    assert outcomes == ["pending", "quarantined", "quarantined"]
    assert send(ann, "/ops/messages/retry", outcome="parked", received_to="x").status_code == 422
