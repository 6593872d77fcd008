"""The shop registers an order, or requests that its courier is polled now."""

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit, statuses
from receiver.changes.feed import record_changes
from receiver.changes.order_version import CREATED, changed_names, copy_shown, touch_order
from receiver.couriers import DRIVERS
from receiver.db.models import AccountState, Order
from receiver.errors import NotPolled, SampleNotPolled, TrackingStopped, UnknownAccount
from receiver.orders.corrections.shop_values import add_registration
from receiver.orders.find import find_order, find_orders
from receiver.orders.matching import release_parked
from receiver.orders.names import current_names, is_sample, list_names, lock_names, store_names
from receiver.orders.poll_plan import OrderNews, plan_polls, schedule_poll_now
from receiver.orders.tour_etas import add_etas, lock_tours
from receiver.queue.doorbell import Bells
from receiver.settings import Settings


def register_order(
    sessions: sessionmaker[Session],
    settings: Settings,
    bells: Bells,
    new: dict[str, Any],
    now: datetime,
) -> tuple[Order, bool]:
    """Register an order of the shop, and return it with whether it is new.

    What the shop gives takes precedence over what the courier reports. Polling of a new order
    starts, and messages that were parked for it become pending.

    new: {"account", "courier_order_id", "reference"?, "metadata"?}

    Raises: UnknownAccount.
    """
    account = settings.accounts.get(new["account"])
    if account is None:
        raise UnknownAccount(
            f"account {new['account']!r} is not configured: GET /v1/couriers lists the accounts"
        )
    with sessions.begin() as session:
        given = {name: value for name, value in new.items() if name != "account"}
        order, is_new = record_order(session, account.slug, account.driver, now=now, **given)
        if is_new:
            factor = settings.poll_interval_factor
            plan_polls(session, [OrderNews(order, webhook=True)], settings.accounts, factor, now)
            session.refresh(order, ["poll"])
        audit.record_action(
            session, audit.REGISTER, account=order.account, courier_order_id=order.courier_order_id
        )
    bells.doorbell()
    bells.feed()
    return order, is_new


def record_order(
    session: Session,
    account: str,
    courier: str,
    courier_order_id: str,
    now: datetime,
    reference: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> tuple[Order, bool]:
    """Insert or update an order as the shop gives it; register_order() without its transaction."""
    lock_tours(session, writing=False)
    lock_names(session, [account], registering=True)
    name = courier_order_id
    courier_order_id = _known_as(session, account, courier, name)
    order_id = session.scalar(
        insert(Order)
        .values(
            account=account,
            courier=courier,
            courier_order_id=courier_order_id,
            status=statuses.PENDING,
            created_at=now,
            updated_at=now,
        )
        .on_conflict_do_nothing()
        .returning(Order.id)
    )
    is_new = order_id is not None
    order = find_order(session, account, courier_order_id, lock=True)
    before = copy_shown(order)
    add_registration(order, name, now, reference, metadata)
    order.reference = order.shop_reference or order.reference
    add_etas(session, [order])
    changed = [*([CREATED] if is_new else []), *changed_names(before, order)]
    change = touch_order(order, changed, now)
    store_names(session, [(order, current_names(order))])
    release_parked(session, account, {name, *list_names(session, order)})
    record_changes(session, [change], now)
    return order, is_new


def _known_as(session: Session, account: str, courier: str, name: str) -> str:
    """Return the courier's id of the one order that has this name; otherwise the name itself.

    The shop's reference counts only with a courier that can be polled by reference: with the
    others it may look like an id of theirs.
    """
    by_reference = DRIVERS[courier].names_orders_by_reference
    named = find_orders(session, [(account, name)]).get((account, name), [])
    ids = {
        order.courier_order_id
        for order in named
        if by_reference or name in {order.courier_order_id, *order.identifiers.values()}
    }
    if by_reference:
        own = (Order.account == account, Order.reference == name)
        found = session.scalars(select(Order.courier_order_id).where(*own).limit(2))
        ids.update(each for each in found if is_sample(each) is is_sample(name))
    return ids.pop() if len(ids) == 1 else name


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
        if contract is None or contract.access is None:
            raise NotPolled(
                f"account {account!r} cannot be polled: it is off, its courier has no API, or its"
                " API_TOKEN, API_USER or API_URL is not set"
            )
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
