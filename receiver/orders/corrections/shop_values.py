"""What the shop's registrations and corrections of an order come to.

A registration gives an order a reference and metadata under one of its names; a correction sets
them for the order as a whole, whatever its names are. Both carry their time, and the result is a
function of all of them: neither a message that merges two orders, nor a refold or a rebuild,
changes it.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import Any

from receiver.db.order_state import AnyOrder
from receiver.orders.names import spell
from receiver.times import sortable_time

# What the shop gave under one name: {"name": spelled, "" where an older version did not store it;
# "at": when it was registered first; "reference", "reference_at"; "metadata", "metadata_at": what
# was given, and when}. Older versions store no "reference_at".
Registration = dict[str, Any]
# By what was corrected, the latest correction: {"value": None where it was cleared, "at"}
Corrections = Mapping[str, dict[str, Any]]

REFERENCE, METADATA, TRACKING = "reference", "metadata", "tracking"
ACTIVE, STOPPED = "active", "stopped"


def add_registration(
    order: AnyOrder,
    name: str,
    now: datetime,
    reference: str | None,
    metadata: dict[str, Any] | None,
) -> None:
    """Add to an order what the shop gives under one of its names, or correct it."""
    new = _registration(name, now, reference, metadata)
    known, corrections = read_shop_values(order)
    if all(each["name"] != new["name"] for each in known):
        known = [each | {"name": each["name"] or new["name"]} for each in known]
    set_shop_values(order, [*known, new], corrections)


def add_corrections(order: AnyOrder, values: Mapping[str, Any], now: datetime) -> None:
    """Add the shop's corrections of an order. values: None clears a reference or metadata."""
    registrations, corrections = read_shop_values(order)
    at = sortable_time(now)
    new = {name: {"value": value, "at": at} for name, value in values.items()}
    set_shop_values(order, registrations, {**corrections, **new})


def merge_shop_values(order: AnyOrder, parts: Collection[AnyOrder]) -> None:
    """Give an order the registrations and corrections of all parts, the order itself included."""
    given = [read_shop_values(each) for each in parts]
    registrations = [*chain.from_iterable(registrations for registrations, _ in given)]
    corrections = _merge_corrections(corrections for _, corrections in given)
    set_shop_values(order, registrations, corrections)


def read_shop_values(order: AnyOrder) -> tuple[list[Registration], Corrections]:
    """Return the registrations and the corrections of an order.

    Where an older version has written the order, they do not come to what it shows: that counts as
    one registration then.
    """
    registrations, corrections = order.registrations, order.corrections or {}
    shown = order.shop_reference, order.shop_metadata
    if (
        _combine_reference(registrations, corrections),
        _combine_metadata(registrations, corrections),
    ) == shown:
        return registrations, corrections
    name = order.courier_order_id if order.last_heard_at is None else ""
    kept = {name: each for name, each in corrections.items() if name == TRACKING}
    return [_registration(name, order.created_at, *shown)], kept


def set_shop_values(
    order: AnyOrder, registrations: Iterable[Registration], corrections: Corrections
) -> None:
    """Set an order's registrations and corrections, and what they come to.

    A later registration under the same name corrects the earlier one. Metadata may name people, and
    an order whose personal data was erased keeps none.
    """
    by_name: dict[str, Registration] = {}
    for new in sorted(registrations, key=itemgetter("at", "name")):
        given = {key: value for key, value in new.items() if value is not None}
        known = by_name.get(new["name"])
        by_name[new["name"]] = {**known, **given, "at": known["at"]} if known else new
    kept, corrected = list(by_name.values()), dict(corrections)
    if order.erased_at is not None:
        kept = [each | {"metadata": None} for each in kept]
        corrected.pop(METADATA, None)
    order.registrations, order.corrections = kept, corrected
    order.shop_reference = _combine_reference(kept, corrected)
    order.shop_metadata = _combine_metadata(kept, corrected)
    tracking = corrected.get(TRACKING, {"value": ACTIVE})
    is_stopped = tracking["value"] == STOPPED
    order.tracking_stopped_at = datetime.fromisoformat(tracking["at"]) if is_stopped else None


def _registration(
    name: str, at: datetime, reference: str | None, metadata: dict[str, Any] | None
) -> Registration:
    given_at = sortable_time(at)
    return {
        "name": spell(name),
        "at": given_at,
        "reference": reference,
        "reference_at": None if reference is None else given_at,
        "metadata": metadata,
        "metadata_at": None if metadata is None else given_at,
    }


def _combine_reference(
    registrations: Collection[Registration], corrections: Corrections
) -> str | None:
    """Return the reference that the shop gave.

    registrations: sorted by when their name was registered first; the first one that gives a
    reference counts. A correction precedes all that was given before it. What is given later
    counts under a name that was known before, or, where the correction cleared the reference.
    """
    given = [each for each in registrations if each["reference"] is not None]
    correction = corrections.get(REFERENCE)
    if correction is None:
        return next((each["reference"] for each in given), None)
    corrected_at, value = correction["at"], correction["value"]
    later = [each for each in given if (each.get("reference_at") or each["at"]) > corrected_at]
    again = (each["reference"] for each in later if each["at"] <= corrected_at)
    new = (each["reference"] for each in later if each["at"] > corrected_at)
    return next(again, None) or value or next(new, None)


def _combine_metadata(
    registrations: Collection[Registration], corrections: Corrections
) -> dict[str, Any]:
    """Return the metadata that the shop gave: of one key what was given last.

    A correction replaces all that was given before it.
    """
    given = [
        (each["metadata_at"], each["name"], each["metadata"])
        for each in registrations
        if each["metadata"] is not None
    ]
    if (correction := corrections.get(METADATA)) is not None:
        given = [each for each in given if each[0] > correction["at"]]
        given.append((correction["at"], "", correction["value"] or {}))
    ordered = sorted(given, key=itemgetter(0, 1))
    return dict(chain.from_iterable(metadata.items() for _, _, metadata in ordered))


def _merge_corrections(corrections: Iterable[Corrections]) -> Corrections:
    """Return the latest correction of each value."""
    merged: dict[str, dict[str, Any]] = {}
    for each in corrections:
        for name, correction in each.items():
            merged[name] = max(merged.get(name, correction), correction, key=_position)
    return merged


def _position(correction: Mapping[str, Any]) -> tuple[str, str]:
    # Of two corrections at one time it does not matter which one counts, but it must be the same.
    return correction["at"], repr(correction["value"])
