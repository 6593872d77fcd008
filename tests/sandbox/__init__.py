"""A stand-in for each courier: one real HTTP server that behaves as the courier's document says.

    with Tiramizoo(now=Clock(start)) as courier:
        order = courier.create(evenly("created", "delivered", start=start, apart=HOUR))
        courier.faults.next(2, "too_many", seconds=5)
        ...                                     # ask at courier.url
        courier.ledger.lines(status=429)        # what was asked
        courier.point_hooks_at(ordertrail_url)  # before orders whose hooks are to be sent
        courier.hooks.start()
        courier.hooks.missed(order)             # the steps that no hook will ever tell of

`python -m tests.sandbox` (`make sandbox`) starts all three by hand.
"""

from tests.sandbox.cottoncast import Cottoncast
from tests.sandbox.courier import Courier
from tests.sandbox.faults import Fault
from tests.sandbox.hooks import Chances
from tests.sandbox.ledger import Asked
from tests.sandbox.orders import Clock, Order, Step, evenly
from tests.sandbox.shipmentapi import ShipmentAPI
from tests.sandbox.tiramizoo import Tiramizoo

COURIERS: tuple[type[Courier], ...] = (Tiramizoo, Cottoncast, ShipmentAPI)

__all__ = [
    "COURIERS",
    "Asked",
    "Chances",
    "Clock",
    "Cottoncast",
    "Courier",
    "Fault",
    "Order",
    "ShipmentAPI",
    "Step",
    "Tiramizoo",
    "evenly",
]
