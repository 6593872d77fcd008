"""ShipmentAPI, as its document 004 says it behaves.

The document shows no body, no path and no words: these are the names of our driver's own field map.
"""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from tests.bodies import raw, shipmentapi_order
from tests.sandbox.courier import Courier
from tests.sandbox.orders import Order, Step
from tests.sandbox.webhooks import Message, RetryPolicy
from tests.sandbox.wire import Answer, Request, as_json

ACCEPTED = {"accepted", "confirmed", "processed"}
CANCELLED = {"canceled", "cancelled", "rejected", "failed"}


class ShipmentAPI(Courier):
    """An order by its reference; one callback in its life, when it was accepted or cancelled.

    unknown_for     how long after its placing an order is not found
    label_after     how long after acceptance the label and the tracking number appear
    pickup_after    how long after acceptance it is known when the driver comes
    pickup_notice   how long after that moment he comes
    """

    name = "shipmentapi"
    first_state = "accepted"
    # Source: document 004: "our system will only send a callback request ... a single time".
    retry_policy = RetryPolicy(accepts=lambda status: 200 <= status < 300)

    unknown_for = timedelta()
    label_after = timedelta(minutes=2)
    pickup_after = timedelta(minutes=30)
    pickup_notice = timedelta(hours=2)

    def name_order(self, number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
        order_id = f"SA-{2000 + self.seed * 1_000_000 + number}"
        return order_id, {"tracking_number": f"{chance.randrange(10**14):014}"}

    def authorized(self, request: Request) -> bool:
        """Source: couriers/README.md: a bearer token."""
        scheme, _, shown = request.headers.get("Authorization", "").partition(" ")
        return scheme.casefold() == "bearer" and shown == self.token

    def route(self, request: Request) -> Answer:
        """Source: document 004, "Get Order by Reference"; the path is ORDER_PATH's default."""
        if request.method != "GET":
            return self.error(405)
        match request.parts(self.prefix):
            case ("orders", order_id):
                order = self.find(order_id)
                if order is not None and order.id == order_id and self._known(order):
                    return self.show(order)
        return self.error(404)

    def _known(self, order: Order) -> bool:
        """Source: document 004: "we recommend against attempting ... immediately after"."""
        return order.life[0].at + self.unknown_for <= self.now()

    def show(self, order: Order) -> Answer:
        now = self.now()
        return as_json(self.body(order, order.reached(now), now))

    def error(self, status: int, message: str = "") -> Answer:
        return as_json({"error": message or f"error {status}"}, status)

    def body(self, order: Order, steps: Sequence[Step], at: datetime) -> dict[str, Any]:
        """An order after these steps, with the details that are there by then.

        Source: document 004: label and tracking number "won't be immediately available", and
        neither is the pickup arrival time.
        """
        last = steps[-1]
        accepted = [step.at for step in steps if step.state not in CANCELLED | {"placed"}]
        has_label = bool(accepted) and accepted[0] + self.label_after <= at
        has_pickup = bool(accepted) and accepted[0] + self.pickup_after <= at
        tracking_number = order.names["tracking_number"]
        return shipmentapi_order(
            order.id,
            last.state,
            client_reference=order.reference,
            reason=last.reason,
            carrier="DPD" if accepted else None,
            tracking_number=tracking_number if has_label else None,
            tracking_url=f"https://dpd.example/{tracking_number}" if has_label else None,
            label_url=f"https://shipmentapi.example/labels/{order.id}.pdf" if has_label else None,
            pickup_time=self._pickup_time(accepted[0]).isoformat() if has_pickup else None,
        )

    def _pickup_time(self, accepted_at: datetime) -> datetime:
        return (accepted_at + self.pickup_after + self.pickup_notice).replace(microsecond=0)

    def reported_steps(self, order: Order) -> list[int]:
        """The first step that says whether the order was accepted, and nothing after it."""
        decided = [
            number for number, step in enumerate(order.life) if step.state in ACCEPTED | CANCELLED
        ]
        return decided[:1]

    def webhook_message(self, order: Order, number: int) -> Message:
        """Source: document 004: the payload is the same as Get Order's."""
        steps = order.life[: number + 1]
        return Message(raw(self.body(order, steps, steps[-1].at)))
