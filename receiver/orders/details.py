"""What snapshots tell beside events: addresses of pages and labels, times to expect, parcels.

Of two snapshots that give the same detail the more recent one counts, by the courier's clock, and
an empty value never erases a known one. So the result does not depend on the order of arrival.

Each detail is kept with where it came from: {"value", "at", "message_id"}.
"""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from receiver.couriers.snapshot import Eta, Snapshot
from receiver.times import rfc3339

KnownDetails = dict[str, Any]

# What is kept of an order's ETAs: enough to see them slip, and no room for a flood.
MOST_ETAS = 50


def merge_snapshot(known: KnownDetails, snapshot: Snapshot, message_id: int) -> KnownDetails:
    """`known` with what a snapshot adds to it.

    Shape: {"details": {name: detail}, "identifiers": {name: detail},
            "parcels": {tracking number: {name: detail}}, "etas": [eta, oldest first]}
    """
    at, told_by = _stamp(snapshot.recency), str(message_id)
    parcels = known.get("parcels", {})
    learnt = known | {
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
    if snapshot.eta is not None:
        learnt = add_eta(learnt, snapshot.eta, snapshot.recency, message_id)
    return learnt


def add_eta(known: KnownDetails, eta: Eta, told_at: datetime, message_id: int) -> KnownDetails:
    """`known` with an ETA; a tour plan has no time of its own, so told_at is its arrival."""
    told = {
        "at": _stamp(told_at),
        "from": rfc3339(eta.from_),
        "to": rfc3339(eta.to),
        "source": eta.source,
        "message_id": str(message_id),
    }
    etas = {_text(it): it for it in (*known.get("etas", ()), told)}
    return known | {"etas": [etas[text] for text in sorted(etas)][-MOST_ETAS:]}


def remove_messages(known: KnownDetails, message_ids: Collection[int]) -> KnownDetails:
    """`known` less all that these messages told; for reading them anew."""
    if not known:
        return known
    told_by = {str(message_id) for message_id in message_ids}

    def rest(told: Mapping[str, Any]) -> dict[str, Any]:
        return {name: it for name, it in told.items() if it["message_id"] not in told_by}

    left: KnownDetails = {
        "details": rest(known.get("details", {})),
        "identifiers": rest(known.get("identifiers", {})),
        "parcels": {name: rest(told) for name, told in known.get("parcels", {}).items()},
    }
    left_etas = [eta for eta in known.get("etas", ()) if eta["message_id"] not in told_by]
    return left | ({"etas": left_etas} if left_etas else {})


def list_etas(known: KnownDetails) -> list[dict[str, Any]]:
    """The ETAs as the API shows them, oldest first, each once for as long as it stood."""
    shown: list[dict[str, Any]] = []
    for it in known.get("etas", ()):
        told = {name: it[name] for name in ("from", "to", "source")}
        if not shown or {name: shown[-1][name] for name in told} != told:
            shown.append({**told, "updated_at": rfc3339(datetime.fromisoformat(it["at"]))})
    return shown


def current_eta(known: KnownDetails) -> dict[str, Any] | None:
    """The ETA that counts: the one told last."""
    return next(reversed(list_etas(known)), None)


def detail_value(known: KnownDetails, name: str) -> Any:
    """The value of a detail, None where nobody told it."""
    return known.get("details", {}).get(name, {}).get("value")


def identifier_values(known: KnownDetails) -> dict[str, str]:
    """The further names of an order."""
    return {name: detail["value"] for name, detail in known.get("identifiers", {}).items()}


def list_parcels(known: KnownDetails, status: str, own: Mapping[str, str]) -> list[dict[str, Any]]:
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
        detail = {"value": new, "at": at, "message_id": told_by}
        standing = known.get(name)
        if standing is None or _outweighs(detail, standing):
            newest[name] = detail
    return newest


def _outweighs(detail: Mapping[str, Any], standing: Mapping[str, Any]) -> bool:
    # The rest of the weight is text that has to be made, and counts only where the times are equal.
    if detail["at"] != standing["at"]:
        return bool(detail["at"] > standing["at"])
    return _weight(detail) > _weight(standing)


def _weight(detail: Mapping[str, Any]) -> tuple[str, str, int]:
    """The more recent counts; then anything, as long as it is the same whichever came first."""
    return detail["at"], _text(detail["value"]), -int(detail["message_id"])


def _text(told: Any) -> str:
    return json.dumps(told, sort_keys=True)


def _stamp(at: datetime) -> str:
    # Always with microseconds, so that the text sorts as the time does.
    return at.astimezone(UTC).isoformat(timespec="microseconds")
