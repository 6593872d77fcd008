"""Our words for where an order stands, and each courier's words for them."""

from dataclasses import asdict
from typing import Any

from receiver.couriers import DRIVERS
from receiver.statuses import VOCABULARY


def words() -> dict[str, Any]:
    """The vocabulary as schemas.Vocabulary shows it."""
    return {
        "statuses": [
            {
                **asdict(status),
                "couriers": {
                    driver.name: own
                    for driver in DRIVERS.values()
                    if (own := [word for word, ours in driver.words.items() if ours == name])
                },
            }
            for name, status in VOCABULARY.items()
        ]
    }
