"""Couriers' performance: which orders count, for what, and what changes afterwards."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.bulk import insert_rows
from receiver.db.models import Cursor, DailyPerformance, Order, OrderPerformance
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.orders.performance import record
from receiver.orders.performance.record import forget_orders
from receiver.orders.performance.report import Period, report_account, report_accounts
from receiver.settings import Settings
from tests.bodies import (
    START,
    after,
    cottoncast_shipment,
    cottoncast_status,
    history_entry,
    life,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tour_plan,
)
from tests.command import command_json, run_command
from tests.plain_performance import DURATIONS, is_near
from tests.shop import get, problem_of
from tests.test_rebuild import rebuild
from workers.upkeep.performance import count_performance
from workers.upkeep.retention import Retention

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

DAY = timedelta(days=1)
NOTHING = {
    "orders": 0,
    "delivered": 0,
    "first_attempt_ratio": None,
    "on_time_ratio": None,
    **{name: {"p50": None, "p90": None} for name in DURATIONS},
    "missed_webhook_ratio": None,
}
DELIVERED = life("created", "dispatched", "picked_up", "delivered", minutes=60)
FAILED_FIRST = life("created", "picked_up", "delivery_failed", "delivered", minutes=60)


def report(shop: FlaskClient, account: str = "tiramizoo", **period: Any) -> dict[str, Any]:
    period = {"since": "2026-04-16", "until": "2026-04-16"} | period
    return get(shop, f"/couriers/{account}/performance", **period)


def send(
    sessions: Sessions, body: Any, at: datetime, account: str = "tiramizoo", kind: str = "webhook"
) -> None:
    """Have a body arrive at a time."""
    topic = "tours" if "tours" in body else "orders"
    trust = "fetched" if kind == "poll" else "token"
    with sessions.begin() as session:
        store_messages(session, [IncomingMessage(account, topic, kind, trust, raw(body), at)])


# What counts


@pytest.fixture
def told(sessions: Sessions, drain: Drain) -> Callable[..., None]:
    """Have bodies arrive, each with its own time, and fold them."""

    def tell(
        *bodies: tuple[Any, datetime], account: str = "tiramizoo", kind: str = "webhook"
    ) -> None:
        for body, at in bodies:
            send(sessions, body, at, account, kind)
        drain()

    return tell


def test_nothing_is_known_of_a_period_without_orders(shop: FlaskClient) -> None:
    days = {"account": "cottoncast", "since": "2026-04-16", "until": "2026-04-16"}
    assert report(shop, "cottoncast") == {**days, **NOTHING}


def test_a_delivered_order(shop: FlaskClient, told: Callable[..., None]) -> None:
    told((tiramizoo_order(times=DELIVERED), after(190)))
    found = report(shop)
    assert (found["orders"], found["delivered"], found["first_attempt_ratio"]) == (1, 1, 1.0)
    assert is_near(found["pickup_to_delivery_seconds"]["p50"], 3600)
    assert is_near(found["order_to_pickup_seconds"]["p90"], 7200)
    # The four states of the only webhook are 190, 130, 70 and 10 minutes old.
    assert is_near(found["webhook_delay_seconds"]["p50"], 6000)
    assert found["on_time_ratio"] is None


@pytest.mark.parametrize(
    ("states", "orders", "delivered", "first_attempt"),
    [
        (("created", "dispatched", "picked_up"), 0, 0, None),
        (("created", "cancelled"), 1, 0, None),
        (("created", "picked_up", "delivery_failed", "returned"), 1, 0, None),
        (("created", "picked_up", "delivery_failed", "delivered"), 1, 1, 0.0),
        # Taken back after a day, and brought once more: a correction is no second attempt.
        (("created", "picked_up", "delivered"), 1, 1, 1.0),
    ],
)
def test_an_order_counts_once_it_has_ended(
    shop: FlaskClient,
    told: Callable[..., None],
    states: tuple[str, ...],
    orders: int,
    delivered: int,
    first_attempt: float | None,
) -> None:
    told((tiramizoo_order(times=life(*states)), after(600)))
    found = report(shop)
    assert (found["orders"], found["delivered"]) == (orders, delivered)
    assert found["first_attempt_ratio"] == first_attempt


@pytest.mark.parametrize(
    ("delivery", "on_time"),
    [
        ({"eta": None}, None),
        ({"eta": None, "after": after(0), "before": after(180)}, 1.0),
        ({"eta": None, "after": after(0), "before": after(179)}, 0.0),
        # A promise counts before an ETA.
        ({"eta": after(100), "after": after(0), "before": after(300)}, 1.0),
        ({"eta": after(180)}, 1.0),
        ({"eta": after(179)}, 0.0),
    ],
)
def test_on_time_is_by_the_promise_or_by_the_last_eta_before(
    shop: FlaskClient, told: Callable[..., None], delivery: dict[str, Any], on_time: float | None
) -> None:
    delivery = {name: at and at.isoformat() for name, at in delivery.items()}
    on_the_way = dict(list(DELIVERED.items())[:-1])
    told((tiramizoo_order(times=on_the_way, delivery=delivery), after(121)))
    # With the delivery comes an ETA that nobody knew before.
    delivery = {**delivery, "eta": after(500).isoformat()}
    told((tiramizoo_order(times=DELIVERED, delivery=delivery), after(181)))
    assert report(shop)["on_time_ratio"] == on_time


def test_an_eta_that_arrives_after_the_delivery_counts_by_the_couriers_clock(
    shop: FlaskClient, told: Callable[..., None]
) -> None:
    told((tiramizoo_order(times=DELIVERED), after(181)))
    assert report(shop)["on_time_ratio"] is None
    on_the_way = dict(list(DELIVERED.items())[:-1])
    late = tiramizoo_order(times=on_the_way, delivery={"eta": after(200).isoformat()})
    told((late, after(182)))
    assert report(shop)["on_time_ratio"] == 1.0


def test_the_eta_of_a_tour_plan_counts(shop: FlaskClient, told: Callable[..., None]) -> None:
    uuid = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11"
    told((tour_plan({uuid: after(170)}), after(10)))
    told((tiramizoo_order(uuid, DELIVERED), after(181)))
    assert report(shop)["on_time_ratio"] == 0.0


def test_one_parcel_that_failed_is_a_failed_attempt_of_its_order(
    shop: FlaskClient, told: Callable[..., None]
) -> None:
    times = life("created", "picked_up", "delivered")
    entry = history_entry("recipient_was_not_at_home", after(45), "delivery_failed")
    told((tiramizoo_order(times=times, history=[entry]), after(61)))
    assert report(shop)["first_attempt_ratio"] == 0.0


def test_an_order_of_several_parcels_ends_with_the_last(
    shop: FlaskClient, told: Callable[..., None]
) -> None:
    both = [cottoncast_shipment("P1", "D"), cottoncast_shipment("P2", "E")]
    told((cottoncast_status("C", after(0), shipments=both), after(1)), account="cottoncast")
    told((cottoncast_status("E", after(60), shipments=both), after(61)), account="cottoncast")
    assert report(shop, "cottoncast")["orders"] == 0
    both = [cottoncast_shipment("P1", "D"), cottoncast_shipment("P2", "D")]
    told((cottoncast_status("D", after(120), shipments=both), after(121)), account="cottoncast")
    found = report(shop, "cottoncast")
    assert (found["orders"], found["delivered"]) == (1, 1)
    assert is_near(found["pickup_to_delivery_seconds"]["p50"], 7200)


def test_a_state_that_a_poll_found_first_is_missed_and_has_no_delay(
    shop: FlaskClient, told: Callable[..., None]
) -> None:
    on_the_way = dict(list(DELIVERED.items())[:-1])
    told((tiramizoo_order(times=on_the_way), after(120)))
    told((tiramizoo_order(times=DELIVERED), after(240)), kind="poll")
    # Its webhook comes later than the poll.
    told((tiramizoo_order(times=DELIVERED, description="late"), after(300)))
    found = report(shop)
    assert found["missed_webhook_ratio"] == 0.25
    assert is_near(found["webhook_delay_seconds"]["p90"], 0.8 * 7200 + 0.2 * 3600)


def test_a_courier_that_calls_once_has_missed_at_most_one_webhook(
    shop: FlaskClient, told: Callable[..., None]
) -> None:
    told((shipmentapi_order("SA-1", "accepted"), after(0)), account="shipmentapi")
    for reference in ("SA-1", "SA-2"):
        for number, status in enumerate(("accepted", "cancelled")):
            answer = shipmentapi_order(reference, status)
            told((answer, after(5 + number)), account="shipmentapi", kind="poll")
    # Nobody has registered the second.
    assert report(shop, "shipmentapi")["orders"] == 1
    assert report(shop, "shipmentapi")["webhook_delay_seconds"] == {"p50": None, "p90": None}


def test_a_sample_counts_only_where_tests_are_asked_for(
    shop: FlaskClient, told: Callable[..., None]
) -> None:
    told((tiramizoo_order("ORDERTRAIL-SAMPLE-1", DELIVERED), after(190)))
    assert report(shop)["orders"] == 0
    assert report(shop, test="true")["orders"] == 1


def test_a_test_account_counts_only_where_tests_are_asked_for(
    told: Callable[..., None], sessions: Sessions, settings: Settings
) -> None:
    told((tiramizoo_order(times=DELIVERED), after(190)))
    accounts = {"tiramizoo": replace(settings.accounts["tiramizoo"], test=True)}
    day = START.date()
    with sessions() as session:
        for with_tests, orders in ((False, []), (True, [1])):
            period = Period(day, day, with_tests)
            found = report_accounts(session, accounts, period)
            assert [each["orders"] for each in found] == orders
            alone = report_account(session, accounts, "tiramizoo", period)
            assert alone["orders"] == sum(orders)


# What changes afterwards


@pytest.mark.parametrize("counts", [False, True], ids=["before it is counted", "after"])
def test_an_order_that_ends_anew_counts_on_its_new_day_alone(
    shop: FlaskClient, told: Callable[..., None], sessions: Sessions, counts: bool
) -> None:
    def days() -> list[int]:
        if counts:
            count_performance(sessions, 60)
        return [
            report(shop, since=day, until=day)["orders"] for day in ("2026-04-16", "2026-04-18")
        ]

    told((tiramizoo_order(times=DELIVERED), after(190)))
    assert days() == [1, 0]
    # A correction: it is on its way again.
    failed = {**DELIVERED, "delivery_failed": after(300)}
    told((tiramizoo_order(times=failed), after(301)))
    assert days() == [0, 0]
    told((tiramizoo_order(times={**failed, "returned": START + 2 * DAY}), after(3000)))
    assert days() == [0, 1]
    count_performance(sessions, 60)
    assert days() == [0, 1]
    with sessions() as session:
        assert (
            session.scalars(
                select(DailyPerformance.count).where(
                    DailyPerformance.day == date(2026, 4, 16), DailyPerformance.count != 0
                )
            ).all()
            == []
        )


def test_a_report_survives_the_removal_of_its_orders(
    shop: FlaskClient, told: Callable[..., None], sessions: Sessions, settings: Settings
) -> None:
    told((tiramizoo_order(times=DELIVERED), after(190)))
    before = report(shop)
    limits = replace(settings, order_retention_days=40)
    for _ in range(2):
        Retention(limits).drop_due(sessions, datetime.now(UTC) + 50 * DAY, 60)
    with sessions() as session:
        assert session.scalars(select(Order.id)).all() == []
        assert session.scalars(select(OrderPerformance.order_id)).all() == []
    assert report(shop) == before
    count_performance(sessions, 60)
    assert report(shop) == before


def test_an_order_that_is_forgotten_does_not_count(
    shop: FlaskClient, told: Callable[..., None], sessions: Sessions
) -> None:
    told((tiramizoo_order(times=DELIVERED), after(190)))
    count_performance(sessions, 60)
    with sessions.begin() as session:
        forget_orders(session, session.scalars(select(Order)).all())
    assert report(shop)["orders"] == 0
    count_performance(sessions, 60)
    assert report(shop)["orders"] == 0
    with sessions() as session:
        assert session.scalars(select(OrderPerformance.order_id)).all() == []


def test_an_order_that_is_deleted_while_it_is_recorded_does_not_count(
    shop: FlaskClient,
    told: Callable[..., None],
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An older version has folded it, and the job that finds such orders has just read it."""
    name = "ORDERTRAIL-SAMPLE-1"
    told((tiramizoo_order(name, DELIVERED), after(190)))
    with sessions.begin() as session:
        session.execute(text("DELETE FROM order_performance"))

    def delete_first(*arguments: Any) -> int:
        monkeypatch.undo()
        assert shop.delete(f"/v1/orders/tiramizoo/{name}").status_code == 204
        return insert_rows(*arguments)

    monkeypatch.setattr(record, "insert_rows", delete_first)
    count_performance(sessions, 60)
    assert report(shop, test="true")["orders"] == 0
    with sessions() as session:
        assert session.scalars(select(OrderPerformance.order_id)).all() == []


