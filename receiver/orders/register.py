"""The shop registers an order, or requests that its courier is polled now."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.orm.attributes import set_committed_value

from receiver import audit, statuses
from receiver.changes.feed import record_changes
from receiver.changes.order_version import (
    CREATED,
    OrderChange,
    changed_names,
    copy_shown,
    touch_order,
)
from receiver.couriers import DRIVERS
from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import AccountState, Order, Poll
from receiver.errors import NotPolled, SampleNotPolled, TrackingStopped, UnknownAccount
from receiver.orders.corrections.shop_values import add_registration
from receiver.orders.find import Name, find_order, find_orders, load_orders
from receiver.orders.matching import release_parked
from receiver.orders.names import (
    current_names,
    is_sample,
    list_names,
    lock_names,
    spell,
    store_names,
)
from receiver.orders.poll_plan import OrderNews, plan_polls, schedule_poll_now
from receiver.orders.tour_etas import add_etas, lock_tours
from receiver.queue.doorbell import Bells
from receiver.settings import Settings


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What the shop registers. courier: of the account; courier_order_id: any name of the order."""

    account: str
    courier: str
    courier_order_id: str
    reference: str | None = None
    metadata: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class RegisteredOrder:
    """An order after its registration, with its polling; is_new: it was not known before."""

    order: Order
    is_new: bool


def register_order(
    sessions: sessionmaker[Session],
    settings: Settings,
    bells: Bells,
    new: Mapping[str, Any],
    now: datetime,
) -> RegisteredOrder:
    """Register one order, as register_orders() does.

    Raises: UnknownAccount.
    """
    (result,) = register_orders(sessions, settings, bells, [new], now)
    if isinstance(result, UnknownAccount):
        raise result
    return result


def register_orders(
    sessions: sessionmaker[Session],
    settings: Settings,
    bells: Bells,
    new: Sequence[Mapping[str, Any]],
    now: datetime,
) -> list[RegisteredOrder | UnknownAccount]:
    """Register orders of the shop, in one transaction; one result for each, in their order.

    What the shop gives takes precedence over what the courier reports. Polling of a new order
    starts, and messages that were parked for it become pending. The result is the same as if the
    orders were registered one by one.

    new: each {"account", "courier_order_id", "reference"?, "metadata"?}
    """
    results: list[RegisteredOrder | UnknownAccount] = [
        UnknownAccount(
            f"account {each['account']!r} is not configured: GET /v1/couriers lists the accounts"
        )
        for each in new
    ]
    known = {
        place: NewOrder(**{**each, "courier": settings.accounts[each["account"]].driver})
        for place, each in enumerate(new)
        if each["account"] in settings.accounts
    }
    if not known:
        return results
    with sessions.begin() as session:
        changes: list[OrderChange | None] = []
        recorded = record_registrations(session, list(known.values()), now, changes)
        for place, result in zip(known, recorded, strict=True):
            results[place] = result
        _start_polling(session, settings, recorded, now)
        subjects = [(each.order.account, each.order.courier_order_id) for each in recorded]
        audit.record_actions(session, audit.REGISTER, subjects)
        record_changes(session, changes, now)
    bells.doorbell()
    bells.feed()
    return results


def _start_polling(
    session: Session, settings: Settings, recorded: Sequence[RegisteredOrder], now: datetime
) -> None:
    new = {each.order.id: each.order for each in recorded if each.is_new}
    news = [OrderNews(order, webhook=True) for order in new.values()]
    plan_polls(session, news, settings.accounts, settings.poll_interval_factor, now)
    for poll in session.scalars(select(Poll).where(id_in(Poll.order_id, new))):
        set_committed_value(new[poll.order_id], "poll", poll)


def record_registrations(
    session: Session, new: Sequence[NewOrder], now: datetime, changes: list[OrderChange | None]
) -> list[RegisteredOrder]:
    """Insert or update orders as the shop gives them; register_orders() without its transaction.

    Orders that have to do with one another, such as one under two of its names, are recorded one
    after the other, all others together.

    changes: gets what the feed has to be told before the commit.
    """
    lock_tours(session, writing=False)
    lock_names(session, {each.account for each in new}, registering=True)
    recorded: dict[int, RegisteredOrder] = {}
    left = dict(enumerate(new))
    while left:
        ids = _find_couriers_ids(session, left.values())
        together = _choose_independent(left, ids)
        if not recorded and len(together) < len(left):
            # Those that follow later, too: workers lock orders by id, all at once.
            keys = {(each.account, ids[each.account, each.courier_order_id]) for each in new}
            known = select(Order.id).where(pairs_in(Order.account, Order.courier_order_id, keys))
            load_orders(session, session.scalars(known).all(), lock=True)
        for place, result in _record_together(session, left, together, now, changes).items():
            recorded[place] = result
            del left[place]
    return [recorded[place] for place in range(len(new))]


def _choose_independent(left: Mapping[int, NewOrder], ids: Mapping[Name, str]) -> dict[int, Name]:
    """Choose those of which none depends on another: the (account, courier's id) by the place.

    An order depends on an earlier one that may give it another meaning: by a name, in whatever
    spelling, or by the reference.
    """
    chosen: dict[int, Name] = {}
    taken: set[Name] = set()
    for place, each in left.items():
        courier_order_id = ids[each.account, each.courier_order_id]
        names = {spell(each.courier_order_id), spell(courier_order_id)}
        if not taken & {(each.account, name) for name in names}:
            chosen[place] = each.account, courier_order_id
        names |= {spell(each.reference)} if each.reference is not None else set()
        taken |= {(each.account, name) for name in names}
    return chosen


