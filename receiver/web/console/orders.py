"""The pages of orders: search, list, one order with everything about it, and its forms."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, redirect, render_template
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Response

from receiver.db.pagination import begin_consistent_read
from receiver.inbox.browse import get_bodies
from receiver.orders import conflicts, details, explain
from receiver.orders.corrections.change import change_order
from receiver.orders.corrections.delete import delete_order, is_deletable
from receiver.orders.erasure import erase_personal_data
from receiver.orders.find import find_order, load_orders
from receiver.orders.listing.export import CSV
from receiver.orders.listing.pages import list_orders, read_parcels
from receiver.orders.listing.search import LEAST_CHARACTERS, search_orders
from receiver.orders.poll_plan import is_tracked
from receiver.orders.register import request_refresh
from receiver.schemas.order import OrderFiltersSchema
from receiver.schemas.registration import OrderChangesSchema
from receiver.statuses import GROUPS, VOCABULARY
from receiver.text import indent_json
from receiver.web.api.download import answer_download
from receiver.web.api.label_file import answer_label
from receiver.web.console.forms import (
    load_fields,
    order_url,
    read_days,
    read_parameters,
    read_query,
    redirect_with_notice,
)
from receiver.web.console.order_timeline import lay_out_timeline
from receiver.web.console.parts import read_part
from receiver.web.console.session_guard import read_form
from receiver.web.context import app_context

orders = Blueprint("orders", __name__)

FILTERS = OrderFiltersSchema()
CHANGES = OrderChangesSchema()
PERIODS = {
    "1h": ("the last hour", timedelta(hours=1)),
    "24h": ("the last 24 hours", timedelta(days=1)),
    "7d": ("the last 7 days", timedelta(days=7)),
}

# Parameters of the orders page that are not filters of the list.
NO_FILTERS = {"cursor", "limit", "done", "count"}

# How many entries of its lists an order's page shows at once, so that an order with thousands of
# them is shown as fast as any other. Of parcels not more than an order's row has.
MOST_EVENTS = MOST_PARCELS = 25
MOST_MESSAGES = 20
# How many orders a page of a search shows.
MOST_FOUND = 50


@orders.get("/orders")
def show_orders_page() -> str | Response:
    """List orders by filters, or search for `q`; a single match opens at once."""
    query = read_query()
    name = query["q"].strip()
    if name:
        return _show_matches(name)
    with app_context().sessions() as session:
        page = list_orders(session, app_context().settings, _load_filters(query))
    return render_template(
        "console/orders.html",
        **page,
        statuses=list(VOCABULARY),
        groups=GROUPS,
        periods={key: label for key, (label, _) in PERIODS.items()},
        query=query,
        filters={name: value for name, value in query.items() if value and name not in NO_FILTERS},
    )


@orders.get("/orders.csv")
def download_orders() -> Response:
    """Send all orders that match the filters as a file for a spreadsheet."""
    return answer_download(_load_filters(read_query()), CSV)


def _load_filters(query: dict[str, str]) -> dict[str, Any]:
    """Load the filters of the orders page as the API does; its dates are days in UTC."""
    given = dict(query)
    if (period := query.get("changed")) in PERIODS:
        given["updated_since"] = (datetime.now(UTC) - PERIODS[period][1]).isoformat()
    return load_fields(FILTERS, given | read_days(query, "created"))


def _show_matches(name: str) -> str | Response:
    """Show the orders that have a name, in parts; a single exact match opens at once."""
    with app_context().sessions() as session:
        matches = search_orders(session, name)
        part = read_part("page", MOST_FOUND, len(matches.ids))
        shown = matches.ids[part.before : part.last]
        loaded = load_orders(session, shown)
    orders = [loaded[order_id] for order_id in shown if order_id in loaded]
    if matches.exact == len(matches.ids) == len(orders) == 1:
        return redirect(order_url(orders[0].account, orders[0].courier_order_id), 303)
    return render_template(
        "console/found.html",
        name=name,
        matches=matches,
        orders=orders,
        part=part,
        least=LEAST_CHARACTERS,
    )


@orders.get("/order")
@orders.get("/orders/<account>/<path:order_id>")
def show_order_page(account: str | None = None, order_id: str | None = None) -> str:
    """Show one order: its status and why, its events, its messages; long lists in parts."""
    if account is None or order_id is None:
        account, order_id = read_parameters("account", "id")
    app, now = app_context(), datetime.now(UTC)
    with app.sessions() as session:
        begin_consistent_read(session)
        order = find_order(session, account, order_id)
        known = explain.read_details(session, order)
        setter = explain.find_setter(session, order)
        event_count, ignored = explain.count_events(session, order)
        message_count = explain.count_messages(session, order, known)
        parcel_count = details.count_parcels(order)
        parts = {
            "events": read_part("events", MOST_EVENTS, event_count, from_end=True),
            "messages": read_part("messages", MOST_MESSAGES, message_count),
            "parcels": read_part("parcels", MOST_PARCELS, parcel_count),
        }
        events = explain.read_events(
            session, order, setter, parts["events"].length, parts["events"].before
        )
        messages = explain.read_messages(
            session, order, known, MOST_MESSAGES, parts["messages"].before, newest_first=True
        )
        parcels: Sequence[Any] = order.parcels[:MOST_PARCELS]
        if parts["parcels"].number > 1:
            parcels = read_parcels(session, order, MOST_PARCELS, parts["parcels"].before)
        bodies = get_bodies(session, [int(message["id"]) for message in messages])
    explanation = {"order": {"status": order.status}, "events": events, "messages": messages}
    settings = app.settings.accounts.get(order.account)
    return render_template(
        "console/order.html",
        order=order,
        events=events,
        messages=messages,
        parts=parts,
        parcels=parcels,
        etas=details.list_etas(known),
        because=explain.describe_setter(setter, ignored),
        timeline=lay_out_timeline(explanation, now),
        bodies={number: _render_body(body) for number, body in bodies.items()},
        milestones=sorted(order.milestones.items(), key=lambda milestone: milestone[1]),
        flags=explain.FLAG_TEXTS,
        has_label_file=details.detail_value(known, details.LABEL) is not None,
        is_polled=settings is not None and settings.access is not None,
        is_tracked=is_tracked,
        is_deletable=is_deletable(order, app.settings),
        open_conflicts=[each for each in order.conflicts if conflicts.is_open(each)],
    )


@orders.get("/label")
def download_label() -> Response:
    """Send the label of an order that came inside a message."""
    return answer_label(*read_parameters("account", "id"))


def _render_body(body: dict[str, str]) -> str | None:
    return indent_json(body["body"]) if "body" in body else body.get("body_base64")


@orders.post("/refresh")
def submit_refresh() -> Response:
    """Poll the courier for an order now."""
    account, order_id = read_parameters("account", "id")
    app = app_context()
    request_refresh(app.sessions, app.settings, account, order_id, datetime.now(UTC))
    return redirect(order_url(account, order_id, done="asked"), 303)


@orders.post("/correct")
def submit_correction() -> Response:
    """Correct the reference of an order, or stop or resume its tracking."""
    account, order_id = read_parameters("account", "id")
    form = read_form()
    is_cleared = "reference" in form and not form["reference"].strip()
    changes = {"reference": None} if is_cleared else load_fields(CHANGES, form)
    app, now = app_context(), datetime.now(UTC)
    change_order(app.sessions, app.settings, app.bells, account, order_id, changes, now)
    return redirect(order_url(account, order_id, done=changes.get("tracking", "corrected")), 303)


@orders.post("/delete")
def submit_deletion() -> Response:
    """Delete an order, once the user has typed its id to confirm it."""
    account, order_id = read_parameters("account", "id")
    if read_form().get("confirm", "").strip() != order_id.strip():
        raise BadRequest("the typed id is not the id of this order, so nothing was deleted")
    app = app_context()
    delete_order(app.sessions, app.settings, account, order_id)
    return redirect_with_notice("console.orders.show_orders_page", "deleted")


@orders.post("/erase")
def submit_erasure() -> Response:
    """Erase personal data, once the user has typed the order's id to confirm it."""
    account, order_id = read_parameters("account", "id")
    if read_form().get("confirm", "").strip() != order_id:
        raise BadRequest("the typed id is not the id of this order, so nothing was erased")
    app = app_context()
    erase_personal_data(app.sessions, app.bells, account, order_id, datetime.now(UTC))
    return redirect(order_url(account, order_id, done="erased"), 303)
