"""Rebuild: fold orders anew from the messages that are kept, and say what comes out differently.

After a change to a driver's word map this is how old orders are mended. Where a message's body
was dropped (retention), the events and details that it told are taken as they are stored.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, inspect, select, tuple_
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.changes.feed import EVENTS, Changed, what_changed
from receiver.db.bulk import pairs_in
from receiver.db.models import APPLIED, Event, Message, Order
from receiver.errors import Undecodable
from receiver.orders import details
from receiver.orders.poll_plan import OrderNews, plan_polls
from receiver.orders.timeline import TimelineEntry, entry_from_row, strongest_trust
from receiver.orders.tour_etas import add_etas, lock_tours
from receiver.settings import Account, Settings
from workers.folding.batch import decode
from workers.folding.bulk_write import write_events
from workers.folding.order_identity import under
from workers.folding.refold import Told, learn_all, settle, timelines
from workers.folding.tour_plans import keep_tours

# Orders at a time: what a chunk holds in memory, and how long its orders are locked.
CHUNK = 100


@dataclass(frozen=True)
class Scope:
    """Which orders to rebuild; all of them where nothing is given."""

    account: str | None = None
    courier_order_id: str | None = None

    def narrow(self, statement: Any) -> Any:
        if self.account is not None:
            statement = statement.where(Order.account == self.account)
        if self.courier_order_id is not None:
            statement = statement.where(Order.courier_order_id == self.courier_order_id)
        return statement


@dataclass
class Report:
    """What a rebuild did: orders and messages read, what differs, in words, per order, what of that
    the change feed tells, and the orders whose status is another now.
    """

    orders: int = 0
    messages: int = 0
    differences: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    changes: list[Changed] = field(default_factory=list)
    moved: list[OrderNews] = field(default_factory=list)


def count(session: Session, scope: Scope) -> int:
    """How many orders there are to rebuild."""
    return session.scalar(scope.narrow(select(func.count()).select_from(Order))) or 0


def rebuild(
    sessions: sessionmaker[Session],
    settings: Settings,
    scope: Scope,
    now: datetime,
    dry_run: bool = False,
) -> Iterator[Report]:
    """Rebuild chunk by chunk; yields what each chunk came to.

    A chunk's orders are locked while it is folded, so live traffic and a rebuild take turns at an
    order and neither undoes the other. A dry run does the same and keeps nothing.
    """
    if not dry_run:
        _rebuild_tours(sessions, settings.accounts, scope)
    last = 0
    while True:
        with sessions() as session, session.no_autoflush:
            lock_tours(session, writing=False)
            orders = session.scalars(
                scope.narrow(select(Order))
                .where(Order.id > last)
                .order_by(Order.id)
                .limit(CHUNK)
                .with_for_update(key_share=True)
            ).all()
            if not orders:
                return
            last = orders[-1].id
            report = _rebuild_orders(session, orders, settings.accounts, now)
            factor = settings.poll_interval_factor
            plan_polls(session, report.moved, settings.accounts, factor, now)
            if dry_run:
                session.rollback()
            else:
                feed.tell(session, report.changes, now)
                session.commit()
        yield report


def _rebuild_orders(
    session: Session, orders: Sequence[Order], accounts: Mapping[str, Account], now: datetime
) -> Report:
    report = Report(orders=len(orders))
    told = _messages(session, orders)
    partly = _partly_dropped(session, orders)
    stored = timelines(session, [order.id for order in orders])
    entries = {}
    rows: list[dict[str, Any]] = []
    gone: list[tuple[int, str]] = []
    for order in orders:
        items, readable = [], set()
        for message in told[order.account, order.courier_order_id]:
            report.messages += 1
            try:
                decoded = decode(message, accounts)
            except Undecodable as undecodable:
                report.unreadable.append(f"message {message.id}: {undecodable}")
                continue
            readable.add(message.id)
            items += [
                Told(message, under(order.courier_order_id, snapshot))
                for snapshot in decoded.orders
            ]
        kept = stored[order.id]
        entries[order.id] = _unreadable_part(kept, readable)
        order.details = learn_all(
            entries[order.id], details.remove_messages(order.details, readable), items
        )
        if (order.account, order.courier_order_id) in partly:
            _keep_what_was_added(entries[order.id], kept)
    add_etas(session, orders)
    for order in orders:
        kept = stored[order.id]
        changed = settle(order, order.details, list(entries[order.id].values()), kept)
        vanished = kept.keys() - entries[order.id].keys()
        rows += changed
        gone += [(order.id, key) for key in vanished]
        if difference := _difference(order, changed, kept, len(vanished)):
            report.differences.append(difference)
            # What differs only in how we keep it is nothing that the shop would see.
            if names := [*what_changed(order), *([EVENTS] if changed or vanished else [])]:
                report.changes.append(Changed(order, tuple(names)))
                order.version += 1
                order.updated_at = now
            if inspect(order).attrs.status.history.has_changes():
                report.moved.append(OrderNews(order, webhook=False))
    write_events(session, rows)
    if gone:
        session.execute(delete(Event).where(tuple_(Event.order_id, Event.key).in_(gone)))
    return report


def _messages(session: Session, orders: Sequence[Order]) -> dict[tuple[str, str], list[Message]]:
    keys = [(order.account, order.courier_order_id) for order in orders]
    found: dict[tuple[str, str], list[Message]] = defaultdict(list)
    for message in session.scalars(
        select(Message).where(
            pairs_in(Message.account, Message.courier_order_id, keys),
            Message.outcome == APPLIED,
            Message.body.is_not(None),
        )
    ):
        found[message.account, message.courier_order_id or ""].append(message)
    return found


def _unreadable_part(stored: Mapping[str, Event], readable: set[int]) -> dict[str, TimelineEntry]:
    """The stored events that no readable message was first to tell."""
    return {
        key: entry_from_row(row) for key, row in stored.items() if row.message_id not in readable
    }


def _partly_dropped(session: Session, orders: Sequence[Order]) -> set[tuple[str, str]]:
    """Those of the orders of which some messages have no body any more."""
    keys = [(order.account, order.courier_order_id) for order in orders]
    own = (Message.account, Message.courier_order_id)
    dropped = select(*own).where(
        pairs_in(*own, keys), Message.outcome == APPLIED, Message.body.is_(None)
    )
    return {(account, order_id or "") for account, order_id in session.execute(dropped.distinct())}


def _keep_what_was_added(entries: dict[str, TimelineEntry], stored: Mapping[str, Event]) -> None:
    """Leave each event what messages without a body added to it: trust, and proofs.

    All else is as those messages tell it that can be read anew.
    """
    for key, entry in entries.items():
        if (row := stored.get(key)) is not None:
            added = entry_from_row(row)
            event = replace(entry.event, proofs=entry.event.proofs | added.event.proofs)
            trust = strongest_trust((entry.trust, added.trust))
            entries[key] = replace(entry, event=event, trust=trust)


def _difference(
    order: Order, changed: Sequence[dict[str, Any]], stored: Mapping[str, Event], vanished: int
) -> str | None:
    """What comes out differently, in words; None where nothing does."""
    columns = [
        f"{attribute.key} {attribute.history.deleted[0]!r} -> {attribute.value!r}"
        for attribute in inspect(order).attrs
        if attribute.history.has_changes() and attribute.history.deleted
    ]
    new = sum(values["key"] not in stored for values in changed)
    events = [
        f"{count} events {what}"
        for count, what in (
            (new, "appear"),
            (len(changed) - new, "change"),
            (vanished, "vanish"),
        )
        if count
    ]
    told = "; ".join([*columns, *events])
    return f"{order.account} {order.courier_order_id}: {told}" if told else None


def _rebuild_tours(
    sessions: sessionmaker[Session], accounts: Mapping[str, Account], scope: Scope
) -> None:
    """Keep every kept tour plan again; equal ones change nothing."""
    last = 0
    while True:
        with sessions.begin() as session:
            lock_tours(session, writing=True)
            plans = select(Message).where(
                Message.topic == "tours",
                Message.outcome == APPLIED,
                Message.body.is_not(None),
                Message.id > last,
            )
            if scope.account is not None:
                plans = plans.where(Message.account == scope.account)
            messages = session.scalars(plans.order_by(Message.id).limit(CHUNK)).all()
            if not messages:
                return
            last = messages[-1].id
            keep_tours(session, [(message, decode(message, accounts)) for message in messages])
