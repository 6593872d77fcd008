"""Orders: find one, look through many, and one of them with all that made it what it is."""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, redirect, render_template, request
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from receiver.db.models import Order
from receiver.inbox.browse import get_bodies
from receiver.orders import conflicts
from receiver.orders.erasure import erase_personal_data
from receiver.orders.explain import FLAG_TEXTS, describe_setter, explain_order
from receiver.orders.find import LEAST_CHARACTERS, find_order, search_orders
from receiver.orders.listing import list_orders
from receiver.orders.register import request_refresh
from receiver.schemas.order import OrderFiltersSchema
from receiver.statuses import GROUPS, VOCABULARY
from receiver.text import indent_json
from receiver.web.console.order_timeline_svg import draw
from receiver.web.console.pages import asked, done, order_url, read
from receiver.web.console.session_guard import form
from receiver.web.context import app_context

orders = Blueprint("orders", __name__)

FILTERS = OrderFiltersSchema()
PERIODS = {"1h": "the last hour", "24h": "the last 24 hours", "7d": "the last 7 days"}
PERIOD_OF = {"1h": timedelta(hours=1), "24h": timedelta(days=1), "7d": timedelta(days=7)}

# An order's messages that are shown, the newest, and how many of them with their bodies.
MOST_MESSAGES = 200
MOST_BODIES = 20


@orders.get("/orders")
def index() -> str | Response:
    """The list; or with q what goes by that name, and at once the order where it is the one."""
    told = asked()
    name = told.get("q", "").strip()
    if name:
        return _found(name)
    if told.get("changed") in PERIOD_OF:
        since = datetime.now(UTC) - PERIOD_OF[told["changed"]]
        told["updated_since"] = since.isoformat()
    filters = read(FILTERS, told)
    with app_context().sessions() as session:
        listed = list_orders(session, filters)
    return render_template("console/orders.html", **listed, **_choices(), asked=told)


def _found(name: str) -> str | Response:
    with app_context().sessions() as session:
        found = search_orders(session, name)
    if len(found.exact) == 1 and not found.beginning:
        return redirect(order_url(found.exact[0].account, found.exact[0].courier_order_id), 303)
    return render_template(
        "console/found.html", name=name, found=found, least=LEAST_CHARACTERS, **_choices()
    )


def _choices() -> dict[str, Any]:
    return {
        "accounts": sorted(app_context().settings.accounts),
        "statuses": list(VOCABULARY),
        "groups": GROUPS,
        "periods": PERIODS,
    }


@orders.get("/order")
@orders.get("/orders/<account>/<path:order_id>")
def show(account: str | None = None, order_id: str | None = None) -> str:
    """One order: where it stands and why, and everything that was heard of it."""
    if account is None or order_id is None:
        account, order_id = _named()
    app, now = app_context(), datetime.now(UTC)
    with app.sessions() as session:
        order = find_order(session, account, order_id)
        told = explain_order(session, order)
        newest = told["messages"][::-1][:MOST_MESSAGES]
        raw = get_bodies(session, [int(it["id"]) for it in newest[:MOST_BODIES]])
    contract = app.settings.accounts.get(order.account)
    return render_template(
        "console/order.html",
        order=order,
        told=told,
        because=describe_setter(told),
        picture=draw(told, now),
        messages=newest,
        bodies={number: _shown(body) for number, body in raw.items()},
        milestones=_milestones(order),
        flags=FLAG_TEXTS,
        can_be_asked=contract is not None and contract.access is not None,
        open_conflicts=[it for it in order.conflicts if conflicts.is_open(it)],
    )


def _milestones(order: Order) -> list[tuple[str, str]]:
    return sorted(order.milestones.items(), key=lambda it: it[1])


def _shown(body: dict[str, str]) -> str | None:
    if "body" in body:
        return indent_json(body["body"])
    return body.get("body_base64")


@orders.post("/refresh")
def refresh() -> Response:
    """Ask the courier now."""
    account, order_id = _named()
    app = app_context()
    request_refresh(app.sessions, app.settings, account, order_id, datetime.now(UTC))
    return done("console.orders.show", "asked", account=account, id=order_id)


@orders.post("/erase")
def erase_people() -> Response:
    """Erase what is known of people, once the order's id was typed to confirm it."""
    account, order_id = _named()
    if form().get("confirm", "").strip() != order_id:
        raise BadRequest("to erase, type the order's id as it stands on its page; nothing was done")
    app = app_context()
    now = datetime.now(UTC)
    erase_personal_data(app.sessions, app.settings, app.bells, account, order_id, now)
    return done("console.orders.show", "erased", account=account, id=order_id)


def _named() -> tuple[str, str]:
    told = request.args
    if not told.get("account") or not told.get("id"):
        raise BadRequest("an order's address needs account and id")
    return told["account"], told["id"]
