"""Uber Direct's webhooks and deliveries, as developer.uber.com describes them; invented bodies."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from receiver.couriers.contract import Heard
from receiver.couriers.polling import Access, OrderNames, Page
from receiver.couriers.signatures import sign
from receiver.couriers.snapshot import Eta, MessageContext, Proof
from receiver.couriers.uber import driver
from receiver.errors import Undecodable
from receiver.orders.fold import fold_events
from receiver.settings import Account
from tests.bodies import payload
from tests.couriers.case import TOKEN, USER, Case

DELIVERED, RETURN = payload("uber/delivery_status.json"), payload("uber/return_delivered.json")
POLLED = payload("uber/get_delivery.json")
CASE = Case(
    words={
        "pending": "info_received",
        "pickup": "awaiting_pickup",
        "pickup_complete": "picked_up",
        "dropoff": "out_for_delivery",
        "delivered": "delivered",
        "canceled": "cancelled",
        "returned": "returning",
        "return_pending": "returning",
        "return_pickup": "returning",
        "return_pickup_complete": "returning",
        "return_dropoff": "returning",
        "return_canceled": "exception",
        "return_delivered": "returned",
    },
    bodies={"orders": [DELIVERED, RETURN]},
    answers=[POLLED],
    essential=frozenset(
        {
            *("data", "data.id", "data.status", "id", "status"),
            *("data.related_deliveries", "data.related_deliveries.id"),
            "data.related_deliveries.relationship",
        }
    ),
    places=["/customers/cus_1/deliveries/{}"],
    # The access token of its OAuth server is added to each request.
    credentials={},
    settings={"CUSTOMER_ID": "cus_1"},
)

assert driver.api is not None
TOPIC, API = driver.topics["orders"], driver.api
ACCESS = Access("https://api.uber.com/v1", USER, TOKEN, settings={"CUSTOMER_ID": "cus/1"})
RECEIVED_AT = datetime(2026, 4, 16, 10, 0, tzinfo=UTC)
WEBHOOK, POLL = MessageContext(RECEIVED_AT), MessageContext(RECEIVED_AT, "poll")


def test_a_delivery_has_its_proofs_and_the_shops_number() -> None:
    (snapshot,) = TOPIC.decode(DELIVERED, WEBHOOK).orders
    (event,) = snapshot.events
    assert (snapshot.courier_order_id, snapshot.reference) == ("del_Ex4mpleDelivery01", "41")
    assert (event.status, event.courier_status) == ("delivered", "delivered")
    assert event.occurred_at == datetime(2026, 4, 16, 8, 12, 3, 481000, tzinfo=UTC)
    assert event.proofs == {
        Proof("photo", "https://proofs.example/picture-1.jpg", ""),
        Proof("signature", "https://proofs.example/signature-1.png", "A. Receiver"),
    }
    assert snapshot.identifiers == {"uuid": "1f2e3d4c5b6a79880112233445566778"}
    assert snapshot.details == {
        "tracking_url": "https://delivery.uber.example/orders/1f2e",
        "pickup_at": "2026-04-16T07:36:00Z",
        "promised": {"from": "2026-04-16T07:40:00Z", "to": "2026-04-16T09:00:00Z"},
    }
    assert snapshot.eta is None


def test_a_delivery_under_way_has_its_expected_arrival() -> None:
    body = {**DELIVERED, "data": {**DELIVERED["data"], "status": "dropoff"}}
    (snapshot,) = TOPIC.decode(body, WEBHOOK).orders
    at = datetime(2026, 4, 16, 8, 11, tzinfo=UTC)
    assert snapshot.eta == Eta(at, at, "order")
    assert snapshot.events[0].proofs == frozenset()


def test_without_an_external_id_the_manifest_names_the_order() -> None:
    body = {**DELIVERED, "data": {**DELIVERED["data"], "external_id": ""}}
    (snapshot,) = TOPIC.decode(body, WEBHOOK).orders
    assert snapshot.reference == "M-41"


def test_a_cancelled_delivery_has_its_reason() -> None:
    reason = {"primary_reason": "courier_unavailable", "secondary_reason": "none"}
    delivery = {"id": "del_1", "status": "canceled", "cancelation_reason": reason}
    (snapshot,) = API.decode(delivery, POLL).orders
    (event,) = snapshot.events
    assert (event.status, event.reason) == ("cancelled", "courier_unavailable")


def test_the_way_back_is_about_the_delivery_that_failed() -> None:
    (first,) = API.decode(POLLED, POLL).orders
    (back,) = TOPIC.decode(RETURN, WEBHOOK).orders
    assert first.courier_order_id == back.courier_order_id == "del_Ex4mpleDelivery02"
    assert (first.events[0].status, first.events[0].reason) == ("returning", "customer_unavailable")
    assert (back.events[0].status, back.events[0].courier_status) == (
        "returned",
        "return_delivered",
    )
    # Its names, address and times are those of the return.
    assert (back.identifiers, back.details, back.eta) == ({}, {}, None)
    assert fold_events([*first.events, *back.events]).status == "returned"


def test_what_is_not_about_the_state_is_noise() -> None:
    noise = TOPIC.is_noise
    assert noise is not None
    assert noise(payload("uber/courier_update.json"), Heard())
    assert noise({"event_type": "event.refund_request"}, Heard())
    for body in ({}, DELIVERED, {"kind": "event.delivery_return"}, {"kind": ["event"]}):
        assert not noise(body, Heard())


def test_a_webhook_is_signed_with_the_key_of_its_webhook() -> None:
    # printf '{"kind":"event.delivery_status"}' | openssl dgst -sha256 -hmac uber-key-1
    signature = "744ae27ff2a4000b2b6c4fe015478e052bdb2fb601bab3f0ef7e50ad04cce813"
    body = b'{"kind":"event.delivery_status"}'
    signed = sign(driver.signature, "uber-key-1", body, RECEIVED_AT)
    assert signed == {"X-Uber-Signature": signature}


def test_deliveries_are_those_of_the_customer() -> None:
    (request,) = API.order_requests(ACCESS, OrderNames("del_1"))
    assert request.url == "https://api.uber.com/v1/customers/cus%2F1/deliveries/del_1"


def test_of_the_next_page_only_the_offset_is_used() -> None:
    request, read_page = API.list_request, API.read_list_page
    assert request is not None
    assert read_page is not None
    url = f"{ACCESS.url}/customers/cus%2F1/deliveries?filter=ongoing&limit=100&offset="
    assert request(ACCESS, RECEIVED_AT, None).url == f"{url}0"
    assert request(ACCESS, RECEIVED_AT, "100").url == f"{url}100"
    page = b'{"data":[{"id":"a"}],"next_href":"https://evil.example/x?limit=100&offset=100"}'
    assert read_page(page, None) == Page([b'{"id":"a"}'], "100")
    assert read_page(b'{"data":[],"next_href":""}', "100") == Page([])
    no_address = b'{"data":[],"next_href":"https://[x?offset=100"}'
    no_offset = b'{"data":[],"next_href":"/next"}'
    for broken in (no_offset, no_address, b'{"code":"unauthorized"}', b"[]"):
        with pytest.raises(Undecodable):
            read_page(broken, None)


def test_without_the_customer_nothing_can_be_polled() -> None:
    account = Account("uber", "uber", ("key",), api_user="client", api_token="secret")
    assert account.missing_for_polling == ["CUSTOMER_ID"]
    assert account.access is None
    assert replace(account, settings={"CUSTOMER_ID": "cus_1"}).access is not None
