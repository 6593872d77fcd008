"""What snapshots tell beside events: addresses of pages and labels, times to expect, parcels.

Of two snapshots that give the same detail the more recent one counts, by the courier's clock, and
an empty value never erases a known one. So the result does not depend on the order of arrival.

Each detail is kept with where it came from: {"value", "at", "message_id"}.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from receiver.couriers.base import Snapshot, rfc3339

Known = dict[str, Any]


def learn(known: Known, snapshot: Snapshot, message_id: int) -> Known:
    """`known` with what a snapshot adds to it.

    Shape: {"details": {name: detail}, "identifiers": {name: detail},
            "parcels": {tracking number: {name: detail}}}
    """
    at, told_by = _stamp(snapshot.recency), str(message_id)
    parcels = known.get("parcels", {})
    return {
        "details": _newest(
            known.get("details", {}),
            {"reference": snapshot.reference, **snapshot.details},
            at,
            told_by,
        ),
        "identifiers": _newest(known.get("identifiers", {}), snapshot.identifiers, at, told_by),
        "parcels": parcels
        | {
            tracking_number: _newest(parcels.get(tracking_number, {}), told, at, told_by)
            for tracking_number, told in snapshot.parcels.items()
        },
    }


def learn_eta(known: Known, eta: datetime, told_at: datetime, message_id: int) -> Known:
    """`known` with an ETA from a tour plan; a plan has no time of its own but its arrival."""
    told = {"from": rfc3339(eta), "to": rfc3339(eta), "source": "tour_plan"}
    details = _newest(known.get("details", {}), {"eta": told}, _stamp(told_at), str(message_id))
    return known | {"details": details}


def value(known: Known, name: str) -> Any:
    """The value of a detail, None where nobody told it."""
    return known.get("details", {}).get(name, {}).get("value")


def eta(known: Known) -> dict[str, Any] | None:
    """The ETA as the API shows it."""
    detail = known.get("details", {}).get("eta")
    if detail is None:
        return None
    told_at = datetime.fromisoformat(detail["at"])
    return {**detail["value"], "updated_at": rfc3339(told_at)}


def identifiers(known: Known) -> dict[str, str]:
    """The further names of an order."""
    return {name: detail["value"] for name, detail in known.get("identifiers", {}).items()}


def parcels(known: Known, status: str, own: Mapping[str, str]) -> list[dict[str, Any]]:
    """The parcels as the API shows them.

    status: the order's, which a parcel has while nobody tells of it alone; own: what events tell.
    """

    def shown(tracking_number: str, told: dict[str, Any]) -> dict[str, Any]:
        def of(name: str) -> Any:
            return told.get(name, {}).get("value")

        return {
            "tracking_number": tracking_number,
            "tracking_url": of("tracking_url"),
            "courier_name": of("courier_name"),
            "status": own.get(tracking_number) or of("status") or status,
        }

    return [shown(*parcel) for parcel in sorted(known.get("parcels", {}).items())]


def _newest(
    known: Mapping[str, Any], told: Mapping[str, Any], at: str, told_by: str
) -> dict[str, Any]:
    newest = dict(known)
    for name, new in told.items():
        if new is None or new == "":
            continue
        standing = known.get(name)
        if standing is None or (at, _text(new)) > (standing["at"], _text(standing["value"])):
            newest[name] = {"value": new, "at": at, "message_id": told_by}
    return newest


def _text(told: Any) -> str:
    """Breaks the tie between two values that are equally recent, whichever came first."""
    return json.dumps(told, sort_keys=True)


def _stamp(at: datetime) -> str:
    # Always with microseconds, so that the text sorts as the time does.
    return at.astimezone(UTC).isoformat(timespec="microseconds")
