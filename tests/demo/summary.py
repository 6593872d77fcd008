"""What happened in a day, counted at the couriers, and whether Ordertrail has it right."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.couriers import DRIVERS
from tests.demo.day import Day
from tests.demo.shop import Shop
from tests.sandbox import Courier, Order
from tests.sandbox.hooks import TOLD


@dataclass(frozen=True)
class Fared:
    """How one courier's orders fared.

    posts           requests that its hooks took, with all repetitions and retries
    lost            states that no hook ever told of
    out_of_order    hooks that came after one of a later state of their order
    asked, learnt   requests to its API, and states that only these told
    wrong           orders that are not as the courier has them, and how they are instead
    """

    courier: str
    orders: int
    posts: int
    lost: int
    repeated: int
    out_of_order: int
    asked: int
    learnt: int
    wrong: Mapping[str, str]

    def row(self) -> list[str]:
        right = f"{self.orders - len(self.wrong)} of {self.orders}"
        numbers = (self.posts, self.lost, self.repeated, self.out_of_order, self.asked, self.learnt)
        return [self.courier, str(self.orders), *map(str, numbers), right]


HEAD = [
    "",
    "orders",
    "hooks sent",
    "lost",
    "repeated",
    "out of order",
    "asked",
    "learnt by asking",
    "right",
]


def not_yet_right(day: Day, known: Mapping[str, Any]) -> dict[str, str]:
    """The orders whose status is not their courier's last word, and what it is."""
    wrong = {}
    for _, order in day.orders:
        at = known.get(order.id, {}).get("courier_status", "unheard of")
        if at != order.life[-1].state:
            wrong[order.id] = f"it is {at}, and not {order.life[-1].state}"
    return wrong


def fared(day: Day, shop: Shop) -> Iterator[Fared]:
    """Every courier's orders, when the day is over."""
    known, accounts = shop.orders(), shop.accounts()
    late = not_yet_right(day, known)
    for courier in day.couriers:
        learnt, wrong = 0, {}
        for order in courier.orders:
            events = [it for it in shop.events(courier, order) if not it["parcel"]]
            learnt += sum(event["source"]["kind"] == "poll" for event in events)
            if told := late.get(order.id) or _wrong_timeline(courier, order, events):
                wrong[order.id] = told
        hooks = courier.hooks.summary()
        yield Fared(
            courier=courier.name,
            orders=len(courier.orders),
            posts=hooks.sent,
            lost=hooks.lost + hooks.given_up,
            repeated=hooks.repeated,
            out_of_order=sum(_out_of_order(courier, order) for order in courier.orders),
            asked=accounts[courier.name]["poll_requests"],
            learnt=learnt,
            wrong=wrong,
        )


def _wrong_timeline(courier: Courier, order: Order, events: Sequence[Any]) -> str | None:
    """What counts of an order's timeline, against its life: each state once, and in its order.

    All of them only with Tiramizoo, whose every snapshot tells the whole life: from Cottoncast a
    state that was lost is not to be had any more, and ShipmentAPI tells no times at all.
    """
    words = DRIVERS[courier.name].words
    life = [step.state for step in order.life if step.state in words]
    told = [event["courier_status"] for event in events if event["applied"]]
    expected = {"tiramizoo": life, "cottoncast": [word for word in life if word in told]}.get(
        courier.name, told
    )
    return None if told == expected else f"its timeline is {told}, and not {life}"


def _out_of_order(courier: Courier, order: Order) -> int:
    """Hooks that arrived for the first time when a later state's had done so already."""
    arrived = sorted(
        (min(it.at for it in hook.attempts if it.status == 200), hook.number)
        for hook in courier.hooks.hooks(order)
        if hook.fate == TOLD
    )
    latest, count = -1, 0
    for _, number in arrived:
        count += number < latest
        latest = max(latest, number)
    return count


def table(rows: Sequence[Fared]) -> str:
    """All couriers, a line each, and their sum."""
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
