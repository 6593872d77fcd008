"""Switches of a running sandbox: JSON under /_sandbox, which the ledger does not record.

GET  /_sandbox           orders, faults, requests and webhooks so far
POST /_sandbox/faults    {"kind": "too_many", "seconds": 5, "times": 3}: without times, until {}
                         {"per_second": 5}: a rate limit
                         {}: no faults
POST /_sandbox/orders    {"states": ["created", "delivered"], "apart": 10, "reference": "41"}
POST /_sandbox/webhooks  {"silent": true}, {"lose": 0.1, "repeat": 0.1, "shuffle": 60}
"""

import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.sandbox.orders import evenly
from tests.sandbox.webhooks import Chances
from tests.sandbox.wire import Answer, Request, as_json

if TYPE_CHECKING:
    from tests.sandbox.courier import Courier

PATH = "/_sandbox"
MOST_SHOWN = 50


def answer(courier: "Courier", request: Request) -> Answer:
    if request.method == "GET" and request.path == PATH:
        return as_json(overview(courier))
    switch = SWITCHES.get(request.path.removeprefix(f"{PATH}/"))
    if switch is None or request.method != "POST":
        return as_json({"message": __doc__}, 404)
    try:
        return as_json(switch(courier, dict(json.loads(request.body or b"{}"))))
    except (ValueError, TypeError, KeyError) as wrong:
        return as_json({"message": f"{type(wrong).__name__}: {wrong}"}, 422)


def overview(courier: "Courier") -> dict[str, Any]:
    now = courier.now()
    return {
        "courier": courier.name,
        "now": now.isoformat(),
        "orders": [
            {
                "id": order.id,
                "reference": order.reference,
                "states": [[step.state, step.at.isoformat()] for step in order.reached(now)],
            }
            for order in courier.orders[-MOST_SHOWN:]
        ],
        "faults": courier.faults.describe(),
        "requests": {str(status): count for status, count in courier.ledger.statuses().items()},
        "webhooks": {
            "silent": courier.webhooks.silent,
            **dataclasses.asdict(courier.webhooks.summary()),
        },
    }


def switch_faults(courier: "Courier", wanted: dict[str, Any]) -> dict[str, Any]:
    times, per_second = wanted.pop("times", None), wanted.pop("per_second", None)
    if per_second is not None:
        courier.faults.limit(per_second, **wanted)
    elif not wanted:
        courier.faults.clear()
    elif times is not None:
        courier.faults.next(times, **wanted)
    else:
        courier.faults.always(**wanted)
    return {"faults": courier.faults.describe()}


def create_order(courier: "Courier", wanted: dict[str, Any]) -> dict[str, Any]:
    apart = timedelta(seconds=wanted.get("apart", 10))
    life = evenly(*wanted["states"], start=courier.now(), apart=apart)
    order = courier.create(life, wanted.get("reference"))
    return {"id": order.id, "reference": order.reference, "names": dict(order.names)}


def switch_webhooks(courier: "Courier", wanted: dict[str, Any]) -> dict[str, Any]:
    courier.webhooks.silent = bool(wanted.pop("silent", courier.webhooks.silent))
    if wanted:
        shuffle = timedelta(seconds=wanted.pop("shuffle", 0))
        courier.webhooks.chances = Chances(shuffle=shuffle, **wanted)
    return {"silent": courier.webhooks.silent, "chances": str(courier.webhooks.chances)}


SWITCHES: dict[str, Callable[["Courier", dict[str, Any]], dict[str, Any]]] = {
    "faults": switch_faults,
    "orders": create_order,
    "webhooks": switch_webhooks,
}
