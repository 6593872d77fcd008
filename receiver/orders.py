"""Orders for the shop's services: find one, list many, read a timeline, register one."""

from datetime import UTC, datetime
from typing import Any

from flask import Response, jsonify, request
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from receiver import schemas, statuses
from receiver.cursors import read_cursor, write_cursor
from receiver.errors import UnknownAccount
from receiver.fold import REPEATS, position
from receiver.models import Event, Order
from receiver.parts import parts
from receiver.registry import find, register
from receiver.routes import Routes

orders = Routes("orders", __name__, description="Orders and their timelines")

ORDER = schemas.Order()


@orders.get("/orders/<account>/<path:order_id>")
@orders.response(200, schemas.Order)
@orders.alt_response(404, schema=schemas.Problem, description="No such order")
def get_order(account: str, order_id: str) -> Response:
    """One order, by the courier's id or any identifier the courier gave it.

    The ETag is its version: send it back as If-None-Match and get 304 while nothing changed.
    """
    with parts().sessions() as session:
        order = find(session, account, order_id)
    answer = jsonify(ORDER.dump(order))
    answer.set_etag(str(order.version))
    answer.headers["Cache-Control"] = "no-cache"
    answer.make_conditional(request)
    return answer


@orders.get("/orders/<account>/<path:order_id>/events")
@orders.response(200, schemas.Timeline)
@orders.alt_response(404, schema=schemas.Problem, description="No such order")
def list_events(account: str, order_id: str) -> dict[str, Any]:
    """The timeline, oldest first, with what did not count and why."""
    with parts().sessions() as session:
        order = find(session, account, order_id)
        events = session.scalars(
            select(Event).where(
                Event.order_id == order.id, Event.not_applied_why.is_distinct_from(REPEATS)
            )
        ).all()
    return {"events": sorted(events, key=position)}


@orders.get("/orders")
@orders.arguments(schemas.OrderFilters, location="query")
@orders.response(200, schemas.OrderPage)
def list_orders(filters: dict[str, Any]) -> dict[str, Any]:
    """Orders, the newest first; every filter narrows the list.

    Pages do not shift: an order that changes keeps its place, and one that is new comes before
    the first page.
    """
    limit = filters["limit"]
    page = select(Order).options(joinedload(Order.poll)).order_by(Order.id.desc()).limit(limit + 1)
    for name in ("reference", "account", "status", "needs_attention"):
        if name in filters:
            page = page.where(getattr(Order, name) == filters[name])
    if "status_group" in filters:
        page = page.where(Order.status.in_(statuses.of_group(filters["status_group"])))
    if "updated_since" in filters:
        page = page.where(Order.updated_at >= filters["updated_since"])
    if "cursor" in filters:
        page = page.where(Order.id < read_cursor(filters["cursor"]))
    with parts().sessions() as session:
        found = session.scalars(page).all()
    more = len(found) > limit
    return {
        "orders": found[:limit],
        "next_cursor": write_cursor(found[limit - 1].id) if more else None,
    }


@orders.post("/orders")
@orders.arguments(schemas.NewOrder)
@orders.response(201, schemas.Order)
@orders.alt_response(200, schema=schemas.Order, description="Known already")
def register_order(new: dict[str, Any]) -> tuple[Order, int]:
    """Tell us of an order that was given to a courier.

    Registering again changes only what is given. Messages that waited for it are read now.
    """
    app = parts()
    account = app.settings.accounts.get(new.pop("account"))
    if account is None:
        raise UnknownAccount("no such account is switched on")
    with app.sessions.begin() as session:
        order, created = register(
            session, account.slug, account.driver, now=datetime.now(UTC), **new
        )
    app.doorbell.ring()
    return order, 201 if created else 200
