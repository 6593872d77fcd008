"""`ordertrail orders`."""

from collections.abc import Iterable
from typing import Any

import click
from rich.text import Text

from receiver.cli import main
from receiver.cli.finding import refuse_unknown
from receiver.cli.options import checked, json_option, limit_of, pages
from receiver.cli.output import Sheet, Told, at, note, print_json_pages, status_text
from receiver.orders.listing import page
from receiver.schemas.order import OrderFiltersSchema, OrderPageSchema
from receiver.statuses import GROUPS, VOCABULARY


@click.command()
@click.option("--reference", help="The shop's own order number.")
@click.option("--account", help="Only this account's.")
@click.option(
    "--status",
    type=click.Choice(list(VOCABULARY)),
    metavar="STATUS",
    help="See `ordertrail statuses`.",
)
@click.option(
    "--status-group",
    type=click.Choice(GROUPS),
    metavar="GROUP",
    help=f"One of {', '.join(GROUPS)}.",
)
@click.option(
    "--needs-attention/--no-needs-attention", default=None, help="Whether a person should look."
)
@click.option("--updated-since", metavar="TIME", help="With its zone: 2026-04-16T07:00:00Z.")
@click.option("--limit", type=int, help="How many to show, 1 to 200.  [default: 50]")
@click.option("--cursor", help="Go on where an earlier list ended.")
@click.option("--all", "everything", is_flag=True, help="All pages, to the end.")
@json_option
def orders(limit: int | None, everything: bool, as_json: bool, **filters: Any) -> None:
    """List orders, the newest first; every option narrows the list.

    ! marks a status that needs attention. An empty list is no failure, unless there is no such
    account.
    """
    asked = checked(OrderFiltersSchema(), limit=limit_of(limit, everything), **filters)
    settings = main.settings()
    with main.opened(settings) as sessions:
        told = pages(sessions, page, OrderPageSchema(), asked, everything)
        if as_json:
            found, cursor = print_json_pages("orders", told), None
        else:
            found, cursor = _list(told)
    if not found:
        refuse_unknown(settings, filters["account"])
        note("No order fits.")
    if cursor:
        note(f"There are more: --cursor {cursor}, or --all")


def _list(told: Iterable[Told]) -> tuple[int, str | None]:
    """Show pages; how many orders there were, and where a further page begins."""
    sheet = Sheet(
        "account",
        "order",
        "reference",
        "status",
        "since",
        "courier's word",
        "changed",
        fold=("reference", "courier's word"),
        spare=("changed", "courier's word", "since"),
    )
    found, cursor = 0, None
    for it in told:
        sheet.add(map(_row, it["orders"]))
        found, cursor = found + len(it["orders"]), it["next_cursor"]
    return found, cursor


def _row(told: Told) -> list[str | Text | None]:
    return [
        told["account"],
        told["courier_order_id"],
        told["reference"],
        status_text(told["status"], told["needs_attention"]),
        at(told["status_at"]),
        told["courier_status"],
        at(told["updated_at"]),
    ]
