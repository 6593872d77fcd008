"""The shop corrects an order's reference or metadata, or stops and resumes its tracking."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit
from receiver.changes.feed import record_changes
from receiver.changes.order_version import changed_names, copy_shown, touch_order
from receiver.db.models import REFERENCE, Identifier, Order
from receiver.orders.conflicts import needs_attention
from receiver.orders.corrections.shop_values import add_corrections
from receiver.orders.find import find_order
from receiver.orders.matching import release_parked
from receiver.orders.names import current_names, find_reference, list_names, lock_names, store_names
from receiver.orders.poll_plan import OrderNews, plan_polls
from receiver.orders.tour_etas import add_etas, lock_tours
from receiver.queue.doorbell import Bells
from receiver.settings import Settings


def change_order(
    sessions: sessionmaker[Session],
    settings: Settings,
    bells: Bells,
    account: str,
    order_id: str,
    values: Mapping[str, Any],
    now: datetime,
) -> Order:
    """Correct an order, and return it as it is then, with its polling.

    While its tracking is stopped, an order is not polled and needs no attention; what its courier
    reports is folded all the same.

    values: {"reference"?, "metadata"?, "tracking"?: "active" or "stopped"}; None clears a reference
        or metadata. Metadata is replaced as a whole.

    Raises: UnknownOrder, AmbiguousIdentifier.
    """
    with sessions.begin() as session:
        lock_tours(session, writing=False)
        lock_names(session, [account], registering=True)
        order = find_order(session, account, order_id, lock=True)
        before, known_names = copy_shown(order), current_names(order)
        add_corrections(order, values, now)
        order.reference = find_reference(order, order.details)
        _follow_reference(session, order, known_names)
        if order.tracking_stopped_at != before.tracking_stopped_at:
            order.needs_attention = needs_attention(order)
            # Of one whose tracking is stopped this removes the row, and with it the right of a
            # worker that is polling it now to record the answer.
            news = [OrderNews(order, webhook=True)]
            plan_polls(session, news, settings.accounts, settings.poll_interval_factor, now)
        changed = changed_names(before, order)
        change = touch_order(order, changed, now)
        audit.record_action(
            session, audit.CHANGE, account=order.account, courier_order_id=order.courier_order_id
        )
        session.refresh(order, ["poll"])
        record_changes(session, [change], now)
    bells.doorbell()
    bells.feed()
    return order


def _follow_reference(session: Session, order: Order, known_names: set[tuple[str, str]]) -> None:
    """Find the order by its new reference, and no longer by one that was wrong."""
    names = current_names(order)
    wrong = [name for name, kind in known_names - names if kind == REFERENCE]
    session.execute(
        delete(Identifier).where(
            Identifier.account == order.account,
            Identifier.value.in_(wrong),
            Identifier.order_id == order.id,
            Identifier.kind == REFERENCE,
        )
    )
    new = names - known_names
    if new:
        add_etas(session, [order], {order.id: new})
        store_names(session, [(order, new)])
        release_parked(session, order.account, list_names(session, [order])[order.id])
