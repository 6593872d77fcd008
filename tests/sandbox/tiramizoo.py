"""Tiramizoo, as its documents 003 (current API) and 000 (retries) say it behaves."""

import random
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from tests.bodies import history_entry, package, raw, tiramizoo_order
from tests.sandbox.courier import Courier
from tests.sandbox.orders import Order, Step
from tests.sandbox.webhooks import Message, RetryPolicy
from tests.sandbox.wire import Answer, Request, as_json

ZONE = ZoneInfo("Europe/Berlin")
MOST_PER_PAGE = 100
LETTERS = "ABCDEFGHJKLMNOPQRSTUVWXYZ0123456789"

# The type of a history entry where no reason is given. `pick_up` is the document's, and the two
# failures are from its lists of reasons; the other two are ours, since it shows none.
DEEDS = {
    "picked_up": "pick_up",
    "pickup_failed": "sender_was_not_at_home",
    "delivered": "delivery",
    "delivery_failed": "recipient_was_not_at_home",
    "returned": "return",
}
# Source: document 003, samples of List Orders (pending) and Cancel Order (not_delivered).
PACKAGE_STATES = {
    "picked_up": "picked_up",
    "delivered": "delivered",
    "delivery_failed": "not_delivered",
    "returned": "not_delivered",
}


class Tiramizoo(Courier):
    """Orders by Show and by List; a snapshot by webhook for every state.

    list_status   what List Orders answers with: document 003 says 201, of all things
    newest_first  how List Orders sorts, which no document says
    """

    name = "tiramizoo"
    prefix = "/api/v1"
    first_state = "created"
    # Source: document 000, "Web Hooks": 2xx counts, else retry_count ** 4 + 15 seconds, 25 times.
    retry_policy = RetryPolicy(
        accepts=lambda status: 200 <= status < 300,
        waits=tuple(retry_count**4 + 15 for retry_count in range(25)),
    )

    list_status = 201
    newest_first = False

    def name_order(self, number: int, chance: random.Random) -> tuple[str, dict[str, str]]:
        def letters(count: int) -> str:
            return "".join(chance.choices(LETTERS, k=count))

        order_id = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        tracking_code = f"{letters(5)}-{letters(4)}-{letters(4)}"
        return order_id, {"identifier": letters(6), "tracking_code": tracking_code}

    def authorized(self, request: Request) -> bool:
        """Source: document 003, "Authentication": header Api-Token, or api_token in the query."""
        shown = request.headers.get("Api-Token") or request.arguments.get("api_token")
        return shown == self.token

    def route(self, request: Request) -> Answer:
        """Source: document 003, "List Orders", "Show Order", "Show Order by external ID"."""
        if request.method != "GET":
            return self.error(405)
        match request.parts(self.prefix):
            case ("orders",):
                return self._list(request.arguments)
            case ("orders", "by_external_id", reference):
                order = self.find_by_reference(reference)
            case ("orders", name):
                order = self.find(name)
                if order is not None and name not in {order.id, order.names["identifier"]}:
                    order = None
            case _:
                order = None
        return self.error(404) if order is None else self.show(order)

    def show(self, order: Order) -> Answer:
        return as_json(self.body(order, order.reached(self.now())))

    def error(self, status: int, message: str = "") -> Answer:
        """In the form of the documented 422, the only error whose body document 003 shows."""
        return as_json({"code": f"error_{status}", "message": message, "errors": []}, status)

    def _list(self, arguments: dict[str, str]) -> Answer:
        """Source: document 003, "List Orders": at most 100 a page, created later than `from`."""
        try:
            page, per_page = int(arguments.get("page", 1)), int(arguments.get("per_page", 100))
            since = arguments.get("from")
            after = datetime.fromisoformat(since) if since is not None else None
        except ValueError as wrong:
            return self.error(400, str(wrong))
        if after is not None and after.tzinfo is None:
            after = after.replace(tzinfo=ZONE)
        if page < 1 or not 1 <= per_page <= MOST_PER_PAGE:
            return self.error(422, f"page {page}, per_page {per_page}: not allowed")
        found = self._created(after, arguments.get("external_id"))
        start = (page - 1) * per_page
        now = self.now()
        meta = {
            "page": page,
            "total_pages": max(1, -(-len(found) // per_page)),
            "per_page": per_page,
        }
        shown = [self.body(order, order.reached(now)) for order in found[start : start + per_page]]
        return as_json({"orders": shown, "meta": meta}, self.list_status)

    def _created(self, after: datetime | None, reference: str | None) -> list[Order]:
        now = self.now()
        found = [
            order
            for order in list(self.orders)
            if order.life[0].at <= now
            and (after is None or order.life[0].at > after)
            and (reference is None or order.reference == reference)
        ]
        return sorted(found, key=lambda order: order.life[0].at, reverse=self.newest_first)

    def body(self, order: Order, steps: Sequence[Step]) -> dict[str, Any]:
        """An order as Show Order has it after these steps; times to the second, as documented."""
        last = steps[-1]
        cancelled = [step.reason for step in steps if step.state == "cancelled"]
        return tiramizoo_order(
            order.id,
            times={step.state: local(step.at) for step in steps},
            state=last.state,
            history=[
                history_entry(step.reason or DEEDS[step.state], local(step.at), step.state)
                for step in steps
                if step.state in DEEDS
            ],
            external_id=order.reference,
            identifier=order.names["identifier"],
            tracking_code=order.names["tracking_code"],
            tracking_url=f"http://www.tiramizoo.com/orders/{order.id}/tracking_status?locale=en",
            web_hook_url=order.webhook_url,
            cancellation_reason=cancelled[-1] if cancelled else None,
            packages=[package(order.id[:8].upper(), PACKAGE_STATES.get(last.state, "pending"))],
        )

    def webhook_message(self, order: Order, number: int) -> Message:
        """The snapshot as of that step, and not as of now: each webhook tells its own change.

        Source: document 000: the same fields as Get Order, posted at each status change.
        """
        return Message(raw(self.body(order, order.life[: number + 1])))


def local(at: datetime) -> datetime:
    return at.astimezone(ZONE).replace(microsecond=0)
