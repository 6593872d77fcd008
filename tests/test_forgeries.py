"""What a forger, or somebody who replays, comes to; and text that would be markup elsewhere."""

import html
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Event, Message, Order
from tests.bodies import (
    after,
    cottoncast_shipment,
    cottoncast_signature,
    cottoncast_status,
    history_entry,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tour_plan,
)
from tests.shop import deliver, get

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

COTTONCAST = "/webhooks/cottoncast/orders"
ORDER = "/orders/tiramizoo/u-1"


def post_signed(client: FlaskClient, body: Any, key: str = "cottoncast-key") -> int:
    signed = body if isinstance(body, bytes) else raw(body)
    headers = cottoncast_signature(signed, key)
    return client.post(COTTONCAST, data=signed, headers=headers).status_code


def test_a_forged_delivery_from_the_far_future_counts_when_it_came_and_stops_no_later_fact(
    shop: FlaskClient, drain: Drain
) -> None:
    """Who knows the token can tell a lie. It is not ahead of the truth, and marked as no proof."""
    deliver(shop, tiramizoo_order("u-1", {"created": after(0), "dispatched": after(5)}))
    drain()
    future = datetime(2099, 1, 1, tzinfo=UTC)
    deliver(shop, tiramizoo_order("u-1", {"created": after(0), "delivered": future}))
    drain()
    forged = get(shop, ORDER)
    assert forged["status"] == "delivered"
    assert forged["status_at"] < "2099"
    assert forged["source"]["trust"] == "token"
    [told] = [it for it in get(shop, f"{ORDER}/events")["events"] if it["status"] == "delivered"]
    assert "clock_skew" in told["flags"]
    # The courier goes on: what it tells after that is later, and counts.
    came = datetime.now(UTC) + timedelta(seconds=1)
    deliver(shop, tiramizoo_order("u-1", {"created": after(0), "returned": came}))
    drain()
    assert get(shop, ORDER)["status"] == "returned"


def test_a_forged_delivery_is_contradicted_by_the_courier_and_somebody_is_told(
    shop: FlaskClient, drain: Drain
) -> None:
    now = datetime.now(UTC)
    deliver(shop, tiramizoo_order("u-1", {"created": after(0), "delivered": now}))
    drain()
    failed = now + timedelta(minutes=1)
    deliver(shop, tiramizoo_order("u-1", {"created": after(0), "delivery_failed": failed}))
    drain()
    order = get(shop, ORDER)
    assert (order["status"], order["needs_attention"]) == ("delivery_failed", True)
    assert len(get(shop, "/conflicts")["conflicts"]) == 1


