"""The bodies of the bench: the sample of the courier's own document, each with ids of its own."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.bench.load import PLACE
from tests.bodies import history_entry, payload

START = datetime(2026, 4, 16, 7, 0, tzinfo=UTC)
WIDTH = len(PLACE)

# The life of an order that is hard to bring: eight snapshots.
LIFE: tuple[tuple[str, str | None], ...] = (
    ("created", None),
    ("dispatched", None),
    ("pickup_failed", "sender_was_not_at_home"),
    ("picked_up", None),
    ("delivery_failed", "recipient_was_not_at_home"),
    ("delivery_failed", "address_not_found"),
    ("delivery_failed", "recipient_was_not_at_home"),
    ("delivered", None),
)


def hook(**changed: Any) -> bytes:
    """The sample hook (2.2 kB) with PLACE as its id and further names."""
    place = PLACE.decode()
    body = payload("tiramizoo/order_web_hook.json") | {
        "uuid": place,
        "external_id": f"S-{place}",
        "identifier": f"I-{place}",
        "tracking_code": f"T-{place}",
    }
    return json.dumps(body | changed).encode()


def snapshots() -> list[bytes]:
    """The hooks of one order's whole life, the oldest first, each with PLACE as its id."""
    columns: dict[str, str] = {}
    history: list[dict[str, Any]] = []
    found = []
    for number, (state, reason) in enumerate(LIFE):
        at = (START + number * timedelta(minutes=50)).isoformat()
        columns[f"{state}_at"] = at
        if reason:
            history.append(history_entry(reason, at, state))
        found.append(hook(state=state, history=list(history), events=list(history), **columns))
    return found


def filled(template: bytes, order_id: str) -> bytes:
    """A body with an order's id in its place."""
    return template.replace(PLACE, order_id.encode())
