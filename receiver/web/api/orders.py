"""Orders: show, list, look up, register, and erase personal data."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from flask import Response, request, url_for
from marshmallow import Schema, ValidationError
from sqlalchemy.orm import Session

from receiver.accounts.known_accounts import require_known_account
from receiver.couriers.inline_label import FILE_ENDINGS
from receiver.db.models import Order
from receiver.db.pagination import begin_consistent_read
from receiver.errors import UnknownAccount
from receiver.orders import erasure, register
from receiver.orders.corrections import change, delete
from receiver.orders.find import (
    MOST_ORDERS,
    find_order,
    find_orders,
    find_orders_by_reference,
    find_orders_of_accounts,
)
from receiver.orders.listing import pages
from receiver.orders.order_json import order_etag, render_order, render_order_page, render_timeline
from receiver.schemas import lookup, registration
from receiver.schemas import order as schemas
from receiver.schemas.history import EventFiltersSchema, TimelineSchema
from receiver.web.api import download
from receiver.web.api.blueprint import ApiBlueprint, json_answer
from receiver.web.api.label_file import answer_label
from receiver.web.context import app_context
from receiver.web.openapi.components import (
    DOWNLOADED_CSV,
    DOWNLOADED_NDJSON,
    IF_NONE_MATCH,
    ORDER_ID,
    SAMPLE_ID,
    UNKNOWN_ACCOUNT,
    UNKNOWN_ACCOUNT_EXAMPLE,
)
from receiver.web.problems import Problem, classify, problem_details

CACHE_HEADERS = {"ETag": "ETag", "Cache-Control": "Cache-Control"}
NEW_ORDER = {
    "account": "tiramizoo",
    "courier_order_id": ORDER_ID,
    "reference": "41",
    "metadata": {"shop": "munich"},
}

DOWNLOADS = {
    "text/csv": {"schema": {"type": "string"}, "example": DOWNLOADED_CSV},
    "application/x-ndjson": {"schema": {"type": "string"}, "example": DOWNLOADED_NDJSON},
}
A_FILE = {"schema": {"type": "string", "format": "binary"}}
LABELS: dict[str, dict[str, Any]] = dict.fromkeys(FILE_ENDINGS, A_FILE)
NEW_ORDER_SCHEMA = registration.NewOrderSchema()

# Per list of a lookup: the name of its items, None where they are objects, and their schema.
LOOKED_UP: dict[str, tuple[str | None, Schema]] = {
    "references": ("reference", lookup.ReferenceSchema()),
    "orders": (None, lookup.OrderNameSchema()),
    "tracking_numbers": ("tracking_number", lookup.TrackingNumberSchema()),
}
# Those of test accounts are found by account and name only.
Find = Callable[[Session, Any, frozenset[str]], Mapping[Any, Sequence[Order]]]
FIND: dict[str, Find] = {
    "references": find_orders_by_reference,
    "orders": lambda session, names, _test_accounts: find_orders(session, names),
    "tracking_numbers": find_orders_of_accounts,
}

orders = ApiBlueprint("orders", "Orders: register, show, list and look up; timelines.")


@orders.get("/orders/<account>/<order:order_id>")
@orders.doc(parameters=[IF_NONE_MATCH])
@orders.response(200, schemas.OrderSchema, headers=CACHE_HEADERS)
@orders.alt_response(304, description="The order has not changed. No body.", headers=CACHE_HEADERS)
def get_order(account: str, order_id: str) -> Response:
    """Show one order, found by the courier's id, another identifier of it, or a parcel's number.

    First the exact courier's id counts, then the other exact names, then names without regard to
    capitals, dashes and surrounding blanks. Encode a slash in an id as `%2F`.

    Send the ETag as If-None-Match, and the response is 304 if nothing that is shown has changed.
    """
    reader, known = app_context().reader, request.if_none_match
    if known:
        version = reader.read_version(account, order_id)
        etag = order_etag(version, version)
        if known.contains_weak(etag):
            return _tagged(Response(status=HTTPStatus.NOT_MODIFIED), etag)
    row = reader.read_order(account, order_id)
    return _tagged(json_answer(render_order(row, row)), order_etag(row, row))


def _tagged(answer: Response, etag: str) -> Response:
    answer.set_etag(etag)
    answer.headers["Cache-Control"] = "private, no-cache"
    return answer


@orders.get("/orders/<account>/<path:order_id>/events")
@orders.arguments(EventFiltersSchema, location="query")
@orders.response(200, TimelineSchema)
def list_events(page: dict[str, Any], account: str, order_id: str) -> Response:
    """Show the timeline of an order, oldest event first, and why events were not applied."""
    with app_context().sessions() as session:
        events = pages.list_events(session, find_order(session, account, order_id), page)
    return json_answer(render_timeline(events))


@orders.get("/orders/<account>/<path:order_id>/parcels")
@orders.arguments(schemas.ParcelFiltersSchema, location="query")
@orders.response(200, schemas.ParcelPageSchema)
def list_parcels(page: dict[str, Any], account: str, order_id: str) -> Response:
    """List all parcels of an order, by tracking number."""
    with app_context().sessions() as session:
        parcels = pages.list_parcels(session, find_order(session, account, order_id), page)
    return json_answer(parcels)


@orders.get("/orders/<account>/<path:order_id>/label")
@orders.doc(parameters=[IF_NONE_MATCH], responses={200: {"content": LABELS}})
@orders.response(200, description="The label, as the file it is.", headers=CACHE_HEADERS)
@orders.alt_response(304, description="The label has not changed. No body.", headers=CACHE_HEADERS)
def get_label(account: str, order_id: str) -> Response:
    """Download the label of an order that its courier sent inside a message.

    Of several labels it is the most recent one by the courier's clock. A courier that gives the URL
    of a label instead is asked there: `label_url` of the order is that URL, and the path of this
    route otherwise. An order without such a label is 404 with the code `label_not_found`. The label
    is erased with the order's personal data.
    """
    return answer_label(account, order_id)


@orders.get("/orders")
@orders.arguments(schemas.OrderFiltersSchema, location="query")
@orders.response(200, schemas.OrderPageSchema)
@orders.problem(404, UNKNOWN_ACCOUNT, UNKNOWN_ACCOUNT_EXAMPLE, "account_not_found")
@orders.doc(responses={200: {"content": DOWNLOADS}})
def list_orders(filters: dict[str, Any]) -> Response:
    """List orders that match all filters, newest first.

    Pages are stable: an order that changes keeps its place, and a new order comes before the first
    page. A reference that no order has exactly is found without regard to capitals, dashes and
    surrounding blanks.

    With `Accept: text/csv` or `Accept: application/x-ndjson` the response is a download of all
    orders that match, whatever `limit` is, each with the tracking numbers of its first 50 parcels.
    It is read while you read it: an order is shown as it was then. A download that fails ends its
    connection in the middle of a chunk, which HTTP clients report. In CSV, a text that a
    spreadsheet would take for a formula has an apostrophe before it; NDJSON has all texts
    unchanged.
    """
    app = app_context()
    accepted = request.accept_mimetypes.best_match(["application/json", *download.FORMATS])
    if accepted in download.FORMATS:
        return download.answer_download(filters, download.FORMATS[accepted])
    page: dict[str, Any] = {"orders": []}
    if filters.keys() == {"reference", "limit"}:
        page = app.reader.list_by_reference(filters["reference"], filters["limit"])
    elif filters.keys() == {"tracking_number", "limit"}:
        page = app.reader.list_by_name(filters["tracking_number"], filters["limit"])
    if not page["orders"]:
        with app.sessions() as session:
            page = pages.list_orders(session, app.settings, filters)
            if not page["orders"]:
                require_known_account(session, app.settings, filters.get("account"))
    answer = json_answer(render_order_page(page))
    answer.vary.add("Accept")
    return answer


@orders.post("/orders/lookup", is_open_to_readers=True)
@orders.arguments(lookup.LookupSchema, example={"references": ["41", "42"]})
@orders.response(200, lookup.LookupAnswerSchema)
def look_up(lookup: dict[str, Any]) -> Response:
    """Look up several orders at once, by reference, by account and name, or by tracking number.

    A request has 1 to 100 items; there is one result per item, in the order of the items. An item
    that cannot be used has a `problem` and costs no other item its answer. A reference may have
    several orders: the newest 10 are returned, and `more` says whether there are others
    (`GET /v1/orders?reference=` lists them). Orders of test accounts are only found by account and
    name.
    """
    ((kind, items),) = lookup.items()
    field, schema = LOOKED_UP[kind]
    given = [{field: item} if field else item for item in items]
    keys: list[Any] = []
    problems: dict[int, dict[str, Any]] = {}
    for number, item in enumerate(given):
        try:
            loaded = schema.load(item)
            key = tuple(loaded[name] for name in schema.fields)
            keys.append(key if field is None else key[0])
        except ValidationError as error:
            keys.append(None)
            problems[number] = problem_details(_invalid_item(error))
    usable = {key for key in keys if key is not None}
    app = app_context()
    with app.sessions() as session:
        begin_consistent_read(session)
        found = FIND[kind](session, usable, app.settings.test_accounts)
        results = [
            {
                **({"problem": problems[number]} if number in problems else item),
                "found": key in found,
                "orders": [render_order(o, o.poll) for o in found.get(key, ())[:MOST_ORDERS]],
                "more": len(found.get(key, ())) > MOST_ORDERS,
            }
            for number, (item, key) in enumerate(zip(given, keys, strict=True))
        ]
    return json_answer({"results": results})


def _invalid_item(error: ValidationError) -> Problem:
    faults: dict[str, Any] = error.normalized_messages()  # type: ignore[no-untyped-call]
    text = "; ".join(
        f"{name}: {' '.join(map(str, found)) if isinstance(found, list) else 'see errors'}"
        for name, found in faults.items()
    )
    detail = text.replace("_schema: ", "")
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, {"json": faults})


@orders.post("/orders")
@orders.arguments(registration.NewOrderSchema, example=NEW_ORDER)
@orders.response(201, schemas.OrderSchema, headers={"ETag": "ETag", "Location": "Location"})
@orders.alt_response(
    200,
    schema=schemas.OrderSchema,
    description="The order was already known.",
    headers={"ETag": "ETag"},
)
@orders.doc(responses={404: "AccountNotFound"})
def register_order(new: dict[str, Any]) -> Response:
    """Register an order that was given to a courier.

    From now on the courier is polled for the order while it sends no webhooks about it, if the
    account can be polled. Parked messages about it are processed. If it is registered again under
    the same name, only the given fields change. If it is registered under several of its names,
    the reference that was registered first and all metadata count, of one key what was given last.
    """
    app, now = app_context(), datetime.now(UTC)
    registered = register.register_order(app.sessions, app.settings, app.bells, new, now)
    order = registered.order
    answer = json_answer(render_order(order, order.poll), 201 if registered.is_new else 200)
    answer.set_etag(order_etag(order, order.poll))
    if registered.is_new:
        answer.headers["Location"] = url_for(
            "orders.get_order", account=order.account, order_id=order.courier_order_id
        )
    return answer


@orders.patch("/orders/<account>/<order:order_id>")
@orders.arguments(registration.OrderChangesSchema, example={"reference": "42"})
@orders.response(200, schemas.OrderSchema, headers={"ETag": "ETag"})
def change_order(changes: dict[str, Any], account: str, order_id: str) -> Response:
    """Correct the reference or metadata of an order, or stop or resume its tracking.

    A correction is about the whole order, whatever names it has. It replaces what was given before;
    what is registered again later under a known name counts again. Stopped and resumed tracking is
    shown as `tracking`: while it is stopped, the order is not polled, needs no attention and raises
    no alert.
    """
    app, now = app_context(), datetime.now(UTC)
    order = change.change_order(
        app.sessions, app.settings, app.bells, account, order_id, changes, now
    )
    answer = json_answer(render_order(order, order.poll))
    answer.set_etag(order_etag(order, order.poll))
    return answer


@orders.delete("/orders/<account>/<order:order_id>")
@orders.doc(parameters=[SAMPLE_ID])
@orders.response(204)
@orders.problem(
    409,
    "The courier has reported the order, or several orders have this name.",
    f"the courier has reported order {ORDER_ID!r}, so it cannot be deleted: stop its tracking"
    " instead",
    code="order_reported",
)
def delete_order(account: str, order_id: str) -> None:
    """Delete an order that was registered by mistake, a test account's order, or a sample.

    Once its courier has reported an order, it can only be deleted if it is a sample or the account
    is a test account. All that is stored of it goes with it, and the change feed does not show it
    any more. A message that arrives later makes a new order.
    """
    app = app_context()
    delete.delete_order(app.sessions, app.settings, account, order_id)


@orders.post("/orders/batch")
@orders.arguments(registration.NewOrderBatchSchema, example={"orders": [NEW_ORDER]})
@orders.response(200, registration.BatchAnswerSchema)
def register_orders(batch: dict[str, Any]) -> Response:
    """Register up to 100 orders at once, each as `POST /v1/orders` does.

    There is one result for each, in their order, with the `status` that `POST /v1/orders` would
    have: 201 or 200 with the `order`, 404 or 422 with the `problem`. An order that cannot be
    registered costs no other one its registration. It is safe to repeat the request.
    """
    app, now = app_context(), datetime.now(UTC)
    results: list[dict[str, Any]] = [{} for _ in batch["orders"]]
    new: dict[int, dict[str, Any]] = {}
    for place, given in enumerate(batch["orders"]):
        try:
            new[place] = NEW_ORDER_SCHEMA.load(given)
        except ValidationError as error:
            results[place] = _refused(_invalid_item(error))
    registered = register.register_orders(
        app.sessions, app.settings, app.bells, list(new.values()), now
    )
    for place, result in zip(new, registered, strict=True):
        if isinstance(result, UnknownAccount):
            results[place] = _refused(classify(result))
        else:
            order = render_order(result.order, result.order.poll)
            results[place] = {"status": 201 if result.is_new else 200, "order": order}
    return json_answer({"results": results})


def _refused(problem: Problem) -> dict[str, Any]:
    return {"status": problem.status.value, "problem": problem_details(problem)}


@orders.delete("/orders/<account>/<path:order_id>/personal-data")
@orders.response(204)
def erase_personal_data(account: str, order_id: str) -> None:
    """Erase the personal data of an order, permanently.

    Erased are the bodies of its messages (also of those about other orders as well), its label, the
    names of people who signed, the shop's metadata, and reasons of more than one word. The status
    and the timeline remain. Messages that arrive later are treated the same way. A message that
    could not be read loses its body if it names the order.
    """
    app, now = app_context(), datetime.now(UTC)
    erasure.erase_personal_data(app.sessions, app.bells, account, order_id, now)
