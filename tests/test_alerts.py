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


def get_history(shop: FlaskClient) -> Any:
    answer: Any = shop.get("/v1/alerts?history=true").json
    return answer["history"]


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
    path = f"/v1/alerts/{alert['id']}"
    acknowledged: Any = shop.post(f"{path}/acknowledge", json={"by": "Ann", "note": "known"}).json
    assert acknowledged["acknowledged_until"] > (now + timedelta(hours=23)).isoformat()
    [shown] = alerts(shop)
    names = ["by", "note", "at", "until"]
    for found in (shown, get_history(shop)[0]):
        assert [found[f"acknowledged_{it}"] for it in names] == [
            "Ann",
            "known",
            *(acknowledged[f"acknowledged_{it}"] for it in names[2:]),
        ]
    assert [it["account"] for it in get_history(shop)] == ["tiramizoo", "cottoncast"]
    until = "2036-04-16T07:00:00Z"
    acknowledged = shop.post(f"{path}/acknowledge", json={"until": until}).json
    assert acknowledged["acknowledged_until"] == until
    snoozed: Any = shop.post(f"{path}/snooze", json={"until": until}).json
    assert [snoozed["acknowledged_until"], snoozed["acknowledged_by"]] == [until, "api-1"]
    assert shop.post(f"{path}/snooze", json={}).status_code == 422
    for unknown in ("999", "9" * 19, "9" * 40):
        assert shop.post(f"/v1/alerts/{unknown}/acknowledge", json={}).status_code == 404
