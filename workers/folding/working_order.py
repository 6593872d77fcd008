"""An order in hand: a bare object with an Order's attributes, and what these were when it was read.

SQLAlchemy's own objects note each attribute that is read or set. Of a drain that took a fifth.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from receiver import statuses
from receiver.changes.feed import SHOWN
from receiver.db.bulk import id_in
from receiver.db.models import Order

# The attributes, and of those that are not None at first what they are then.
NAMES: tuple[str, ...] = tuple(column.key for column in Order.__mapper__.column_attrs)
AT_FIRST: dict[str, Any] = {
    **dict.fromkeys(NAMES),
    "status": statuses.PENDING,
    "needs_attention": False,
    "version": 1,
    **{name: {} for name in ("identifiers", "milestones", "details", "shop_metadata")},
    **{name: [] for name in ("conflicts", "parcels")},
}

# The numbers that the rows would get by themselves: their events need them before.
NEXT_IDS = text("""
    SELECT nextval(pg_get_serial_sequence('orders', 'id')) FROM generate_series(1, :count)
""")


@dataclass(frozen=True, slots=True)
class InHand:
    """An order that we have locked, or that is new and not written yet."""

    order: Order
    was: dict[str, Any]
    new: bool = False

    @property
    def differs(self) -> bool:
        """Whether anything of it is other than it was, also what it does not show."""
        return vars(self.order) != self.was

    def changed(self) -> list[str]:
        """The names of what it shows that is other than it was, as feed.what_changed gives them."""
        now = vars(self.order)
        return [shown for name, shown in SHOWN.items() if now[name] != self.was[name]]


def lock(session: Session, ids: Collection[int]) -> list[InHand]:
    """Lock orders in one sorted statement, so that workers cannot deadlock.

    As little as will do, here and wherever an order is locked: whoever writes a row that belongs to
    it (an asker its row of `polls`, which the folder wants next) must not have to wait for it.
    """
    if not ids:
        return []
    columns = [getattr(Order, name) for name in NAMES]
    rows = session.execute(
        select(*columns)
        .where(id_in(Order.id, ids))
        .order_by(Order.id)
        .with_for_update(key_share=True)
    )
    return [_in_hand(dict(zip(NAMES, row, strict=True))) for row in rows]


def take_up(
    session: Session, unknown: Sequence[tuple[str, str]], couriers: Sequence[str], now: datetime
) -> Iterator[InHand]:
    """New orders by (account, courier's id), each with its courier; to be written when folded."""
    if not unknown:
        return
    ids = session.scalars(NEXT_IDS, {"count": len(unknown)})
    for order_id, (account, courier_order_id), courier in zip(ids, unknown, couriers, strict=True):
        own = {
            "id": order_id,
            "account": account,
            "courier": courier,
            "courier_order_id": courier_order_id,
            "created_at": now,
            "updated_at": now,
        }
        yield _in_hand(AT_FIRST | own, new=True)


def _in_hand(columns: dict[str, Any], new: bool = False) -> InHand:
    return InHand(cast("Order", SimpleNamespace(**columns)), columns, new)
