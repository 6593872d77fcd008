"""Many orders at once, orders that did not change, and ids that are hard to write in a path."""

import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Update, event, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Identifier, Order, Poll
from receiver.orders.listing import filters as order_filters
from tests.bodies import START, cottoncast_status, tiramizoo_order
from tests.shop import deliver, fill, get, problem_of

Drain = Callable[[], int]
Sessions = sessionmaker[Session]


@contextmanager
def statements(app: Flask) -> Iterator[list[str]]:
    """What the application sends to PostgreSQL."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    engine = app.extensions["ordertrail"].engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        with after_batched_reads(app, seen.append):
            yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


@contextmanager
def after_batched_reads(app: Flask, act: Callable[[str], object]) -> Iterator[None]:
    """Call this after each statement of the OrderReader, which does not go through SQLAlchemy."""
    pool = app.extensions["ordertrail"].reader._pool
    fetch_all = pool.fetch_all

    def read_and_act(statement: str, *values: Any, **how: Any) -> Any:
        rows = fetch_all(statement, *values, **how)
        act(statement)
        return rows

    pool.fetch_all = read_and_act
    yield
    del pool.fetch_all


def look_up(shop: FlaskClient, **asked: Any) -> list[dict[str, Any]]:
    answer = shop.post("/v1/orders/lookup", json=asked)
    assert answer.status_code == 200, answer.data
    return list(answer.get_json()["results"])


def names(result: dict[str, Any]) -> list[str]:
    return [order["courier_order_id"] for order in result["orders"]]


def named(*order_ids: str, account: str = "tiramizoo") -> list[dict[str, str]]:
    return [{"account": account, "courier_order_id": order_id} for order_id in order_ids]


# Many orders at once


def test_each_reference_has_a_result_in_the_order_asked(
    shop: FlaskClient, sessions: Sessions
) -> None:
    fill(sessions, {"reference": "41"}, {"reference": "42"}, {})
    results = look_up(shop, references=["42", "nowhere", "41", "42"])
    assert [(it["reference"], it["found"], names(it)) for it in results] == [
        ("42", True, ["order 1"]),
        ("nowhere", False, []),
        ("41", True, ["order 0"]),
        ("42", True, ["order 1"]),
    ]
    assert results[0]["orders"] == [get(shop, "/orders/tiramizoo/order 1")]
    assert not any("account" in it or it["more"] for it in results)


def test_a_reference_has_all_its_orders_the_newest_first(
    shop: FlaskClient, sessions: Sessions
) -> None:
    fill(sessions, {"reference": "41"}, {"reference": "41", "account": "cottoncast"})
    (result,) = look_up(shop, references=["41"])
    assert names(result) == ["order 1", "order 0"]
    assert not result["more"]


@pytest.mark.parametrize(("orders", "more"), [(10, False), (11, True)])
def test_a_reference_of_very_many_orders_shows_ten_and_says_so(
    shop: FlaskClient, sessions: Sessions, orders: int, more: bool
) -> None:
    fill(sessions, *({"reference": "41"} for _ in range(orders)))
    (result,) = look_up(shop, references=["41"])
    assert names(result) == [f"order {n}" for n in range(orders - 1, orders - 11, -1)]
    assert result["more"] is more


def test_orders_are_looked_up_by_any_of_their_names(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, tiramizoo_order("u-1", identifier="ZVW8GV"), tiramizoo_order("u-2"))
    drain()
    results = look_up(shop, orders=named("ZVW8GV", "u-9", "u-2", "u-1"))
    assert [(it["courier_order_id"], it["found"], names(it)) for it in results] == [
        ("ZVW8GV", True, ["u-1"]),
        ("u-9", False, []),
        ("u-2", True, ["u-2"]),
        ("u-1", True, ["u-1"]),
    ]
    assert {it["account"] for it in results} == {"tiramizoo"}
    assert results[0]["orders"] == [get(shop, "/orders/tiramizoo/u-1")]


def test_an_order_of_another_account_is_not_found(shop: FlaskClient, sessions: Sessions) -> None:
    fill(sessions, {})
    results = look_up(shop, orders=named("order 0", account="cottoncast") + named("order 0"))
    assert [it["found"] for it in results] == [False, True]


def test_an_identifier_of_several_orders_shows_them_all(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, *(tiramizoo_order(it, identifier="ZVW8GV") for it in ("u-1", "u-2")))
    drain()
    (result,) = look_up(shop, orders=named("ZVW8GV"))
    assert names(result) == ["u-2", "u-1"]


def test_the_couriers_own_id_counts_over_anothers_identifier(
    shop: FlaskClient, drain: Drain
) -> None:
    deliver(shop, tiramizoo_order("A"), tiramizoo_order("B", identifier="A"))
    drain()
    (result,) = look_up(shop, orders=named("A"))
    assert names(result) == ["A"]


@pytest.mark.parametrize("by", ["references", "orders"])
def test_a_hundred_take_no_more_statements_than_one(
    app: Flask, shop: FlaskClient, sessions: Sessions, by: str
) -> None:
    fill(sessions, *({"reference": f"r{n}"} for n in range(100)))
    with sessions.begin() as session:
        session.add_all(
            Identifier(account="tiramizoo", value=f"i{n}", order_id=n + 1) for n in range(100)
        )

    def asked(most: int) -> dict[str, Any]:
        ids = [f"order {n}" if n % 2 else f"i{n}" for n in range(most)]
        return {by: named(*ids) if by == "orders" else [f"r{n}" for n in range(most)]}

    counts = []
    for most in (2, 100):
        with statements(app) as seen:
            assert all(it["found"] for it in look_up(shop, **asked(most)))
        counts.append(len(seen))
    assert counts[0] == counts[1] <= 3


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({}, "references"),
        ({"references": ["41"], "orders": named("A")}, "references"),
        ({"references": ["41"], "tracking_numbers": ["P"]}, "references"),
        ({"references": []}, "references"),
        ({"references": [str(n) for n in range(101)]}, "references"),
        ({"references": "41"}, "references"),
        ({"references": None}, "references"),
        ({"orders": []}, "orders"),
        ({"orders": named(*map(str, range(101)))}, "orders"),
        ({"references": ["41"], "limit": 3}, "limit"),
    ],
)
def test_a_lookup_that_cannot_be_used_names_the_field(
    shop: FlaskClient, asked: dict[str, Any], field: str
) -> None:
    problem = problem_of(shop.post("/v1/orders/lookup", json=asked), 422)
    assert list(problem["errors"]["json"]) == [field]


@pytest.mark.parametrize(
    ("kind", "unusable"),
    [
        (
            "references",
            ["x" * 256, "", " ", None, 41, "\x00", "\ud800", ["41"], {"reference": "41"}],
        ),
        ("tracking_numbers", ["x" * 256, "", " ", None, 41, "\x00", "\ud800", ["P"]]),
        (
            "orders",
            [
                *("A", None, ["A"], {}, {"account": "tiramizoo"}, named("\x00")[0], named("")[0]),
                {**named("A")[0], "reference": "41"},
                {"account": 1, "courier_order_id": "A"},
            ],
        ),
    ],
)
def test_an_item_that_cannot_be_used_costs_no_other_its_answer(
    shop: FlaskClient, drain: Drain, kind: str, unusable: list[Any]
) -> None:
    parcels = [{"identifier": "P", "state": "pending"}]
    deliver(shop, tiramizoo_order("A", external_id="41", packages=parcels))
    drain()
    usable = {"references": "41", "tracking_numbers": "P", "orders": named("A")[0]}[kind]
    for item in unusable:
        wrong, right = look_up(shop, **{kind: [item, usable]})
        assert (wrong["found"], wrong["problem"]["status"]) == (False, 422)
        assert wrong["problem"]["detail"]
        assert names(right) == ["A"]
        assert "problem" not in right


def test_orders_are_looked_up_by_the_number_of_a_parcel(shop: FlaskClient, drain: Drain) -> None:
    parcels = [{"identifier": "18A24901BE5D49C3", "state": "pending"}]
    deliver(shop, tiramizoo_order("u-1", packages=parcels))
    shipments = [{"trackingcode": "3SCEBU123456789"}]
    body = cottoncast_status("E", order_id="41", shipments=shipments)
    deliver(shop, body, account="cottoncast")
    drain()
    results = look_up(shop, tracking_numbers=["18a24901-be5d-49c3 ", "3SCEBU123456789", "nowhere"])
    assert [(it["tracking_number"], names(it)) for it in results] == [
        ("18a24901-be5d-49c3 ", ["u-1"]),
        ("3SCEBU123456789", ["41"]),
        ("nowhere", []),
    ]
    for number, order_id in (("3scebu123456789", "41"), ("18A24901BE5D49C3", "u-1")):
        page = get(shop, "/orders", tracking_number=number)
        assert [it["courier_order_id"] for it in page["orders"]] == [order_id]
    for narrowed in ({"account": "tiramizoo"}, {"status": "delivered"}, {"reference": "other"}):
        assert get(shop, "/orders", tracking_number="3SCEBU123456789", **narrowed)["orders"] == []


def test_a_hundred_may_be_looked_up(shop: FlaskClient, sessions: Sessions) -> None:
    assert len(look_up(shop, references=[str(n) for n in range(100)])) == 100
    assert len(look_up(shop, orders=named(*map(str, range(100))))) == 100


# Orders that did not change


def etag_of(shop: FlaskClient) -> str:
    return shop.get("/v1/orders/tiramizoo/order 0").headers["ETag"]


def ask(shop: FlaskClient, known: str, path: str = "tiramizoo/order 0") -> Any:
    return shop.get(f"/v1/orders/{path}", headers={"If-None-Match": known})


@pytest.mark.parametrize("known", ["{}", "W/{}", '"7", {}', 'W/"7",W/{}', "*", '"x,y", {}'])
@pytest.mark.parametrize("name", ["order 0", "its identifier"])
def test_an_unchanged_order_costs_a_look_at_its_version(
    app: Flask, shop: FlaskClient, sessions: Sessions, known: str, name: str
) -> None:
    fill(sessions, {})
    with sessions.begin() as session:
        session.add(Identifier(account="tiramizoo", value="its identifier", order_id=1))
    etag = etag_of(shop)
    with statements(app) as seen:
        answer = ask(shop, known.format(etag), f"tiramizoo/{name}")
    assert (answer.status_code, answer.data) == (304, b"")
    assert (answer.headers["ETag"], answer.headers["Cache-Control"]) == (etag, "private, no-cache")
    assert len(seen) == 1
    columns = {it.key for it in Order.__table__.columns}
    for statement in seen:
        # The table of the other names is called as a column of orders.
        touched = columns & set(re.findall(r"\w+", statement.replace("identifiers", "")))
        assert touched <= {"id", "version", "account", "courier_order_id", "last_heard_at"}
        assert "version" in touched


@pytest.mark.parametrize(
    "changed",
    [
        update(Order).values(last_heard_at=START),
        update(Poll).values(due_at=START),
        update(Poll).values(polled_at=START),
        update(Poll).values(failures=1),
        update(Poll).values(stopped_at=START),
        update(Poll).values(stop_reason="given up"),
    ],
)
def test_the_etag_covers_what_changes_without_a_version(
    shop: FlaskClient, sessions: Sessions, changed: Update
) -> None:
    fill(sessions, {})
    with sessions.begin() as session:
        session.add(Poll(order_id=1, account="tiramizoo", placed_at=START))
    etag = etag_of(shop)
    with sessions.begin() as session:
        session.execute(changed)
    answer = ask(shop, etag)
    assert (answer.status_code, answer.get_json()["version"]) == (200, 1)
    assert ask(shop, answer.headers["ETag"]).status_code == 304


@pytest.mark.parametrize("known", ['"0"', 'W/"7"', '"7", "8"', '"11"', '"*"', "", '"', "1 2"])
def test_an_order_that_changed_is_sent_whole(
    shop: FlaskClient, sessions: Sessions, known: str
) -> None:
    fill(sessions, {})
    answer = ask(shop, known)
    assert answer.status_code == 200
    assert answer.headers["ETag"] == etag_of(shop)
    assert answer.get_json() == get(shop, "/orders/tiramizoo/order 0")


def test_the_etag_is_of_the_very_row_that_is_shown(
    app: Flask, shop: FlaskClient, sessions: Sessions
) -> None:
    """Also where the order changes between the look at its version and the rest."""
    fill(sessions, {})

    def change(_statement: str) -> None:
        with sessions.begin() as session:
            session.execute(update(Order).values(version=2, reason="meanwhile"))

    with after_batched_reads(app, change):
        answer = ask(shop, '"0"')
    assert answer.status_code == 200
    assert (answer.get_json()["version"], answer.headers["ETag"]) == (2, etag_of(shop))
    assert answer.get_json()["reason"] == "meanwhile"


@pytest.mark.parametrize("known", ['"1-1-x"', "*"])
def test_an_order_that_nobody_knows_is_not_unchanged(
    shop: FlaskClient, drain: Drain, known: str
) -> None:
    problem_of(ask(shop, known, "tiramizoo/nowhere"), 404)
    problem_of(ask(shop, known, "tiramizoo/%00"), 404)
    deliver(shop, *(tiramizoo_order(it, identifier="ZVW8GV") for it in ("u-1", "u-2")))
    drain()
    problem_of(ask(shop, known, "tiramizoo/ZVW8GV"), 409)
    deliver(shop, tiramizoo_order("ZVW8GV", identifier="A"))
    drain()
    assert ask(shop, known, "tiramizoo/ZVW8GV").status_code == (304 if known == "*" else 200)


# Ids that are hard to write in a path


@pytest.mark.parametrize("order_id", ["/", "/a", "//a", "a\nb", "/a/../b/"])
def test_an_id_of_slashes_and_newlines_is_found_by_path(
    shop: FlaskClient, drain: Drain, order_id: str
) -> None:
    deliver(shop, cottoncast_status("E", order_id=order_id), account="cottoncast")
    drain()
    at = f"/orders/cottoncast/{quote(order_id, safe='')}"
    assert get(shop, at)["courier_order_id"] == order_id
    assert len(get(shop, f"{at}/events")["events"]) == 1
    assert get(shop, f"{at}/explain")["order"]["courier_order_id"] == order_id


@pytest.mark.parametrize(
    "order_id",
    [
        *("a/events", "a/explain", "/events", "a/refresh", "a/parcels", "events", "a%2Fevents"),
        *("a%252Fevents", "50%", "a/conflicts/1/close", "a/personal-data", "a/messages"),
    ],
)
def test_an_id_that_ends_like_a_part_of_an_order_is_found_by_path(
    shop: FlaskClient, drain: Drain, order_id: str
) -> None:
    for body in (cottoncast_status("E", order_id=order_id), cottoncast_status("D", order_id="a")):
        deliver(shop, body, account="cottoncast")
    drain()
    at = f"/orders/cottoncast/{quote(order_id, safe='')}"
    assert get(shop, at)["courier_order_id"] == order_id
    assert len(get(shop, f"{at}/events")["events"]) == 1
    assert get(shop, f"{at}/explain")["order"]["courier_order_id"] == order_id
    (result,) = look_up(shop, orders=named(order_id, account="cottoncast"))
    assert names(result) == [order_id]
    assert shop.delete(f"/v1{at}/personal-data").status_code == 204
    assert shop.get(f"/v1{at}/refresh").status_code == 405


def test_two_ids_that_differ_by_a_nul_are_two_orders(shop: FlaskClient, drain: Drain) -> None:
    for code, order_id in (("E", "nul\x00x"), ("D", "nulx"), ("C", "x" * 3)):
        deliver(shop, cottoncast_status(code, order_id=order_id), account="cottoncast")
    drain()
    assert get(shop, "/orders/cottoncast/nulx")["status"] == "delivered"
    assert get(shop, "/orders/cottoncast/nul%00x")["status"] == "in_transit"
    assert get(shop, "/orders/cottoncast/%20NULX%09")["status"] == "delivered"


# Lists by several filters at once


FILTERS: dict[str, list[str]] = {
    "account": ["tiramizoo", "cottoncast", "shipmentapi"],
    "status": ["delivered", "lost,pending", " exception , lost, lost"],
    "status_group": ["exception", "delivered,unknown", "unknown"],
    "needs_attention": ["true", "false"],
    "created_since": ["2026-04-16T12:00:00Z", "2026-04-17T01:30:00+02:00", "1999-01-01T00:00:00Z"],
    "created_until": ["2026-04-17T03:00:00Z", "2026-04-16T12:00:00.5Z", "9999-12-31T00:00:00Z"],
    "updated_since": ["2026-04-17T03:00:00Z"],
    "updated_until": ["2026-04-18T00:00:00Z", "2026-04-17T09:00:00Z"],
    "reference": ["r1"],
    "tracking_number": ["order 5", "order 40"],
}


def matches(order: dict[str, Any], name: str, value: str) -> bool:
    """Whether an order is in a list with this filter."""
    if name in {"created_since", "created_until", "updated_since", "updated_until"}:
        column, end = name.split("_")
        at, limit = (datetime.fromisoformat(each) for each in (order[f"{column}_at"], value))
        return at >= limit if end == "since" else at < limit
    if name == "needs_attention":
        return bool(order[name] is (value == "true"))
    if name == "tracking_number":
        return bool(order["courier_order_id"] == value)
    return order[name] in {each.strip() for each in value.split(",")}


@pytest.mark.parametrize("few", [0, 5000])
def test_filters_narrow_together_over_all_pages(
    shop: FlaskClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """Whichever way they are looked for: where few fit, and where many do.

    Orders are not quite as old as their ids say. A newer release has stored a status that this one
    does not know.
    """
    monkeypatch.setattr(order_filters, "FEW", few)
    rows: list[dict[str, Any]] = [
        {
            "account": ("tiramizoo", "cottoncast")[n % 2],
            "status": ("delivered", "lost", "exception", "at_pickup_point")[n % 4],
            "needs_attention": n % 5 == 0,
            "reference": f"r{n % 7}",
            "created_at": START + timedelta(hours=n if n % 6 else n / 3),
            "updated_at": START + timedelta(hours=n * 7 % 41 + n / 3),
        }
        for n in range(41)
    ]
    fill(sessions, *rows)
    everything = get(shop, "/orders", limit=200)["orders"]
    assert {order["status_group"] for order in everything} == {"delivered", "exception", "unknown"}
    chance = random.Random(few)
    found_some = 0
    for count in [1] * 20 + [2] * 30 + [3] * 20 + [5] * 10:
        asked = {name: chance.choice(FILTERS[name]) for name in chance.sample(list(FILTERS), count)}
        expected = [
            order for order in everything if all(matches(order, *pair) for pair in asked.items())
        ]
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        answer = shop.get("/v1/orders", query_string=asked)
        if answer.status_code == 422:
            assert [name.endswith("_until") for name in answer.get_json()["errors"]["query"]]
            assert expected == []
            continue
        while True:
            page = get(shop, "/orders", limit=4, **asked, **cursor)
            found += page["orders"]
            if page["next_cursor"] is None:
                break
            cursor = {"cursor": page["next_cursor"]}
        assert found == expected, asked
        found_some += bool(found)
    assert found_some > 25
