"""Adds snapshots to their orders and folds each order again from all its events."""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Any

from sqlalchemy.orm import Session

from receiver.changes.order_version import (
    CREATED,
    EVENTS,
    MERGED,
    OrderChange,
    changed_names,
    touch_order,
)
from receiver.couriers.snapshot import LeftOut
from receiver.db.bulk import id_in
from receiver.db.models import NAME, Event, Order
from receiver.db.order_state import AnyOrder, OrderState
from receiver.orders import conflicts, details, timeline
from receiver.orders.erasure import erase_from_snapshot, erase_merged_orders
from receiver.orders.find import find_meant
from receiver.orders.fold import REPEATED_OBSERVATION, FoldResult, fold_order, sort_position
from receiver.orders.labels import find_label_url
from receiver.orders.matching import release_parked
from receiver.orders.names import (
    NameOfKind,
    current_names,
    find_reference,
    snapshot_names,
    store_names,
)
from receiver.orders.performance.counters import has_ended, is_state_of_order
from receiver.orders.performance.record import record_orders
from receiver.orders.poll_plan import OrderNews, polling_schedule
from receiver.orders.timeline import StoredEvent, TimelineEntry
from receiver.orders.tour_etas import add_etas
from receiver.settings import Account
from receiver.times import rfc3339
from workers.folding import order_store
from workers.folding.label_store import store_labels
from workers.folding.order_identity import AssignedSnapshots, ReceivedSnapshot, check_assignment
from workers.folding.registrations import delete_registrations, merge_registrations

