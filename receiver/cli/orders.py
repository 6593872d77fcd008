"""`ordertrail orders`, `order`, `events` and `explain`: read orders."""

import shlex
from collections.abc import Iterator
from typing import Any

import click
from rich.text import Text

from receiver.cli.explain_text import format_explanation
from receiver.cli.options import (
    account_option,
    all_option,
    cursor_option,
    json_option,
    limit_option,
    order_arguments,
    page_size,
    read_pages,
    validate_options,
)
from receiver.cli.output import (
    Fact,
    GrowingTable,
    JsonObject,
    Row,
    format_status,
    format_time,
    print_facts,
    print_json,
    print_line,
    print_note,
    print_pages,
)
from receiver.cli.session import load_settings, open_database, open_order, require_account
from receiver.orders.explain import FLAG_TEXTS, explain_order
from receiver.orders.listing import list_events, list_orders
from receiver.orders.order_json import render_order, render_order_page
from receiver.schemas.history import ExplanationSchema, TimelineSchema
from receiver.schemas.order import OrderFiltersSchema
from receiver.statuses import GROUPS, VOCABULARY


@click.command()
@click.option("--reference", help="Only with this order number of the shop.")
@account_option
@click.option(
    "--status",
    type=click.Choice(list(VOCABULARY)),
    metavar="STATUS",
    help="Only with this status; `ordertrail statuses` lists them.",
)
@click.option(
    "--status-group",
    type=click.Choice(GROUPS),
    metavar="GROUP",
    help=f"Only with a status of this group: {', '.join(GROUPS)}.",
)
@click.option(
    "--needs-attention/--no-needs-attention",
    default=None,
    help="Only orders that need attention, or that do not.",
)
@click.option(
    "--updated-since",
    metavar="TIME",
    help="Only updated since then; with a zone: 2026-04-16T07:00:00Z.",
)
@limit_option
@cursor_option
@all_option
@json_option
def orders_command(limit: int | None, all_pages: bool, as_json: bool, **filters: Any) -> None:
    """List orders, newest first.

    Options narrow the list. ! marks a status that needs attention. An empty list is a success, but
    an account that is not configured is not.
    """
    checked = validate_options(OrderFiltersSchema(), limit=page_size(limit, all_pages), **filters)
    table = GrowingTable(
        *("account", "order", "reference", "status", "since", "courier status", "updated"),
        wrap=("reference", "courier status"),
        optional=("updated", "courier status", "since"),
    )
    settings = load_settings()
    with open_database(settings) as sessions:
        pages = read_pages(sessions, list_orders, render_order_page, checked, all_pages)
        count = print_pages("orders", pages, None if as_json else table, _order_row)
    if not count:
        require_account(settings, filters["account"])
        print_note("No orders found.")


def _order_row(order: JsonObject) -> Row:
    return [
        order["account"],
        order["courier_order_id"],
        order["reference"],
        format_status(order["status"], order["needs_attention"]),
        format_time(order["status_at"]),
        order["courier_status"],
        format_time(order["updated_at"]),
    ]


@click.command()
@order_arguments
@json_option
def order_command(account: str, order_id: str, as_json: bool) -> None:
    """Show the current state of an order.

    ORDER_ID is the courier's id of the order, or any other identifier that the courier gave it.
    """
    with open_order(account, order_id) as (_, found):
        order = render_order(found, found.poll)
    print_json(order) if as_json else print_order(order)


def print_order(order: JsonObject) -> None:
    """Print an order as labelled facts."""
    print_line(f"Order {order['courier_order_id']} of {order['account']}", "bold")
    print_facts([*_status_facts(order), *_detail_facts(order), *_polling_facts(order)])


