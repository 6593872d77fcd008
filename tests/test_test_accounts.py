"""COURIER_<ACCOUNT>_TEST=on: the orders of a test account stay apart from the others."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import FeedPush
from receiver.settings import Settings
from tests.bodies import life, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.shop import deliver, get, problem_of
from workers.folding.drain import drain_batch
from workers.pushing.batches import Batch, claim_batch

TEST = {"COURIER_TIRAMIZOO_TEST": "on"}
OF_THE_MACHINE = {"no_workers", "no_clock", "disk_low"}


@pytest.fixture
def shop(
    sessions: sessionmaker[Session], redis: object, new_app: Callable[..., Flask]
) -> FlaskClient:
    """A client of a service whose account `tiramizoo` is a test account."""
    client = new_app(**TEST).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    return client


@pytest.fixture
def both(
    shop: FlaskClient, sessions: sessionmaker[Session], settings: Settings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """An order of the test account that needs attention, and one like it of another account."""
    parcel = {"identifier": "18A24901BE5D49C3", "state": "pending"}
    states = life("created", "cancelled", "picked_up")
    hook = tiramizoo_order("u-1", states, external_id="T-1", packages=[parcel])
    for account in ("tiramizoo-parking", "tiramizoo"):
        new = {"account": account, "courier_order_id": "u-1", "reference": "T-1"}
        assert shop.post("/v1/orders", json=new).status_code == 201
        deliver(shop, hook, account=account)
    while drain_batch(sessions, settings, datetime.now(UTC)):
        pass
    return (get(shop, "/orders/tiramizoo/u-1"), get(shop, "/orders/tiramizoo-parking/u-1"))


def accounts(rows: list[dict[str, Any]]) -> list[str]:
    return [row["account"] for row in rows]


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"reference": "T-1"},
        {"reference": "t1"},
        {"tracking_number": "18a24901be5d49c3"},
        {"needs_attention": "true"},
        {"updated_since": "2020-01-01T00:00:00Z"},
        {"status_group": "in_transit", "updated_since": "2020-01-01T00:00:00Z"},
    ],
    ids=str,
)
def test_lists_leave_them_out_unless_they_are_asked_for(
    shop: FlaskClient, both: object, filters: dict[str, str]
) -> None:
    listed = get(shop, "/orders", **filters)["orders"]
    assert accounts(listed) == ["tiramizoo-parking"]
    everything = get(shop, "/orders", **filters, test="true")["orders"]
    assert accounts(everything) == ["tiramizoo", "tiramizoo-parking"]
    own = get(shop, "/orders", **filters, account="tiramizoo")["orders"]
    assert own == []
    own = get(shop, "/orders", **filters, account="tiramizoo", test="true")["orders"]
    assert accounts(own) == ["tiramizoo"]


def test_the_exact_reference_of_a_test_order_hides_no_other_order(shop: FlaskClient) -> None:
    for account, reference in (("tiramizoo", "t-1"), ("cottoncast", "T-1")):
        new = {"account": account, "courier_order_id": "u-1", "reference": reference}
        assert shop.post("/v1/orders", json=new).status_code == 201
    for filters in ({}, {"account": "cottoncast"}, {"status": "pending"}):
        listed = get(shop, "/orders", reference="t-1", **filters)["orders"]
        assert accounts(listed) == ["cottoncast"]
    asked = get(shop, "/orders", reference="t-1", test="true")["orders"]
    assert accounts(asked) == ["tiramizoo"]


def test_they_are_shown_by_name_and_always_deleted(
    shop: FlaskClient, both: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    tested, other = both
    assert tested["status"] == other["status"] == "picked_up"
    items = [{"account": each["account"], "courier_order_id": "u-1"} for each in both]
    for lookup, found in (
        ({"orders": items}, [["tiramizoo"], ["tiramizoo-parking"]]),
        ({"references": ["T-1"]}, [["tiramizoo-parking"]]),
        ({"tracking_numbers": ["18A24901BE5D49C3"]}, [["tiramizoo-parking"]]),
    ):
        results = shop.post("/v1/orders/lookup", json=lookup).get_json()["results"]
        assert [accounts(result["orders"]) for result in results] == found
    assert accounts(get(shop, "/conflicts")["conflicts"]) == ["tiramizoo-parking"]
    assert len(get(shop, "/conflicts", test="1")["conflicts"]) == 2
    problem_of(shop.delete("/v1/orders/tiramizoo-parking/u-1"), 409)
    assert shop.delete("/v1/orders/tiramizoo/u-1").status_code == 204
    problem_of(shop.get("/v1/orders/tiramizoo/u-1"), 404)
    assert get(shop, "/messages", account="tiramizoo")["messages"] == []


def test_the_feed_leaves_them_out_unless_they_are_asked_for(
    shop: FlaskClient, both: object, sessions: sessionmaker[Session]
) -> None:
    page = get(shop, "/changes")
    assert {*accounts(page["changes"])} == {"tiramizoo-parking"}
    everything = get(shop, "/changes", test="true")
    assert {*accounts(everything["changes"])} == {"tiramizoo", "tiramizoo-parking"}
    # What is left out is passed by once, and wakes nobody.
    rest = get(shop, "/changes", after=page["next_cursor"])
    assert rest["changes"] == []
    assert rest["next_cursor"] == everything["next_cursor"]
    new = {"account": "tiramizoo", "courier_order_id": "u-2"}
    started = time.monotonic()
    timer = threading.Timer(0.3, lambda: shop.post("/v1/orders", json=new))
    timer.start()
    waited = get(shop, "/changes", after=rest["next_cursor"], wait=2)
    timer.join()
    assert waited["changes"] == []
    assert time.monotonic() - started > 1.9
    assert accounts(get(shop, "/changes", after=rest["next_cursor"], test="1")["changes"])
    # Nor is it pushed.
    with sessions.begin() as session:
        move_to_beginning = {"name": "shop", "position": 0, "placed_at": datetime.now(UTC)}
        session.add(FeedPush(**move_to_beginning))
    with sessions.begin() as session:
        batch = claim_batch(session, datetime.now(UTC), {"tiramizoo"})
    assert isinstance(batch, Batch)
    assert {*accounts(batch.data["changes"])} == {"tiramizoo-parking"}


def test_they_raise_no_alert_and_their_metrics_say_so(shop: FlaskClient, both: object) -> None:
    answer: Any = shop.get("/v1/alerts").json
    found = {
        (alert["condition"], alert["account"])
        for alert in answer["alerts"]
        if alert["condition"] not in OF_THE_MACHINE
    }
    assert found == {("orders_in_conflict", "tiramizoo-parking")}
    lines = shop.get("/metrics").text.splitlines()
    assert 'ordertrail_orders_in_conflict{account="tiramizoo",test="true"} 1.0' in lines
    assert 'ordertrail_orders_in_conflict{account="tiramizoo-parking"} 1.0' in lines
    accepted = [line for line in lines if line.startswith("ordertrail_messages_accepted_total")]
    assert accepted
    assert all(('account="tiramizoo",' in line) == ('test="true"' in line) for line in accepted)


def test_an_account_that_is_off_stays_apart(both: object, new_app: Callable[..., Flask]) -> None:
    client = new_app(**TEST, COURIER_TIRAMIZOO_SECRETS="").test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    assert accounts(get(client, "/orders")["orders"]) == ["tiramizoo-parking"]
    assert client.delete("/v1/orders/tiramizoo/u-1").status_code == 204


def test_a_page_is_read_by_an_index_however_many_orders_are_left_out(
    sessions: sessionmaker[Session],
) -> None:
    """Ten thousand orders of a test account are newer than the few others."""
    from receiver.orders.listing.filters import select_order_ids  # noqa: PLC0415

    with sessions.begin() as session:
        for account, count in (("a", 10), ("t", 10_000)):
            session.execute(
                text(
                    "INSERT INTO orders (account, courier, courier_order_id, status, created_at,"
                    " updated_at) SELECT :account, 'tiramizoo', n, 'pending', now(), now()"
                    " FROM generate_series(1, :count) AS n"
                ),
                {"account": account, "count": count},
            )
        session.execute(text("ANALYZE orders"))
    with sessions() as session:
        chosen = select_order_ids(session, {}, None, 51, {"t"})
        compiled = chosen.compile(
            session.connection().engine, compile_kwargs={"literal_binds": True}
        )
        plan = session.execute(text(f"EXPLAIN (ANALYZE, BUFFERS OFF) {compiled}")).scalars().all()
        assert len(session.scalars(chosen).all()) == 10
    assert "Seq Scan" not in "\n".join(plan)
    assert "orders_listed_idx" in "\n".join(plan)
