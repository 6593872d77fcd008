"""Orders for the shop's services: find one, list many, read a timeline, register one."""

from collections.abc import Iterable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

import orjson
from flask import Response, request

from receiver.db.models import Order
from receiver.db.pagination import snapshot
from receiver.orders import erasure, register
from receiver.orders.find import find_order
from receiver.orders.listing import page, timeline
from receiver.orders.lookup import MOST_ORDERS, by_name, by_reference
from receiver.orders.order_json import of_reference, order_row, render_order, tag_of
from receiver.schemas.fields import ProblemSchema
from receiver.schemas.order import (
    NO_POLLING,
    LookupAnswerSchema,
    LookupSchema,
    NewOrderSchema,
    OrderFiltersSchema,
    OrderPageSchema,
    OrderSchema,
)
from receiver.schemas.timeline import TimelineSchema
from receiver.web.api.blueprint import Routes
from receiver.web.context import app_context

orders = Routes("orders", __name__, description="Orders and their timelines")


@orders.get("/orders/<account>/<order:order_id>")
@orders.response(200, OrderSchema)
@orders.alt_response(404, schema=ProblemSchema, description="No such order")
def get_order(account: str, order_id: str) -> Response:
    """One order, by the courier's id or any identifier the courier gave it.

    The ETag is its version: send it back as If-None-Match and get 304 while nothing changed.

    Percent-encode the id, slashes too. An id that itself ends in the name of something that orders
    have, such as `/events`, cannot be asked for here: POST it to /v1/orders/lookup.
    """
    quick, known = app_context().quick, request.if_none_match
    if known and known.contains_weak(etag := tag_of(quick, account, order_id)):
        return _tagged(Response(status=HTTPStatus.NOT_MODIFIED), etag)
    row, etag = order_row(quick, account, order_id)
    return _tagged(_json(render_order(row, row)), etag)


def _tagged(answer: Response, etag: str) -> Response:
    answer.set_etag(etag)
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


def _json(told: Any) -> Response:
    return Response(orjson.dumps(told), mimetype="application/json")


@orders.get("/orders/<account>/<path:order_id>/events")
@orders.response(200, TimelineSchema)
@orders.alt_response(404, schema=ProblemSchema, description="No such order")
def list_events(account: str, order_id: str) -> dict[str, Any]:
    """The timeline, oldest first, with what did not count and why."""
    with app_context().sessions() as session:
        return timeline(session, find_order(session, account, order_id))


@orders.get("/orders")
@orders.arguments(OrderFiltersSchema, location="query")
@orders.response(200, OrderPageSchema)
def list_orders(filters: dict[str, Any]) -> Response:
    """Orders, the newest first; every filter narrows the list.

    Pages do not shift: an order that changes keeps its place, and one that is new comes before
    the first page.
    """
    if filters.keys() == {"reference", "limit"}:
        return _json(of_reference(app_context().quick, filters["reference"], filters["limit"]))
    with app_context().sessions() as session:
        told = page(session, filters)
    return _json({**told, "orders": _all_shown(told["orders"])})


def _all_shown(orders: Iterable[Order]) -> list[dict[str, Any]]:
    return [render_order(order, order.poll or NO_POLLING) for order in orders]


@orders.post("/orders/lookup")
@orders.arguments(LookupSchema)
@orders.response(200, LookupAnswerSchema)
def look_up(asked: dict[str, Any]) -> Response:
    """Up to 100 orders at once, by reference or by account and id; a result for each, in order.

    `courier_order_id` may be any identifier that the courier gave the order. A reference may have
    several orders: the newest 10 are shown, and `more` says whether there are others (list them by
    `GET /v1/orders?reference=`).
    """
    with app_context().sessions() as session:
        snapshot(session)
        if "references" in asked:
            of = by_reference(session, asked["references"])
            results = [({"reference": it}, of.get(it, [])) for it in asked["references"]]
        else:
            names = [(it["account"], it["courier_order_id"]) for it in asked["orders"]]
            named = by_name(session, names)
            results = [
                (item, named.get(name, []))
                for item, name in zip(asked["orders"], names, strict=True)
            ]
    results_shown = [
        {
            **item,
            "found": bool(orders),
            "orders": _all_shown(orders[:MOST_ORDERS]),
            "more": len(orders) > MOST_ORDERS,
        }
        for item, orders in results
    ]
    return _json({"results": results_shown})


@orders.post("/orders")
@orders.arguments(NewOrderSchema)
@orders.response(201, OrderSchema)
@orders.alt_response(200, schema=OrderSchema, description="Known already")
@orders.alt_response(404, schema=ProblemSchema, description="No such account is switched on")
def register_order(new: dict[str, Any]) -> tuple[Order, int]:
    """Tell us of an order that was given to a courier.

    From now on its courier is asked where it stays silent, if the account can be polled.
    Registering again changes only what is given. Messages that waited for it are read now.
    """
    app = app_context()
    now = datetime.now(UTC)
    order, is_new = register.register_order(app.sessions, app.settings, app.bells, new, now)
    return order, 201 if is_new else 200


@orders.delete("/orders/<account>/<path:order_id>/personal-data")
@orders.response(204)
@orders.alt_response(404, schema=ProblemSchema, description="No such order")
def erase_personal_data(account: str, order_id: str) -> None:
    """Erase what is known of people in an order, now and for good.

    The bodies of its messages go, with whose signatures they showed, what the shop noted as
    metadata, and reasons that are more than one word of the courier's; the status and the timeline
    stay. Of messages still to come none of it is kept either.
    A message that could not be read loses its body where that names the order.
    """
    app = app_context()
    now = datetime.now(UTC)
    erasure.erase_personal_data(app.sessions, app.settings, app.bells, account, order_id, now)
