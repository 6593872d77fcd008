"""The statuses of an order, with each courier's words for them."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from receiver.couriers import DRIVERS
from receiver.statuses import VOCABULARY


def describe_statuses(of_accounts: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """Return all statuses in the shape of the schema Vocabulary.

    of_accounts: the words of each account whose field map has its own; it stands beside the
    couriers.
    """
    words = {driver.name: driver.words for driver in DRIVERS.values()} | dict(of_accounts)
    return {
        "statuses": [
            {
                **asdict(status),
                "couriers": {
                    courier: mapped
                    for courier, known in words.items()
                    if (mapped := [word for word, status_of in known.items() if status_of == name])
                },
            }
            for name, status in VOCABULARY.items()
        ]
    }