def _status_facts(order: JsonObject) -> Iterator[Fact]:
    since = f"  since {format_time(order['status_at'])}" if order["status_at"] else ""
    status = format_status(order["status"], order["needs_attention"])
    yield "status", status.append(since, "default")
    if order["needs_attention"]:
        name = f"{shlex.quote(order['account'])} {shlex.quote(order['courier_order_id'])}"
        yield "", f"needs attention: see ordertrail explain {name}"
    yield "reason", order["reason"]
    yield "courier status", order["courier_status"]
    if source := order["source"]:
        kind = f"{source['kind']}, {source['trust']}, message {source['message_id']}"
        yield "source", f"{kind}, received {format_time(source['received_at'])}"


def _detail_facts(order: JsonObject) -> Iterator[Fact]:
    yield "reference", order["reference"]
    for name, value in order["identifiers"].items():
        yield name.replace("_", " "), str(value)
    yield "tracking", order["tracking_url"]
    yield "label", order["label_url"]
    yield "pickup at", format_time(order["pickup_at"])
    if eta := order["eta"]:
        start = f"{format_time(eta['from'])} - " if eta["from"] not in {None, eta["to"]} else ""
        source = f"from {eta['source']}, updated {format_time(eta['updated_at'])}"
        yield "ETA", f"{start}{format_time(eta['to'])}, {source}"
    for parcel in order["parcels"]:
        names = ("tracking_number", "status", "courier_name", "tracking_url")
        yield "parcels", "  ".join(parcel[name] for name in names if parcel[name])
    for name, time in order["milestones"].items():
        yield "milestones", f"{format_time(time)}  {name}"
    for name, value in order["metadata"].items():
        yield "metadata", f"{name}={value}"


def _polling_facts(order: JsonObject) -> Iterator[Fact]:
    polling = order["polling"]
    yield "last heard", format_time(order["last_heard_at"]) or "never"
    yield "last polled", format_time(polling["last_polled_at"])
    if failures := polling["failures"]:
        yield "", f"{failures} failed {'poll' if failures == 1 else 'polls'} in a row"
    yield "next poll", format_time(polling["next_poll_at"])
    if polling["stopped_at"]:
        yield "polling ended", f"{format_time(polling['stopped_at'])}: {polling['stop_reason']}"
    created = f"created {format_time(order['created_at'])}"
    yield "version", f"{order['version']}, updated {format_time(order['updated_at'])}; {created}"


@click.command()
@order_arguments
@json_option
def events_command(account: str, order_id: str, as_json: bool) -> None:
    """Show the timeline of an order.

    Oldest first, with the events that were not applied and why. `ordertrail explain` also shows
    every message and which event decided the status.
    """
    with open_order(account, order_id) as (session, order):
        events = TimelineSchema().dump(list_events(session, order))
    if as_json:
        print_json(events)
    elif events["events"]:
        GrowingTable(
            "occurred",
            "status",
            "courier status",
            "parcel",
            "source",
            "notes",
            wrap=("notes",),
            optional=("source",),
        ).add(map(_event_row, events["events"]))
    else:
        print_note("No events yet: nothing was received for this order.")


def _event_row(event: JsonObject) -> Row:
    source = event["source"]
    notes = [
        *([] if event["applied"] else [f"not applied: {event['not_applied_why']}"]),
        *([event["reason"]] if event["reason"] else []),
        *(FLAG_TEXTS.get(flag, flag) for flag in event["flags"]),
        *(" ".join(str(value) for value in proof.values() if value) for proof in event["proofs"]),
    ]
    return [
        format_time(event["occurred_at"]),
        format_status(event["status"]) if event["applied"] else Text(event["status"], "dim"),
        event["courier_status"],
        event["parcel"],
        f"{source['kind']}, message {source['message_id']}",
        "; ".join(notes),
    ]


@click.command()
@order_arguments
@json_option
def explain_command(account: str, order_id: str, as_json: bool) -> None:
    """Explain why an order has its current status.

    Shows every message, every event and whether it was applied, and where each detail comes from.
    ORDER_ID is the courier's id of the order, or any other identifier that the courier gave it.
    """
    with open_order(account, order_id) as (session, order):
        explanation = explain_order(session, order)
    if as_json:
        print_json(ExplanationSchema().dump(explanation))
    else:
        click.echo(format_explanation(explanation), nl=False)
