"""Delete an order with all that is stored of it: its events, names, poll, changes and messages.

The shop deletes a registration that was a mistake, a test order or a sample; retention
(workers/upkeep/order_removal.py) deletes what is past its term. The change feed does not announce a
deletion, and shows nothing of the order afterwards; its cursors stay valid. A message that arrives
later makes a new order.
"""

import time
from collections.abc import Collection, Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit
from receiver.db.bulk import id_in, pairs_in
from receiver.db.models import APPLIED, DISCARDED, Change, Event, Identifier, Message, Order, Poll
from receiver.errors import OrderReported, StorageUnavailable
from receiver.orders.find import find_order
from receiver.orders.names import is_sample, lock_names
from receiver.orders.performance.record import forget_orders
from receiver.settings import Settings

# Seconds to wait for a worker that reads one of the order's messages, and between two attempts.
PATIENCE, PAUSE = 10.0, 0.05


def delete_order(
    sessions: sessionmaker[Session], settings: Settings, account: str, order_id: str
) -> None:
    """Delete an order that its courier has never reported; of a test account, or a sample, any.

    A message that was stored but not folded yet is not about the order until it is folded: it stays
    in the inbox and makes a new order. So do parked and quarantined messages stay.

    Raises: UnknownOrder, AmbiguousIdentifier; OrderReported; StorageUnavailable where a worker
        reads one of its messages for longer than PATIENCE.
    """
    gives_up_at = time.monotonic() + PATIENCE
    while not _try_to_delete(sessions, settings, account, order_id):
        if time.monotonic() > gives_up_at:
            raise StorageUnavailable("a message about the order is being read: retry in a moment")
        time.sleep(PAUSE)


def _try_to_delete(
    sessions: sessionmaker[Session], settings: Settings, account: str, order_id: str
) -> bool:
    """Delete an order; return False where a worker reads one of its messages now."""
    with sessions.begin() as session:
        # An order that is being registered again must not be deleted in the middle of it.
        lock_names(session, [account], registering=True)
        order = find_order(session, account, order_id, lock=True)
        if not is_deletable(order, settings):
            raise OrderReported(
                f"the courier has reported order {order.courier_order_id!r}, so it cannot be"
                " deleted: stop its tracking instead"
            )
        message_ids = lock_messages_of_orders(session, [(order.account, order.courier_order_id)])
        if message_ids is None:
            return False
        audit.record_action(
            session, audit.DELETE, account=order.account, courier_order_id=order.courier_order_id
        )
        forget_orders(session, [order])
        delete_orders(session, [order.id], message_ids)
    return True


def is_deletable(order: Order, settings: Settings) -> bool:
    """Return whether the shop may delete an order."""
    is_silent = order.last_heard_at is None
    return is_silent or order.account in settings.test_accounts or is_sample(order.courier_order_id)


def lock_messages_of_orders(
    session: Session, names: Collection[tuple[str, str]]
) -> Sequence[int] | None:
    """Lock the messages of locked orders that are done with, and return their ids.

    None: a worker has locked one of them. It waits for its order, so nobody may lock the order and
    wait for its messages.

    names: the account and the courier_order_id of each order.
    """
    about = pairs_in(Message.account, Message.courier_order_id, names)
    ids = select(Message.id).where(about, Message.outcome.in_((APPLIED, DISCARDED)))
    message_ids = session.scalars(ids).all()
    unlocked = select(Message.id).where(id_in(Message.id, message_ids))
    locked = session.scalars(unlocked.with_for_update(skip_locked=True)).all()
    return message_ids if len(locked) == len(message_ids) else None


def delete_orders(
    session: Session, order_ids: Collection[int], message_ids: Collection[int]
) -> None:
    """Delete orders and all that is stored of them, and messages; all of them are locked."""
    owned = (Event.order_id, Identifier.order_id, Poll.order_id, Change.order_id, Order.id)
    for column in owned:
        session.execute(delete(column.class_).where(id_in(column, order_ids)))
    session.execute(delete(Message).where(id_in(Message.id, message_ids)))
