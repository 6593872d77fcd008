"""`ordertrail register` and `refresh`: what the shop wants done about an order."""

from datetime import UTC, datetime

import click

from receiver.cli.options import json_option, order_arguments, validate_options
from receiver.cli.orders import print_order
from receiver.cli.output import format_time, print_json, print_line, print_note
from receiver.cli.session import (
    explain_unknown_order,
    load_settings,
    make_bells,
    open_database,
    require_account,
)
from receiver.orders.order_json import render_order
from receiver.orders.register import register_order, request_refresh
from receiver.schemas.order import NewOrderSchema, RefreshedSchema


@click.command()
@order_arguments
@click.option("--reference", help="The shop's order number.")
@click.option(
    "--metadata",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Data of the shop, returned with the order; may be repeated.",
)
@json_option
def register_command(
    account: str, order_id: str, reference: str | None, pairs: tuple[str, ...], as_json: bool
) -> None:
    """Register an order.

    From then on its courier is polled while it sends no webhooks, and messages that were parked for
    the order are processed. Registering an order again changes only what is given.
    """
    new_order = validate_options(
        NewOrderSchema(),
        account=account,
        courier_order_id=order_id,
        reference=reference,
        metadata=_read_metadata(pairs),
    )
    settings = load_settings()
    require_account(settings, account)
    bells, now = make_bells(settings), datetime.now(UTC)
    with open_database(settings) as sessions:
        registered, created = register_order(sessions, settings, bells, new_order, now)
    order = render_order(registered, registered.poll)
    if as_json:
        print_json(order)
        return
    print_note("Registered." if created else "Already registered; updated with what was given.")
    print_order(order)


def _read_metadata(pairs: tuple[str, ...]) -> dict[str, str] | None:
    metadata: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in metadata:
            fault = "is given twice" if equals else "is not KEY=VALUE"
            raise click.UsageError(f"--metadata: {pair!r} {fault}")
        metadata[name] = value
    return metadata or None


@click.command()
@order_arguments
@json_option
def refresh_command(account: str, order_id: str, as_json: bool) -> None:
    """Poll the courier for an order now.

    Also resumes polling that was given up. The workers poll as soon as the account's rate limit
    allows; `ordertrail order` then shows the result. Exit code 1 if the account cannot be polled.
    """
    settings = load_settings()
    with open_database(settings) as sessions, explain_unknown_order(sessions, account, order_id):
        due = request_refresh(sessions, settings, account, order_id, datetime.now(UTC))
    refreshed = RefreshedSchema().dump(due)
    if as_json:
        print_json(refreshed)
        return
    print_line(
        f"Order {refreshed['courier_order_id']} of {refreshed['account']} will be polled"
        f" from {format_time(refreshed['next_poll_at'])} on."
    )
