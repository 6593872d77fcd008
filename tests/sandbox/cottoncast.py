"""Cottoncast, as its document 002 and its public pages (couriers/README.md) say it behaves."""

import base64
import binascii
import random
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.bodies import cottoncast_shipment, cottoncast_status, raw
from tests.digests import hmac_sha256_hex
from tests.sandbox.courier import Courier
from tests.sandbox.orders import Order, Step
from tests.sandbox.webhooks import Message, RetryPolicy
from tests.sandbox.wire import Answer, Request, as_json

ZONE = ZoneInfo("Europe/Amsterdam")

# Source: document 002, "Status codes": what a shipment can be.
LABELS = {
    "N": "New",
    "L": "Label created",
    "R": "Ready",
    "C": "Collected",
    "E": "En route",
    "I": "Problem",
    "X": "Lost",
    "D": "Delivered",
}
SHIPPED = {"C", "E", "D"}
# An order's own codes are another list: F is from the public pages, the other is ours.
FULFILLED = {"code": "F", "label": "Fulfilled"}
OPEN = {"code": "O", "label": "Open"}

MESSAGES = {401: "Unauthorized", 404: "Order not found"}


class Cottoncast(Courier):
    """An order by id; a signed webhook for every state.

    store: the name that an asker shows beside the token.
    """

    name = "cottoncast"
    first_state = "N"
    signs = True
    # Only 200 counts (couriers/README.md). No document says when it retries: five times, a
    # minute apart, is our choice.
    retry_policy = RetryPolicy(accepts=lambda status: status == 200, waits=(60.0,) * 5)

    store = "ordertrail-store"

    def name_order(self, number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
        return f"{0x3AF6 + self.seed * 0x100000 + number:X}", {
            "tracking_code": f"3SCEBU{chance.randrange(10**9):09}"
        }

    def authorized(self, request: Request) -> bool:
        """Source: couriers/README.md: HTTP Basic, store name and secret."""
        scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
        try:
            shown = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            return False
        return scheme.casefold() == "basic" and shown == f"{self.store}:{self.token}"

    def route(self, request: Request) -> Answer:
        """Source: couriers/README.md: GET /order/$id."""
        if request.method != "GET":
            return self.error(405)
        match request.parts(self.prefix):
            case ("order", order_id):
                order = self.find(order_id)
                if order is not None and order.id == order_id:
                    return self.show(order)
                # Source: document 002 has this sentence where it answers for an order.
                return self.error(404, f"Order {order_id} not found")
        return self.error(404)

    def show(self, order: Order) -> Answer:
        body = self.body(order, order.reached(self.now()))
        return as_json({"status": "ok", "response": {"order": body}})

    def error(self, status: int, message: str = "") -> Answer:
        text = message or MESSAGES.get(status, f"Error {status}")
        return as_json({"status": "error", "message": text}, status)

    def body(self, order: Order, steps: Sequence[Step]) -> dict[str, Any]:
        """An order as the poll shows it after these steps.

        Its own code says only whether anything was shipped; the shipment has one of the eight.
        `since` is Amsterdam local time to the minute, and does not say so.
        """
        last = steps[-1]
        status = FULFILLED if any(step.state in SHIPPED for step in steps) else OPEN
        tracking_code = self._tracking_code(order, steps)
        return {
            "id": order.id,
            "store": {"name": self.store, "order_id": order.reference},
            "status": {**status, "since": local_minute(last.at)},
            "addresses": {"shipping": {"name": "Bob Obbay", "city": "Amsterdam", "country": "NL"}},
            "line_items": [{"sku": "TOTE-BAG", "quantity": 1}],
            "shipments": [
                {
                    "status": {"code": last.state, "label": LABELS.get(last.state, last.state)},
                    "tracking": {
                        "code": tracking_code,
                        "url": f"https://postnl.example/{tracking_code}" if tracking_code else None,
                    },
                }
            ],
        }

    def webhook_message(self, order: Order, number: int) -> Message:
        """Source: document 002, "Example request body"; signed as couriers/README.md says."""
        step, steps = order.life[number], order.life[: number + 1]
        tracking_code = self._tracking_code(order, steps)
        body = raw(
            cottoncast_status(
                step.state,
                step.at,
                order.id,
                order.reference,
                [cottoncast_shipment(tracking_code)] if tracking_code else [],
            )
        )
        return Message(body, {"Cottoncast-Authentication": hmac_sha256_hex(self.secret, body)})

    def _tracking_code(self, order: Order, steps: Sequence[Step]) -> str | None:
        """None before there is a label: document 002 has L for "a label has been created"."""
        labelled = any(step.state != "N" for step in steps)
        return order.names["tracking_code"] if labelled else None

    def environ(self) -> dict[str, str]:
        return {**super().environ(), f"COURIER_{self.account}_API_USER": self.store}


def local_minute(at: datetime) -> str:
    return f"{at.astimezone(ZONE):%Y-%m-%d %H:%M}"
