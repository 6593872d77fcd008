"""GET /v1/couriers, refresh, and what registering an order says of its polling."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from tests.bodies import raw, tiramizoo_order
from tests.conftest import API_TOKEN

UUID = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11"
HOOK = "/webhooks/tiramizoo/orders/tiramizoo-token"
REFRESH = f"/v1/orders/tiramizoo/{UUID}/refresh"


@pytest.fixture
def polled(new_app: Callable[..., Flask], sessions: sessionmaker[Session]) -> FlaskClient:
    """The shop's client of a service that may ask Tiramizoo."""
    client = new_app(COURIER_TIRAMIZOO_API_TOKEN="t").test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    return client


def couriers(shop: FlaskClient) -> dict[str, Any]:
    answer: Any = shop.get("/v1/couriers").json
    return {it["account"]: it for it in answer["couriers"]}


def register(shop: FlaskClient, **given: Any) -> Any:
    new = {"account": "tiramizoo", "courier_order_id": UUID, **given}
    answer: Any = shop.post("/v1/orders", json=new).json
    return answer


def test_an_account_that_was_never_heard_is_listed_too(shop: FlaskClient) -> None:
    accounts = couriers(shop)
    assert sorted(accounts) == sorted([*DRIVERS, "cottoncast-parking", "tiramizoo-parking"])
    quiet = accounts["tiramizoo-parking"]
    assert (quiet["courier"], quiet["last_heard_at"], quiet["webhooks"]) == ("tiramizoo", None, 0)
    assert (quiet["missed_hook_ratio"], quiet["breaker"], quiet["polled"]) == (
        None,
        "closed",
        False,
    )


def test_hooks_and_refused_requests_are_counted_per_account(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    before = couriers(shop)["tiramizoo"]["signature_failures"]
    shop.post(HOOK, data=raw(tiramizoo_order(UUID)))
    shop.post(HOOK, data=raw(tiramizoo_order(UUID)))
    shop.post(f"{HOOK}-wrong", data=b"{}")
    drain()
    account = couriers(shop)["tiramizoo"]
    assert (account["webhooks"], account["polls"], account["missed_hook_ratio"]) == (1, 0, 0.0)
    assert account["signature_failures"] == before + 1
    assert account["last_heard_at"] == account["last_webhook_at"] is not None


def test_lists_that_cost_more_requests_than_they_saved_have_saved_none(
    shop: FlaskClient, sessions: sessionmaker[Session]
) -> None:
    with sessions.begin() as session:
        row = "INSERT INTO accounts (account, requests_saved) VALUES ('tiramizoo', -3)"
        session.execute(text(row))
    assert couriers(shop)["tiramizoo"]["poll_requests_saved"] == 0


@pytest.mark.parametrize(("minutes", "breaker"), [(1, "open"), (-1, "half_open")])
def test_a_pause_is_shown_with_its_reason(
    shop: FlaskClient, sessions: sessionmaker[Session], minutes: int, breaker: str
) -> None:
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    with sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO accounts (account, paused_at, paused_until, pause_reason)"
                " VALUES ('tiramizoo', now(), :until, 'busy')"
            ),
            {"until": until},
        )
    account = couriers(shop)["tiramizoo"]
    assert (account["breaker"], account["pause_reason"]) == (breaker, "busy")
    assert datetime.fromisoformat(account["paused_until"]) == until


def test_an_order_of_an_account_that_is_not_polled_cannot_be_refreshed(shop: FlaskClient) -> None:
    assert register(shop)["polling"]["next_poll_at"] is None
    answer = shop.post(REFRESH)
    assert answer.status_code == 409
    assert answer.json is not None
    assert "API_TOKEN" in answer.json["detail"]


def test_registering_an_order_starts_its_polling(polled: FlaskClient) -> None:
    order = register(polled)
    due = datetime.fromisoformat(order["polling"]["next_poll_at"])
    placed = datetime.fromisoformat(order["created_at"])
    assert timedelta(minutes=15) <= due - placed < timedelta(minutes=17)


def test_registering_again_leaves_the_polling_as_it_is(polled: FlaskClient) -> None:
    first = register(polled)
    assert register(polled, reference="T-9")["polling"] == first["polling"]


def test_refreshing_makes_an_order_due_at_once(polled: FlaskClient) -> None:
    register(polled)
    before = datetime.now(UTC)
    answer = polled.post(REFRESH)
    assert answer.status_code == 202
    assert answer.json is not None
    assert before <= datetime.fromisoformat(answer.json["next_poll_at"]) <= datetime.now(UTC)
    shown: Any = polled.get(f"/v1/orders/tiramizoo/{UUID}").json
    assert shown["polling"]["next_poll_at"] == answer.json["next_poll_at"]
    assert couriers(polled)["tiramizoo"]["orders_due"] == 1


def test_an_order_that_was_looked_at_a_moment_ago_is_refreshed_a_little_later(
    polled: FlaskClient, sessions: sessionmaker[Session]
) -> None:
    register(polled)
    with sessions.begin() as session:
        session.execute(text("UPDATE polls SET polled_at = now()"))
    answer: Any = polled.post(REFRESH).json
    wait = datetime.fromisoformat(answer["next_poll_at"]) - datetime.now(UTC)
    assert timedelta(seconds=20) < wait <= timedelta(seconds=30)


@pytest.mark.parametrize("minutes", [60, -60])
def test_a_refresh_says_when_the_pause_of_its_account_ends(
    polled: FlaskClient, sessions: sessionmaker[Session], minutes: int
) -> None:
    register(polled)
    until = datetime.now(UTC) + timedelta(minutes=minutes)
    with sessions.begin() as session:
        session.execute(
            text("INSERT INTO accounts (account, paused_until) VALUES ('tiramizoo', :until)"),
            {"until": until},
        )
    before = datetime.now(UTC)
    answer: Any = polled.post(REFRESH).json
    asked_at = datetime.fromisoformat(answer["next_poll_at"])
    assert asked_at == until if minutes > 0 else before <= asked_at <= datetime.now(UTC)


def test_refreshing_takes_up_an_order_again_that_was_given_up(
    polled: FlaskClient, sessions: sessionmaker[Session]
) -> None:
    register(polled)
    with sessions.begin() as session:
        session.execute(
            text("UPDATE polls SET due_at = NULL, stopped_at = now(), stop_reason = 'given up'")
        )
    assert couriers(polled)["tiramizoo"]["orders_given_up"] == 1
    polled.post(REFRESH)
    shown: Any = polled.get(f"/v1/orders/tiramizoo/{UUID}").json
    assert (shown["polling"]["stopped_at"], shown["polling"]["stop_reason"]) == (None, None)
    assert shown["polling"]["next_poll_at"] is not None


def test_an_order_from_before_the_account_could_be_polled_can_be_refreshed(
    shop: FlaskClient, polled: FlaskClient
) -> None:
    register(shop)
    assert polled.post(REFRESH).status_code == 202


def test_an_unknown_order_cannot_be_refreshed(polled: FlaskClient) -> None:
    assert polled.post("/v1/orders/tiramizoo/nobody/refresh").status_code == 404
