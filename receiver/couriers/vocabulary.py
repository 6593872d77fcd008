"""The statuses of an order, with each courier's words for them."""

from dataclasses import asdict
from typing import Any

from receiver.couriers import DRIVERS
from receiver.statuses import VOCABULARY


def describe_statuses() -> dict[str, Any]:
    """Return all statuses in the shape of the schema Vocabulary."""
    return {
        "statuses": [
            {
                **asdict(status),
                "couriers": {
                    driver.name: words
                    for driver in DRIVERS.values()
                    if (words := [word for word, mapped in driver.words.items() if mapped == name])
                },
            }
            for name, status in VOCABULARY.items()
        ]
    }
