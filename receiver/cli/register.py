"""`ordertrail register` and `ordertrail refresh`."""

from datetime import UTC, datetime

import click

from receiver.cli import main
from receiver.cli.bells import command_bells
from receiver.cli.finding import refuse_unknown, unknown_orders_explained
from receiver.cli.options import checked, json_option, order_arguments
from receiver.cli.order import show
from receiver.cli.output import at, note, print_json, say
from receiver.orders.register import register_order, request_refresh
from receiver.schemas.order import NewOrderSchema, OrderSchema, RefreshedSchema


@click.command()
@order_arguments
@click.option("--reference", help="The shop's own order number.")
@click.option(
    "--metadata",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="What the shop wants to find with it; may be given several times.",
)
@json_option
def register(
    account: str, order_id: str, reference: str | None, pairs: tuple[str, ...], as_json: bool
) -> None:
    """Put an order on record that was given to a courier.

    From now on the courier is asked about it where it stays silent, and messages that waited for
    it are read. Registering again changes only what is given.
    """
    given = {"account": account, "courier_order_id": order_id, "reference": reference}
    new = checked(NewOrderSchema(), **given, metadata=_metadata(pairs))
    settings = main.settings()
    refuse_unknown(settings, account)
    bells, now = command_bells(settings), datetime.now(UTC)
    with main.opened(settings) as sessions:
        known, created = register_order(sessions, settings, bells, new, now)
    told = OrderSchema().dump(known)
    if as_json:
        print_json(told)
        return
    note("Registered." if created else "It was known already; what was given is noted.")
    show(told)


def _metadata(pairs: tuple[str, ...]) -> dict[str, str] | None:
    told: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in told:
            wrong = "is given twice" if equals else "is not KEY=VALUE"
            raise click.UsageError(f"--metadata: {pair!r} {wrong}")
        told[name] = value
    return told or None


@click.command()
@order_arguments
@json_option
def refresh(account: str, order_id: str, as_json: bool) -> None:
    """Ask the courier about an order now, also about one that was given up.

    The workers ask as soon as the account's limits let them: see `ordertrail order` a little
    later. Ends with 1 where the account's courier cannot be asked.
    """
    settings = main.settings()
    with (
        main.opened(settings) as sessions,
        unknown_orders_explained(sessions, account, order_id),
    ):
        asked = request_refresh(sessions, settings, account, order_id, datetime.now(UTC))
    told = RefreshedSchema().dump(asked)
    if as_json:
        print_json(told)
        return
    say(
        f"Order {told['courier_order_id']} of {told['account']} is asked about from"
        f" {at(told['next_poll_at'])} on."
    )
