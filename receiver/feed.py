"""The change feed's writing side: which order changed in what, numbered without gaps.

A number that a transaction takes early can become visible after a higher one, and a reader would
have passed it. So numbers are given as the last thing before the commit, one writer at a time.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import inspect, text
from sqlalchemy.orm import Session

from receiver.models import Order

# Any number that nothing else locks.
FEED_LOCK = 7_203_118_404

# What an order shows of itself, and under which name. The rest is how we keep it, or when we last
# looked: a message that repeats what is known changes neither version nor feed.
SHOWN = {
    name: name
    for name in (
        "identifiers",
        "reference",
        "status",
        "courier_status",
        "status_at",
        "reason",
        "needs_attention",
        "source",
        "tracking_url",
        "eta",
        "label_url",
        "pickup_at",
        "parcels",
        "milestones",
        "conflicts",
    )
} | {"shop_metadata": "metadata"}


@dataclass(frozen=True, slots=True)
class Changed:
    """An order that changed, and the names of what is different."""

    order: Order
    names: tuple[str, ...]


def what_changed(order: Order) -> list[str]:
    """The names of what differs from what is stored; only to be asked before it is written."""
    attributes = inspect(order).attrs
    return [shown for name, shown in SHOWN.items() if attributes[name].history.has_changes()]


TELL = text("""
    INSERT INTO changes (order_id, version, status, changed, changed_at)
    SELECT order_id, version, status, string_to_array(changed, ','), :now
    FROM unnest(CAST(:order_id AS bigint[]), CAST(:version AS bigint[]), CAST(:status AS text[]),
                CAST(:changed AS text[])) AS told (order_id, version, status, changed)
""")


def tell(session: Session, changes: Collection[Changed], now: datetime) -> None:
    """Number the changes. The last statement of a transaction: others wait for its commit."""
    if not changes:
        return
    session.flush()
    session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": FEED_LOCK})
    rows: Sequence[Changed] = list(changes)
    values: dict[str, Any] = {
        "now": now,
        "order_id": [row.order.id for row in rows],
        "version": [row.order.version for row in rows],
        "status": [row.order.status for row in rows],
        # unnest would flatten an array of arrays.
        "changed": [",".join(row.names) for row in rows],
    }
    session.execute(TELL, values)
