"""Switches for a sandbox that was started by hand: JSON at /_sandbox, which no ledger notes.

GET  /_sandbox          what it has and does
POST /_sandbox/faults   {"kind": "too_many", "seconds": 5, "times": 3}: without times, until {}
                        {"per_second": 5}: a rate limit
                        {}: behave
POST /_sandbox/orders   {"states": ["created", "delivered"], "apart": 10, "reference": "41"}
POST /_sandbox/hooks    {"silent": true}, {"lose": 0.1, "repeat": 0.1, "shuffle": 60}
"""

import dataclasses
import json
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.sandbox.hooks import Chances
from tests.sandbox.orders import evenly
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
        "faults": courier.faults.told(),
        "asked": {str(status): count for status, count in courier.ledger.statuses().items()},
        "hooks": {"silent": courier.hooks.silent, **dataclasses.asdict(courier.hooks.summary())},
    }


def switch_faults(courier: "Courier", told: dict[str, Any]) -> dict[str, Any]:
    times, per_second = told.pop("times", None), told.pop("per_second", None)
    if per_second is not None:
        courier.faults.limit(per_second, **told)
    elif not told:
        courier.faults.clear()
    elif times is not None:
        courier.faults.next(times, **told)
    else:
        courier.faults.always(**told)
    return {"faults": courier.faults.told()}


def create_order(courier: "Courier", told: dict[str, Any]) -> dict[str, Any]:
    apart = timedelta(seconds=told.get("apart", 10))
    life = evenly(*told["states"], start=courier.now(), apart=apart)
    order = courier.create(life, told.get("reference"))
    return {"id": order.id, "reference": order.reference, "names": dict(order.names)}


def switch_hooks(courier: "Courier", told: dict[str, Any]) -> dict[str, Any]:
    courier.hooks.silent = bool(told.pop("silent", courier.hooks.silent))
    if told:
        shuffle = timedelta(seconds=told.pop("shuffle", 0))
        courier.hooks.chances = Chances(shuffle=shuffle, **told)
    return {"silent": courier.hooks.silent, "chances": str(courier.hooks.chances)}


SWITCHES: dict[str, Callable[["Courier", dict[str, Any]], dict[str, Any]]] = {
    "faults": switch_faults,
    "orders": create_order,
    "hooks": switch_hooks,
}
