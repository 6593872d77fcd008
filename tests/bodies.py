"""Bodies as the couriers send them: plain functions with defaults, and the recorded files.

A test names what it is about and leaves the rest to the default.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from tests.digests import hmac_sha256_hex

PAYLOADS = Path(__file__).parent / "payloads"

# When the orders of these tests begin.
START = datetime(2026, 4, 16, 7, 0, tzinfo=UTC)

TIRAMIZOO_STATES = (
    "created",
    "dispatched",
    "picked_up",
    "pickup_failed",
    "delivered",
    "delivery_failed",
    "returned",
    "cancelled",
)


def after(minutes: float) -> datetime:
    """A time so many minutes after START."""
    return START + timedelta(minutes=minutes)


def payload(name: str) -> Any:
    """A recorded body, named as in `tiramizoo/show_order.json`."""
    return json.loads((PAYLOADS / name).read_bytes())


def raw(body: Any) -> bytes:
    """The bytes of a body on the wire."""
    return json.dumps(body).encode()


def life(*states: str, minutes: float = 30, start: datetime = START) -> dict[str, datetime]:
    """When each state was reached, for states that follow each other evenly."""
    return {
        state: start + number * timedelta(minutes=minutes) for number, state in enumerate(states)
    }


def tiramizoo_order(
    uuid: str = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11",
    times: Mapping[str, datetime | str] | None = None,
    state: str | None = None,
    history: Iterable[Mapping[str, Any]] = (),
    **fields: Any,
) -> dict[str, Any]:
    """A snapshot of the current API.

    times: when each state was reached, created alone by default; a state that is not in it has
    the column all the same, as null. state: the last of them by default.
    """
    times = life("created") if times is None else times
    entries = [dict(entry) for entry in history]
    return {
        "uuid": uuid,
        "description": None,
        "external_id": None,
        "web_hook_url": "https://shop.example/hooks",
        "identifier": None,
        "timezone": "Europe/Berlin",
        "state": list(times)[-1] if state is None else state,
        **{f"{name}_at": _text(times.get(name)) for name in TIRAMIZOO_STATES},
        "cancellation_reason": None,
        "tracking_url": None,
        "tracking_code": None,
        "pickup": {"name": "Alice Icealay", "address_line": "Im Dol 1", "eta": None},
        "delivery": {"name": "Bob Obbay", "address_line": "Thujaweg 1", "eta": None},
        "packages": [],
        "signature": {"url": None, "name": None},
        "events": entries,
        "history": entries,
        "tour_identifier": None,
        **fields,
    }


def tiramizoo_snapshots(
    uuid: str, times: Mapping[str, datetime], **fields: Any
) -> list[dict[str, Any]]:
    """The snapshots that a life gives: one as each state is reached."""
    states = list(times)
    return [
        tiramizoo_order(uuid, {state: times[state] for state in states[: number + 1]}, **fields)
        for number in range(len(states))
    ]


def history_entry(
    kind: str | None, at: datetime | str, current_state: str | None = None, **fields: Any
) -> dict[str, Any]:
    """One entry of a snapshot's history[] or events[]."""
    return {
        "retry_at": None,
        "type": kind,
        "recorded_at": _text(at),
        "signature": {"url": None, "name": None},
        "photo_proof": {"url": None, "name": None},
        "current_state": current_state,
        **fields,
    }


def package(identifier: str = "18A24901BE5D49C3", state: str | None = None) -> dict[str, Any]:
    """A package of a Tiramizoo order."""
    return {"width": 2, "height": 8, "quantity": 1, "identifier": identifier, "state": state}


def tiramizoo_v1(
    uuid: str = "a505ff78-67c5-4fbd-ab4f-a8db81f2c45a",
    state: str = "processing",
    created_at: datetime | str | None = START,
    **fields: Any,
) -> dict[str, Any]:
    """A snapshot of the older API: created_at, and no other state's column."""
    return {
        "uuid": uuid,
        "state": state,
        "created_at": _text(created_at),
        "external_id": "123-456-789",
        "tracking_code": "10018-A5TB-YKI4",
        "city_identifier": "berlin",
        "packages": [{"identifier": "3E39C50E40226436", "qr_code_url": "/qr/3E39C50E40226436"}],
        **fields,
    }


def tour_plan(
    etas: Mapping[str, datetime | str | None] | None = None,
    tour_id: str = "EDFIL1-1",
    courier: str | None = "N1",
    **fields: Any,
) -> dict[str, Any]:
    """A plan of one tour. etas: when it is to reach each order, by the name the plan has for it."""
    etas = {"ID1-0": after(60)} if etas is None else etas
    return {
        "time_window": {"from": _text(START), "to": _text(after(180))},
        "tours": [
            {
                "id": tour_id,
                "courier": courier,
                "pick_up_at": _text(START),
                "orders": [
                    {"id": name, "delivery_eta": _text(eta), "packages": [{"id": f"P-{name}"}]}
                    for name, eta in etas.items()
                ],
            }
        ],
        **fields,
    }


def cottoncast_status(
    code: str = "E",
    at: datetime | float | str | None = START,
    order_id: Any = "3AF7",
    ref: Any = "41",
    shipments: Iterable[Mapping[str, Any]] = (),
    **fields: Any,
) -> dict[str, Any]:
    """An orderstatus hook; `at` becomes Unix seconds, and anything else goes in as it is."""
    stamp = int(at.timestamp()) if isinstance(at, datetime) else at
    return {
        "orderID": order_id,
        "ref": ref,
        "status": {"code": code, "timestamp": stamp},
        "shipments": [dict(shipment) for shipment in shipments],
        **fields,
    }


def cottoncast_shipment(
    tracking_code: str | None = "3SCEBU123456789", code: str | None = None, **fields: Any
) -> dict[str, Any]:
    """One of an orderstatus hook's shipments; without a code, as the document shows it."""
    return {
        "carrier": "postnl",
        "carrierName": "Postnl",
        "trackingcode": tracking_code,
        "trackingurl": f"https://postnl.example/{tracking_code}",
        "new": True,
        **({} if code is None else {"code": code}),
        **fields,
    }


def cottoncast_answer(
    code: str,
    since: datetime,
    shipments: Mapping[str, str],
    label: str = "Fulfilled",
    order_id: str = "3AF7",
) -> dict[str, Any]:
    """The response to a poll. since: of which only the minute is told, in Dutch local time.

    shipments: each one's code by its tracking code. label: where it is that of the webhooks' list,
    the order's code is one of theirs.
    """
    local = since.astimezone(ZoneInfo("Europe/Amsterdam"))
    order = {
        "id": order_id,
        "store": {"name": "shop", "order_id": "41"},
        "status": {"code": code, "label": label, "since": f"{local:%Y-%m-%d %H:%M}"},
        "shipments": [
            {"status": {"code": its_code}, "tracking": {"code": name, "url": None}}
            for name, its_code in shipments.items()
        ],
    }
    return {"status": "ok", "response": {"order": order}}


def cottoncast_signature(body: bytes, secret: str = "cottoncast-key") -> dict[str, str]:
    """The header that signs a raw body."""
    return {"Cottoncast-Authentication": hmac_sha256_hex(secret, body)}


def shipmentapi_order(
    order_reference: Any = "SA-2001", status: Any = "accepted", **fields: Any
) -> dict[str, Any]:
    """A ShipmentAPI callback in the shape of the default field map."""
    return {"order_reference": order_reference, "status": status, **fields}


def _text(at: datetime | str | None) -> str | None:
    return at.isoformat() if isinstance(at, datetime) else at
