"""`ordertrail conflicts`: list open conflicts and close them."""

from datetime import UTC, datetime
from typing import Any

import click

from receiver.cli import options, output
from receiver.cli.output import format_status
from receiver.cli.session import explain_unknown_order, load_settings, make_bells, open_database
from receiver.orders import conflicts
from receiver.schemas import history as schemas


@click.group(invoke_without_command=True)
@options.account_option
@options.test_option
@options.page_options
@click.pass_context
def conflicts_command(ctx: click.Context, /, **given: Any) -> None:
    """List open conflicts, or close one.

    A conflict is two facts that contradict each other, such as picked up after cancelled.
    """
    if ctx.invoked_subcommand is not None:
        return
    columns: output.Columns = {
        "conflict": "id",
        "occurred": "occurred_at",
        "kind": "kind",
        "account": "account",
        "order": "courier_order_id",
        "status": lambda conflict: format_status(conflict["status"]),
    }
    table = output.GrowingTable(columns, optional=("status", "occurred"))
    options.print_pages(
        table,
        schemas.ConflictFiltersSchema(),
        lambda session, filters: schemas.ConflictPageSchema().dump(
            conflicts.list_conflicts(session, load_settings(), filters)
        ),
        **given,
    )


@conflicts_command.command("close")
@options.order_arguments
@click.argument("conflict_id", type=options.Name())
@options.decision_options
@options.json_option
def close_command(
    account: str, order_id: str, conflict_id: str, by: str, note: str, as_json: bool
) -> None:
    """Close a conflict that was resolved.

    The order then no longer needs attention because of this conflict.
    """
    resolution = options.validate_options(schemas.ConflictNoteSchema(), by=by, note=note)
    settings = load_settings()
    bells, now = make_bells(settings), datetime.now(UTC)
    with open_database(settings) as sessions, explain_unknown_order(sessions, account, order_id):
        which = (account, order_id, conflict_id)
        closed = conflicts.close_conflict(sessions, bells, *which, resolution, now)
    text = f"Closed conflict {closed['kind']} of order {order_id} of {account}."
    output.print_result(schemas.ConflictSchema().dump(closed), text, as_json)
