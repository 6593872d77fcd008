"""Show a day of a shop in two minutes, on a temporary service: `make demo`.

Webhooks are lost, repeated and shuffled; for eight hours of the day one courier sends none; one
body cannot be read, one status is unknown, and some webhooks are forged. Prints a summary; exits
with 0 if every order has the state that its courier has, otherwise with 1.
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
from tests.demo.summary import CourierResult, courier_results, not_yet_right, table
from tests.sandbox.orders import utc_now

# Seconds that the last repairs may take.
REPAIRS = 120.0
FORGED = 5


def arguments(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--orders", type=int, default=200, help="number of orders")
    parser.add_argument("--seconds", type=float, default=120.0, help="how long the day takes")
    parser.add_argument(
        "--port", type=int, default=0, help="port of the service; by default a free one"
    )
    parser.add_argument("--open", action="store_true", help="open the console in a browser")
    parser.add_argument("--stay", action="store_true", help="keep the service running until Ctrl-C")
    parser.add_argument("--seed", type=int, default=7, help="the same seed gives the same day")
    return parser.parse_args(argv)


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (a person reads it)


def introduce(service: Service, options: argparse.Namespace, day: Day) -> None:
    say(f"  the console   {service.url}/ops   (any name, and the token {service.token})")
    say(f"  the API       {service.url}/v1/docs   (any user name, the token as password)")
    say("")
    say(f"A day of {options.orders} orders in {options.seconds:.0f} seconds. Ctrl-C stops it.")
    first, last = (f"{it // HOUR:02}:00" for it in SILENT)
    say(f"From {first} to {last} Tiramizoo sends no webhooks.")
    say("")
    if options.open and not webbrowser.open(f"{service.url}/ops"):
        say("(no browser was found)")


def send_bad_messages(day: Day, shop: Shop) -> None:
    """Send one body that cannot be read and some forged webhooks."""
    tiramizoo = day.couriers[0]
    path = f"/webhooks/{tiramizoo.name}/orders"
    shop.call("POST", f"{path}/{tiramizoo.secret}", {"uuid": "half an order", "identifier": "?"})
    for number in range(FORGED):
        try:
            shop.call("POST", f"{path}/guess-{number}", {"uuid": "forged", "state": "delivered"})
        except RuntimeError:
            continue
        raise CannotDemonstrate("a forged webhook was accepted")


def narrate(day: Day, shop: Shop, alerts: dict[str, str], stop: threading.Event) -> None:
    """Print a line for every two hours of the day."""
    head = ("placed", "ended", "webhooks", "lost", "polls", "alerts")
    say(f"{'':7}{_cells(head)}")
    hours = list(range(2, 25, 2))
    while hours and not stop.wait(0.05):
        if day.passed < hours[0] * HOUR:
            continue
        now = utc_now()
        webhooks = [courier.webhooks.summary() for courier in day.couriers]
        numbers = (
            sum(order.life[0].at <= now for _, order in day.orders),
            sum(order["is_terminal"] for order in shop.orders().values()),
            sum(it.sent for it in webhooks),
            sum(it.lost for it in webhooks),
            sum(it["poll_requests"] for it in shop.accounts().values()),
            len(alerts),
        )
        silent = "   Tiramizoo is silent" if day.couriers[0].webhooks.silent else ""
        say(f"{hours.pop(0):02}:00  {_cells(numbers)}{silent}")


def _cells(row: Sequence[object]) -> str:
    return "".join(f"{it!s:>12}" for it in row)


def settle(day: Day, shop: Shop, stop: threading.Event) -> None:
    """Wait until every order is right, but not longer than REPAIRS."""
    deadline = time.monotonic() + REPAIRS
    while time.monotonic() < deadline and not stop.wait(0.2):
        unsent = sum(courier.webhooks.unfinished() for courier in day.couriers)
        if not unsent and not not_yet_right(day, shop.orders()):
            return


def report(rows: Sequence[CourierResult], alerts: dict[str, str]) -> int:
    """Print the summary and return the exit code."""
    say("")
    say(table(rows))
    say("")
    for about, summary in sorted(alerts.items()):
        say(f"alert  {about}: {summary}")
    wrong = {name: error for row in rows for name, error in row.wrong.items()}
    for name, error in wrong.items():
        say(f"WRONG  {name}: {error}")
    orders = sum(row.orders for row in rows)
    say("")
    say(
        f"{len(wrong)} of {orders} orders are wrong."
        if wrong
        else f"All {orders} orders have the state that their courier has."
    )
    return 1 if wrong else 0


def demonstrate(options: argparse.Namespace, stop: threading.Event) -> int:
    with days.couriers_for(options.seconds, options.seed) as day:
        settings = {"POLL_INTERVAL_FACTOR": f"{day.factor:.6f}"}
        for courier in day.couriers:
            settings |= courier.environ()
        say("Starting Ordertrail, a PostgreSQL, a Valkey and three couriers ...")
        with started(options.port, settings, stop) as service:
            shop = Shop(service.url, service.token)
            days.begin(day, options.orders, options.seed, service.url)
            introduce(service, options, day)
            alerts: dict[str, str] = {}
            threads = [
                threading.Thread(target=days.fall_silent, args=(day, stop)),
                threading.Thread(target=shop.another().watch_alerts, args=(alerts, stop)),
                threading.Thread(target=shop.another().register_all, args=(day, stop)),
            ]
            for thread in threads:
                thread.start()
            try:
                send_bad_messages(day, shop)
                narrate(day, shop, alerts, stop)
                settle(day, shop, stop)
                if stop.is_set():
                    say("stopped")
                    return 130
                code = report(list(courier_results(day, shop)), alerts)
                if options.stay:
                    say(f"\nThe service keeps running until Ctrl-C. Console: {service.url}/ops.")
                    stop.wait()
                return code
            finally:
                stop.set()
                for thread in threads:
                    thread.join()


def main() -> None:
    options = arguments()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: stop.set())
    try:
        raise SystemExit(demonstrate(options, stop))
    except CannotDemonstrate as why:
        raise SystemExit(f"demo: {why}") from None


if __name__ == "__main__":
    main()
