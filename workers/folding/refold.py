"""Refold: add what messages tell to the orders they tell of, and fold each order anew."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.changes.feed import CREATED, EVENTS, Changed
from receiver.couriers.snapshot import Snapshot
from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import Event, Identifier, Message, Order
from receiver.orders import conflicts, details
from receiver.orders.erasure import without_people
from receiver.orders.fold import REPEATED_OBSERVATION, FoldResult, fold_order, sort_position
from receiver.orders.names import lock_names, shadowed_reference
from receiver.orders.poll_plan import OrderNews, polling_schedule
from receiver.orders.timeline import (
    StoredEvent,
    TimelineEntry,
    entry_from_row,
    event_values,
    merge_entries,
    strongest_trust,
)
from receiver.orders.tour_etas import add_etas
from receiver.settings import Account
from receiver.statuses import find_status
from receiver.times import rfc3339
from workers.folding.bulk_write import (
    Overtaken,
    insert_orders,
    write_events,
    write_identifiers,
    write_orders,
)
from workers.folding.order_identity import belongs, known_by, under
from workers.folding.working_order import InHand, lock, take_up

OrderKey = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Told:
    """A snapshot, and the message that told it."""

    message: Message
    snapshot: Snapshot

    @property
    def order(self) -> OrderKey:
        return self.message.account, self.snapshot.courier_order_id


@dataclass
class Refolded:
    """What a batch came to.

    parked   what waits because its order is not registered
    strange  answers about orders that are not on record
    erased   the messages, by id, of orders of which no personal data is kept any more
    renamed  per message, the id by which we know its order, where the courier uses another
    changes  the orders that changed
    news     the orders whose courier spoke, or of which we learnt by asking
    missed   per account, how many states we had to ask for, though a hook should have told them
    fresh    the rows of the events that were told for the first time
    """

    parked: list[Told] = field(default_factory=list)
    strange: list[Told] = field(default_factory=list)
    erased: list[int] = field(default_factory=list)
    renamed: dict[int, str] = field(default_factory=dict)
    changes: list[Changed] = field(default_factory=list)
    news: list[OrderNews] = field(default_factory=list)
    missed: Counter[str] = field(default_factory=Counter)
    fresh: list[dict[str, Any]] = field(default_factory=list)


def refold(
    session: Session,
    told: Sequence[Told],
    stops: Collection[tuple[str, str]],
    accounts: Mapping[str, Account],
    now: datetime,
) -> Refolded:
    """Fold what was told into its orders.

    stops: (account, order's name) of each stop of the tour plans in this batch.
    """
    done = Refolded()
    of_order, ids = _by_order(session, told, accounts, done)
    locked = lock(session, {*ids.values(), *_named(session, stops)})
    _look_again(locked, told, done.renamed)
    stored = timelines(session, [it.order.id for it in locked])
    new = sorted(of_order.keys() - ids.keys())
    couriers = [accounts[account].driver for account, _ in new]
    in_hand = [*locked, *take_up(session, new, couriers, now)]

    rows: dict[int, list[dict[str, Any]]] = {}
    names: list[dict[str, Any]] = []
    for order in (it.order for it in in_hand):
        items = of_order[order.account, order.courier_order_id]
        rows[order.id] = _add(order, items, stored[order.id])
        names += _names(order)
        done.fresh += [row for row in rows[order.id] if row["key"] not in stored[order.id]]
        done.missed[order.account] += _missed(order, rows[order.id], stored[order.id], accounts)
    add_etas(session, [it.order for it in in_hand])
    for it in in_hand:
        order = it.order
        changed = [
            *([CREATED] if it.new else []),
            *it.changed(),
            *([EVENTS] if rows[order.id] else []),
        ]
        if changed:
            order.version += not it.new
            order.updated_at = now
            done.changes.append(Changed(order, tuple(changed)))
        items = of_order[order.account, order.courier_order_id]
        if order.erased_at is not None:
            done.erased += [item.message.id for item in items]
        hook = any(item.message.kind == "webhook" for item in items)
        if hook or (items and changed):
            done.news.append(OrderNews(order, hook))
    # New ones behind those that were locked: so all workers take their orders in the same turn.
    insert_orders(session, [it.order for it in in_hand if it.new])
    write_orders(session, [it.order for it in locked if it.differs])
    write_events(session, [row for of_one in rows.values() for row in of_one])
    write_identifiers(session, names)
    return done


def _by_order(
    session: Session, told: Sequence[Told], accounts: Mapping[str, Account], done: Refolded
) -> tuple[dict[OrderKey, list[Told]], dict[OrderKey, int]]:
    """What is told of each order, and the ids of those orders that are on record.

    done: is told what belongs to no order.
    """
    of_order = _grouped(told)
    ids = _known(session, of_order)
    lock_names(session, {account for account, _ in of_order.keys() - ids.keys()}, False)
    meant = known_by(
        session, [(accounts[item.message.account], item.snapshot) for item in told], ids
    )
    if meant:
        done.renamed = {item.message.id: meant[item.order] for item in told if item.order in meant}
        of_order = _grouped(
            Told(item.message, under(meant.get(item.order, item.order[1]), item.snapshot))
            for item in told
        )
        ids |= _known(session, {(account, name) for (account, _), name in meant.items()})
    unknown = of_order.keys() - ids.keys()
    # Only a hook makes an order known: an answer about one that nobody asked about is none.
    strange = {
        order
        for order in unknown
        if all(item.message.kind != "webhook" for item in of_order[order])
    }
    registered, unregistered = _wait_for_the_shop(session, unknown - strange, accounts)
    done.parked = [item for order in sorted(unregistered) for item in of_order.pop(order)]
    done.strange = [item for order in sorted(strange) for item in of_order.pop(order)]
    return of_order, ids | registered


def _look_again(locked: Sequence[InHand], told: Sequence[Told], renamed: Mapping[int, str]) -> None:
    """Make sure that what was told under another id still belongs to that order.

    Raises: Overtaken where another worker had it taken by another of its courier's meanwhile.
    """
    if not renamed:
        return
    orders = {(it.order.account, it.order.courier_order_id): it.order for it in locked}
    for item in told:
        if (name := renamed.get(item.message.id)) is not None:
            order = orders[item.message.account, name]
            if not belongs(order, item.snapshot.courier_order_id):
                raise Overtaken


def _grouped(told: Iterable[Told]) -> dict[OrderKey, list[Told]]:
    of_order: dict[OrderKey, list[Told]] = defaultdict(list)
    for item in told:
        of_order[item.order].append(item)
    return of_order


def _missed(
    order: Order,
    rows: Sequence[dict[str, Any]],
    stored: Mapping[str, Event],
    accounts: Mapping[str, Account],
) -> int:
    """How many of an order's new states we had to ask for, though a hook should have told them.

    A parcel's state counts where it is the order's: hooks tell of orders.
    """
    schedule = polling_schedule(accounts[order.account])
    if schedule is None or (schedule.calls_once and stored):
        return 0
    asked_for = [
        row
        for row in rows
        if row["kind"] == "poll"
        and row["applied"]
        and row["key"] not in stored
        and (not row["parcel"] or _is_source(order, row))
    ]
    return min(len(asked_for), 1) if schedule.calls_once else len(asked_for)


def _is_source(order: Order, row: Mapping[str, Any]) -> bool:
    told = order.courier_status, order.status_at
    return (row["courier_status"], row["occurred_at"]) == told


def _wait_for_the_shop(
    session: Session, unknown: Collection[OrderKey], accounts: Mapping[str, Account]
) -> tuple[dict[OrderKey, int], set[OrderKey]]:
    """Of the unknown orders that the shop has to register: those that it has registered just now,
    with their ids, and those whose messages must wait for it.
    """
    parking = [order for order in unknown if accounts[order[0]].parks_unknown_orders]
    # Whoever registered one of them meanwhile has committed by now, and the rest must wait for us.
    registered = _known(session, parking)
    return registered, set(parking) - registered.keys()


def _known(session: Session, wanted: Collection[OrderKey]) -> dict[OrderKey, int]:
    """The ids of those orders that are on record."""
    if not wanted:
        return {}
    own = (Order.account, Order.courier_order_id)
    found = session.execute(select(*own, Order.id).where(pairs_in(*own, wanted)))
    return {(account, name): order_id for account, name, order_id in found}


def _named(session: Session, stops: Collection[tuple[str, str]]) -> set[int]:
    """The orders that stops of a tour plan may mean, by id."""
    if not stops:
        return set()
    own = (Order.account, Order.courier_order_id)
    reference = (Order.account, Order.reference)
    name = (Identifier.account, Identifier.value)
    return {
        *session.scalars(select(Order.id).where(pairs_in(*own, stops))),
        *session.scalars(select(Order.id).where(pairs_in(*reference, stops))),
        *session.scalars(select(Identifier.order_id).where(pairs_in(*name, stops))),
    }


def timelines(session: Session, order_ids: Collection[int]) -> dict[int, dict[str, Event]]:
    """The stored events of each order, by key."""
    found: dict[int, dict[str, Event]] = defaultdict(dict)
    if order_ids:
        columns = Event.__table__.columns
        for row in session.execute(select(*columns).where(id_in(Event.order_id, order_ids))):
            stored = StoredEvent(*row)
            found[stored.order_id][stored.key] = stored
    return found


def _add(order: Order, items: Sequence[Told], stored: dict[str, Event]) -> list[dict[str, Any]]:
    """Add messages to an order and fold it; the values of those event rows that change."""
    if order.erased_at is not None:
        items = [Told(item.message, without_people(item.snapshot)) for item in items]
    entries = {key: entry_from_row(row) for key, row in stored.items()}
    known = learn_all(entries, order.details, items)
    heard = [item.message.received_at for item in items]
    if order.last_heard_at is not None:
        heard.append(order.last_heard_at)
    order.last_heard_at = max(heard, default=None)
    return settle(order, known, list(entries.values()), stored)


def learn_all(
    entries: dict[str, TimelineEntry], known: details.KnownDetails, items: Sequence[Told]
) -> details.KnownDetails:
    """Add what was told to the entries, and return the details with it."""
    for item in items:
        message = item.message
        for event in item.snapshot.events:
            entry = TimelineEntry(
                event, message.received_at, message.id, message.kind, message.trust
            )
            key = event.key
            entries[key] = merge_entries(entries.get(key), entry)
        known = details.merge_snapshot(known, item.snapshot, message.id)
    return known


def settle(
    order: Order,
    known: details.KnownDetails,
    entries: Sequence[TimelineEntry],
    stored: Mapping[str, Event],
) -> list[dict[str, Any]]:
    """Set an order's columns from its details and entries; the values of changed event rows."""
    folded, of_parcels = fold_order([entry.event for entry in entries])
    _show_state(order, folded, entries)
    _show_details(order, known, of_parcels)
    rows = []
    for entry, verdict in zip(entries, folded.verdicts, strict=True):
        values = event_values(order.id, entry, verdict)
        row = stored.get(entry.event.key)
        if row != StoredEvent(**values):
            rows.append(values)
    return rows


def _show_state(order: Order, folded: FoldResult, entries: Sequence[TimelineEntry]) -> None:
    order.status = folded.status
    order.courier_status = folded.courier_status
    order.status_at = folded.status_at
    order.reason = folded.reason
    order.milestones = {name: rfc3339(at) for name, at in folded.milestones.items()}
    order.conflicts = conflicts.merge_conflicts(order.conflicts, folded.conflicts)
    order.needs_attention = find_status(folded.status).attention or conflicts.any_open(
        order.conflicts
    )
    order.source = _source(folded, entries)


def _source(folded: FoldResult, entries: Sequence[TimelineEntry]) -> dict[str, Any] | None:
    """Who told the status first; trusted as far as the best that told it again since."""
    if folded.set_by is None:
        return None
    setter = entries[folded.set_by]
    again = [
        entry.trust
        for entry, verdict in zip(entries, folded.verdicts, strict=True)
        if verdict.why_not == REPEATED_OBSERVATION
        and entry.event.courier_status == setter.event.courier_status
        and sort_position(entry.event) > sort_position(setter.event)
    ]
    if again:
        setter = replace(setter, trust=strongest_trust([setter.trust, *again]))
    return setter.source()


def _show_details(order: Order, known: details.KnownDetails, of_parcels: Mapping[str, str]) -> None:
    pickup_at = details.detail_value(known, "pickup_at")
    order.details = known
    order.reference = order.shop_reference or details.detail_value(known, "reference")
    order.identifiers = details.identifier_values(known)
    order.tracking_url = details.detail_value(known, "tracking_url")
    order.label_url = details.detail_value(known, "label_url")
    order.pickup_at = datetime.fromisoformat(pickup_at) if pickup_at else None
    order.eta = details.current_eta(known)
    order.parcels = details.list_parcels(known, order.status, of_parcels)


def _names(order: Order) -> list[dict[str, Any]]:
    names = set(order.identifiers.values())
    if told := shadowed_reference(order):
        names.add(told)
    return [
        {"account": order.account, "value": name, "order_id": order.id}
        for name in sorted(names - {order.courier_order_id})
    ]
