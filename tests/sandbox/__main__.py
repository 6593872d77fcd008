"""Start stand-ins for all couriers, with orders that progress while you watch."""

import argparse
import random
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import partial

from receiver.couriers import DRIVERS
from tests.sandbox import COURIERS, Chances, Courier, ShipmentAPI, WebhooksOnly, evenly
from tests.sandbox.orders import utc_now

LIVES: dict[str, list[Sequence[str]]] = {
    "tiramizoo": [
        ("created", "dispatched", "picked_up", "delivered"),
        ("created", "dispatched", "picked_up", "delivery_failed", "returned"),
        ("created", "dispatched", "pickup_failed", "picked_up", "delivered"),
    ],
    "cottoncast": ["NLRCED", "NLRCEIED", "NLRCEX"],
    "shipmentapi": [
        ("placed", "accepted", "collected", "in_transit", "out_for_delivery", "delivered"),
        ("placed", "cancelled"),
    ],
}


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sandbox", description=__doc__)
    parser.add_argument(
        "--ordertrail", default="http://127.0.0.1:8000", help="where webhooks are sent"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8801,
        help="port of the first courier; the others take the next ones",
    )
    parser.add_argument("--orders", type=int, default=6, help="orders of each courier")
    parser.add_argument(
        "--apart", type=float, default=20, help="seconds between two states of an order"
    )
    parser.add_argument("--speed", type=float, default=60, help="divides the waits between retries")
    parser.add_argument(
        "--lose", type=float, default=0.0, help="probability that a webhook is lost"
    )
    parser.add_argument(
        "--repeat", type=float, default=0.0, help="probability that a webhook is repeated"
    )
    parser.add_argument(
        "--shuffle", type=float, default=0.0, help="largest random delay of a webhook, in seconds"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    return parser.parse_args()


def stand_ins() -> list[Callable[..., Courier]]:
    """Return what makes each courier's stand-in: its own, or one that only sends webhooks."""
    named = {courier.name for courier in COURIERS}
    others = [driver for driver in DRIVERS.values() if driver.name not in named and driver.words]
    return [*COURIERS, *(partial(WebhooksOnly, driver) for driver in others)]


def started(make: Callable[..., Courier], port: int, options: argparse.Namespace) -> Courier:
    """Start a courier whose orders begin now, one after the other."""
    courier = make(
        port=port,
        seed=options.seed,
        speed=options.speed,
        chances=Chances(options.lose, options.repeat, timedelta(seconds=options.shuffle)),
    )
    courier.send_webhooks_to(options.ordertrail)
    courier.start()
    if isinstance(courier, ShipmentAPI):
        courier.label_after = courier.pickup_after = timedelta(seconds=options.apart / 2)
    apart, now = timedelta(seconds=options.apart), utc_now()
    for number in range(options.orders):
        lives = courier.lives() if isinstance(courier, WebhooksOnly) else LIVES[courier.name]
        states = lives[number % len(lives)]
        courier.create(evenly(*states, start=now + number * apart / options.orders, apart=apart))
    courier.webhooks.start()
    return courier


def how_to_poll(courier: Courier) -> str:
    if isinstance(courier, WebhooksOnly):
        return "cannot be polled"
    return f"token {courier.token}"


def guide(couriers: list[Courier], options: argparse.Namespace) -> str:
    """Return the text for the terminal: settings, addresses and how to change the couriers."""
    environ = [f"{name}={value}" for it in couriers for name, value in it.environ().items()]
    url = couriers[0].origin
    return "\n".join(
        [
            "Put these lines into the environment of the Ordertrail that is to use these couriers:",
            "",
            *environ,
            "",
            f"Webhooks go to {options.ordertrail} (--ordertrail); seed {options.seed} (--seed).",
            "",
            *[
                f"{it.name:<12} {it.url:<29} {how_to_poll(it)}, orders "
                + ", ".join(order.id for order in it.orders[:2])
                for it in couriers
            ],
            "",
            f"State        curl {url}/_sandbox",
            f'Add a fault  curl {url}/_sandbox/faults -d \'{{"kind": "too_many", "times": 3}}\'',
            f"No faults    curl {url}/_sandbox/faults -d '{{}}'",
            f'New order    curl {url}/_sandbox/orders -d \'{{"states": ["created"]}}\'',
            f"No webhooks  curl {url}/_sandbox/webhooks -d '{{\"silent\": true}}'",
            "Ctrl-C       stops the couriers",
        ]
    )


def main() -> None:
    options = arguments()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        couriers = []
        for place, make in enumerate(stand_ins()):
            port = options.port + place if options.port else 0
            try:
                couriers.append(started(make, port, options))
            except OSError as taken:
                raise SystemExit(f"port {port}: {taken.strerror}; --port gives another") from None
            stack.callback(couriers[-1].stop)
        print(guide(couriers, options), flush=True)  # noqa: T201 (a person reads it)
        stop.wait()


if __name__ == "__main__":
    main()
