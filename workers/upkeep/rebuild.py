"""Rebuild: folds orders again from the kept messages, and reports what comes out differently.

This is how old orders are corrected after a change to a driver. If a message's body was dropped
(retention), its stored events and details are used instead.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.changes.order_version import EVENTS, changed_names, touch_order
from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import APPLIED, PARKED, Event, Message, Order
from receiver.db.order_state import ORDER_COLUMNS, OrderState
from receiver.orders import details, timeline
from receiver.orders.erasure import erase_from_snapshot
from receiver.orders.names import current_names, snapshot_names, store_names
from receiver.orders.performance.counters import has_ended
from receiver.orders.performance.record import record_orders
from receiver.orders.poll_plan import OrderNews, plan_polls
from receiver.orders.timeline import TimelineEntry
from receiver.orders.tour_etas import add_etas, lock_tours
from receiver.settings import Account, Settings
from receiver.text import count_noun
from receiver.times import rfc3339
from workers.folding.drain import is_transient
from workers.folding.label_store import store_labels
from workers.folding.order_identity import ReceivedSnapshot, rename_order
from workers.folding.order_store import (
    delete_events,
    load_events,
    lock_orders,
    update_orders,
    write_events,
)
from workers.folding.refold import EventRow, apply_fold, current_events, merge_snapshots
from workers.folding.tour_plans import store_tours
from workers.upkeep.rebuild_report import RebuildReport, decode_or_report, describe_failure
from workers.upkeep.rebuild_tours import Plan, rebuild_tours

# How many orders are locked, and held in memory, at a time.
CHUNK = 100


# Which orders to rebuild: the values of account and of courier_order_id, where they are limited.
Scope = Mapping[str, str]


def count_orders(session: Session, scope: Scope) -> int:
    """Count the orders to rebuild."""
    return session.scalar(select(func.count()).select_from(Order).filter_by(**scope)) or 0


def rebuild_orders(
    sessions: sessionmaker[Session],
    settings: Settings,
    scope: Scope,
    now: datetime,
    dry_run: bool = False,
) -> Iterator[RebuildReport]:
    """Rebuild tours and then orders, chunk by chunk, and yield the report of each.

    A chunk's orders are locked meanwhile, so live traffic and a rebuild take turns at an order, and
    neither undoes the other. A dry run does the same and rolls it back. What cannot be read or
    rebuilt is reported, and the rest is rebuilt.

    Raises: OperationalError where PostgreSQL fails.
    """
    # The plans that a dry run has found to change something, and has not stored.
    unstored: list[Plan] = []
    for report, changing in rebuild_tours(sessions, settings.accounts, scope, dry_run):
        unstored += changing if dry_run else ()
        yield report
    limits = [getattr(Order, name) == value for name, value in scope.items()]
    rebuild = partial(_rebuild_chunk, sessions, settings, now, unstored, dry_run)
    last_id = 0
    while True:
        columns = (Order.id, Order.account, Order.courier_order_id)
        chunk = select(*columns).where(*limits, Order.id > last_id).order_by(Order.id)
        with sessions() as session:
            orders = session.execute(chunk.limit(CHUNK)).all()
        if not orders:
            return
        last_id = orders[-1].id
        try:
            yield rebuild([order.id for order in orders])
        except Exception as error:
            if is_transient(error):
                raise
            # One by one, to find the order that fails.
            for order in orders:
                name = f"{order.account} {order.courier_order_id}"
                yield _rebuild_alone(rebuild, order.id, name)


def _rebuild_alone(
    rebuild: Callable[[Collection[int]], RebuildReport], order_id: int, name: str
) -> RebuildReport:
    try:
        return rebuild([order_id])
    except Exception as error:
        if is_transient(error):
            raise
        return RebuildReport(failed=[f"{name}: {describe_failure(error)}"])


def _rebuild_chunk(
    sessions: sessionmaker[Session],
    settings: Settings,
    now: datetime,
    unstored: Sequence[Plan],
    dry_run: bool,
    ids: Collection[int],
) -> RebuildReport:
    with sessions() as session:
        lock_tours(session, writing=bool(unstored))
        store_tours(session, unstored)
        orders = lock_orders(session, id_in(Order.id, ids))
        report = _rebuild_locked(session, orders, settings, now) if orders else RebuildReport()
        if not dry_run:
            session.commit()
    return report


def _rebuild_locked(
    session: Session, orders: Sequence[OrderState], settings: Settings, now: datetime
) -> RebuildReport:
    report = RebuildReport(orders=len(orders))
    stored = load_events(session, [order.id for order in orders])
    messages = _load_messages(session, orders, stored)
    before = {order.id: copy(order) for order in orders}
    entries: dict[int, dict[str, TimelineEntry]] = {}
    decoded = {
        order.id: _decode_messages(messages[order.order_key], order, settings.accounts, report)
        for order in orders
    }
    for order in orders:
        items, readable = decoded[order.id]
        known = stored.get(order.id, {})
        # The stored events that no readable message was the first to report.
        entries[order.id] = timeline.entries_from_rows(
            _without_reasons_of(row, readable)
            for row in known.values()
            if row.message_id not in readable
        )
        order.details = merge_snapshots(
            entries[order.id], details.remove_messages(order.details, readable), items
        )
        _store_names(session, order, items)
        if any(message.id not in readable for message in messages[order.order_key]):
            rows_of_others = [_without_reasons_of(row, readable) for row in known.values()]
            _keep_what_others_added(entries[order.id], rows_of_others)
    add_etas(session, orders)

    rows: list[EventRow] = []
    events: dict[int, list[Any]] = {}
    removed: list[tuple[int, str]] = []
    changes, news = [], []
    for order in orders:
        known = stored.get(order.id, {})
        changed = apply_fold(order, order.details, list(entries[order.id].values()), known)
        vanished = known.keys() - entries[order.id].keys()
        events[order.id] = current_events(known, changed, entries[order.id].keys())
        rows += changed
        removed += [(order.id, key) for key in vanished]
        difference = _describe_difference(before[order.id], order, changed, known, len(vanished))
        if difference is None:
            continue
        report.differences.append(difference)
        names = changed_names(before[order.id], order)
        names += [EVENTS] if changed or vanished else []
        # A difference only in how an order is stored is not visible to the shop.
        changes.append(touch_order(order, names, now))
        if order.status != before[order.id].status:
            news.append(OrderNews(order, webhook=False))
    write_events(session, rows)
    delete_events(session, removed)
    _write_orders(session, orders, before, events)
    store_labels(session, [(order, decoded[order.id][0]) for order in orders])
    plan_polls(session, news, settings.accounts, settings.poll_interval_factor, now)
    feed.record_changes(session, changes, now)
    return report


def _load_messages(
    session: Session, orders: Sequence[OrderState], stored: Mapping[int, Mapping[str, Any]]
) -> Mapping[tuple[str, str], Sequence[Message]]:
    """Load the messages about each order, and those about several that gave it something."""
    messages = defaultdict(list)
    keys = [order.order_key for order in orders]
    about = pairs_in(Message.account, Message.courier_order_id, keys)
    for message in session.scalars(select(Message).where(about, Message.outcome == APPLIED)):
        messages[message.account, message.courier_order_id or ""].append(message)
    gave: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for order in orders:
        ids = {row.message_id for row in stored.get(order.id, {}).values()}
        for message_id in ids | details.list_message_ids(order.details):
            gave[message_id].append(order.order_key)
    shared = select(Message).where(
        id_in(Message.id, list(gave)),
        Message.courier_order_id.is_(None),
        Message.topic == "orders",
        # Of a parked message, the orders that were known are applied.
        Message.outcome.in_((APPLIED, PARKED)),
    )
    for message in session.scalars(shared):
        for key in gave[message.id]:
            messages[key].append(message)
    return messages


def _write_orders(
    session: Session,
    orders: Sequence[OrderState],
    before: Mapping[int, OrderState],
    events: Mapping[int, Collection[Any]],
) -> None:
    update_orders(session, orders, before)
    ended = [o for o in orders if has_ended(o.status) or has_ended(before[o.id].status)]
    record_orders(session, [(order, events[order.id]) for order in ended])


def _store_names(session: Session, order: OrderState, items: Sequence[ReceivedSnapshot]) -> None:
    given = {name for item in items for name in snapshot_names(item.snapshot)}
    store_names(session, [(order, given | current_names(order))])


def _decode_messages(
    messages: Sequence[Message],
    order: OrderState,
    accounts: Mapping[str, Account],
    report: RebuildReport,
) -> tuple[list[ReceivedSnapshot], set[int]]:
    """Return the snapshots of an order's messages, and the ids of those that were decoded."""
    items: list[ReceivedSnapshot] = []
    readable: set[int] = set()
    for message in messages:
        if message.body is None:
            continue
        report.messages += 1
        decoded = decode_or_report(message, accounts, report)
        if decoded is None:
            continue
        snapshots = _select_snapshots(decoded.orders, order)
        if not snapshots:
            report.unreadable.append(f"message {message.id}: it no longer names its order")
            continue
        readable.add(message.id)
        if order.erased_at is not None:
            # The erasure has not dropped this body yet.
            snapshots = [*map(erase_from_snapshot, snapshots)]
        items += [
            ReceivedSnapshot(message, rename_order(snapshot, order.courier_order_id))
            for snapshot in snapshots
        ]
    return items, readable


