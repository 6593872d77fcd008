"""Erasure: nothing of people is left, and everything of the order is."""

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from tests.bodies import (
    after,
    cottoncast_signature,
    cottoncast_status,
    history_entry,
    life,
    raw,
    tiramizoo_order,
)
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


@pytest.mark.parametrize(
    ("reason", "left"),
    [
        ("Ms Carla Signs rang: not at home", None),
        ("Carla", None),
        ("no_show", "no_show"),
        ("RECIPIENT_ABSENT", "RECIPIENT_ABSENT"),
    ],
)
def test_a_reason_that_somebody_wrote_goes_and_a_word_of_the_couriers_stays(
    shop: FlaskClient,
    drain: Callable[[], int],
    sessions: sessionmaker[Session],
    environ: dict[str, str],
    reason: str,
    left: str | None,
) -> None:
    body = raw(tiramizoo_order(UUID, life("created", "cancelled"), cancellation_reason=reason))
    assert shop.post(HOOK, data=body).status_code == 200
    drain()
    assert get(shop, ORDER)["reason"] == reason
    since = get(shop, "/v1/changes")["next_cursor"]

    assert shop.delete(f"{ORDER}/personal-data").status_code == 204
    shop.post(HOOK, data=body.replace(b"{", b"{ ", 1))
    drain()
    assert (reason in everything(sessions)) == (left is not None)
    assert get(shop, ORDER)["reason"] == left
    [told] = [it for it in get(shop, f"{ORDER}/events")["events"] if it["status"] == "cancelled"]
    assert (told["reason"], told["applied"]) == (left, True)
    changed = [it["changed"] for it in get(shop, f"/v1/changes?after={since}")["changes"]]
    assert changed == ([] if left == reason else [["reason", "events"]])
    assert rebuild(environ)[0] == 0
    assert get(shop, ORDER)["reason"] == left


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


