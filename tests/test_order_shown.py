"""One order, shown by a plain function and read by one statement, is as all others are shown."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from flask.testing import FlaskClient
from sqlalchemy import Engine, func, insert, select
from sqlalchemy.orm import Session, joinedload, sessionmaker

from receiver import schemas
from receiver.models import Order, Poll
from receiver.order_shown import order_row, shown, version_of
from receiver.quick import AT_ONCE, QuickReads
from tests.bodies import raw, tiramizoo_order
from tests.service import Web, at_once


@pytest.fixture
def reads(engine: Engine) -> Iterator[QuickReads]:
    reads = QuickReads(engine)
    yield reads
    for connection in reads._idle:
        connection.close()


def test_every_order_is_shown_as_its_schema_shows_it(
    filled: Web, sessions: sessionmaker[Session], reads: QuickReads
) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        order_id = session.scalars(select(func.min(Order.id))).one()
        told = {"account": "tiramizoo", "placed_at": now, "due_at": now, "polled_at": now}
        session.execute(insert(Poll).values(order_id=order_id, failures=3, **told))
    with sessions() as session:
        orders = session.scalars(select(Order).options(joinedload(Order.poll))).all()
        assert {order.poll is None for order in orders} == {True, False}
        assert any(order.eta for order in orders)
        assert any(order.parcels for order in orders)
        for order in orders:
            told = schemas.Order().dump(order)
            assert shown(order, order.poll or schemas.NO_POLLING) == told
            row = order_row(reads, order.account, order.courier_order_id)
            assert shown(row, row) == told
            assert list(shown(row, row)) == list(told)
            assert version_of(reads, order.account, order.courier_order_id) == order.version


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
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        ).all()
        assert ended
    after = shop.get(path)
    assert (after.status_code, after.data) == (200, before.data)
    assert json.loads(after.data)["courier_order_id"] == "quick"


def test_more_readers_than_connections_take_turns(reads: QuickReads) -> None:
    rows = at_once(
        *[lambda: reads.first("SELECT pg_sleep(0.05), pg_backend_pid() AS pid", {})] * (3 * AT_ONCE)
    )
    assert len(rows) == 3 * AT_ONCE
    assert len({row.pid for row in rows}) <= AT_ONCE
