"""Many registrations in one request: each as if it had come by itself, and none costs another."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes.feed import record_changes
from receiver.changes.order_version import OrderChange
from receiver.db.models import AuditEntry, Change, Identifier, Order, Poll
from receiver.orders.register import NewOrder, record_registrations
from tests.bodies import START, tiramizoo_order
from tests.command import run_command
from tests.conftest import API_TOKEN
from tests.hypothesis_profiles import examples
from tests.shop import deliver, get, problem_of

Sessions = sessionmaker[Session]


def post(shop: FlaskClient, *orders: Any) -> list[dict[str, Any]]:
    answer = shop.post("/v1/orders/batch", json={"orders": list(orders)})
    assert answer.status_code == 200, answer.text
    return list(answer.get_json()["results"])


def new(name: Any, account: Any = "tiramizoo", **given: Any) -> dict[str, Any]:
    return {"account": account, "courier_order_id": name, **given}


def test_each_order_has_its_result_in_its_place(shop: FlaskClient, drain: Any) -> None:
    deliver(shop, tiramizoo_order(uuid="known", identifier="ZV-1"))
    drain()
    results = post(
        shop,
        new("a", reference="41", metadata={"shop": "munich"}),
        new("zv-1", account="nowhere"),
        new("ZV-1", reference="42"),
        "an order",
        new("", reference=7),
        new("b", metadata={"k": 1}),
        None,
        new("c", colour="red"),
        new(" c ", account="cottoncast"),
    )
    assert [result["status"] for result in results] == [201, 404, 200, 422, 422, 422, 422, 422, 201]
    assert results[0]["order"] == get(shop, "/orders/tiramizoo/a")
    assert (results[2]["order"]["courier_order_id"], results[2]["order"]["reference"]) == (
        "known",
        "42",
    )
    assert results[8]["order"]["courier_order_id"] == "c"
    for result in results:
        problem = result.get("problem")
        assert (problem is None) is ("order" in result)
        assert problem is None or problem["status"] == result["status"]
    assert set(results[4]["problem"]["errors"]["json"]) == {"courier_order_id", "reference"}
    assert len(get(shop, "/orders")["orders"]) == 3


def test_an_order_that_is_twice_in_a_batch_is_registered_twice(
    shop: FlaskClient, sessions: Sessions
) -> None:
    first, other, again = post(
        shop,
        new("a", reference="41", metadata={"shop": "munich"}),
        new("b"),
        new("a", metadata={"shop": "berlin"}),
    )
    assert [first["status"], other["status"], again["status"]] == [201, 201, 200]
    stored = get(shop, "/orders/tiramizoo/a")
    assert (stored["reference"], stored["metadata"], stored["version"]) == (
        "41",
        {"shop": "berlin"},
        2,
    )
    changes = get(shop, "/changes")["changes"]
    assert [(each["courier_order_id"], each["version"]) for each in changes] == [
        ("a", 1),
        ("b", 1),
        ("a", 2),
    ]
    with sessions() as session:
        assert session.scalar(select(func.count(AuditEntry.id))) == 3


def test_a_batch_starts_polling_and_releases_parked_messages(
    new_app: Any, sessions: Sessions, drain: Any
) -> None:
    app = new_app(COURIER_COTTONCAST_API_TOKEN="made-up", COURIER_COTTONCAST_API_USER="shop")
    shop = app.test_client()
    shop.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    deliver(shop, tiramizoo_order(uuid="p-1"), account="tiramizoo-parking")
    drain()
    assert len(get(shop, "/messages", outcome="parked")["messages"]) == 1
    results = post(shop, new("C-1", account="cottoncast"), new("p-1", account="tiramizoo-parking"))
    polled = [result["order"]["polling"]["next_poll_at"] for result in results]
    assert polled[0] is not None
    assert polled[1] is None
    drain()
    assert get(shop, "/orders/tiramizoo-parking/p-1")["status"] == "info_received"
    with sessions() as session:
        assert session.scalar(select(func.count(Poll.order_id))) == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"orders": []},
        {"orders": {}},
        {"orders": None},
        {"orders": [new(str(number)) for number in range(101)]},
        {"orders": [new("a")], "account": "tiramizoo"},
        [new("a")],
    ],
    ids=lambda body: str(body)[:40],
)
def test_a_batch_that_is_none_is_refused(shop: FlaskClient, body: Any) -> None:
    problem_of(shop.post("/v1/orders/batch", json=body), 422)
    assert get(shop, "/orders")["orders"] == []


def test_a_batch_that_is_too_large_is_refused(shop: FlaskClient) -> None:
    body = {"orders": [new("a", metadata={"k": "x" * 1_000_000})]}
    problem_of(shop.post("/v1/orders/batch", json=body), 413)


@pytest.mark.parametrize("wrong", [{"metadata": {"\ud800": "x"}}, {"\ud800": "x"}], ids=str)
def test_a_name_that_is_no_unicode_costs_no_other_order_its_result(
    shop: FlaskClient, wrong: dict[str, Any]
) -> None:
    refused, registered = post(shop, {**new("a"), **wrong}, new("b"))
    assert (refused["status"], registered["status"]) == (422, 201)
    assert "\ud800" in json.dumps(refused["problem"]["errors"], ensure_ascii=False)
    lookup = shop.post("/v1/orders/lookup", json={"orders": [{**new("b"), **wrong}, new("b")]})
    assert [result["found"] for result in lookup.get_json()["results"]] == [False, True]


def test_batches_at_once_with_the_same_orders_do_not_block_one_another(
    app: Flask, shop: FlaskClient, sessions: Sessions
) -> None:
    names = [f"o-{number}" for number in range(30)]
    accounts = ("tiramizoo", "cottoncast", "shipmentapi")

    def send(turn: int) -> list[int]:
        client = app.test_client()
        client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
        turned = names[turn:] + names[:turn]
        given = [
            new(name, account=accounts[(turn + place) % 3]) for place, name in enumerate(turned)
        ]
        return [result["status"] for result in post(client, *(given if turn % 2 else given[::-1]))]

    with ThreadPoolExecutor(6) as pool:
        statuses = [status for batch in pool.map(send, range(0, 18, 3)) for status in batch]
    with sessions() as session:
        stored = session.scalar(select(func.count(Order.id)))
    assert statuses.count(201) == stored
    assert set(statuses) == {200, 201}


def test_the_command_line_registers_the_orders_of_a_file(
    shop: FlaskClient, sessions: Sessions, environ: dict[str, str], tmp_path: Path
) -> None:
    table = tmp_path / "orders.csv"
    table.write_text(
        "account,courier_order_id,reference,metadata.shop\r\n"
        'tiramizoo,a,"41, the second",munich\r\n'
        "nowhere,b,,\r\n"
        + "".join(f"cottoncast,c-{number},,\r\n" for number in range(120))
        + "tiramizoo,,42,\r\n",
        encoding="utf-8-sig",
    )
    done = run_command(environ, "register", "--file", str(table))
    assert done.exit_code == 1
    assert "121 registered, 0 known already, 2 not registered." in done.stderr
    assert "order 2 of the file: account 'nowhere'" in done.stderr
    assert "order 123 of the file" in done.stderr
    stored = get(shop, "/orders/tiramizoo/a")
    assert (stored["reference"], stored["metadata"]) == ("41, the second", {"shop": "munich"})
    lines = tmp_path / "orders.ndjson"
    lines.write_text(f"{json.dumps(new('a'))}\n\n{json.dumps(new('d'))}\n")
    done = run_command(environ, "register", "--file", str(lines), "--json")
    assert done.exit_code == 0
    shown = [json.loads(line)["courier_order_id"] for line in done.stdout.splitlines()]
    assert shown == ["a", "d"]
    assert "1 registered, 1 known already" in done.stderr
    lines.write_text("no JSON\n")
    assert run_command(environ, "register", "--file", str(lines)).exit_code == 1
    table.write_bytes(b"account\n\xff\n")
    for arguments in (("--file", str(table)), ("--file", str(lines), "--reference", "1"), ("a",)):
        assert run_command(environ, "register", *arguments).exit_code == 2


# The same as one by one

names = st.sampled_from(["A-1", "a1", "A1", "B", "41", "42"])
registrations = st.builds(
    lambda courier, name, reference, metadata: NewOrder(
        courier, courier, name, reference, metadata
    ),
    st.sampled_from(["tiramizoo", "shipmentapi"]),
    names,
    st.none() | names,
    st.none() | st.dictionaries(st.sampled_from(["k", "l"]), st.sampled_from(["1", "2"])),
)


def stored(session: Session) -> list[Any]:
    """All that registrations leave, without ids."""
    columns = (
        *(Order.account, Order.courier_order_id, Order.reference, Order.shop_metadata),
        *(Order.registrations, Order.version, Order.created_at, Order.updated_at),
    )
    key = Order.account, Order.courier_order_id
    order_names = select(*key, Identifier.value, Identifier.kind).join(
        Order, Order.id == Identifier.order_id
    )
    changes = select(*key, Change.version, Change.changed, Change.reference).join(
        Order, Order.id == Change.order_id
    )
    return [
        [tuple(row) for row in session.execute(statement)]
        for statement in (
            select(*columns).order_by(*key),
            order_names.order_by(*key, Identifier.value),
            changes.order_by(*key, Change.seq),
        )
    ]


@given(st.lists(st.lists(registrations, min_size=1, max_size=5), min_size=1, max_size=2))
@settings(examples(0.4), suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_leaves_what_its_orders_leave_one_by_one(
    sessions: Sessions, batches: list[list[NewOrder]]
) -> None:
    outcomes = []
    for at_once in (True, False):
        news: list[bool] = []
        with sessions() as session:
            for turn, batch in enumerate(batches):
                now = START + timedelta(hours=turn)
                for part in [batch] if at_once else [[each] for each in batch]:
                    changes: list[OrderChange | None] = []
                    recorded = record_registrations(session, part, now, changes)
                    news += [each.is_new for each in recorded]
                    record_changes(session, changes, now)
                    session.expire_all()
            outcomes.append((news, stored(session)))
            session.rollback()
    assert outcomes[0] == outcomes[1]
