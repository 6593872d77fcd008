"""`ordertrail orders`, `order`, `events`, `parcels` and `refresh`."""

import shlex
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import IO, Any

import click
from rich.text import Text

from receiver.accounts.known_accounts import require_known_account
from receiver.cli import options, output
from receiver.cli.output import format_status, format_time
from receiver.cli.session import explain_unknown_order, load_settings, open_database, open_order
from receiver.orders.explain import FLAG_TEXTS
from receiver.orders.labels import read_label
from receiver.orders.listing.export import FORMATS, export_orders
from receiver.orders.listing.pages import list_events, list_orders, list_parcels
from receiver.orders.order_json import render_order, render_order_page, render_timeline
from receiver.orders.register import request_refresh
from receiver.schemas.history import EventFiltersSchema
from receiver.schemas.order import OrderFiltersSchema, ParcelFiltersSchema, RefreshedSchema
from receiver.statuses import GROUPS
from receiver.text import count_noun


@click.command()
@click.option("--reference", help="Only with this reference, the shop's order number.")
@click.option("--tracking-number", help="Only with a parcel of this tracking number.")
@options.account_option
@click.option(
    "--status",
    metavar="STATUSES",
    help="Only with one of these statuses, separated by commas; `ordertrail statuses` lists them.",
)
@click.option(
    "--status-group",
    metavar="GROUPS",
    help=f"Only with a status of one of these groups, separated by commas: {', '.join(GROUPS)}.",
)
@click.option(
    "--needs-attention/--no-needs-attention",
    default=None,
    help="Only orders that need attention, or that do not.",
)
@options.time_options(
    created_since="Only first seen at or after this time, with its zone: 2026-04-16T07:00:00Z.",
    created_until="Only first seen before this time.",
    updated_since="Only updated at or after this time.",
    updated_until="Only last updated before this time.",
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    help="Print all orders that match as a file, instead of a table.",
)
@options.test_option
@options.page_options
def orders_command(format_: str | None, **given: Any) -> None:
    """List orders, newest first.

    The options filter the list. ! marks a status that needs attention. Exit code 0 also for an
    empty list, but 1 for an account that is not configured.

    --format csv is for spreadsheets: a text that one would take for a formula gets an apostrophe
    before it. --format ndjson has all texts unchanged, one order in each line.
    """
    if format_ is not None:
        _print_file(format_, **given)
        return
    table = output.GrowingTable(
        {
            "account": "account",
            "order": "courier_order_id",
            "reference": "reference",
            "status": lambda order: format_status(order["status"], order["needs_attention"]),
            "since": "status_at",
            "courier status": "courier_status",
            "updated": "updated_at",
        },
        wrap=("reference", "courier status"),
        optional=("updated", "courier status", "since"),
    )
    options.print_pages(
        table,
        OrderFiltersSchema(),
        lambda session, filters: render_order_page(list_orders(session, load_settings(), filters)),
        **given,
    )


def _print_file(
    format_: str, *, limit: int | None, all_pages: bool, as_json: bool, **filters: Any
) -> None:
    if as_json or all_pages or limit is not None:
        raise click.UsageError("--format prints all pages: leave out --json, --all and --limit")
    checked = options.validate_options(OrderFiltersSchema(), **filters)
    settings = load_settings()
    with open_database(settings) as sessions:
        with sessions() as session:
            require_known_account(session, settings, filters["account"])
        for part in export_orders(sessions, settings, checked, format_):
            click.echo(part, nl=False)


@click.command()
@options.order_arguments
@click.option(
    "--save-label",
    "label_file",
    type=click.File("wb", lazy=True),
    help="Save the label that came inside a message to this file, instead of showing the order.",
)
@options.json_option
def order_command(account: str, order_id: str, label_file: IO[bytes] | None, as_json: bool) -> None:
    """Show the current state of an order.

    ORDER_ID is the courier's id of the order, any other identifier that the courier gave it, or the
    tracking number of a parcel. Capitals, dashes and surrounding blanks do not matter.
    """
    with open_order(account, order_id) as (session, found):
        if label_file is not None:
            _, label = read_label(session, account, order_id)
            label_file.write(label.content)
            output.print_note(f"Saved {len(label.content):,} bytes of {label.content_type}.")
            return
        order = render_order(found, found.poll)
    output.print_json(order) if as_json else print_order(order)


def print_order(order: output.JsonObject) -> None:
    """Print an order of the API as facts."""
    sample = " (a sample)" if order["sample"] else ""
    output.print_line(f"Order {order['courier_order_id']} of {order['account']}{sample}", "bold")
    output.print_facts(_order_facts(order))


