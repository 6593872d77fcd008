"""GET /v1/statuses: our words, and each courier's words for them."""

from dataclasses import asdict
from typing import Any

from receiver import schemas
from receiver.couriers import DRIVERS
from receiver.routes import Routes
from receiver.statuses import VOCABULARY

vocabulary = Routes("statuses", __name__, description="The vocabulary")


@vocabulary.get("/statuses")
@vocabulary.response(200, schemas.Vocabulary)
def list_statuses() -> dict[str, Any]:
    """The statuses, and each courier's words mapped to them.

    An open set: treat a status that you do not know by its group.
    """
    return {
        "statuses": [
            {
                **asdict(status),
                "couriers": {
                    driver.name: words
                    for driver in DRIVERS.values()
                    if (words := [word for word, ours in driver.words.items() if ours == name])
                },
            }
            for name, status in VOCABULARY.items()
        ]
    }
