"""An order's details: what snapshots say beside events (URLs, expected times, parcels).

Of two snapshots that give the same detail, the more recent one counts, by the courier's clock, and
an empty value never erases a known one. So the result does not depend on the order of arrival.

Each detail is kept with its origin: {"value", "at": the snapshot's recency, "message_id"}. Nothing
here changes the details that it is given: each function returns new ones.
"""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from receiver.couriers.snapshot import Eta, Snapshot
from receiver.times import rfc3339

KnownDetails = dict[str, Any]

# How many parcels an order shows beside everything else; there are pages of all of them.
MOST_PARCELS = 50
# How many ETAs are kept of an order: enough to see how they slip.
MAX_ETAS = 50


def merge_snapshot(known: KnownDetails, snapshot: Snapshot, message_id: int) -> KnownDetails:
    """Return the known details with those of a snapshot.

    Shape: {"details": {name: detail}, "identifiers": {name: detail},
            "parcels": {tracking number: {name: detail}}, "etas": [eta, oldest first]}
    """

    def merge(details: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
        return _keep_newest(details, values, at, str(message_id))

    at = _sortable_time(snapshot.recency)
    parcels = known.get("parcels", {})
    merged = known | {
        "details": merge(
            known.get("details", {}), {"reference": snapshot.reference, **snapshot.details}
        ),
        "identifiers": merge(known.get("identifiers", {}), snapshot.identifiers),
        "parcels": parcels
        | {
            tracking_number: merge(parcels.get(tracking_number, {}), values)
            for tracking_number, values in snapshot.parcels.items()
        },
    }
    if snapshot.eta is not None:
        merged = add_eta(merged, snapshot.eta, snapshot.recency, message_id)
    return merged


def add_eta(known: KnownDetails, eta: Eta, at: datetime, message_id: int) -> KnownDetails:
    """Return the known details with an ETA.

    at: the recency of its snapshot; for a tour plan, which has no time, when it arrived.
    """
    added = {
        "at": _sortable_time(at),
        "from": rfc3339(eta.from_),
        "to": rfc3339(eta.to),
        "source": eta.source,
        "message_id": str(message_id),
    }
    by_text = {_json_text(eta): eta for eta in (*known.get("etas", ()), added)}
    return known | {"etas": [by_text[text] for text in sorted(by_text)][-MAX_ETAS:]}


def remove_messages(known: KnownDetails, message_ids: Collection[int]) -> KnownDetails:
    """Return the known details without those of some messages, which are then decoded anew."""
    if not known:
        return known
    removed = {str(message_id) for message_id in message_ids}

    def keep(details: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: detail for name, detail in details.items() if detail["message_id"] not in removed
        }

    kept: KnownDetails = {
        "details": keep(known.get("details", {})),
        "identifiers": keep(known.get("identifiers", {})),
        "parcels": {name: keep(details) for name, details in known.get("parcels", {}).items()},
    }
    kept_etas = [eta for eta in known.get("etas", ()) if eta["message_id"] not in removed]
    return kept | ({"etas": kept_etas} if kept_etas else {})


def list_etas(known: KnownDetails) -> list[dict[str, Any]]:
    """Return the ETAs as the API shows them, oldest first; a repeated one is left out."""
    shown: list[dict[str, Any]] = []
    for eta in known.get("etas", ()):
        values = {name: eta[name] for name in ("from", "to", "source")}
        if not shown or {name: shown[-1][name] for name in values} != values:
            shown.append({**values, "updated_at": rfc3339(datetime.fromisoformat(eta["at"]))})
    return shown


def current_eta(known: KnownDetails) -> dict[str, Any] | None:
    """Return the most recent ETA as the API shows it."""
    return next(reversed(list_etas(known)), None)


def detail_value(known: KnownDetails, name: str) -> Any:
    """Return the value of a detail, None where no message gave it."""
    return known.get("details", {}).get(name, {}).get("value")


def identifier_values(known: KnownDetails) -> dict[str, str]:
    """Return the further names of an order, by kind."""
    return {name: detail["value"] for name, detail in known.get("identifiers", {}).items()}


def list_parcels(
    known: KnownDetails, order_status: str, parcel_statuses: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Return the parcels as the API shows them.

    parcel_statuses: by tracking number, what the parcels' own events lead to. A parcel without
    events or a status of its own has the order's.
    """
    shown = []
    for tracking_number, details in sorted(known.get("parcels", {}).items()):
        values = {name: detail["value"] for name, detail in details.items()}
        status = parcel_statuses.get(tracking_number) or values.get("status") or order_status
        shown.append(
            {
                "tracking_number": tracking_number,
                "tracking_url": values.get("tracking_url"),
                "courier_name": values.get("courier_name"),
                "status": status,
            }
        )
    return shown


def count_parcels(order: Any) -> int:
    """Return how many parcels an order has. order: an Order, or a row with its columns."""
    return len(order.parcels) + int(order.further_parcel_count)


def _keep_newest(
    known: Mapping[str, Any], values: Mapping[str, Any], at: str, message_id: str
) -> dict[str, Any]:
    newest = dict(known)
    for name, value in values.items():
        if value is None or value == "":
            continue
        detail = {"value": value, "at": at, "message_id": message_id}
        current = known.get(name)
        if current is None or _counts_over(detail, current):
            newest[name] = detail
    return newest


def _counts_over(detail: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Return whether a detail replaces the current one.

    The more recent counts. With equal times any rule will do that does not depend on which came
    first; it compares texts, which are only made then.
    """
    if detail["at"] != current["at"]:
        return bool(detail["at"] > current["at"])
    texts = [(_json_text(one["value"]), -int(one["message_id"])) for one in (detail, current)]
    return texts[0] > texts[1]


def _json_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _sortable_time(at: datetime) -> str:
    # Always with microseconds, so that the text sorts as the time does.
    return at.astimezone(UTC).isoformat(timespec="microseconds")