def _order_facts(order: output.JsonObject) -> Iterator[output.Fact]:
    since = f"  since {format_time(order['status_at'])}" if order["status_at"] else ""
    status = format_status(order["status"], order["needs_attention"])
    yield "status", status.append(since, "default")
    name = f"{shlex.quote(order['account'])} {shlex.quote(order['courier_order_id'])}"
    if order["needs_attention"]:
        yield "", f"needs attention: see ordertrail explain {name}"
    yield "reason", order["reason"]
    yield "courier status", order["courier_status"]
    if source := order["source"]:
        kind = f"{source['kind']}, {source['trust']}, message {source['message_id']}"
        yield "source", f"{kind}, received {format_time(source['received_at'])}"
    yield "reference", order["reference"]
    for kind, value in order["identifiers"].items():
        yield kind.replace("_", " "), str(value)
    yield "tracking page", order["tracking_url"]
    is_inside = (order["label_url"] or "").startswith("/")
    save = f"came inside a message; save: ordertrail order {name} --save-label FILE"
    yield "label", save if is_inside else order["label_url"]
    yield "pickup at", format_time(order["pickup_at"])
    if eta := order["eta"]:
        start = f"{format_time(eta['from'])} - " if eta["from"] not in {None, eta["to"]} else ""
        source = f"from {eta['source']}, updated {format_time(eta['updated_at'])}"
        yield "ETA", f"{start}{format_time(eta['to'])}, {source}"
    if promised := order["promised"]:
        start, end = (format_time(promised[side]) or "?" for side in ("from", "to"))
        yield "promised", f"{start} - {end}"
    yield from _parcel_facts(order, name)
    for status_name, time in order["milestones"].items():
        yield "milestones", f"{format_time(time)}  {status_name}"
    for key, value in order["metadata"].items():
        yield "metadata", f"{key}={value}"
    if order["tracking"] == "stopped":
        yield "tracking", f"stopped; resume: ordertrail correct {name} --tracking active"
    yield "last message", format_time(order["last_heard_at"]) or "never"
    yield from _polling_facts(order["polling"])
    created = f"created {format_time(order['created_at'])}"
    yield ("version", f"{order['version']}, updated {format_time(order['updated_at'])}; {created}")


def _polling_facts(polling: output.JsonObject) -> Iterator[output.Fact]:
    yield "last polled", format_time(polling["last_polled_at"])
    if failures := polling["failures"]:
        yield "", f"{count_noun(failures, 'failed poll')} in a row"
    if unknown_since := polling["unknown_since"]:
        yield "", f"the courier does not know its id, since {format_time(unknown_since)}"
    yield "next poll", format_time(polling["next_poll_at"])
    if polling["stopped_at"]:
        yield ("polling ended", f"{format_time(polling['stopped_at'])}: {polling['stop_reason']}")


def _parcel_facts(order: output.JsonObject, name: str) -> Iterator[output.Fact]:
    for parcel in order["parcels"]:
        names = ("tracking_number", "status", "courier_name", "tracking_url")
        yield "parcels", "  ".join(parcel[name] for name in names if parcel[name])
    if further := order["parcel_count"] - len(order["parcels"]):
        yield "parcels", f"and {further:,} more: see ordertrail parcels {name}"


@click.command()
@options.order_arguments
@options.page_options
def events_command(account: str, order_id: str, **given: Any) -> None:
    """Show the timeline of an order.

    Oldest first, with the events that were not applied and why. `ordertrail explain` also shows
    every message and which event decided the status.
    """
    with open_order(account, order_id) as (_, order):
        pass
    columns: output.Columns = {
        "occurred": "occurred_at",
        "status": lambda event: (
            format_status(event["status"]) if event["applied"] else Text(event["status"], "dim")
        ),
        "courier status": "courier_status",
        "parcel": "parcel",
        "source": lambda event: "{kind}, message {message_id}".format_map(event["source"]),
        "notes": _event_notes,
    }
    options.print_pages(
        output.GrowingTable(columns, wrap=("notes",), optional=("source",)),
        EventFiltersSchema(),
        lambda session, page: render_timeline(list_events(session, order, page)),
        **given,
    )


@click.command()
@options.order_arguments
@options.page_options
def parcels_command(account: str, order_id: str, **given: Any) -> None:
    """List the parcels of an order.

    By tracking number; `ordertrail order` shows the first 50 of them.
    """
    with open_order(account, order_id) as (_, order):
        pass
    columns: output.Columns = {
        "tracking number": "tracking_number",
        "status": lambda parcel: format_status(parcel["status"]),
        "carrier": "courier_name",
        "tracking page": "tracking_url",
    }
    options.print_pages(
        output.GrowingTable(columns, wrap=("tracking page",), optional=("carrier",)),
        ParcelFiltersSchema(),
        lambda session, page: list_parcels(session, order, page),
        **given,
    )


def _event_notes(event: output.JsonObject) -> str:
    notes = [
        *([] if event["applied"] else [f"not applied: {event['not_applied_why']}"]),
        *([event["reason"]] if event["reason"] else []),
        *(FLAG_TEXTS.get(flag, flag) for flag in event["flags"]),
        *(" ".join(str(value) for value in proof.values() if value) for proof in event["proofs"]),
    ]
    return "; ".join(notes)


@click.command()
@options.order_arguments
@options.json_option
def refresh_command(account: str, order_id: str, as_json: bool) -> None:
    """Poll the courier for an order now.

    Also resumes polling that was given up. The workers poll as soon as the account's rate limit
    allows; `ordertrail order` then shows the result. Exit code 1 if the account cannot be polled.
    """
    settings = load_settings()
    with open_database(settings) as sessions, explain_unknown_order(sessions, account, order_id):
        due = request_refresh(sessions, settings, account, order_id, datetime.now(UTC))
    refreshed = RefreshedSchema().dump(due)
    name = f"Order {refreshed['courier_order_id']} of {refreshed['account']}"
    text = f"{name} will be polled at {format_time(refreshed['next_poll_at'])} or soon after."
    output.print_result(refreshed, text, as_json)
