"""Batched reads of orders return what the plain functions return, and use the indexes."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from flask.testing import FlaskClient
from marshmallow import Schema, fields
from sqlalchemy import Engine, func, insert, select, text
from sqlalchemy.orm import Session, joinedload, sessionmaker

from receiver.db.models import Identifier, Order, Poll
from receiver.orders.find import MEANT, find_order
from receiver.orders.listing.pages import list_orders
from receiver.orders.listing.search import BEGINNING
from receiver.orders.matching import SILENT
from receiver.orders.order_json import order_etag, render_order
from receiver.orders.read_batching import NAMED, ORDER, REFERENCED, VERSION, OrderReader
from receiver.schemas.order import OrderSchema
from receiver.settings import Settings
from tests.bodies import raw, tiramizoo_order
from tests.service import Web, wait_until, waiting_for
from tests.shop import fill as put_orders
from tests.shop import put_many

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def reader(engine: Engine) -> Iterator[OrderReader]:
    reader = OrderReader(engine, ())
    yield reader
    reader._pool.close()


def assert_described(schema: Schema, value: dict[str, Any], order: Order) -> None:
    """The schema has exactly these fields, and its types agree with the values."""
    assert value.keys() == {field.data_key or name for name, field in schema.fields.items()}
    for name, field in schema.fields.items():
        found = value[field.data_key or name]
        if found is None:
            assert field.allow_none, name
        elif isinstance(field, fields.Nested):
            assert_described(field.schema, found, order)
        elif isinstance(field, fields.List):
            assert isinstance(found, list)
        elif isinstance(field, fields.Integer):
            assert type(found) is int
        elif isinstance(field, fields.Boolean):
            assert type(found) is bool
        elif isinstance(field, fields.String | fields.DateTime):
            assert type(found) is str


def test_every_order_is_rendered_as_its_schema_describes(
    filled: Web, sessions: sessionmaker[Session], reader: OrderReader
) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        order_id = session.scalars(select(func.min(Order.id))).one()
        poll = {"account": "tiramizoo", "placed_at": now, "due_at": now, "polled_at": now}
        session.execute(insert(Poll).values(order_id=order_id, failures=3, **poll))
    with sessions() as session:
        orders = session.scalars(select(Order).options(joinedload(Order.poll))).all()
        assert {order.poll is None for order in orders} == {True, False}
        assert any(order.eta for order in orders)
        assert any(order.parcels for order in orders)
        for order in orders:
            rendered = render_order(order, order.poll)
            assert_described(OrderSchema(), rendered, order)
            found = find_order(session, order.account, order.courier_order_id)
            assert render_order(found, found.poll) == rendered
            row = reader.read_order(order.account, order.courier_order_id)
            assert render_order(row, row) == rendered
            version = reader.read_version(order.account, order.courier_order_id)
            assert order_etag(row, row) == order_etag(version, version)


def put_in(client: FlaskClient) -> None:
    body = raw(tiramizoo_order("quick"))
    assert client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body).status_code == 200


def test_a_read_on_a_connection_that_was_lost_is_done_on_a_new_one(
    shop: FlaskClient, drain: object, engine: Engine
) -> None:
    put_in(shop)
    assert callable(drain)
    drain()
    path = "/v1/orders/tiramizoo/quick"
    before = shop.get(path)
    with engine.connect() as connection:
        assert isinstance(connection.connection.driver_connection, psycopg.Connection)
        ended = connection.exec_driver_sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).all()
        assert ended
    after = shop.get(path)
    # The next test would get the other ended connections of the pool.
    engine.dispose()
    assert (after.status_code, after.data) == (200, before.data)
    assert json.loads(after.data)["courier_order_id"] == "quick"


def test_those_who_ask_together_are_answered_each_his_own(
    reader: OrderReader, sessions: sessionmaker[Session]
) -> None:
    """By one statement, also where another names no order, or the same one."""
    names = [*(f"order-{number}" for number in range(40)), "nobody", "order-7"]
    with sessions.begin() as session:
        for number in range(40):
            named = {"account": "tiramizoo", "courier_order_id": f"order-{number}"}
            times = {"created_at": NOW, "updated_at": NOW}
            session.add(
                Order(courier="tiramizoo", status="pending", version=number + 1, **named, **times)
            )

    def version(name: str) -> list[int]:
        return [row.version for row in reader._read(VERSION, "tiramizoo", name)]

    with sessions() as locker:
        locker.execute(text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
        with ThreadPoolExecutor(len(names) + 1) as pool:
            first = pool.submit(version, "order-0")
            wait_until(lambda: waiting_for(sessions, "orders"))
            found = [pool.submit(version, name) for name in names]
            wait_until(lambda: len(reader._batcher) == len(names))
            locker.rollback()
    assert first.result() == [1]
    assert [it.result() for it in found] == [*([number] for number in range(1, 41)), [], [8]]


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_the_orders_of_a_reference_are_what_their_page_would_be(
    sessions: sessionmaker[Session], settings: Settings, reader: OrderReader, limit: int
) -> None:
    put_orders(
        sessions, *({"reference": told} for told in ("S", "S-1", "S-1", "S-1", "S-10", "S-2", None))
    )
    for reference in ("S", "S-1", "S-10", "S-3"):
        page = reader.list_by_reference(reference, limit)
        with sessions() as session:
            plain = list_orders(session, settings, {"reference": reference, "limit": limit})
        assert page["next_cursor"] == plain["next_cursor"]
        assert [render_order(row, row) for row in page["orders"]] == [
            render_order(row, row) for row in plain["orders"]
        ]
        assert len(page["orders"]) == min(limit, {"S-1": 3, "S-3": 0}.get(reference, 1))


@pytest.mark.parametrize("limit", [1, 2, 50])
def test_the_orders_of_a_tracking_number_are_what_their_page_would_be(
    sessions: sessionmaker[Session], settings: Settings, engine: Engine, limit: int
) -> None:
    """In all accounts but test accounts, by the step of each account that finds it first."""
    settings = replace(settings, test_accounts=frozenset({"trial"}))
    put_orders(
        sessions,
        *({"account": account} for account in ("a", "a", "b", "c", "trial")),
        {"account": "b", "courier_order_id": "T-1"},
    )
    with sessions.begin() as session:
        ids = session.scalars(select(Order.id).order_by(Order.id)).all()
        names = zip(ids, ("T-1", "T-1", "T-1", "t1", "T-1"), "aabct", strict=False)
        accounts = {"t": "trial"}
        session.add_all(
            Identifier(account=accounts.get(account, account), value=name, order_id=order_id)
            for order_id, name, account in names
        )
    reader = OrderReader(engine, settings.test_accounts)
    found = {}
    for name in ("T-1", "t-1", "T-2"):
        page = found[name] = reader.list_by_name(name, limit)
        with sessions() as session:
            plain = list_orders(session, settings, {"tracking_number": name, "limit": limit})
        assert page["next_cursor"] == plain["next_cursor"]
        assert [row.id for row in page["orders"]] == [row.id for row in plain["orders"]]
    reader._pool.close()
    # Exactly: two of account a, the one of b that is called so, and that of c in another spelling.
    assert [len(page["orders"]) for page in found.values()] == [min(limit, 4), min(limit, 5), 0]


STATEMENTS = {
    "version": VERSION,
    "order": ORDER,
    "referenced": REFERENCED,
    "named": NAMED,
    "meant": MEANT,
    "beginning": BEGINNING,
    "silent": SILENT,
}


@pytest.mark.parametrize("analysed", [False, True])
def test_each_is_found_by_its_key_whatever_postgresql_believes(
    sessions: sessionmaker[Session], analysed: bool
) -> None:
    with sessions() as session:
        run = session.connection().exec_driver_sql
        run("SET LOCAL statement_timeout = 0")
        # As new tables, not as some that had rows once and are known to have none now.
        run("TRUNCATE orders, identifiers CASCADE")
        if not analysed:
            run("ANALYZE orders, polls, identifiers")
        put_many(session, 20_000)
        run("UPDATE orders SET reference = courier_order_id")
        run("INSERT INTO identifiers SELECT account, 'I-' || courier_order_id, id FROM orders")
        run("INSERT INTO polls (order_id, account, placed_at) SELECT id, 'a', now() FROM orders")
        if analysed:
            run("ANALYZE orders, polls, identifiers")
        plans = {
            (mode, name): plan_of(session, mode, statement)
            for mode in ("force_generic_plan", "force_custom_plan")
            for name, statement in STATEMENTS.items()
        }
        session.rollback()
    for key, plan in plans.items():
        assert "Index" in plan, (key, plan)
        assert "Seq Scan" not in plan, (key, plan)
        assert "orders_reference_id_idx" in plan or "reference >=" not in STATEMENTS[key[1]], key


def plan_of(session: Session, mode: str, statement: str) -> str:
    for number, name in enumerate(("accounts", "names", "most", "kinds", "left_out"), 1):
        statement = statement.replace(f"%({name})s", f"${number}")
    run = session.connection().exec_driver_sql
    run(f"SET LOCAL plan_cache_mode = {mode}")
    run(f"PREPARE one (text[], text[], bigint, text[], text[]) AS {statement}")
    plan = "\n".join(run("EXPLAIN EXECUTE one ('{a,a}', '{7,9}', 2, '{name}', '{t}')").scalars())
    run("DEALLOCATE one")
    return plan
