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
from receiver.orders import erasure
from receiver.orders.erasure import find_names
from tests.bodies import START, raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.shop import deliver, fill, get

# What makes a sample one that its driver refuses.
SPOILT: dict[str, dict[str, Any]] = {
    "tiramizoo": {"state": [5]},
    "cottoncast": {"status": 5},
    "shipmentapi": {"status": None},
}


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
        deliver(shop, {**body, **SPOILT[name], "note": "E-410, R-410"}, account=name)
    drain()
    assert len(get(shop, "/messages", outcome="quarantined")["messages"]) == 3
    erase(shop, f"{name}/E-41")
    assert kept(sessions) == [False, False, True]


@pytest.mark.parametrize("name", SPOILT)
def test_what_cannot_be_read_and_comes_after_an_erasure_is_erased_too(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session], name: str
) -> None:
    for order_id, reference in (("E-41", "R-41"), ("E-0", "R-0")):
        order = {"account": name, "courier_order_id": order_id, "reference": reference}
        assert shop.post("/v1/orders", json=order).status_code == 201
    erase(shop, f"{name}/E-41")
    for order_id, reference in (("E-41", "R-1"), ("E-1", "R-41"), ("E-0", "R-0")):
        body = DRIVERS[name].make_sample(SampleState(order_id, "any", reference, START))
        deliver(shop, {**body, **SPOILT[name], "note": "E-410, R-410"}, account=name)
        drain()
    assert kept(sessions) == [False, False, True]
    reasons = [it["reason"] for it in get(shop, "/messages", outcome="quarantined")["messages"]]
    assert reasons.count(erasure.UNREAD_ERASED) == 2


@pytest.mark.parametrize(
    ("body", "is_kept"),
    [
        (b"E-41 is with Bob", False),
        (b'"E-41"', False),
        (b'{"uuid": "E-41", "to": "\\ud800", "n": NaN}', False),
        (b'{"uuid": "E-41', False),
        ('{"uuid": "E-41"'.encode("utf-16"), False),
        (b'{"uuid": "E-410", "to"', True),
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


# Names are stored without the blanks around them.
names = (
    st.text(
        st.characters(categories=["L", "N", "P", "S"], include_characters=" "),
        min_size=erasure.SHORTEST_NAME,
    )
    .map(str.strip)
    .filter(lambda name: len(name) >= erasure.SHORTEST_NAME)
)


@given(name=names, other=values, escaped=st.booleans(), cut=st.booleans())
def test_a_body_names_an_order_by_a_whole_string(
    name: str, other: str, escaped: bool, cut: bool
) -> None:
    body = json.dumps({"inner": [{other: 1, "id": name}]}, ensure_ascii=escaped)
    assert name in find_names((body[:-3] if cut else body).encode())


@pytest.mark.parametrize("number", [4711, 10**30])
def test_a_number_names_an_order_by_its_text(number: int) -> None:
    assert str(number) in find_names(raw({"orderID": number}))
    assert str(number) not in find_names(raw({"orderID": number * 10 + 1}))


def test_any_body_is_searched_in_time_in_proportion_to_its_length() -> None:
    for hostile in (b'"', b'\\"', b'"\\', b"\\"):
        find_names(hostile * 500_000)


def test_an_order_of_an_account_that_is_switched_off_is_erased(
    shop: FlaskClient,
    new_app: Callable[..., Any],
    drain: Callable[[], int],
    sessions: sessionmaker[Session],
) -> None:
    deliver(
        shop, tiramizoo_order("E-41"), {"uuid": "E-41", "state": [5]}, {"uuid": 5, "to": "E-410"}
    )
    drain()
    off = new_app(COURIER_TIRAMIZOO_SECRETS="").test_client()
    off.environ_base["HTTP_AUTHORIZATION"] = "Bearer " + API_TOKEN
    erase(off, "tiramizoo/E-41")
    assert kept(sessions) == [False, False, True]


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
    monkeypatch.setattr(erasure, "ROWS", 3)
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
    deliver(shop, {"uuid": "E-41", "state": [5]})
    drain()
    fill(sessions, {"courier_order_id": "E-41"})

    def sent_back(_: bytes) -> set[str]:
        assert shop.post("/v1/messages/retry", json={"outcome": "quarantined"}).status_code == 202
        return {"E-41"}

    monkeypatch.setattr(erasure, "find_names", sent_back)
    erase(shop, "tiramizoo/E-41")
    assert kept(sessions) == [True]
