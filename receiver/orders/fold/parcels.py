"""Folds an order whose courier reports parcels one by one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from receiver import statuses
from receiver.couriers.snapshot import Event
from receiver.orders.fold.rules import APPLIED, Verdict
from receiver.orders.fold.walk import FoldResult, fold_events, sort_position


def fold_order(
    events: Sequence[Event], parcels: Collection[str] = (), left_out: Collection[str] = ()
) -> tuple[FoldResult, dict[str, str]]:
    """Fold an order's events; return its state and the status of each parcel that has its own.

    parcels   the tracking numbers that are known, with or without events
    left_out  those that the courier does not list any more: they are not waited for

    Where the courier reports parcels one by one, the order is delivered when all parcels that are
    not cancelled are. So the delivery of the last parcel is the delivery of the order, and a
    `delivered` of the whole order does not apply beside another state that a parcel has of the same
    time. A newer state of the whole order counts for each parcel.
    """
    parcel_indexes: dict[str, list[int]] = {}
    for index, event in enumerate(events):
        parcel_indexes.setdefault(event.parcel, []).append(index)
    order_indexes = parcel_indexes.pop("", [])
    if not parcel_indexes:
        return fold_events(events), {}

    verdicts: list[Verdict] = [APPLIED] * len(events)
    folded: dict[str, FoldResult] = {}
    for parcel, indexes in parcel_indexes.items():
        beside = [*indexes, *order_indexes]
        result = fold_events([events[index] for index in beside], parcel)
        for index, verdict in zip(indexes, result.verdicts, strict=False):
            verdicts[index] = verdict
        newest = max(indexes, key=lambda index: sort_position(events[index]))
        if events[newest].status != statuses.UNKNOWN:
            set_by = None if result.set_by is None else beside[result.set_by]
            folded[parcel] = replace(result, set_by=set_by)

    waited_for = {*parcels, *parcel_indexes} - {*left_out}
    waited_for -= {name for name in folded if folded[name].status == statuses.CANCELLED}
    delivered = {name for name in folded if folded[name].status == statuses.DELIVERED} & waited_for
    if delivered and delivered == waited_for:
        last = max(
            (folded[name].set_by or 0 for name in delivered),
            key=lambda index: sort_position(events[index]),
        )
        order_indexes += [last] if events[last].parcel else []
    else:
        early = _early_deliveries(events, order_indexes, parcel_indexes, waited_for & folded.keys())
        order_indexes = [index for index in order_indexes if index not in early]
        for index in early:
            why_not = f"{len(delivered)} of {len(waited_for)} parcels are delivered"
            verdicts[index] = Verdict(False, why_not)

    order = fold_events([events[index] for index in order_indexes])
    for index, verdict in zip(order_indexes, order.verdicts, strict=True):
        if not events[index].parcel:
            verdicts[index] = verdict
    set_by = order_indexes[order.set_by] if order.set_by is not None else None
    order = replace(order, set_by=set_by, verdicts=tuple(verdicts))
    return order, {name: result.status for name, result in folded.items()}


def _early_deliveries(
    events: Sequence[Event],
    order_indexes: Sequence[int],
    parcel_indexes: Mapping[str, Sequence[int]],
    waited_for: Collection[str],
) -> set[int]:
    """Return the deliveries of the whole order at whose time a parcel has another state."""
    times = {
        events[index].occurred_at
        for parcel in waited_for
        for index in parcel_indexes[parcel]
        if events[index].reported_at
        and events[index].status not in {statuses.DELIVERED, statuses.UNKNOWN}
    }
    return {
        index
        for index in order_indexes
        if events[index].status == statuses.DELIVERED and events[index].occurred_at in times
    }
