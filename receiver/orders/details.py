"""An order's details: what snapshots say beside events (URLs, expected times, parcels).

Of two snapshots that give the same detail, the more recent one counts, by the courier's clock, and
an empty value never erases a known one. So the result does not depend on the order of arrival.

Each detail is kept with its origin: {"value", "at": the snapshot's recency, "time_count": how many
times of its own that has, "message_id"}. Nothing here changes the details that it is given: each
function returns new ones.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from receiver.couriers.snapshot import FOLLOWS_ORDER, Eta, Snapshot
from receiver.times import rfc3339, sortable_time

KnownDetails = dict[str, Any]

# The detail that says which label counts of those that came inside messages: its SHA-256 in hex.
LABEL = "label_sha256"

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
        return _keep_newest(details, values, origin)

    origin = {
        "at": sortable_time(snapshot.recency),
        "time_count": snapshot.time_count,
        "message_id": str(message_id),
    }
    label = snapshot.label.sha256 if snapshot.label else None
    parcels = known.get("parcels", {})
    merged = known | {
        "details": merge(
            known.get("details", {}),
            {"reference": snapshot.reference, LABEL: label, **snapshot.details},
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
    """Return the known details with an ETA. at: the recency of its snapshot."""
    return _with_etas(known, [_eta_entry(eta, at, message_id)])


def add_tour_eta(
    known: KnownDetails, eta: Eta, at: datetime, message_id: int, is_replaced: bool
) -> KnownDetails:
    """Return the known details with the ETA of a tour plan.

    at: when the plan arrived, since it has no time. is_replaced: whether there is a newer plan of
    the tour, which ends this ETA.
    """
    entry = _eta_entry(eta, at, message_id)
    ended = {**entry, "ended": True}
    etas = [known_eta for known_eta in known.get("etas", ()) if known_eta not in (entry, ended)]
    return _with_etas(known | {"etas": etas}, [ended if is_replaced else entry])


def _eta_entry(eta: Eta, at: datetime, message_id: int) -> dict[str, Any]:
    return {
        "at": sortable_time(at),
        "from": rfc3339(eta.from_),
        "to": rfc3339(eta.to),
        "source": eta.source,
        "message_id": str(message_id),
    }


def _with_etas(known: KnownDetails, added: Sequence[dict[str, Any]]) -> KnownDetails:
    by_text = {_json_text(eta): eta for eta in (*known.get("etas", ()), *added)}
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


def list_message_ids(known: KnownDetails) -> set[int]:
    """Return the ids of the messages that gave the known details."""
    groups = [known.get("details", {}), known.get("identifiers", {})]
    groups += known.get("parcels", {}).values()
    given = [detail for group in groups for detail in group.values()]
    return {int(detail["message_id"]) for detail in (*given, *known.get("etas", ()))}


def list_etas(known: KnownDetails) -> list[dict[str, Any]]:
    """Return the ETAs as the API shows them, oldest first; a repeated one is left out."""
    shown: list[dict[str, Any]] = []
    for eta in known.get("etas", ()):
        values = {name: eta[name] for name in ("from", "to", "source")}
        if not shown or {name: shown[-1][name] for name in values} != values:
            shown.append({**values, "updated_at": rfc3339(datetime.fromisoformat(eta["at"]))})
    return shown


def current_eta(known: KnownDetails) -> dict[str, Any] | None:
    """Return the most recent ETA that has not ended, as the API shows it.

    A plan that repeats the ETA of the plan that it replaces changes nothing.
    """
    etas = list(known.get("etas", ()))
    while etas and etas[-1].get("ended"):
        etas.pop()
    return next(reversed(list_etas({"etas": etas})), None)


def detail_value(known: KnownDetails, name: str) -> Any:
    """Return the value of a detail, None where no message gave it."""
    return known.get("details", {}).get(name, {}).get("value")


def identifier_values(known: KnownDetails) -> dict[str, str]:
    """Return the further names of an order, by kind."""
    return {name: detail["value"] for name, detail in known.get("identifiers", {}).items()}


def left_out_parcels(known: KnownDetails) -> set[str]:
    """Return the parcels that the courier's newest complete list leaves out.

    They are those that no newer snapshot lists.
    """
    complete = known.get("details", {}).get("complete_parcel_list")
    if complete is None:
        return set()
    return {
        tracking_number
        for tracking_number, details in known.get("parcels", {}).items()
        if details.get("listed", {}).get("at", "") < complete["at"]
    }


def list_parcels(
    known: KnownDetails,
    order_status: str,
    status_at: datetime | None,
    parcel_statuses: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Return the parcels as the API shows them.

    status_at        since when the order has its status
    parcel_statuses  by tracking number, what the parcels' own events lead to

    A parcel without events has the status that a snapshot gave it, unless the order's is newer; a
    parcel without any follows its order.
    """
    shown = []
    newest = sortable_time(status_at) if status_at else ""
    for tracking_number, details in sorted(known.get("parcels", {}).items()):
        values = {name: detail["value"] for name, detail in details.items()}
        status = parcel_statuses.get(tracking_number) or order_status
        if tracking_number not in parcel_statuses and (own := details.get("status")):
            is_own = own["value"] != FOLLOWS_ORDER and own["at"] >= newest
            status = own["value"] if is_own else order_status
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
    known: Mapping[str, Any], values: Mapping[str, Any], origin: Mapping[str, Any]
) -> dict[str, Any]:
    newest = dict(known)
    for name, value in values.items():
        if value is None or value == "":
            continue
        detail = {"value": value, **origin}
        current = known.get(name)
        if current is None or _counts_over(detail, current):
            newest[name] = detail
    return newest


def _counts_over(detail: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Return whether a detail replaces the current one.

    The more recent counts; of equally recent ones that of the snapshot with more times; then the
    text that sorts first, which is only made then. Never the one that arrived first.
    """
    if detail["at"] != current["at"]:
        return bool(detail["at"] > current["at"])
    if detail["time_count"] != (time_count := current.get("time_count", 0)):
        return bool(detail["time_count"] > time_count)
    if detail["value"] == current["value"]:
        return int(detail["message_id"]) < int(current["message_id"])
    return _json_text(detail["value"]) < _json_text(current["value"])


def _json_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
