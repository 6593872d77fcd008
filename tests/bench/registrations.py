"""How many orders a second are registered one by one, and a hundred in a request?

    .venv/bin/python -m tests.bench.registrations [--orders N] [--clients N]

Through gunicorn, in turns on one database; half of the accounts can be polled.
"""

import argparse
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from receiver.db.migrate import migrate
from tests.servers import running
from tests.service import running_web

TOKEN = "bench-token-of-the-shop"
ACCOUNTS = ("tiramizoo", "cottoncast")
GOAL = 1000


def new_order(number: int) -> dict[str, Any]:
    """An order as a shop registers it."""
    return {
        "account": ACCOUNTS[number // 100 % 2],
        "courier_order_id": f"6d1f0b1e-5f0e-4c39-8f0c-{number:012}",
        "reference": f"S-{number}",
        "metadata": {"shop": "munich"},
    }


def register(port: int, numbers: "count[int]", orders: int, size: int, clients: int) -> float:
    """Register so many orders, `size` in a request; return how many there were in a second."""
    requests = [[new_order(next(numbers)) for _ in range(size)] for _ in range(orders // size)]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}/v1", headers=headers, timeout=60
    ) as client:

        def send(batch: list[dict[str, Any]]) -> None:
            if size == 1:
                answer = client.post("/orders", json=batch[0])
                statuses = {answer.status_code}
            else:
                answer = client.post("/orders/batch", json={"orders": batch})
                statuses = {result["status"] for result in answer.json()["results"]}
            if statuses != {201}:
                raise SystemExit(f"{answer.status_code} {answer.text[:500]}")

        started = time.monotonic()
        with ThreadPoolExecutor(clients) as pool:
            list(pool.map(send, requests))
        return orders / (time.monotonic() - started)


def main() -> int:
    """Print the rates; 1 where batches stay below the goal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=5000, help="in batches, each round")
    parser.add_argument("--clients", type=int, default=2)
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="ot-registrations-")).resolve()
    best = 0.0
    try:
        with running(directory, {}) as servers:
            servers.postgres.create_database("registrations")
            environ = {
                "API_TOKENS": TOKEN,
                "COURIER_TIRAMIZOO_SECRETS": "x",
                "COURIER_TIRAMIZOO_API_TOKEN": "made-up",
                "COURIER_COTTONCAST_SECRETS": "x",
                "DATABASE_URL": servers.postgres.url("registrations"),
                "REDIS_URL": servers.valkey.url(0),
                "REQUEST_LOG": "off",
            }
            migrate(environ["DATABASE_URL"])
            numbers = count(1)
            with running_web(environ, directory / "web.log") as web:
                register(web.port, numbers, 200, 100, 1)
                for _ in range(3):
                    alone = register(web.port, numbers, given.orders // 25, 1, given.clients)
                    rate = register(web.port, numbers, given.orders, 100, given.clients)
                    best = max(best, rate)
                    sys.stdout.write(
                        f"{alone:,.0f} orders a second one by one, {rate:,.0f} in batches:"
                        f" {rate / alone:.0f} times as many\n"
                    )
                    sys.stdout.flush()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return int(best < GOAL)


if __name__ == "__main__":
    sys.exit(main())
