"""Every list reads little more than it gives, by PostgreSQL's own account of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, Select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Message, Order
from receiver.db.pagination import (
    IndexValues,
    count_rows,
    distinct_values,
    select_page_ids,
    select_pages,
)
from receiver.inbox import browse, retry
from receiver.orders.listing import filters as order_filters
from tests.emptying import empty

ORDERS = 20_000
MOST = 51
NOW = datetime.now(UTC)

# Ten days of orders: most are alike, some accounts and statuses are rare, one ended long ago.
FILL = """
    INSERT INTO orders (account, courier, courier_order_id, reference, status, needs_attention,
                        created_at, updated_at)
    SELECT CASE WHEN n %% 1000 = 0 THEN 'rare' WHEN n < 1000 THEN 'past'
                WHEN n %% 3 = 0 THEN 'cottoncast' ELSE 'tiramizoo' END,
           'x', 'order-' || n, 'S-' || n %% 15000,
           CASE WHEN n %% 1000 = 1 THEN 'lost' WHEN n %% 5 = 0 THEN 'in_transit'
                ELSE 'delivered' END,
           n %% 500 = 1, at, at
    FROM (SELECT n, :now - (20000 - n) * interval '10 days' / 20000 AS at
          FROM generate_series(1, 20000) n) AS told
    ORDER BY n;
    INSERT INTO messages (account, topic, kind, trust, body_sha256, received_at, last_seen_at,
                          outcome, courier_order_id)
    SELECT account, 'orders', 'webhook', 'token', sha256(id::text::bytea), created_at, created_at,
           CASE WHEN id %% 1000 = 1 THEN 'quarantined' WHEN id < 500 THEN 'parked'
                ELSE 'applied' END, courier_order_id
    FROM orders ORDER BY id;
    ANALYZE
