"""`ordertrail correct` and `delete`: the shop corrects an order, or deletes one."""

from datetime import UTC, datetime
from typing import Any

import click

from receiver.cli import options, output
from receiver.cli.orders import print_order
from receiver.cli.registration import read_metadata
from receiver.cli.session import explain_unknown_order, load_settings, make_bells, open_database
from receiver.orders.corrections.change import change_order
from receiver.orders.corrections.delete import delete_order
from receiver.orders.order_json import render_order
from receiver.schemas.order import TRACKING
from receiver.schemas.registration import OrderChangesSchema


@click.command()
@options.order_arguments
@click.option("--reference", help="The shop's order number.")
@click.option("--no-reference", is_flag=True, help="Remove the shop's order number.")
@click.option(
    "--metadata",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Data of the shop, instead of all that the order has; may be repeated.",
)
@click.option("--no-metadata", is_flag=True, help="Remove the shop's data.")
@click.option(
    "--tracking",
    type=click.Choice(TRACKING),
    help="stopped: poll its courier no more, and raise no alert about it; active: track it again.",
)
@options.json_option
def correct_command(
    account: str,
    order_id: str,
    no_reference: bool,
    pairs: tuple[str, ...],
    no_metadata: bool,
    as_json: bool,
    **given: str | None,
) -> None:
    """Correct an order, or stop or resume its tracking.

    What is not given stays as it is. Webhooks about an order whose tracking is stopped are
    processed all the same.
    """
    changes = _read_changes(no_reference, no_metadata, read_metadata(pairs), given)
    settings = load_settings()
    bells, now = make_bells(settings), datetime.now(UTC)
    with open_database(settings) as sessions, explain_unknown_order(sessions, account, order_id):
        changed = change_order(sessions, settings, bells, account, order_id, changes, now)
    order = render_order(changed, changed.poll)
    if as_json:
        output.print_json(order)
        return
    output.print_note("Corrected.")
    print_order(order)


def _read_changes(
    no_reference: bool,
    no_metadata: bool,
    metadata: dict[str, str] | None,
    given: dict[str, str | None],
) -> dict[str, Any]:
    """Return the changes as the schema loads them. Raises: click.UsageError."""
    for name, value, is_cleared in (
        ("reference", given["reference"], no_reference),
        ("metadata", metadata, no_metadata),
    ):
        if is_cleared and value is not None:
            raise click.UsageError(f"--{name} and --no-{name} cannot be used together")
    cleared = {"reference": no_reference, "metadata": no_metadata}
    nulls = {name: None for name, is_cleared in cleared.items() if is_cleared}
    if not nulls and metadata is None and not any(value is not None for value in given.values()):
        raise click.UsageError("nothing to correct: give at least one option")
    if metadata is None and all(value is None for value in given.values()):
        return nulls
    return options.validate_options(OrderChangesSchema(), metadata=metadata, **given) | nulls


@click.command()
@options.order_arguments
@options.json_option
def delete_command(account: str, order_id: str, as_json: bool) -> None:
    """Delete an order that was registered by mistake, a test order or a sample.

    All that is stored of it goes with it. Once its courier has reported an order, it can only be
    deleted if it is a sample or its account is a test account. Exit code 1 where it cannot be.
    """
    settings = load_settings()
    with open_database(settings) as sessions, explain_unknown_order(sessions, account, order_id):
        delete_order(sessions, settings, account, order_id)
    deleted = {"account": account, "courier_order_id": order_id}
    output.print_result(deleted, f"Order {order_id} of {account} was deleted.", as_json)