def test_orders_that_an_older_version_has_folded_are_counted(
    shop: FlaskClient, told: Callable[..., None], sessions: Sessions
) -> None:
    told((tiramizoo_order(times=DELIVERED), after(190)))
    before = report(shop)
    with sessions.begin() as session:
        session.execute(text("DELETE FROM order_performance"))
    assert report(shop)["orders"] == 0
    count_performance(sessions, 60)
    assert report(shop) == before
    with sessions() as session:
        assert session.get_one(Cursor, "performance").position > 0


@pytest.mark.usefixtures("redis")
def test_a_rebuild_counts_again(
    shop: FlaskClient, told: Callable[..., None], sessions: Sessions, environ: dict[str, str]
) -> None:
    told((tiramizoo_order(times=FAILED_FIRST), after(190)))
    before = report(shop)
    with sessions.begin() as session:
        session.execute(text("UPDATE order_performance SET counters = '{orders}'"))
    assert report(shop) != before
    assert rebuild(environ)[0] == 0
    assert report(shop) == before


# Asking


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"since": "2026-04-17", "until": "2026-04-16"}, "since"),
        ({"since": "2999-01-01"}, "since"),
        ({"since": "2026-04-16", "until": "2027-05-21"}, "since"),
        ({"since": "0001-01-01"}, "since"),
        ({"since": ""}, "since"),
        ({"until": "2026-02-30"}, "until"),
        ({"until": "20260416"}, "until"),
        ({"until": "2026-W16-4"}, "until"),
        ({"until": "2026-04-16T00:00:00"}, "until"),
        ({"until": "2026-04-16T\x00"}, "until"),
        ({"until": "٢٠٢٦-٠٤-١٦"}, "until"),
        ({"since": ["2026-04-16", "2026-04-17"]}, "since"),
        ({"test": "maybe"}, "test"),
        ({"from": "2026-04-16"}, "from"),
    ],
)
def test_what_is_no_period_is_422(shop: FlaskClient, query: dict[str, Any], field: str) -> None:
    answer = shop.get("/v1/couriers/tiramizoo/performance", query_string=query)
    assert list(problem_of(answer, 422)["errors"]["query"]) == [field]


