"""GET /v1/alerts: one line for each condition and account."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Notice

OF_THE_MACHINE = {"no_workers", "no_clock", "disk_low"}


def alerts(shop: FlaskClient) -> Any:
    answer: Any = shop.get("/v1/alerts").json
    return [it for it in answer["alerts"] if it["condition"] not in OF_THE_MACHINE]


def paused(sessions: sessionmaker[Session], reason: str, since: datetime) -> None:
    with sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO accounts (account, paused_at, paused_until, pause_reason, failures)"
                " VALUES ('tiramizoo', :since, :until, :reason, 7)"
            ),
            {"since": since, "until": datetime.now(UTC) + timedelta(hours=1), "reason": reason},
        )


def test_nothing_wrong_is_no_alert(shop: FlaskClient) -> None:
    assert alerts(shop) == []


def test_credentials_that_the_courier_refuses_are_an_alert_at_once(
    shop: FlaskClient, sessions: sessionmaker[Session]
) -> None:
    paused(sessions, "refused", datetime.now(UTC))
    [alert] = alerts(shop)
    assert (alert["condition"], alert["severity"]) == ("poll_refused", "critical")
    assert "COURIER_TIRAMIZOO_API_TOKEN" in alert["what_to_do"]


@pytest.mark.parametrize(("minutes", "expected"), [(5, []), (11, ["poll_failing"])])
def test_a_failing_courier_is_an_alert_after_ten_minutes(
    shop: FlaskClient, sessions: sessionmaker[Session], minutes: int, expected: list[str]
) -> None:
    paused(sessions, "failing", datetime.now(UTC) - timedelta(minutes=minutes))
    assert [alert["condition"] for alert in alerts(shop)] == expected


@pytest.mark.parametrize(("minutes", "expected"), [(50, []), (70, ["poll_limited"])])
def test_a_courier_that_limits_us_is_an_alert_after_an_hour(
    shop: FlaskClient, sessions: sessionmaker[Session], minutes: int, expected: list[str]
) -> None:
    paused(sessions, "busy", datetime.now(UTC) - timedelta(minutes=minutes))
    assert [alert["condition"] for alert in alerts(shop)] == expected


def test_orders_that_were_given_up_are_one_alert(
    shop: FlaskClient, sessions: sessionmaker[Session]
) -> None:
    for number in range(3):
        new = {"account": "shipmentapi", "courier_order_id": f"S-{number}"}
        assert shop.post("/v1/orders", json=new).status_code == 201
    with sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO polls (order_id, account, placed_at, stopped_at, stop_reason)"
                " SELECT id, account, created_at, CAST(:now AS timestamptz)"
                " - (3 - id) * interval '4 days', 'given up: 30 days without a change' FROM orders"
            ),
            {"now": datetime.now(UTC)},
        )
    [alert] = alerts(shop)
    assert (alert["condition"], alert["count"], alert["example"]) == ("orders_given_up", 2, "S-2")
    assert "30 days without a change" in alert["summary"]


def test_quarantined_messages_are_one_alert_for_each_account(
    shop: FlaskClient, client: FlaskClient, drain: Callable[[], int]
) -> None:
    for body in (b"not json", b"{}", b"[]"):
        client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
    client.post("/webhooks/shipmentapi/orders/shipmentapi-token", data=b"nonsense")
    drain()
    found = {alert["account"]: alert["count"] for alert in alerts(shop)}
    assert found == {"tiramizoo": 3, "shipmentapi": 1}


def test_an_alert_has_a_history_and_is_acknowledged(
    shop: FlaskClient, sessions: sessionmaker[Session]
) -> None:
    now = datetime.now(UTC)
    paused(sessions, "refused", now)
    assert [it["id"] for it in alerts(shop)] == [None]
    with sessions.begin() as session:
        row = {"condition": "poll_refused", "severity": "critical", "what_to_do": "", "count": 1}
        for account, closed_at in (("cottoncast", now), ("tiramizoo", None)):
            own = {"account": account, "summary": "", "opened_at": now, "closed_at": closed_at}
            session.add(Notice(**row, **own))
    [alert] = alerts(shop)
    answer: Any = shop.get("/v1/alerts?history=true").json
    assert [it["account"] for it in answer["history"]] == ["tiramizoo", "cottoncast"]
    path = f"/v1/alerts/{alert['id']}/acknowledge"
    acknowledged: Any = shop.post(path, json={"note": "known"}).json
    assert acknowledged["acknowledged_note"] == "known"
    assert acknowledged["acknowledged_until"] > now.isoformat()
    assert shop.post("/v1/alerts/999/acknowledge", json={}).status_code == 404
