"""`ordertrail register`: one order, or all orders of a file."""

import csv
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import click
from marshmallow import ValidationError

from receiver.cli import options, output
from receiver.cli.orders import print_order
from receiver.cli.session import load_settings, make_bells, open_database, require_account
from receiver.orders.order_file import read_csv_orders, read_ndjson_orders
from receiver.orders.order_json import render_order
from receiver.orders.register import RegisteredOrder, register_order, register_orders
from receiver.schemas.registration import MOST_REGISTERED, NewOrderSchema

# What became of an order of a file.
NEW, KNOWN, REFUSED = "registered", "known already", "not registered"


@click.command()
@click.argument("account", type=options.Name(), required=False)
@click.argument("order_id", type=options.Name(), required=False)
@click.option("--reference", help="The shop's order number.")
@click.option(
    "--metadata",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="Data of the shop, returned with the order; may be repeated.",
)
@click.option(
    "--file",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Register the orders of a .csv or .ndjson file instead.",
)
@options.json_option
def register_command(
    account: str | None,
    order_id: str | None,
    reference: str | None,
    pairs: tuple[str, ...],
    path: Path | None,
    as_json: bool,
) -> None:
    """Register an order, or all orders of a file.

    From then on the courier is polled while it sends no webhooks, and messages that were parked for
    the order are processed. Registering an order again changes only what is given.

    A file has the fields account, courier_order_id, reference and metadata; in CSV a column
    metadata.KEY for each key. An order that cannot be registered does not stop the others: it is
    listed, and the exit code is 1.
    """
    if path is not None:
        if account or reference or pairs:
            raise click.UsageError("--file has all orders: leave out ACCOUNT and the options")
        _register_file(path, as_json)
        return
    if account is None or order_id is None:
        raise click.UsageError("give either ACCOUNT and ORDER_ID or --file")
    given = {"account": account, "courier_order_id": order_id, "reference": reference}
    metadata = read_metadata(pairs)
    new_order = options.validate_options(NewOrderSchema(), **given, metadata=metadata)
    settings = load_settings()
    require_account(settings, account)
    bells, now = make_bells(settings), datetime.now(UTC)
    with open_database(settings) as sessions:
        registered = register_order(sessions, settings, bells, new_order, now)
    order = render_order(registered.order, registered.order.poll)
    if as_json:
        output.print_json(order)
        return
    known = "Already registered; the given values were updated."
    output.print_note("Registered." if registered.is_new else known)
    print_order(order)


def _register_file(path: Path, as_json: bool) -> None:
    read = {".csv": read_csv_orders, ".ndjson": read_ndjson_orders}.get(path.suffix.lower())
    if read is None:
        raise click.UsageError("--file: the name must end with .csv or .ndjson")
    settings = load_settings()
    bells, schema = make_bells(settings), NewOrderSchema()
    counts: Counter[str] = Counter()
    with open_database(settings) as sessions, path.open(encoding="utf-8-sig", newline="") as lines:
        numbered = enumerate(read(lines), 1)
        while batch := _read_batch(numbered):
            results: dict[int, Any] = {}
            new: dict[int, Any] = {}
            for number, item in batch:
                try:
                    new[number] = schema.load(item)
                except ValidationError as error:
                    results[number] = error
            now = datetime.now(UTC)
            registered = register_orders(sessions, settings, bells, list(new.values()), now)
            results |= dict(zip(new, registered, strict=True))
            for number, result in sorted(results.items()):
                counts[_report_registration(number, result, as_json)] += 1
    summary = ", ".join(f"{counts[each]} {each}" for each in (NEW, KNOWN, REFUSED))
    output.print_note(f"{summary}.")
    click.get_current_context().exit(1 if counts[REFUSED] else 0)


def _read_batch(numbered: Iterator[tuple[int, Any]]) -> list[tuple[int, Any]]:
    try:
        return list(islice(numbered, MOST_REGISTERED))
    except (UnicodeDecodeError, csv.Error) as error:
        raise click.UsageError(f"--file: cannot be read: {error}") from None


def _report_registration(number: int, result: Any, as_json: bool) -> str:
    """Print what became of an order of a file; return it. number: of the order in the file."""
    if not isinstance(result, RegisteredOrder):
        output.print_note(f"order {number} of the file: {result}")
        return REFUSED
    if as_json:
        output.print_json(render_order(result.order, result.order.poll), indent=None)
    return NEW if result.is_new else KNOWN


def read_metadata(pairs: tuple[str, ...]) -> dict[str, str] | None:
    """Return the values of --metadata; None where there are none. Raises: click.UsageError."""
    metadata: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in metadata:
            fault = "is given twice" if equals else "is not KEY=VALUE"
            raise click.UsageError(f"--metadata: {pair!r} {fault}")
        metadata[name] = value
    return metadata or None