def test_an_order_that_takes_in_an_erased_registration_is_erased_wholly(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    hook(shop, "created", "delivered")
    drain()
    order = {"account": "tiramizoo", "courier_order_id": "ID4K7-EHQX-62RA"}
    assert shop.post("/v1/orders", json=order).status_code == 201
    path = "/v1/orders/tiramizoo/ID4K7-EHQX-62RA/personal-data"
    assert shop.delete(path).status_code == 204
    assert all(name in everything(sessions) for name in PEOPLE)
    since = get(shop, "/v1/changes")["next_cursor"]
    times = life("created", "delivered")
    body = tiramizoo_order(UUID, times, tracking_code="ID4K7-EHQX-62RA", external_id="T-1")
    assert shop.post(HOOK, data=raw(body)).status_code == 200
    drain()
    assert [name for name in PEOPLE if name in everything(sessions)] == []
    changes = get(shop, f"/v1/changes?after={since}")["changes"]
    assert ["merged" in change["changed"] for change in changes] == [True, False]
    assert "events" in changes[1]["changed"]
    assert (get(shop, ORDER)["status"], len(get(shop, f"{ORDER}/events")["events"])) == (
        "delivered",
        2,
    )


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
    unreadable = tiramizoo_order(UUID, state=None) | {"state": [5]}
    shop.post(HOOK, data=raw(unreadable))
    shop.post(HOOK, data=raw(tiramizoo_order("u-9") | {"state": [5]}))
    drain()
    shop.delete(f"{ORDER}/personal-data")
    with sessions() as session:
        kept = session.scalars(text("SELECT body IS NOT NULL FROM messages ORDER BY id")).all()
    assert kept == [False, False, True]


def kept_of(
    shop: FlaskClient, drain: Callable[[], int], order: dict[str, Any], *bodies: Any
) -> list[bool]:
    """Which of an account's bodies that cannot be read are still there once an order is erased."""
    assert shop.post("/v1/orders", json=order).status_code == 201
    account = order["account"]
    for body in bodies:
        sent = body if isinstance(body, bytes) else raw(body)
        signed = account == "cottoncast"
        hook_of = f"/webhooks/{account}/orders" + ("" if signed else f"/{account}-token")
        headers = cottoncast_signature(sent) if signed else {}
        assert shop.post(hook_of, data=sent, headers=headers).status_code in {200, 400}
    drain()
    stuck = get(shop, f"/v1/messages?account={account}&outcome=quarantined")["messages"]
    assert len(stuck) == len(bodies)
    path = f"/v1/orders/{account}/{quote(order['courier_order_id'], safe='')}/personal-data"
    assert shop.delete(path).status_code == 204
    shown = [get(shop, f"/v1/messages/{it['id']}") for it in stuck]
    by_id = sorted(shown, key=lambda it: int(it["id"]))
    return [it.get("body", it.get("body_base64")) is not None for it in by_id]


@pytest.mark.parametrize(
    ("account", "order_id", "body"),
    [
        ("tiramizoo", "Bestellung-ü1", '{"uuid": "Bestellung-ü1", "state": [5]}'.encode()),
        ("tiramizoo", "Bestellung-ü1", rb'{"uuid": "Bestellung-\u00FC1", "state": [5]}'),
        ("tiramizoo", "A/71", rb'{"uuid": "A\/71", "state": [5]}'),
        ("cottoncast", "4711", cottoncast_status(order_id=4711) | {"status": 5}),
        ("cottoncast", "4711", [{"orderID": 4711}]),
        ("tiramizoo", "E-41", {"state": [5], "orders": [[], [{"uuid": "E-41"}]]}),
        ("tiramizoo", "E-41", {"state": [5], "uuid": ["E-41"]}),
        ("tiramizoo", "E-41", b'{"uuid": "E-41", "uuid": null, "state": NaN}'),
        ("tiramizoo", "E-41", '{"uuid": "E-41", "state": [5]}'.encode("utf-16")),
        ("tiramizoo", "A\u2400BCD", rb'{"uuid": "A\u0000BCD", "state": [5]}'),
        ("tiramizoo", "E-41", b'{"uuid": "E-41", "delivery": {"name": "Bob Ob'),
        ("tiramizoo", "Bestellung-ü1", "uuid=Bestellung-ü1&name=Bob".encode()),
        ("tiramizoo", "Bestellung-ü1", rb'{"uuid": "Bestellung-\u00fc1", "name": "B'),
        ("tiramizoo", "E-41", json.dumps(json.dumps({"uuid": "E-41", "name": "Bob"})).encode()),
        ("tiramizoo", "E-41", b"[" * 100_000 + b'"E-41"'),
    ],
    ids=[
        "plain UTF-8",
        "escaped in capitals",
        "escaped slash",
        "number",
        "number in a list of objects",
        "nested lists",
        "list of names",
        "key twice, no strict JSON",
        "UTF-16",
        "U+0000",
        "cut off",
        "form",
        "cut off, escaped",
        "JSON in a JSON string",
        "too deep",
    ],
)
def test_a_body_that_cannot_be_read_but_names_the_order_however_written_is_erased(
    shop: FlaskClient, drain: Callable[[], int], account: str, order_id: str, body: Any
) -> None:
    order = {"account": account, "courier_order_id": order_id}
    assert kept_of(shop, drain, order, body) == [False]


@pytest.mark.parametrize(
    ("account", "body"),
    [
        ("tiramizoo", {"uuid": "E-411", "state": [5], "size": "XE-41"}),
        ("tiramizoo", {"uuid": True, "state": [5]}),
        ("tiramizoo", b'{"uuid": "E-411", "state": NaN}'),
        ("tiramizoo", b'{"uuid": "other", "delivery": {"name": "Bob Ob'),
        ("cottoncast", cottoncast_status(order_id="41", ref="7") | {"status": 5}),
    ],
    ids=["longer name", "not a text", "no strict JSON", "cut off", "short name"],
)
def test_a_body_that_cannot_be_read_and_names_another_order_is_kept(
    shop: FlaskClient, drain: Callable[[], int], account: str, body: Any
) -> None:
    order = {"account": account, "courier_order_id": "E-41", "reference": "41"}
    assert kept_of(shop, drain, order, body) == [True]


def test_metadata_of_an_erased_order_is_not_kept(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    hook(shop, "created")
    drain()
    shop.delete(f"{ORDER}/personal-data")
    new = {"account": "tiramizoo", "courier_order_id": UUID, "metadata": {"buyer": "Bob Obbay"}}
    assert shop.post("/v1/orders", json=new).status_code == 200
    assert [name for name in PEOPLE if name in everything(sessions)] == []


def test_message_about_several_orders_loses_its_body_with_any_of_them(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    """Also one that reported nothing new of the order."""
    scans = [
        {"id": name, "state": "delivered", "at": "2026-04-16T08:00:00Z", "to": f"{name} street 1"}
        for name in ("Alder", "Birch")
    ]
    for body in ({"shipments": scans}, {"shipments": scans, "again": 1}, {"shipments": scans[1:]}):
        assert shop.post("/webhooks/fields/orders/fields-secret", data=raw(body)).status_code == 200
        drain()
    assert shop.delete("/v1/orders/fields/Alder/personal-data").status_code == 204
    assert "Alder street 1" not in everything(sessions)
    assert "Birch street 1" in everything(sessions)


@pytest.mark.parametrize("erased_first", [False, True])
def test_message_loses_its_body_with_an_order_in_it_that_could_not_be_read(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session], erased_first: bool
) -> None:
    alder = {"id": "Alder", "state": "accepted", "at": "2026-04-16T08:00:00Z"}
    birch = alder | {"id": "Birch"}
    unreadable = {"id": "Alder", "state": ["delivered"], "to": "Alder street 1"}

    def send(*shipments: dict[str, Any]) -> None:
        body = raw({"shipments": shipments})
        assert shop.post("/webhooks/fields/orders/fields-secret", data=body).status_code == 200
        drain()

    def erase() -> None:
        assert shop.delete("/v1/orders/fields/Alder/personal-data").status_code == 204

    send(alder)
    steps: list[Callable[[], None]] = [lambda: send(unreadable, birch), erase]
    for step in reversed(steps) if erased_first else steps:
        step()
    assert "Alder street 1" not in everything(sessions)
    assert get(shop, "/v1/orders/fields/Birch")["status"] == "info_received"
    newest = get(shop, "/v1/messages?account=fields")["messages"][0]
    assert (newest["outcome"], newest["courier_order_id"]) == ("applied", "Birch")


def test_a_message_that_cannot_be_folded_after_an_erasure_loses_its_body(
    shop: FlaskClient,
    drain: Callable[[], int],
    sessions: sessionmaker[Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook(shop, "created")
    drain()
    shop.delete(f"{ORDER}/personal-data")

    def fail(*_args: Any) -> None:
        raise ZeroDivisionError

    hook(shop, "created", "delivered")
    monkeypatch.setattr("workers.folding.drain.fold_messages", fail)
    drain()
    newest = get(shop, "/v1/messages?account=tiramizoo")["messages"][0]
    assert newest["outcome"] == "quarantined"
    assert "could not be processed" in newest["reason"]
    assert [name for name in PEOPLE if name in everything(sessions)] == []
