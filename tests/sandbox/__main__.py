"""Start all three couriers by hand, with orders that live while you watch: `make sandbox`."""

import argparse
import random
import signal
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta

from tests.sandbox import COURIERS, Chances, Courier, ShipmentAPI, evenly
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
    parser.add_argument("--ordertrail", default="http://127.0.0.1:8000", help="whom hooks go to")
    parser.add_argument("--port", type=int, default=8801, help="of the first; the others follow")
    parser.add_argument("--orders", type=int, default=6, help="how many each courier has")
    parser.add_argument("--apart", type=float, default=20, help="seconds between two states")
    parser.add_argument("--speed", type=float, default=60, help="divides the waits of retries")
    parser.add_argument("--lose", type=float, default=0.0, help="how likely a hook is lost")
    parser.add_argument("--repeat", type=float, default=0.0, help="how likely one is repeated")
    parser.add_argument("--shuffle", type=float, default=0.0, help="most seconds it comes later")
    parser.add_argument("--seed", type=int, default=random.randrange(1000))
    return parser.parse_args()


def started(courier_class: type[Courier], port: int, told: argparse.Namespace) -> Courier:
    """A courier with orders whose lives begin now, one after the other."""
    courier = courier_class(
        port=port,
        seed=told.seed,
        speed=told.speed,
        chances=Chances(told.lose, told.repeat, timedelta(seconds=told.shuffle)),
    )
    courier.point_hooks_at(told.ordertrail)
    courier.start()
    if isinstance(courier, ShipmentAPI):
        courier.label_after = courier.pickup_after = timedelta(seconds=told.apart / 2)
    apart, now = timedelta(seconds=told.apart), utc_now()
    for number in range(told.orders):
        lives = LIVES[courier.name]
        states = lives[number % len(lives)]
        courier.create(evenly(*states, start=now + number * apart / told.orders, apart=apart))
    courier.hooks.start()
    return courier


def guide(couriers: list[Courier], told: argparse.Namespace) -> str:
    """What somebody at the terminal needs to know."""
    environ = [f"{name}={value}" for it in couriers for name, value in it.environ().items()]
    url = couriers[0].origin
    return "\n".join(
        [
            "An Ordertrail that is to meet these couriers needs in its environment:",
            "",
            *environ,
            "",
            f"Hooks go to {told.ordertrail} (--ordertrail), drawn from seed {told.seed} (--seed).",
            "",
            *[
                f"{it.name:<12} {it.url:<29} token {it.token}, orders "
                + ", ".join(order.id for order in it.orders[:2])
                for it in couriers
            ],
            "",
            f"Look      curl {url}/_sandbox",
            f'Spoil     curl {url}/_sandbox/faults -d \'{{"kind": "too_many", "times": 3}}\'',
            f"Behave    curl {url}/_sandbox/faults -d '{{}}'",
            f"No hooks  curl {url}/_sandbox/hooks -d '{{\"silent\": true}}'",
            "Ctrl-C    stops them",
        ]
    )


def main() -> None:
    told = arguments()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with ExitStack() as stack:
        couriers = []
        for place, courier_class in enumerate(COURIERS):
            port = told.port + place if told.port else 0
            try:
                couriers.append(started(courier_class, port, told))
            except OSError as taken:
                raise SystemExit(f"port {port}: {taken.strerror}; --port gives another") from None
            stack.callback(couriers[-1].stop)
        print(guide(couriers, told), flush=True)  # noqa: T201 (a person reads it)
        stop.wait()


if __name__ == "__main__":
    main()
