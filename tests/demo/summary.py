"""The result of a demo day, counted at the couriers and compared with Ordertrail."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.couriers import DRIVERS
from tests.demo.day import Day
from tests.demo.shop import Shop
from tests.sandbox import Courier, Order
from tests.sandbox.webhooks import DELIVERED


@dataclass(frozen=True)
class CourierResult:
    """The counts of one courier.

    sent            webhook requests, repetitions and retries included
    lost            states that no webhook reported
    out_of_order    webhooks that arrived after one of a later state of their order
    polls           requests to the courier's API
    from_polls      states that only polls reported
    wrong           orders whose state differs from the courier's, and how it differs
    """

    courier: str
    orders: int
    sent: int
    lost: int
    repeated: int
    out_of_order: int
    polls: int
    from_polls: int
    wrong: Mapping[str, str]

    def row(self) -> list[str]:
        right = f"{self.orders - len(self.wrong)} of {self.orders}"
        numbers = (
            self.sent,
            self.lost,
            self.repeated,
            self.out_of_order,
            self.polls,
            self.from_polls,
        )
        return [self.courier, str(self.orders), *map(str, numbers), right]


HEAD = [
    "",
    "orders",
    "webhooks",
    "lost",
    "repeated",
    "out of order",
    "polls",
    "states from polls",
    "right",
]


def not_yet_right(day: Day, known: Mapping[str, Any]) -> dict[str, str]:
    """Return the orders that differ from their courier's last state, and how."""
    wrong = {}
    for _, order in day.orders:
        at = known.get(order.id, {}).get("courier_status", "unknown")
        if at != order.life[-1].state:
            wrong[order.id] = f"it is {at} instead of {order.life[-1].state}"
    return wrong


def courier_results(day: Day, shop: Shop) -> Iterator[CourierResult]:
    """Count and check the orders of each courier at the end of the day."""
    known, accounts = shop.orders(), shop.accounts()
    late = not_yet_right(day, known)
    for courier in day.couriers:
        from_polls, wrong = 0, {}
        for order in courier.orders:
            events = [it for it in shop.events(courier, order) if not it["parcel"]]
            from_polls += sum(event["source"]["kind"] == "poll" for event in events)
            if error := late.get(order.id) or _wrong_timeline(courier, order, events):
                wrong[order.id] = error
        webhooks = courier.webhooks.summary()
        yield CourierResult(
            courier=courier.name,
            orders=len(courier.orders),
            sent=webhooks.sent,
            lost=webhooks.lost + webhooks.given_up,
            repeated=webhooks.repeated,
            out_of_order=sum(_out_of_order(courier, order) for order in courier.orders),
            polls=accounts[courier.name]["poll_requests"],
            from_polls=from_polls,
            wrong=wrong,
        )


def _wrong_timeline(courier: Courier, order: Order, events: Sequence[Any]) -> str | None:
    """Compare the applied events of an order with its life; return what is wrong.

    Only Tiramizoo's timeline must be complete, because each of its snapshots has the whole life. A
    state of Cottoncast's that was lost cannot be fetched, and ShipmentAPI reports no times.
    """
    words = DRIVERS[courier.name].words
    life = [step.state for step in order.life if step.state in words]
    counted = [event["courier_status"] for event in events if event["applied"]]
    expected = {"tiramizoo": life, "cottoncast": [word for word in life if word in counted]}.get(
        courier.name, counted
    )
    return None if counted == expected else f"its timeline is {counted} instead of {life}"


def _out_of_order(courier: Courier, order: Order) -> int:
    """Count the webhooks that first arrived after one of a later state."""
    arrived = sorted(
        (min(it.at for it in webhook.attempts if it.status == 200), webhook.number)
        for webhook in courier.webhooks.webhooks(order)
        if webhook.fate == DELIVERED
    )
    latest, count = -1, 0
    for _, number in arrived:
        count += number < latest
        latest = max(latest, number)
    return count


def table(rows: Sequence[CourierResult]) -> str:
    """Return a table with a line per courier and one for all."""
    columns = [row.row()[1:-1] for row in rows]
    sums = [str(sum(map(int, column))) for column in zip(*columns, strict=True)]
    right = sum(row.orders - len(row.wrong) for row in rows)
    total = ["all", *sums, f"{right} of {sums[0]}"]
    lines = [HEAD, *(row.row() for row in rows), total]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if not place else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
