"""Bodies that could not be read: whether they name an order, and the erasure of those that do."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from receiver.couriers.contract import SampleState
from receiver.db.models import Order
from receiver.orders import erasure_unread
from receiver.orders.erasure_unread import erase_unread_bodies, is_named, names_by_key
from tests.bodies import START, raw, shipmentapi_order, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.shop import deliver, fill, get

# What makes a sample one that its driver refuses.
SPOILT: dict[str, dict[str, Any]] = {
    "tiramizoo": {"state": 5},
    "cottoncast": {"status": 5},
    "shipmentapi": {"status": None},
}
KEYS = [
    (name, key)
    for name, driver in DRIVERS.items()
    for key in sorted(driver.identifier_keys.order | driver.identifier_keys.reference)
]


def an_order(courier: str, courier_order_id: str, **fields: Any) -> Order:
    return Order(courier=courier, courier_order_id=courier_order_id, identifiers={}, **fields)


def kept(sessions: sessionmaker[Session]) -> list[bool]:
    with sessions() as session:
        return list(
            session.scalars(text("SELECT body IS NOT NULL FROM messages ORDER BY id")).all()
        )


def erase(shop: FlaskClient, order: str) -> None:
    assert shop.delete(f"/v1/orders/{order}/personal-data").status_code == 204


@pytest.mark.parametrize("name", SPOILT)
def test_of_every_couriers_unread_bodies_those_that_name_the_order_are_erased(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session], name: str
) -> None:
    order = {"account": name, "courier_order_id": "E-41", "reference": "R-41"}
    assert shop.post("/v1/orders", json=order).status_code == 201
    for order_id, reference in (("E-41", "R-0"), ("E-0", "R-41"), ("E-0", "R-0")):
        body = DRIVERS[name].make_sample(SampleState(order_id, "any", reference, START))
        deliver(shop, {**body, **SPOILT[name], "note": "E-41, R-41"}, account=name)
    drain()
    assert len(get(shop, "/messages", outcome="quarantined")["messages"]) == 3
    erase(shop, f"{name}/E-41")
    assert kept(sessions) == [False, False, True]


@pytest.mark.parametrize("name", SPOILT)
def test_what_cannot_be_read_and_comes_after_an_erasure_is_erased_too(
    shop: FlaskClient,
    drain: Callable[[], int],
    sessions: sessionmaker[Session],
    name: str,
) -> None:
    for order_id, reference in (("E-41", "R-41"), ("E-0", "R-0")):
        order = {"account": name, "courier_order_id": order_id, "reference": reference}
        assert shop.post("/v1/orders", json=order).status_code == 201
    erase(shop, f"{name}/E-41")
    for order_id, reference in (("E-41", "R-1"), ("E-1", "R-41"), ("E-0", "R-0")):
        body = DRIVERS[name].make_sample(SampleState(order_id, "any", reference, START))
        deliver(shop, {**body, **SPOILT[name], "note": "E-41, R-41"}, account=name)
        drain()
    assert kept(sessions) == [False, False, True]
    reasons = [it["reason"] for it in get(shop, "/messages", outcome="quarantined")["messages"]]
    assert reasons.count(erasure_unread.ERASED) == 2


@pytest.mark.parametrize(
    ("body", "is_kept"),
    [
        (b"E-41 is with Bob", False),
        (b'"E-41"', False),
        (b'{"uuid": "E-41", "to": "\\ud800"}', False),
        (b'{"uuid": "\\ud800", "to": "E-41"}', True),
        (b'{"uuid": "E-0", "to"', True),
    ],
)
def test_what_is_no_json_and_comes_after_an_erasure_is_erased_too(
    client: FlaskClient,
    shop: FlaskClient,
    sessions: sessionmaker[Session],
    body: bytes,
    is_kept: bool,
) -> None:
    shop.post("/v1/orders", json={"account": "tiramizoo", "courier_order_id": "E-41"})
    erase(shop, "tiramizoo/E-41")
    answer = client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
    assert answer.status_code == 400
    assert kept(sessions) == [is_kept]


values = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@pytest.mark.parametrize(("courier", "key"), KEYS)
@given(name=values, other=values, escaped=st.booleans(), depth=st.integers(0, 5))
def test_a_body_names_an_order_by_the_whole_value_of_a_key(
    courier: str, key: str, name: str, other: str, escaped: bool, depth: int
) -> None:
    names = names_by_key(an_order(courier, name, reference=name), {})

    def names_it(told: str) -> bool:
        body: Any = {"colour": name, name: 1, key: told}
        for _ in range(depth):
            body = {"inner": [[body]]}
        return is_named(json.dumps(body, ensure_ascii=escaped).encode(), names)

    assert names_it(name)
    assert names_it(other) == (other == name)


@pytest.mark.parametrize("number", [0, 4711, 10**30])
def test_a_number_names_an_order_by_its_text(number: int) -> None:
    names = names_by_key(an_order("cottoncast", str(number)), {})
    assert is_named(raw({"orderID": number}), names)
    assert not is_named(raw({"orderID": number + 1, "size": number}), names)


def test_a_field_map_says_where_bodies_name_an_order(
    new_app: Callable[..., Any], drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    fields = json.dumps({"courier_order_id": "data.order[0].number", "reference": '"shop-no"'})
    shop = new_app(COURIER_SHIPMENTAPI_FIELDS=fields).test_client()
    shop.environ_base["HTTP_AUTHORIZATION"] = "Bearer " + API_TOKEN
    order = {"account": "shipmentapi", "courier_order_id": "E-41", "reference": "R-41"}
    assert shop.post("/v1/orders", json=order).status_code == 201
    bodies = [
        {"data": {"order": [{"number": "E-41"}]}},
        {"shop-no": "R-41"},
        # In the shape of the default map, as before the account had one of its own.
        shipmentapi_order("E-41", status=None),
        {"data": {"order": [{"number": "E-42"}]}, "place": "E-41"},
    ]
    deliver(shop, *bodies, account="shipmentapi")
    drain()
    erase(shop, "shipmentapi/E-41")
    assert kept(sessions) == [False, False, False, True]


def test_an_order_of_an_account_that_is_switched_off_is_erased(
    shop: FlaskClient,
    new_app: Callable[..., Any],
    drain: Callable[[], int],
    sessions: sessionmaker[Session],
) -> None:
    deliver(shop, tiramizoo_order("E-41"), {"uuid": "E-41", "state": 5}, {"uuid": 5, "to": "E-41"})
    drain()
    off = new_app(COURIER_TIRAMIZOO_SECRETS="").test_client()
    off.environ_base["HTTP_AUTHORIZATION"] = "Bearer " + API_TOKEN
    erase(off, "tiramizoo/E-41")
    assert kept(sessions) == [False, False, True]


def test_an_order_whose_courier_has_no_driver_any_more_is_looked_for_under_all_keys() -> None:
    names = names_by_key(an_order("long gone", "E-41"), {})
    assert is_named(b'{"orderID": "E-41"}', names)
    assert is_named(b'{"uuid": "E-41"}', names)
    assert not is_named(b'{"colour": "E-41"}', names)


def test_any_number_of_messages_is_searched(
    shop: FlaskClient,
    drain: Callable[[], int],
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deliver(shop, tiramizoo_order("E-41"))
    named = [number % 3 == 0 for number in range(20)]
    bodies = [{"uuid": "E-41" if it else "other", "n": n} for n, it in enumerate(named)]
    deliver(shop, *bodies)
    drain()
    for stuck in get(shop, "/messages", outcome="quarantined")["messages"][::2]:
        answer = shop.post(f"/v1/messages/{stuck['id']}/discard", json={"by": "me"})
        assert answer.status_code == 200
    monkeypatch.setattr(erasure_unread, "ROWS", 3)
    erase(shop, "tiramizoo/E-41")
    assert kept(sessions)[1:] == [not it for it in named]
    # Rows without bodies are passed over.
    erase(shop, "tiramizoo/E-41")
    assert kept(sessions)[1:] == [not it for it in named]


def test_a_message_that_was_sent_back_meanwhile_is_left_to_the_workers(
    sessions: sessionmaker[Session],
    shop: FlaskClient,
    drain: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    deliver(shop, {"uuid": "E-41", "state": 5})
    drain()
    fill(sessions, {"courier_order_id": "E-41"})

    def sent_back(*_: Any) -> bool:
        assert shop.post("/v1/messages/retry", json={"outcome": "quarantined"}).status_code == 202
        return True

    monkeypatch.setattr(erasure_unread, "is_named", sent_back)
    with sessions() as session:
        order = session.query(Order).one()
    erase_unread_bodies(sessions, order, {})
    assert kept(sessions) == [True]