"""


@pytest.fixture(scope="module")
def filled(engine: Engine) -> Iterator[Engine]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        empty(connection)
        for statement in FILL.replace(":now", f"'{NOW}'::timestamptz").split(";"):
            connection.exec_driver_sql(statement)
    yield engine
    with engine.begin() as connection:
        empty(connection)


def plan(session: Session, statement: Select[Any]) -> list[dict[str, Any]]:
    """The nodes of the plan that PostgreSQL followed."""
    told = statement.compile(session.get_bind(), compile_kwargs={"literal_binds": True})
    explained = session.connection().exec_driver_sql(
        f"EXPLAIN (ANALYZE, FORMAT JSON) {str(told).replace('%', '%%')}"
    )
    found: list[dict[str, Any]] = []
    left = [explained.scalar_one()[0]["Plan"]]
    while left:
        node = left.pop()
        found.append(node)
        left += node.get("Plans", [])
    return found


def rows_read(nodes: list[dict[str, Any]]) -> Any:
    """How many entries of tables and indexes were looked at; no table was read as a whole."""
    kinds = {node["Node Type"] for node in nodes}
    assert "Seq Scan" not in kinds, kinds
    return sum(
        node["Actual Loops"] * (node["Actual Rows"] + node.get("Rows Removed by Filter", 0))
        for node in nodes
        if "Relation Name" in node
    )


def since(**ago: float) -> dict[str, datetime]:
    return {"updated_since": NOW - timedelta(**ago)}


def between(name: str, first: float, last: float) -> dict[str, datetime]:
    """A range of times, from so many days ago to so many days ago."""
    return {
        f"{name}_since": NOW - timedelta(days=first),
        f"{name}_until": NOW - timedelta(days=last),
    }


LISTS: list[dict[str, Any]] = [
    {},
    {"reference": "S-77"},
    {"reference": "nowhere"},
    {"account": "tiramizoo"},
    {"account": "rare"},
    {"account": "past"},
    {"account": "nowhere"},
    {"status": ["delivered"]},
    {"status": ["lost"]},
    {"status": ["pickup_failed"]},
    {"status_group": ["in_transit"]},
    {"status_group": ["exception"]},
    {"needs_attention": True},
    {"needs_attention": False},
    since(minutes=10),
    since(days=1),
    since(days=9),
    since(days=1000),
    since(days=-2),
    {"account": "rare", "status": ["delivered"]},
    {"account": "past", "status": ["lost"]},
    {"status": ["delivered"], "needs_attention": True},
    {"status_group": ["exception"], "needs_attention": False},
    {"account": "rare", **since(days=5)},
    {"account": "past", **since(days=5)},
    {"status": ["lost"], **since(days=5)},
    {"needs_attention": True, **since(days=5)},
    {"account": "tiramizoo", "status": ["in_transit"], **since(days=1)},
    {"account": "tiramizoo", "reference": "S-77", "status": ["delivered"], **since(days=9)},
    {"status": ["lost", "delivered", "in_transit"]},
    {"status_group": ["unknown"]},
    {"created_since": NOW - timedelta(minutes=10)},
    {"created_until": NOW - timedelta(days=5)},
    between("created", 5, 4.99),
    between("created", 900, 800),
    between("created", 4, 3) | between("updated", 3.5, 2),
    between("updated", 6, 5),
    {"status": ["lost"], **between("created", 6, 3)},
    {"account": "rare", **between("created", 9, 0)},
    {"account": "tiramizoo", "needs_attention": False, **between("created", 2, 1)},
    {"status": ["in_transit", "lost"], **between("created", 5, 2), **between("updated", 4, 3)},
]


@pytest.mark.parametrize("before", [None, 19_000, 3_000, 40])
@pytest.mark.parametrize("filters", LISTS, ids=lambda it: " ".join(map(str, it)) or "none")
def test_a_list_of_orders_reads_little(
    filled: Engine, monkeypatch: pytest.MonkeyPatch, filters: dict[str, Any], before: int | None
) -> None:
    monkeypatch.setattr(order_filters, "FEW", 500)
    with Session(filled) as session:
        nodes = plan(session, order_filters.select_order_ids(session, filters, before, MOST))
        # A range for each account, status and yes or no; or all of two days, and a range for each
        # other one.
        assert rows_read(nodes) <= 4000


@pytest.mark.parametrize("before", [None, 19_000, 3_000, 40])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"outcome": "applied"},
        {"outcome": "quarantined"},
        {"outcome": "parked"},
        {"outcome": "discarded"},
        {"account": "tiramizoo"},
        {"account": "rare"},
        {"account": "past"},
        {"account": "nowhere"},
        {"account": "rare", "outcome": "quarantined"},
        {"account": "tiramizoo", "courier_order_id": "order-77"},
        {"account": "past", "courier_order_id": "order-77", "outcome": "parked"},
        between("received", 5, 4.9),
        {"outcome": "applied", **between("received", 5, 4.9)},
        {"outcome": "quarantined", **between("received", 900, 2)},
        {"account": "rare", "received_until": NOW - timedelta(days=6)},
        {"received_since": NOW - timedelta(minutes=5)},
    ],
    ids=lambda it: " ".join(map(str, it)) or "none",
)
def test_a_list_of_messages_reads_little(
    filled: Engine, filters: dict[str, Any], before: int | None
) -> None:
    with Session(filled) as session:
        nodes = plan(session, browse._select_ids(session, filters, before, MOST))
        assert rows_read(nodes) <= 500


def test_what_is_stuck_is_found_without_reading_the_rest(filled: Engine) -> None:
    with Session(filled) as session:
        nodes = plan(
            session, retry._select_chunk(session, {"outcome": "quarantined"}, 10_000, MOST)
        )
        assert rows_read(nodes) <= 500


@pytest.mark.parametrize("table", [Order, Message])
def test_the_values_of_a_column_are_found_one_by_one(
    filled: Engine, table: type[Order] | type[Message]
) -> None:
    with Session(filled) as session:
        assert distinct_values(session, table.account) == [
            "cottoncast",
            "past",
            "rare",
            "tiramizoo",
        ]


def test_counting_stops_where_it_is_enough(filled: Engine) -> None:
    rare: IndexValues = {
        Order.account: ["rare"],
        Order.status: ["delivered", "in_transit", "lost"],
        Order.needs_attention: [True, False],
    }
    with Session(filled) as session:
        assert count_rows(session, select_pages(Order.id, rare, 21), 21) == 20
        assert count_rows(session, select_pages(Order.id, rare, 5), 5) == 5


def test_a_list_without_values_is_empty(filled: Engine) -> None:
    with Session(filled) as session:
        nothing = select_page_ids(
            Message.id, {Message.account: [], Message.outcome: ["applied"]}, 5
        )
        assert session.scalars(nothing).all() == []


def test_a_list_may_be_the_oldest_first(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        for statement in (FILL.replace(":now", f"'{NOW}'::timestamptz").split(";"))[:2]:
            session.connection().exec_driver_sql(statement)
        oldest = select_page_ids(
            Message.id,
            {Message.account: ["rare", "tiramizoo"], Message.outcome: ["quarantined"]},
            3,
            after=2000,
            oldest_first=True,
        )
        found = list(session.scalars(oldest))
    assert found == [3001, 4001, 6001]