def _without_reasons_of(row: Any, readable: Collection[int]) -> Any:
    """Return a row without its reason where a readable message gave it, and will give it again."""
    if row.reason_source and row.reason_source[2] in readable:
        return row._replace(reason=None, reason_source=None)
    return row


def _keep_what_others_added(entries: dict[str, TimelineEntry], stored: Iterable[Any]) -> None:
    """Keep what messages that cannot be read any more added to events.

    That is trust, proofs, a newer reason, and when the courier was last asked. Everything else is
    as the readable messages have it.
    """
    for known in timeline.entries_from_rows(stored).values():
        if (entry := entries.get(known.event.key)) is not None:
            merged = timeline.merge_entries(entry, known)
            event = replace(
                entry.event,
                reason=merged.event.reason,
                proofs=merged.event.proofs,
                asked_at=merged.event.asked_at,
            )
            entries[known.event.key] = replace(
                entry, event=event, trust=merged.trust, reason_source=merged.reason_source
            )


def _describe_difference(
    before: OrderState,
    order: OrderState,
    changed: Sequence[EventRow],
    stored: Mapping[str, Event],
    vanished: int,
) -> str | None:
    """Describe what comes out differently; None where nothing does."""
    parts = [
        # Details have the message and the time of each: pages of them.
        name if name == "details" else f"{name} {_show(old)} -> {_show(new)}"
        for name in ORDER_COLUMNS
        if (old := getattr(before, name)) != (new := getattr(order, name))
    ]
    added = sum(row["key"] not in stored for row in changed)
    counts = ((added, "added"), (len(changed) - added, "changed"), (vanished, "removed"))
    parts += [f"{count_noun(count, 'event')} {verb}" for count, verb in counts if count]
    return f"{order.account} {order.courier_order_id}: {'; '.join(parts)}" if parts else None


def _show(value: Any) -> str:
    return str(rfc3339(value)) if isinstance(value, datetime) else repr(value)


def _select_snapshots(snapshots: Sequence[Snapshot], order: OrderState) -> Sequence[Snapshot]:
    """Return the snapshots of an order's message that are about it: of a single order, all."""
    if len({snapshot.courier_order_id for snapshot in snapshots}) == 1:
        return snapshots
    known = {order.courier_order_id, *details.identifier_values(order.details).values()}
    return [snapshot for snapshot in snapshots if snapshot.courier_order_id in known]
