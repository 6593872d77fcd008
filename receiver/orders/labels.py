"""Labels that came inside a message: which one counts, where it is read, and its end.

The label that counts is a detail of the order like any other (details.py): the most recent one by
the courier's clock, and never by the order of arrival. The detail is the file's SHA-256; the file
is in a table of its own, so that reading or folding an order never reads it.
"""

import re
from collections.abc import Collection
from urllib.parse import quote

from sqlalchemy import delete
from sqlalchemy.orm import Session

from receiver.couriers.inline_label import FILE_ENDINGS
from receiver.db.bulk import id_in
from receiver.db.models import Order, OrderLabel
from receiver.db.order_state import AnyOrder
from receiver.errors import UnknownLabel
from receiver.orders.details import LABEL, KnownDetails, detail_value
from receiver.orders.find import find_order

# Of a file's name.
MAX_NAME_LENGTH = 100


def find_label_url(order: AnyOrder, known: KnownDetails) -> str | None:
    """Return the courier's URL of an order's label, or else the path of the label that is stored.

    The path is that of `GET /v1/orders/<account>/<id>/label`, relative to the API's address.
    """
    url: str | None = detail_value(known, "label_url")
    if url is None and detail_value(known, LABEL) is not None:
        account, order_id = quote(order.account, safe=""), quote(order.courier_order_id, safe="")
        return f"/v1/orders/{account}/{order_id}/label"
    return url


def read_label(session: Session, account: str, name: str) -> tuple[Order, OrderLabel]:
    """Return the one order that has this name, and its label.

    Raises: UnknownOrder, AmbiguousIdentifier; UnknownLabel where no label is stored.
    """
    order = find_order(session, account, name)
    label = session.get(OrderLabel, order.id)
    if label is None or order.erased_at is not None:
        raise UnknownLabel(
            f"order {order.courier_order_id!r} has no label that came inside a message"
            + (f": its label is at {order.label_url}" if order.label_url else "")
        )
    return order, label


def label_file_name(courier_order_id: str, content_type: str) -> str:
    """Return a name for the file: any other character than letters, digits, _ and - is a -."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", courier_order_id)[:MAX_NAME_LENGTH]
    return f"label-{name}.{FILE_ENDINGS[content_type]}"


def delete_labels(session: Session, orders: Collection[Order]) -> None:
    """Delete the labels of locked orders, because the address of a person is on them."""
    labelled = id_in(OrderLabel.order_id, [order.id for order in orders])
    deleted = {*session.scalars(delete(OrderLabel).where(labelled).returning(OrderLabel.order_id))}
    for order in orders:
        if order.id in deleted:
            kept = {
                name: detail for name, detail in order.details["details"].items() if name != LABEL
            }
            order.details = order.details | {"details": kept}
            order.label_url = find_label_url(order, order.details)
