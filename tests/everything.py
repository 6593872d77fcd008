"""A service that holds one of everything that the API shows, under the names of its examples."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Notice, Order, OrderLabel
from receiver.web.openapi.components import MESSAGE_ID, ORDER_ID, TOUR_ID
from tests.bodies import (
    after,
    cottoncast_shipment,
    cottoncast_status,
    history_entry,
    life,
    package,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tour_plan,
)
from tests.shop import deliver

# What the examples need of the service beside its data: a courier that can be asked.
LABEL = b"%PDF-1.4"
READ_TOKEN = "test-read-token-01"
ENVIRON: Mapping[str, str] = {
    "READ_TOKENS": f"report:{READ_TOKEN}",
    "COURIER_TIRAMIZOO_API_TOKEN": "made-up",
}


def put_in(shop: FlaskClient, sessions: sessionmaker[Session], drain: Callable[[], int]) -> None:
    """Fill an empty service. Every example of the description then finds what it is about."""
    with sessions.begin() as session:
        session.execute(text(f"ALTER SEQUENCE messages_id_seq RESTART WITH {MESSAGE_ID}"))
        open_alert = {"condition": "no_workers", "account": "", "severity": "critical"}
        said = {"summary": "No worker is running", "what_to_do": "Start one.", "count": 1}
        session.add(Notice(**open_alert, **said, opened_at=datetime.now(UTC)))
    # The example's message: one that cannot be read.
    deliver(shop, {"uuid": "half-an-order"})
    for body in (b"not JSON", b"\xff\xfe\xfd"):
        answer = shop.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
        assert answer.status_code == 400
    deliver(shop, tiramizoo_order("other", state="teleported"))
    drain()
    names: dict[str, Any] = {"tracking_code": "ID4K7-EHQX-62RA", "external_id": "41"}
    link = "https://www.tiramizoo.com/orders/ID4K7EHQX62RA/tracking_status"
    more: dict[str, Any] = {
        **names,
        "identifier": "ZVW8GV",
        "tracking_url": link,
        "packages": [package()],
    }
    states = life("created", "dispatched", "cancelled", "picked_up")
    for number in (1, 2, 3, 4):
        told = dict(list(states.items())[:number])
        deliver(shop, tiramizoo_order(ORDER_ID, told, **more))
        drain()
    photo = {"url": "https://example.com/1.png"}
    proof = history_entry("delivered", after(200), "delivered", photo_proof=photo)
    whole = life("created", "picked_up", "delivered")
    deliver(shop, tiramizoo_order("delivered", whole, history=[proof], **names, identifier="B"))
    plan = {"ID4K7-EHQX-62RA": after(120), "nowhere yet": None}
    answer = shop.post(
        "/webhooks/tiramizoo/tours/tiramizoo-token", data=raw(tour_plan(plan, TOUR_ID))
    )
    assert answer.status_code == 200
    shipment = cottoncast_shipment(code="C")
    for minute, code in enumerate("NLRCEDX"):
        deliver(
            shop,
            cottoncast_status(code, after(minute), shipments=[shipment]),
            cottoncast_status(code, after(minute), order_id="a/b c", ref=None),
            cottoncast_status(code, after(minute), order_id=f"lonely {code}"),
            account="cottoncast",
        )
    deliver(shop, cottoncast_status("Z", after(60), order_id="a word"), account="cottoncast")
    deliver(shop, shipmentapi_order(), account="shipmentapi")
    deliver(shop, tiramizoo_order("ORDERTRAIL-SAMPLE-T", life("created")))
    deliver(shop, cottoncast_status("N", order_id="parked"), account="cottoncast-parking")
    new = {"account": "shipmentapi", "courier_order_id": "SA-1", "metadata": {"shop": "munich"}}
    assert shop.post("/v1/orders", json=new).status_code == 201
    drain()
    _put_label(sessions)
    answer = shop.delete("/v1/orders/cottoncast/lonely%20D/personal-data")
    assert answer.status_code == 204


def _put_label(sessions: sessionmaker[Session]) -> None:
    """Put in a label as if a message whose body is gone had held it."""
    with sessions.begin() as session:
        [order] = session.scalars(select(Order).filter_by(courier_order_id=ORDER_ID))
        kind = {"sha256": "0" * 64, "content_type": "application/pdf"}
        session.add(OrderLabel(order_id=order.id, content=LABEL, **kind))
        detail = {"value": "0" * 64, "at": "2026-04-16T07:00:00Z", "message_id": "1"}
        known = order.details["details"] | {"label_sha256": detail}
        order.details = order.details | {"details": known}
        order.label_url = f"/v1/orders/tiramizoo/{ORDER_ID}/label"
