"""A day of a shop in two minutes, on a service of its own that is gone afterwards: `make demo`.

Hooks are lost, repeated and shuffled; for eight hours of the day one courier sends none at all; one
body cannot be read, one word is new, and somebody tries to forge. Ends with what happened: with 0
if every order is as its courier has it, with 1 if not.
"""

import argparse
import signal
import threading
import time
import webbrowser
from collections.abc import Sequence

from tests.demo import day as days
from tests.demo.day import HOUR, SILENT, Day
from tests.demo.service import CannotDemonstrate, Service, started
from tests.demo.shop import Shop
from tests.demo.summary import Fared, fared, not_yet_right, table
from tests.sandbox.orders import utc_now

# Seconds that the last repairs may take, at the day's own pace.
REPAIRS = 120.0
FORGED = 5


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--orders", type=int, default=200, help="how many")
    parser.add_argument("--seconds", type=float, default=120.0, help="that the day takes")
    parser.add_argument("--port", type=int, default=0, help="of the service; a free one by default")
    parser.add_argument("--open", action="store_true", help="open the console in a browser")
    parser.add_argument("--stay", action="store_true", help="go on until Ctrl-C, to look around")
    parser.add_argument("--seed", type=int, default=7, help="the same one draws the same day")
    return parser.parse_args(argv)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (a person reads it)


def introduce(service: Service, told: argparse.Namespace, day: Day) -> None:
    say(f"  the console   {service.url}/ops   (any name, and the token {service.token})")
    say(f"  the API       {service.url}/v1/docs   (any user name, the token as password)")
    say("")
    say(f"{told.orders} orders live a day in {told.seconds:.0f} seconds. Ctrl-C ends it.")
    first, last = (f"{it // HOUR:02}:00" for it in SILENT)
    say(f"From {first} to {last} Tiramizoo sends no hook at all.")
    say("")
    if told.open and not webbrowser.open(f"{service.url}/ops"):
        say("(no browser was found to open it with)")


def spice(day: Day, shop: Shop) -> None:
    """What else comes to the door in a day: a body that nobody can read, and forgeries."""
    tiramizoo = day.couriers[0]
    path = f"/webhooks/{tiramizoo.name}/orders"
    shop.call("POST", f"{path}/{tiramizoo.secret}", {"uuid": "half an order", "identifier": "?"})
    for number in range(FORGED):
        try:
            shop.call("POST", f"{path}/guess-{number}", {"uuid": "forged", "state": "delivered"})
        except RuntimeError:
            continue
        raise CannotDemonstrate("a forged message was let in")


def narrate(day: Day, shop: Shop, alerts: dict[str, str], stop: threading.Event) -> None:
    """A line every two hours of the day, until it is over."""
    head = ("placed", "over", "hooks sent", "lost", "asked", "alerts")
    say(f"{'':7}{_cells(head)}")
    hours = list(range(2, 25, 2))
    while hours and not stop.wait(0.05):
        if day.passed < hours[0] * HOUR:
            continue
        now = utc_now()
        hooks = [courier.hooks.summary() for courier in day.couriers]
        numbers = (
            sum(order.life[0].at <= now for _, order in day.orders),
            sum(order["is_terminal"] for order in shop.orders().values()),
            sum(it.sent for it in hooks),
            sum(it.lost for it in hooks),
            sum(it["poll_requests"] for it in shop.accounts().values()),
            len(alerts),
        )
        silent = "   Tiramizoo is silent" if day.couriers[0].hooks.silent else ""
        say(f"{hours.pop(0):02}:00  {_cells(numbers)}{silent}")


def _cells(row: Sequence[object]) -> str:
    return "".join(f"{it!s:>12}" for it in row)


def settle(day: Day, shop: Shop, stop: threading.Event) -> None:
    """Wait until everything is right, for as long as repairs may take."""
    deadline = time.monotonic() + REPAIRS
    while time.monotonic() < deadline and not stop.wait(0.2):
        unsent = sum(courier.hooks.unfinished() for courier in day.couriers)
        if not unsent and not not_yet_right(day, shop.orders()):
            return


def report(rows: Sequence[Fared], alerts: dict[str, str]) -> int:
    """The summary; 1 where an order is not right."""
    say("")
    say(table(rows))
    say("")
    for about, summary in sorted(alerts.items()):
        say(f"alert  {about}: {summary}")
    wrong = {name: told for row in rows for name, told in row.wrong.items()}
    for name, told in wrong.items():
        say(f"WRONG  {name}: {told}")
    orders = sum(row.orders for row in rows)
    say("")
    say(
        f"{len(wrong)} of {orders} orders are wrong."
        if wrong
        else f"Every one of {orders} orders is as its courier has it."
    )
    return 1 if wrong else 0


def demonstrate(told: argparse.Namespace, stop: threading.Event) -> int:
    with days.couriers_for(told.seconds, told.seed) as day:
        settings = {"POLL_INTERVAL_FACTOR": f"{day.factor:.6f}"}
        for courier in day.couriers:
            settings |= courier.environ()
        say("Starting Ordertrail, a PostgreSQL, a Valkey and three couriers ...")
        with started(told.port, settings, stop) as service:
            shop = Shop(service.url, service.token)
            days.begin(day, told.orders, told.seed, service.url)
            introduce(service, told, day)
            alerts: dict[str, str] = {}
            threads = [
                threading.Thread(target=days.fall_silent, args=(day, stop)),
                threading.Thread(target=shop.another().watch_alerts, args=(alerts, stop)),
                threading.Thread(target=shop.another().register_all, args=(day, stop)),
            ]
            for thread in threads:
                thread.start()
            try:
                spice(day, shop)
                narrate(day, shop, alerts, stop)
                settle(day, shop, stop)
                if stop.is_set():
                    say("stopped")
                    return 130
                code = report(list(fared(day, shop)), alerts)
                if told.stay:
                    say(f"\nLook around at {service.url}/ops; Ctrl-C ends it.")
                    stop.wait()
                return code
            finally:
                stop.set()
                for thread in threads:
                    thread.join()


def main() -> None:
    told = arguments()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        raise SystemExit(demonstrate(told, stop))
    except CannotDemonstrate as why:
        raise SystemExit(f"demo: {why}") from None


if __name__ == "__main__":
    main()
