"""Erasure: nothing of people is left, and everything of the order is."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from tests.bodies import after, history_entry, life, raw, tiramizoo_order
from tests.test_rebuild import rebuild

UUID = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11"
HOOK = "/webhooks/tiramizoo/orders/tiramizoo-token"
ORDER = f"/v1/orders/tiramizoo/{UUID}"
PEOPLE = ("Alice Icealay", "Bob Obbay", "Thujaweg", "Carla Signs", "carla-signs.png")


def get(shop: FlaskClient, path: str) -> Any:
    return shop.get(path).json


def hook(shop: FlaskClient, *states: str) -> None:
    """A hook with everyone in it; the last state is signed for."""
    times = life(*states)
    signed = history_entry(
        "deliver",
        times[states[-1]],
        states[-1],
        signature={"url": "https://x.example/carla-signs.png", "name": "Carla Signs"},
    )
    body = tiramizoo_order(UUID, times, history=[signed], external_id="T-1")
    assert shop.post(HOOK, data=raw(body)).status_code == 200


def everything(sessions: sessionmaker[Session]) -> str:
    """Every row of every table, as text; bodies too."""
    with sessions() as session:
        tables = session.scalars(
            text("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        ).all()
        bodies = session.scalars(text("SELECT convert_from(body, 'UTF8') FROM messages")).all()
        rows = [
            row
            for table in tables
            for row in session.scalars(text(f'SELECT CAST(t AS text) FROM "{table}" t'))  # noqa: S608
        ]
    return "\n".join([*filter(None, bodies), *rows])


def test_erasure_leaves_nothing_of_people_and_all_of_the_order(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    shop.post(
        "/v1/orders",
        json={"account": "tiramizoo", "courier_order_id": UUID, "metadata": {"buyer": "Bob Obbay"}},
    )
    hook(shop, "created", "dispatched")
    hook(shop, "created", "dispatched", "delivered")
    drain()
    before, timeline = get(shop, ORDER), get(shop, f"{ORDER}/events")["events"]
    assert all(name in everything(sessions) for name in PEOPLE)

    assert shop.delete(f"{ORDER}/personal-data").status_code == 204
    assert [name for name in PEOPLE if name in everything(sessions)] == []
    now = get(shop, ORDER)
    assert (now["metadata"], now["version"]) == ({}, before["version"] + 1)
    changing = {"metadata", "version", "updated_at"}
    assert all(now[name] == before[name] for name in before.keys() - changing)
    assert get(shop, f"{ORDER}/events")["events"] == [{**event, "proofs": []} for event in timeline]


def test_of_what_comes_after_an_erasure_nothing_of_people_is_kept(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    hook(shop, "created")
    drain()
    shop.delete(f"{ORDER}/personal-data")
    hook(shop, "created", "delivered")
    drain()
    assert get(shop, ORDER)["status"] == "delivered"
    assert [name for name in PEOPLE if name in everything(sessions)] == []


def test_a_message_that_waits_during_an_erasure_loses_its_body_when_it_is_folded(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    hook(shop, "created")
    drain()
    hook(shop, "created", "delivered")
    shop.delete(f"{ORDER}/personal-data")
    drain()
    assert get(shop, ORDER)["status"] == "delivered"
    assert [name for name in PEOPLE if name in everything(sessions)] == []


def test_a_repeated_hook_is_still_known_after_an_erasure(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    hook(shop, "created")
    drain()
    shop.delete(f"{ORDER}/personal-data")
    hook(shop, "created")
    assert drain() == 0
    assert [name for name in PEOPLE if name in everything(sessions)] == []


def test_erasing_twice_is_erasing_once(shop: FlaskClient, drain: Callable[[], int]) -> None:
    hook(shop, "created", "delivered")
    drain()
    shop.delete(f"{ORDER}/personal-data")
    once = get(shop, ORDER)
    assert shop.delete(f"{ORDER}/personal-data").status_code == 204
    assert get(shop, ORDER) == once


def test_other_orders_keep_what_they_have(shop: FlaskClient, drain: Callable[[], int]) -> None:
    hook(shop, "created", "delivered")
    other = tiramizoo_order("u-2", {"created": after(0)}, external_id="T-2")
    shop.post(HOOK, data=raw(other))
    drain()
    shop.delete(f"{ORDER}/personal-data")
    messages = get(shop, "/v1/messages")["messages"]
    bodies = {it["courier_order_id"]: get(shop, f"/v1/messages/{it['id']}") for it in messages}
    assert bodies[UUID]["body"] is None
    assert "Bob Obbay" in bodies["u-2"]["body"]


def test_an_unknown_order_has_nothing_to_erase(shop: FlaskClient) -> None:
    assert shop.delete("/v1/orders/tiramizoo/nobody/personal-data").status_code == 404


def test_rebuild_gives_the_same_rows_after_an_erasure(
    shop: FlaskClient, drain: Callable[[], int], environ: Mapping[str, str]
) -> None:
    hook(shop, "created")
    hook(shop, "created", "delivered")
    drain()
    shop.delete(f"{ORDER}/personal-data")
    before = get(shop, ORDER)
    assert rebuild(dict(environ))[0] == 0
    assert get(shop, ORDER) == before


@pytest.mark.parametrize("states", [("created",), ("created", "delivered")])
def test_a_change_of_an_erased_order_is_told(
    shop: FlaskClient, drain: Callable[[], int], states: tuple[str, ...]
) -> None:
    hook(shop, *states)
    drain()
    shop.delete(f"{ORDER}/personal-data")
    assert get(shop, "/v1/changes")["changes"][-1]["changed"] == ["events"]


def test_a_message_that_could_not_be_read_but_names_the_order_loses_its_body_too(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    hook(shop, "created")
    unreadable = tiramizoo_order(UUID, state=None) | {"state": 5}
    shop.post(HOOK, data=raw(unreadable))
    shop.post(HOOK, data=raw(tiramizoo_order("u-9") | {"state": 5}))
    drain()
    shop.delete(f"{ORDER}/personal-data")
    with sessions() as session:
        kept = session.scalars(text("SELECT body IS NOT NULL FROM messages ORDER BY id")).all()
    assert kept == [False, False, True]


def test_metadata_of_an_erased_order_is_not_kept(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    hook(shop, "created")
    drain()
    shop.delete(f"{ORDER}/personal-data")
    new = {"account": "tiramizoo", "courier_order_id": UUID, "metadata": {"buyer": "Bob Obbay"}}
    assert shop.post("/v1/orders", json=new).status_code == 200
    assert [name for name in PEOPLE if name in everything(sessions)] == []