EventRow = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a message in its row, with the reason unless it is applied."""

    outcome: str
    reason: str | None = None
    courier_order_id: str | None = None
    names: Sequence[str] | None = None


@dataclass
class FoldedBatch:
    """What a batch came to.

    outcomes    the outcome of each message by its id
    changes     the orders that changed, for the feed
    news        the orders that a webhook was about, or that a poll changed
    erased      ids of the messages whose bodies must not be kept
    missed      per account, the states that only a poll reported though a webhook should have
    new_events  the rows of events that were reported for the first time
    left_out    by message id, what could not be read of messages that were decoded all the same
    """

    outcomes: dict[int, Outcome] = field(default_factory=dict)
    changes: list[OrderChange | None] = field(default_factory=list)
    news: list[OrderNews] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    new_events: list[EventRow] = field(default_factory=list)
    left_out: dict[int, Sequence[LeftOut]] = field(default_factory=dict)


def refold_orders(
    session: Session,
    assigned: AssignedSnapshots,
    stops: Collection[tuple[str, str]],
    accounts: Mapping[str, Account],
    now: datetime,
) -> FoldedBatch:
    """Fold the snapshots of a batch into their orders and write these.

    stops: (account, name of the order) of each stop of the tour plans in this batch.

    Raises: ConcurrentChange.
    """
    locked = _lock_orders(session, assigned, stops)
    before = {order.id: copy(order) for order in locked}
    locked, taken_names = merge_registrations(locked, assigned)
    stored = order_store.load_events(session, [order.id for order in locked])
    created = _new_orders(session, assigned, accounts, now)
    # Locked orders first, then new ones: all workers take their orders in the same sequence.
    orders = [*locked, *created]
    before |= {order.id: copy(order) for order in created}
    new_ids = {order.id for order in created}

    result = FoldedBatch()
    rows: dict[int, list[EventRow]] = {}
    keys: dict[int, Collection[str]] = {}
    new_names = {}
    for order in orders:
        items = assigned.by_order.get(order.order_key, ())
        new_names[order.id] = _new_names(order, items) | taken_names.get(order.id, set())
        known = stored.get(order.id, {})
        rows[order.id], keys[order.id] = _add_snapshots(order, items, known)
        result.new_events += [row for row in rows[order.id] if row["key"] not in known]
        result.missed[order.account] += _count_missed(order, rows[order.id], known, accounts)
        if order.erased_at is not None:
            result.erased += [item.message.id for item in items]
    add_etas(session, orders, new_names)
    for order in orders:
        changed = [CREATED] if order.id in new_ids else []
        changed += [MERGED] if order.id in taken_names else []
        changed += changed_names(before[order.id], order)
        known = stored.get(order.id, {})
        shown = (timeline.is_shown_change(known.get(row["key"]), row) for row in rows[order.id])
        changed += [EVENTS] if any(shown) else []
        result.changes.append(touch_order(order, changed, now))
        items = assigned.by_order.get(order.order_key, ())
        by_webhook = any(item.message.kind == "webhook" for item in items)
        if by_webhook or (items and changed):
            result.news.append(OrderNews(order, by_webhook))
    _write_orders(session, created, locked, before, assigned)
    order_store.delete_events(
        session,
        [
            (order.id, key)
            for order in orders
            for key in stored.get(order.id, {}).keys() - keys[order.id]
        ],
    )
    order_store.write_events(session, [*chain(*rows.values())])
    record_orders(
        session,
        [
            (order, current_events(stored.get(order.id, {}), rows[order.id], keys[order.id]))
            for order in orders
            if has_ended(order.status) or has_ended(before[order.id].status)
        ],
    )
    _store_new_names(session, orders, new_names, accounts)
    _finish_merges(session, locked, before, assigned, result, now)
    return result


def _finish_merges(
    session: Session,
    locked: Sequence[OrderState],
    before: Mapping[int, OrderState],
    assigned: AssignedSnapshots,
    result: FoldedBatch,
    now: datetime,
) -> None:
    """Delete the registrations that orders took in; where one was erased, erase what was stored."""
    delete_registrations(session, locked, assigned)
    newly_erased = [
        order.id
        for order in locked
        if order.erased_at is not None and before[order.id].erased_at is None
    ]
    if newly_erased:
        changes, message_ids = erase_merged_orders(session, newly_erased, now)
        result.changes += changes
        result.erased += message_ids


def _lock_orders(
    session: Session, assigned: AssignedSnapshots, stops: Collection[tuple[str, str]]
) -> list[OrderState]:
    ids = {*assigned.order_ids.values(), *chain(*assigned.merged.values())}
    ids.update(order_id for _, order_id in find_meant(session, stops))
    locked = order_store.lock_orders(session, id_in(Order.id, ids)) if ids else []
    if len(locked) < len(ids):
        # Retention has just removed one: a message about it makes a new order.
        raise order_store.ConcurrentChange
    check_assignment(assigned, locked)
    return locked


def _new_orders(
    session: Session, assigned: AssignedSnapshots, accounts: Mapping[str, Account], now: datetime
) -> list[OrderState]:
    keys = sorted(assigned.by_order.keys() - assigned.order_ids.keys())
    couriers = [accounts[account].driver for account, _ in keys]
    return order_store.new_orders(session, keys, couriers, now)


def _write_orders(
    session: Session,
    created: Sequence[OrderState],
    locked: Sequence[OrderState],
    before: Mapping[int, OrderState],
    assigned: AssignedSnapshots,
) -> None:
    order_store.insert_orders(session, created)
    order_store.update_orders(session, locked, before)
    labelled = [
        (order, assigned.by_order.get(order.order_key, ()))
        for order in (*locked, *created)
        if details.detail_value(order.details, details.LABEL)
        != details.detail_value(before[order.id].details, details.LABEL)
    ]
    if labelled:
        store_labels(session, labelled)


def _add_snapshots(
    order: OrderState, items: Sequence[ReceivedSnapshot], stored: Mapping[str, Event]
) -> tuple[list[EventRow], Collection[str]]:
    """Add snapshots to an order and fold it.

    Return the event rows that are new or changed, and the keys of all.
    """
    if order.erased_at is not None:
        items = [
            ReceivedSnapshot(item.message, erase_from_snapshot(item.snapshot)) for item in items
        ]
    entries = timeline.entries_from_rows(stored.values())
    known = merge_snapshots(entries, order.details, items)
    heard_at = (order.last_heard_at, *(item.message.received_at for item in items))
    order.last_heard_at = max((at for at in heard_at if at is not None), default=None)
    return apply_fold(order, known, list(entries.values()), stored), entries.keys()


def merge_snapshots(
    entries: dict[str, TimelineEntry],
    known: details.KnownDetails,
    items: Sequence[ReceivedSnapshot],
) -> details.KnownDetails:
    """Add the events of snapshots to the entries; return the details with those of snapshots."""
    for item in items:
        for event in item.snapshot.events:
            entry = timeline.make_entry(item.message, item.snapshot, event)
            entries[event.key] = timeline.merge_entries(entries.get(event.key), entry)
        known = details.merge_snapshot(known, item.snapshot, item.message.id)
    return known


def apply_fold(
    order: AnyOrder,
    known: details.KnownDetails,
    entries: Sequence[TimelineEntry],
    stored: Mapping[str, Any],
) -> list[EventRow]:
    """Set an order's columns from its details and entries; return the event rows to write.

    stored: the rows of `events` that are stored, by the events' keys, as tuples.
    """
    result, parcel_statuses = fold_order(
        [entry.event for entry in entries],
        known.get("parcels", ()),
        details.left_out_parcels(known),
    )
    _set_state(order, result, entries)
    _set_details(order, known, parcel_statuses)
    rows = []
    for entry, verdict in zip(entries, result.verdicts, strict=True):
        values = timeline.event_values(order.id, entry, verdict)
        if stored.get(entry.event.key) != tuple(values.values()):
            rows.append(values)
    return rows


def _set_state(order: AnyOrder, result: FoldResult, entries: Sequence[TimelineEntry]) -> None:
    order.status = result.status
    order.courier_status = result.courier_status
    order.status_at = result.status_at
    order.reason = result.reason
    order.milestones = {name: rfc3339(at) for name, at in result.milestones.items()}
    order.conflicts = conflicts.merge_conflicts(order.conflicts, result.conflicts)
    # An order that its courier does not know needs attention until a message is about it.
    is_unknown = order.needs_attention and order.last_heard_at is None
    order.needs_attention = conflicts.needs_attention(order) or is_unknown
    order.source = _source(result, entries)


def current_events(
    stored: Mapping[str, Any], rows: Iterable[EventRow], keys: Collection[str]
) -> list[Any]:
    """Return the rows of an order's events as they are after a fold.

    stored: those before it, by key. rows: the new and changed ones. keys: those of all.
    """
    current = {**stored, **{row["key"]: StoredEvent(**row) for row in rows}}
    return [event for key, event in current.items() if key in keys]


def _source(result: FoldResult, entries: Sequence[TimelineEntry]) -> dict[str, Any] | None:
    """Return the first message with the status, with the best trust of those that repeated it."""
    if result.set_by is None:
        return None
    setter = entries[result.set_by]
    trusts = [
        entry.trust
        for entry, verdict in zip(entries, result.verdicts, strict=True)
        if verdict.why_not == REPEATED_OBSERVATION
        and entry.event.courier_status == setter.event.courier_status
        and sort_position(entry.event) > sort_position(setter.event)
    ]
    return replace(setter, trust=timeline.strongest_trust([setter.trust, *trusts])).source()


def _set_details(
    order: AnyOrder, known: details.KnownDetails, parcel_statuses: Mapping[str, str]
) -> None:
    pickup_at = details.detail_value(known, "pickup_at")
    order.details = known
    order.reference = find_reference(order, known)
    order.identifiers = details.identifier_values(known)
    order.tracking_url = details.detail_value(known, "tracking_url")
    order.label_url = find_label_url(order, known)
    order.pickup_at = datetime.fromisoformat(pickup_at) if pickup_at else None
    order.eta = details.current_eta(known)
    order.promised = details.detail_value(known, "promised")
    parcels = details.list_parcels(known, order.status, order.status_at, parcel_statuses)
    order.parcels = parcels[: details.MOST_PARCELS]
    order.further_parcels = parcels[details.MOST_PARCELS :]
    order.further_parcel_count = len(order.further_parcels)


def _count_missed(
    order: OrderState,
    rows: Sequence[EventRow],
    stored: Mapping[str, Event],
    accounts: Mapping[str, Account],
) -> int:
    """Count an order's new states that only a poll reported, though a webhook should have.

    Performance counts them by the same rule (receiver/orders/performance/counters.py).
    """
    schedule = polling_schedule(accounts[order.account])
    if schedule is None or (schedule.calls_once and stored):
        return 0
    missed = [
        row
        for row in rows
        if row["kind"] == "poll"
        and row["applied"]
        and row["key"] not in stored
        and is_state_of_order(StoredEvent(**row), order)
    ]
    return min(len(missed), 1) if schedule.calls_once else len(missed)


def _new_names(order: OrderState, items: Sequence[ReceivedSnapshot]) -> set[NameOfKind]:
    """Return the names in snapshots that an order does not have yet, and a new order's own id."""
    names = {name for item in items for name in snapshot_names(item.snapshot)}
    if order.last_heard_at is None:
        return {*names, (order.courier_order_id, NAME)}
    return names - current_names(order)


def _store_new_names(
    session: Session,
    orders: Sequence[OrderState],
    new_names: Mapping[int, set[NameOfKind]],
    accounts: Mapping[str, Account],
) -> None:
    """Store new names of orders, and release parked messages that have one of them."""
    store_names(session, [(order, new_names[order.id]) for order in orders])
    for order in orders:
        names = [name for name, kind in new_names[order.id] if kind == NAME]
        if names and accounts[order.account].parks_unknown_orders:
            release_parked(session, order.account, names)