def test_a_replayed_signed_body_changes_nothing_but_a_count(
    shop: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    """Cottoncast signs no time, so an old body stays valid for good: it has to do no harm."""
    shipment = cottoncast_shipment("P1", "C")
    bodies = [
        raw(cottoncast_status(code, after(n), shipments=[shipment])) for n, code in enumerate("NCD")
    ]
    for body in bodies:
        assert post_signed(shop, body) == 200
    drain()
    order_id = get(shop, "/orders")["orders"][0]["courier_order_id"]
    path = f"/orders/cottoncast/{order_id}"
    before, timeline = get(shop, path), get(shop, f"{path}/events")
    changes = len(get(shop, "/changes")["changes"])
    for body in (*bodies, *bodies[::-1], bodies[0]):
        assert post_signed(shop, body) == 200
    drain()
    assert get(shop, path) == before
    assert get(shop, f"{path}/events") == timeline
    assert len(get(shop, "/changes")["changes"]) == changes
    with sessions() as session:
        assert session.scalars(select(Message.repetitions).order_by(Message.id)).all() == [3, 2, 2]
        assert session.scalar(select(func.count()).select_from(Order)) == 1


def test_a_signed_body_sent_to_another_account_of_the_courier_is_refused(
    shop: FlaskClient, sessions: Sessions
) -> None:
    signed = raw(cottoncast_status("D", after(0)))
    headers = cottoncast_signature(signed, "cottoncast-key")
    answer = shop.post("/webhooks/cottoncast-parking/orders", data=signed, headers=headers)
    assert answer.status_code == 401
    [refusal] = get(shop, "/refusals")["refusals"]
    assert (refusal["likely"], refusal["other_account"]) == ("other_account", "cottoncast")
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0


def test_a_body_signed_with_the_old_secret_counts_while_it_is_live_and_is_seen(
    shop: FlaskClient, new_app: Callable[..., Flask], drain: Drain
) -> None:
    assert post_signed(shop, cottoncast_status("N", after(0)), "cottoncast-old-key") == 200
    drain()
    assert get(shop, "/orders")["orders"][0]["source"]["trust"] == "signed"
    [account] = [it for it in get(shop, "/couriers")["couriers"] if it["account"] == "cottoncast"]
    assert [(it["place"], it["uses"]) for it in account["secrets"]] == [(1, 0), (2, 1)]

    rotated = new_app(
        COURIER_COTTONCAST_SECRETS="cottoncast-key",
        COURIER_COTTONCAST_RETIRED_SECRETS="cottoncast-old-key",
    ).test_client()
    rotated.environ_base.update(shop.environ_base)
    assert post_signed(rotated, cottoncast_status("D", after(1)), "cottoncast-old-key") == 401
    assert drain() == 0
    assert [it["likely"] for it in get(rotated, "/refusals")["refusals"]] == ["old_secret"]


MARKUP = (
    "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}${7*7}\u202e"
    "'; DROP TABLE orders;--"
)


def hostile(told: Any) -> Any:
    """A body with markup in every text that is no time and no word of the courier's."""
    if isinstance(told, dict):
        kept = ("state", "code", "timestamp", "status", "type", "state_after", "event_type")
        return {
            name: it if name in kept and not isinstance(it, dict | list) else hostile(it)
            for name, it in told.items()
        }
    if isinstance(told, list):
        return [hostile(it) for it in told]
    is_time = isinstance(told, str) and told[:2] == "20" and "T" in told
    return f"{told}{MARKUP}" if isinstance(told, str) and not is_time else told


def test_markup_in_every_field_is_text_in_every_answer(
    shop: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    signature = {"url": "https://x.example/s.png", "name": "Carla"}
    entry = history_entry("deliver", after(60), "delivered", signature=signature)
    order = tiramizoo_order(
        "u-1", {"created": after(0), "delivered": after(60)}, history=[entry], external_id="T-1"
    )
    order["tracking_url"] = f"javascript:alert(1)//{MARKUP}"
    deliver(shop, hostile(order))
    deliver(shop, hostile(shipmentapi_order(status="accepted")), account="shipmentapi")
    assert post_signed(shop, hostile(cottoncast_status("N", after(0)))) == 200
    plan = raw(hostile(tour_plan({"u-1": after(60)}, "tour")))
    assert shop.post("/webhooks/tiramizoo/tours/tiramizoo-token", data=plan).status_code == 200
    deliver(shop, tiramizoo_order("u-2", {"created": after(0)}) | {"state": MARKUP})
    deliver(shop, tiramizoo_order("u-3") | {"created_at": MARKUP})
    drain()
    found = get(shop, "/orders")["orders"]
    assert len(found) == 5
    seen = 0
    for path in ("/orders", "/messages", "/changes", "/couriers", "/alerts", "/conflicts"):
        seen += check(shop, path)
    for it in found:
        # As a courier's id stands in an address, whatever is in it.
        for part in ("", "/events", "/explain"):
            seen += check(shop, f"/orders/{it['account']}/{escaped(it['courier_order_id'])}{part}")
        assert it["tracking_url"] is None or it["tracking_url"].startswith("http")
    for it in get(shop, "/messages")["messages"]:
        seen += check(shop, f"/messages/{it['id']}")
    assert seen > 10
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Event))


def escaped(name: str) -> str:
    return quote(name, safe="")


def check(shop: FlaskClient, path: str) -> bool:
    """It is JSON, and says so; whether the markup is in it, word for word."""
    answer = shop.get(f"/v1{path}")
    assert answer.status_code == 200, path
    assert answer.mimetype == "application/json"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    told = repr(answer.get_json())
    assert html.escape("<script>") not in told, "it was changed"
    return "<script>alert(1)</script>" in told


@pytest.mark.parametrize("account", [MARKUP, "tiramizoo'--", "../../etc/passwd"])
def test_markup_in_an_address_is_not_played_back_as_markup(shop: FlaskClient, account: str) -> None:
    for path in (f"/webhooks/{escaped(account)}/orders", f"/v1/orders/{escaped(account)}/x"):
        answer = shop.post(path, data=b"{}") if "webhooks" in path else shop.get(path)
        assert answer.status_code == 404
        assert answer.mimetype in {"application/json", "application/problem+json"}
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
