"""Stores the labels that came inside messages, once the fold has decided which of them counts."""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete
from sqlalchemy.orm import Session

from receiver.db.bulk import id_in, insert_rows
from receiver.db.models import OrderLabel
from receiver.db.order_state import OrderState
from receiver.orders.details import LABEL, detail_value
from workers.folding.order_identity import ReceivedSnapshot

# A label that is stored already is not written again.
REPLACE_LABEL = """(order_id) DO UPDATE
    SET sha256 = excluded.sha256, content_type = excluded.content_type, content = excluded.content
    WHERE known.sha256 <> excluded.sha256
"""


def store_labels(
    session: Session, folded: Iterable[tuple[OrderState, Sequence[ReceivedSnapshot]]]
) -> None:
    """Store the labels of folded orders that stand in these snapshots; the orders are stored.

    A label whose message has no body any more stays as it was stored. An order that has none any
    more (a rebuild after a correction of its driver) loses it.
    """
    rows, without = [], []
    for order, items in folded:
        sha256 = detail_value(order.details, LABEL)
        if sha256 is None:
            without.append(order.id)
            continue
        labels = (item.snapshot.label for item in items)
        label = next((label for label in labels if label and label.sha256 == sha256), None)
        if label is not None:
            rows.append(
                {
                    "order_id": order.id,
                    "sha256": sha256,
                    "content_type": label.content_type,
                    "content": f"\\x{label.content.hex()}",
                }
            )
    insert_rows(session, OrderLabel, rows, REPLACE_LABEL)
    if without:
        session.execute(delete(OrderLabel).where(id_in(OrderLabel.order_id, without)))
