"""The shop of the demo: registers its orders and reads their state through the API."""

import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, urlsplit

from tests.demo.day import Day
from tests.sandbox import Courier, Order
from tests.sandbox.orders import utc_now

PATIENCE = 20.0
LOOK_EVERY = 0.05
FAILURES = (OSError, http.client.HTTPException)


class Shop:
    """A client of the API, for one thread."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(
            address.hostname or "", address.port, timeout=PATIENCE
        )

    def another(self) -> "Shop":
        return Shop(self._url, self._headers["Authorization"].removeprefix("Bearer "))

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of an answer. Raises: RuntimeError for a 4xx or 5xx answer."""
        data = None if body is None else json.dumps(body)
        try:
            status, said = self._once(method, path, data)
        except FAILURES:
            # An idle connection may have been closed; every request here may be repeated.
            self._connection.close()
            status, said = self._once(method, path, data)
        if status >= http.HTTPStatus.BAD_REQUEST:
            raise RuntimeError(f"{method} {path}: {status} {said[:200]!r}")
        return json.loads(said)

    def _once(self, method: str, path: str, data: str | None) -> tuple[int, bytes]:
        self._connection.request(method, path, data, self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def register_all(self, day: Day, stop: threading.Event) -> None:
        """Register each order when it is placed."""
        for courier, order in day.orders:
            while utc_now() < order.life[0].at:
                if stop.wait(LOOK_EVERY):
                    return
            new = {"courier_order_id": order.id, "reference": order.reference}
            self.call("POST", "/v1/orders", {"account": courier.name, **new})

    def watch_alerts(self, seen: dict[str, str], stop: threading.Event) -> None:
        """Collect the alerts that open: condition and account, with their summary."""
        while not stop.wait(0.5):
            with suppress(*FAILURES):
                for alert in self.call("GET", "/v1/alerts")["alerts"]:
                    about = " ".join(filter(None, (alert["condition"], alert["account"])))
                    seen[about] = alert["summary"]

    def orders(self) -> dict[str, Any]:
        """Return all orders by the courier's id."""
        return {order["courier_order_id"]: order for page in self._pages() for order in page}

    def _pages(self) -> Iterator[list[Any]]:
        cursor = ""
        while True:
            page = self.call("GET", f"/v1/orders?limit=200{cursor}")
            yield page["orders"]
            if page["next_cursor"] is None:
                return
            cursor = f"&cursor={quote(page['next_cursor'])}"

    def events(self, courier: Courier, order: Order) -> list[Any]:
        path = f"/v1/orders/{courier.name}/{quote(order.id, safe='')}/events"
        return list(self.call("GET", path)["events"])

    def accounts(self) -> dict[str, Any]:
        return {it["account"]: it for it in self.call("GET", "/v1/couriers")["couriers"]}