@pytest.mark.parametrize(
    ("query", "since", "until"),
    [
        ({"until": "2026-04-30"}, "2026-04-01", "2026-04-30"),
        ({"since": "2026-04-16", "until": "2027-05-20"}, "2026-04-16", "2027-05-20"),
        ({"since": "9999-12-31", "until": "9999-12-31"}, "9999-12-31", "9999-12-31"),
        ({"until": "0001-01-03"}, "0001-01-01", "0001-01-03"),
        ({"until": "2026-04-16T23:30:00-01:00"}, "2026-03-19", "2026-04-17"),
    ],
)
def test_a_period_is_whole_days(
    shop: FlaskClient, query: dict[str, str], since: str, until: str
) -> None:
    found = get(shop, "/couriers/tiramizoo/performance", **query)
    assert (found["since"], found["until"]) == (since, until)


def test_by_default_it_is_of_the_last_thirty_days(
    shop: FlaskClient, told: Callable[..., None]
) -> None:
    now = datetime.now(UTC)
    for number, days in enumerate((0, 29, 30)):
        start = now.replace(hour=0, minute=0, second=0) - days * DAY
        told(
            (
                tiramizoo_order(
                    f"u-{number}", life("created", "delivered", minutes=0, start=start)
                ),
                now,
            )
        )
    found = get(shop, "/couriers/tiramizoo/performance")
    assert found["orders"] == 2
    assert date.fromisoformat(found["until"]) - date.fromisoformat(found["since"]) == 29 * DAY


@pytest.mark.parametrize("account", ["nobody", "TIRAMIZOO", "a%00b"])
def test_an_account_that_is_not_configured_is_404(shop: FlaskClient, account: str) -> None:
    problem_of(shop.get(f"/v1/couriers/{account}/performance"), 404)


def test_the_command_prints_what_the_api_answers(
    shop: FlaskClient, told: Callable[..., None], environ: dict[str, str]
) -> None:
    told((tiramizoo_order(times=DELIVERED), after(190)))
    days = ("--since", "2026-04-16", "--until", "2026-04-16")
    assert command_json(environ, "performance", "tiramizoo", *days) == report(shop)
    every = command_json(environ, "performance", *days)["accounts"]
    assert [each for each in every if each["orders"]] == [report(shop)]
    table = run_command(environ, "performance", *days).stdout
    assert "100.0%" in table
    assert re.search(r"[0-9] (min|h) / [0-9.]+ (min|h)", table)
    assert run_command(environ, "performance", "nobody").exit_code == 1
    assert run_command(environ, "performance", "--since", "yesterday").exit_code == 2
    assert run_command(environ, "performance", "--since", "2999-01-01").exit_code == 2
