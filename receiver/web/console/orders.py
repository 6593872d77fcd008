"""The pages of orders: search, list, one order with everything about it, and its forms."""

from datetime import UTC, datetime, timedelta

from flask import Blueprint, redirect, render_template
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from receiver.inbox.browse import get_bodies
from receiver.orders import conflicts
from receiver.orders.erasure import erase_personal_data
from receiver.orders.explain import FLAG_TEXTS, describe_setter, explain_order
from receiver.orders.find import LEAST_CHARACTERS, find_order, search_orders
from receiver.orders.listing import list_orders
from receiver.orders.register import request_refresh
from receiver.schemas.history import ExplanationSchema
from receiver.schemas.order import OrderFiltersSchema
from receiver.statuses import GROUPS, VOCABULARY
from receiver.text import indent_json
from receiver.web.console.forms import load_fields, order_url, read_parameters, read_query
from receiver.web.console.order_timeline import lay_out_timeline
from receiver.web.console.session_guard import read_form
from receiver.web.context import app_context

orders = Blueprint("orders", __name__)

FILTERS = OrderFiltersSchema()
PERIODS = {
    "1h": ("the last hour", timedelta(hours=1)),
    "24h": ("the last 24 hours", timedelta(days=1)),
    "7d": ("the last 7 days", timedelta(days=7)),
}

# How many messages an order's page shows, the newest, and how many of them with their bodies.
MOST_MESSAGES = 200
MOST_BODIES = 20


@orders.get("/orders")
def show_orders_page() -> str | Response:
    """List orders by filters, or search for `q`; a single match opens at once."""
    query = read_query()
    name = query["q"].strip()
    if name:
        return _search(name)
    if query["changed"] in PERIODS:
        since = datetime.now(UTC) - PERIODS[query["changed"]][1]
        query["updated_since"] = since.isoformat()
    with app_context().sessions() as session:
        page = list_orders(session, load_fields(FILTERS, query))
    return render_template(
        "console/orders.html",
        **page,
        statuses=list(VOCABULARY),
        groups=GROUPS,
        periods={key: label for key, (label, _) in PERIODS.items()},
        query=query,
    )


def _search(name: str) -> str | Response:
    with app_context().sessions() as session:
        found = search_orders(session, name)
    if len(found.exact) == 1 and not found.beginning:
        return redirect(order_url(found.exact[0].account, found.exact[0].courier_order_id), 303)
    return render_template("console/found.html", name=name, found=found, least=LEAST_CHARACTERS)


@orders.get("/order")
@orders.get("/orders/<account>/<path:order_id>")
def show_order_page(account: str | None = None, order_id: str | None = None) -> str:
    """Show one order: its status and why, its events, its messages."""
    if account is None or order_id is None:
        account, order_id = read_parameters("account", "id")
    app, now = app_context(), datetime.now(UTC)
    with app.sessions() as session:
        order = find_order(session, account, order_id)
        explanation = ExplanationSchema().dump(explain_order(session, order))
        newest = explanation["messages"][::-1][:MOST_MESSAGES]
        bodies = get_bodies(session, [int(message["id"]) for message in newest[:MOST_BODIES]])
    settings = app.settings.accounts.get(order.account)
    return render_template(
        "console/order.html",
        order=order,
        explanation=explanation,
        because=describe_setter(explanation),
        timeline=lay_out_timeline(explanation, now),
        messages=newest,
        bodies={number: _render_body(body) for number, body in bodies.items()},
        milestones=sorted(order.milestones.items(), key=lambda milestone: milestone[1]),
        flags=FLAG_TEXTS,
        is_polled=settings is not None and settings.access is not None,
        open_conflicts=[each for each in order.conflicts if conflicts.is_open(each)],
    )


def _render_body(body: dict[str, str]) -> str | None:
    return indent_json(body["body"]) if "body" in body else body.get("body_base64")


@orders.post("/refresh")
def submit_refresh() -> Response:
    """Poll the courier for an order now."""
    account, order_id = read_parameters("account", "id")
    app = app_context()
    request_refresh(app.sessions, app.settings, account, order_id, datetime.now(UTC))
    return redirect(order_url(account, order_id, done="asked"), 303)


@orders.post("/erase")
def submit_erasure() -> Response:
    """Erase personal data, once the user has typed the order's id to confirm it."""
    account, order_id = read_parameters("account", "id")
    if read_form().get("confirm", "").strip() != order_id:
        raise BadRequest("the typed id is not the id of this order, so nothing was erased")
    app = app_context()
    erase_personal_data(app.sessions, app.bells, account, order_id, datetime.now(UTC))
    return redirect(order_url(account, order_id, done="erased"), 303)
