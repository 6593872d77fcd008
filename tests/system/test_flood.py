"""What one courier may send, however large, stands in nobody's way."""

from collections.abc import Callable

from flask.testing import FlaskClient

from tests.bodies import (
    after,
    cottoncast_signature,
    cottoncast_status,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tour_plan,
)


def test_plans_of_more_stops_than_a_statement_has_parameters_are_folded_with_the_rest(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int]
) -> None:
    for plan in range(3):
        etas = {f"s{plan}-{stop}": after(60) for stop in range(9_000)} | {"u-1": after(60 + plan)}
        body = raw(tour_plan(etas, tour_id=f"t{plan}"))
        answer = client.post("/webhooks/tiramizoo/tours/tiramizoo-token", data=body)
        assert answer.status_code == 200
    client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=raw(tiramizoo_order("u-1")))
    drain()
    order = shop.get("/v1/orders/tiramizoo/u-1").get_json()
    assert order["eta"]["to"] == "2026-04-16T08:02:00Z"
    assert len(shop.get("/v1/tours/tiramizoo/t2").get_json()["stops"]) == 9_001


def test_a_novel_for_a_reason_and_a_script_for_an_address_are_not_shown(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int]
) -> None:
    body = shipmentapi_order(
        reason="x" * 100_000, tracking_url="javascript:alert(1)", label_url="data:text/html,x"
    )
    client.post("/webhooks/shipmentapi/orders/shipmentapi-token", data=raw(body))
    shipments = [{"trackingcode": "P1", "trackingurl": " javascript:alert(1)"}]
    signed = raw(cottoncast_status(shipments=shipments))
    headers = cottoncast_signature(signed)
    client.post("/webhooks/cottoncast/orders", data=signed, headers=headers)
    drain()
    order = shop.get("/v1/orders/shipmentapi/SA-2001").get_json()
    assert (len(order["reason"]), order["tracking_url"], order["label_url"]) == (1_000, None, None)
    (parcel,) = shop.get("/v1/orders/cottoncast/3AF7").get_json()["parcels"]
    assert parcel["tracking_url"] is None