def _record_together(
    session: Session,
    new: Mapping[int, NewOrder],
    keys: Mapping[int, Name],
    now: datetime,
    changes: list[OrderChange | None],
) -> dict[int, RegisteredOrder]:
    """Record orders that do not depend on one another, and return their results.

    keys: by the places of those in `new`. One that another transaction deletes at this moment has
    no result yet.
    """
    inserted = _insert_missing(
        session, {key: new[place].courier for place, key in keys.items()}, now
    )
    own = select(Order.id).where(pairs_in(Order.account, Order.courier_order_id, keys.values()))
    orders = load_orders(session, session.scalars(own).all(), lock=True, details=True)
    by_key = {(order.account, order.courier_order_id): order for order in orders.values()}
    keys = {place: key for place, key in keys.items() if key in by_key}
    before = {order_id: copy_shown(order) for order_id, order in orders.items()}
    for place, key in keys.items():
        order, given = by_key[key], new[place]
        add_registration(order, given.courier_order_id, now, given.reference, given.metadata)
        order.reference = order.shop_reference or order.reference
    add_etas(session, list(orders.values()))
    for key in keys.values():
        order = by_key[key]
        created = [CREATED] if key in inserted else []
        changed = [*created, *changed_names(before[order.id], order)]
        changes.append(touch_order(order, changed, now))
    session.flush()
    store_names(session, [(order, current_names(order)) for order in orders.values()])
    names = list_names(session, orders.values())
    for account in {account for account, _ in by_key}:
        given_names = (
            {new[place].courier_order_id, *names[by_key[key].id]}
            for place, key in keys.items()
            if key[0] == account
        )
        release_parked(session, account, set().union(*given_names))
    return {place: RegisteredOrder(by_key[key], key in inserted) for place, key in keys.items()}


def _insert_missing(session: Session, couriers: Mapping[Name, str], now: datetime) -> set[Name]:
    """Insert the orders that are not stored yet; return their (account, courier's id)."""
    rows = [
        {
            "account": account,
            "courier": couriers[account, courier_order_id],
            "courier_order_id": courier_order_id,
            "status": statuses.PENDING,
            "created_at": now,
            "updated_at": now,
        }
        for account, courier_order_id in sorted(couriers)
    ]
    statement = insert(Order).on_conflict_do_nothing()
    returned = session.execute(statement.returning(Order.account, Order.courier_order_id), rows)
    return {(account, courier_order_id) for account, courier_order_id in returned}


def _find_couriers_ids(session: Session, new: Collection[NewOrder]) -> dict[Name, str]:
    """Return by (account, name) the courier's id of the one order with that name, or the name.

    The shop's reference counts only with a courier that can be polled by reference: with the
    others it may look like an id of theirs.
    """
    named = find_orders(session, {(each.account, each.courier_order_id) for each in new})
    by_reference = {
        (each.account, each.courier_order_id)
        for each in new
        if DRIVERS[each.courier].names_orders_by_reference
    }
    ids = {
        (each.account, each.courier_order_id): {
            order.courier_order_id
            for order in named.get((each.account, each.courier_order_id), ())
            if (each.account, each.courier_order_id) in by_reference
            or each.courier_order_id in {order.courier_order_id, *order.identifiers.values()}
        }
        for each in new
    }
    if by_reference:
        columns = Order.account, Order.reference, Order.courier_order_id
        referenced = select(*columns).where(pairs_in(Order.account, Order.reference, by_reference))
        for account, reference, courier_order_id in session.execute(referenced):
            if is_sample(courier_order_id) is is_sample(str(reference)):
                ids[account, str(reference)].add(courier_order_id)
    return {name: found.pop() if len(found) == 1 else name[1] for name, found in ids.items()}


def request_refresh(
    sessions: sessionmaker[Session], settings: Settings, account: str, order_id: str, now: datetime
) -> dict[str, Any]:
    """Make an order due for polling now; the clock sees it within seconds, so no bell is rung.

    Shape: {"account", "courier_order_id", "next_poll_at"}

    Raises: UnknownOrder, AmbiguousIdentifier; NotPolled, SampleNotPolled, TrackingStopped.
    """
    with sessions.begin() as session:
        order = find_order(session, account, order_id, lock=True)
        if is_sample(order.courier_order_id):
            raise SampleNotPolled(
                f"order {order.courier_order_id!r} is a sample: its courier does not know it"
            )
        if order.tracking_stopped_at is not None:
            raise TrackingStopped(
                f"the tracking of order {order.courier_order_id!r} is stopped, so its courier is"
                " not polled: set its tracking to active first"
            )
        contract = settings.accounts.get(account)
        why_not = contract.why_not_polled if contract else "it is off"
        if contract is None or why_not is not None:
            raise NotPolled(f"account {account!r} cannot be polled: {why_not}")
        due_at = schedule_poll_now(session, order, now, settings.poll_interval_factor)
        audit.record_action(
            session, audit.REFRESH, account=order.account, courier_order_id=order.courier_order_id
        )
        paused_until = session.scalar(
            select(AccountState.paused_until).where(AccountState.account == contract.slug)
        )
    return {
        "account": order.account,
        "courier_order_id": order.courier_order_id,
        "next_poll_at": max(due_at, paused_until or due_at),
    }
