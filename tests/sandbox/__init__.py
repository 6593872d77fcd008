"""A stand-in for each courier: one real HTTP server that behaves as the courier's document says.

    with Tiramizoo(now=Clock(start)) as courier:
        order = courier.create(evenly("created", "delivered", start=start, apart=HOUR))
        courier.faults.next(2, "too_many", seconds=5)
        ...                                     # poll it at courier.url
        courier.ledger.lines(status=429)        # the requests it received
        courier.send_webhooks_to(ordertrail_url)  # before the orders are created
        courier.webhooks.start()
        courier.webhooks.missed(order)             # the steps that no webhook will report

A courier that has none of its own here only sends its webhooks (WebhooksOnly). `make sandbox`
starts all of them by hand.
"""

from tests.sandbox.cottoncast import Cottoncast
from tests.sandbox.courier import Courier
from tests.sandbox.faults import Fault
from tests.sandbox.ledger import RecordedRequest
from tests.sandbox.orders import Clock, Order, Step, evenly
from tests.sandbox.shipmentapi import ShipmentAPI
from tests.sandbox.tiramizoo import Tiramizoo
from tests.sandbox.webhooks import Chances
from tests.sandbox.webhooks_only import WebhooksOnly

COURIERS: tuple[type[Courier], ...] = (Tiramizoo, Cottoncast, ShipmentAPI)

__all__ = [
    "COURIERS",
    "Chances",
    "Clock",
    "Cottoncast",
    "Courier",
    "Fault",
    "Order",
    "RecordedRequest",
    "ShipmentAPI",
    "Step",
    "Tiramizoo",
    "WebhooksOnly",
    "evenly",
]
