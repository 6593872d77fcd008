"""`ordertrail conflicts`: list open conflicts and close them."""

from datetime import UTC, datetime

import click

from receiver.cli import options
from receiver.cli.output import (
    Columns,
    GrowingTable,
    format_status,
    print_json,
    print_line,
    print_note,
)
from receiver.cli.session import (
    explain_unknown_order,
    load_settings,
    make_bells,
    open_database,
    require_account,
)
from receiver.orders import conflicts
from receiver.schemas import history as schemas


@click.group(invoke_without_command=True)
@options.account_option
@click.option(
    "--most", "--limit", "limit", type=int, help="Orders on a page, 1 to 200.  [default: 50]"
)
@options.cursor_option
@options.json_option
@click.pass_context
def conflicts_command(
    ctx: click.Context, account: str | None, limit: int | None, cursor: str | None, as_json: bool
) -> None:
    """List open conflicts, or close one.

    A conflict is two facts that contradict each other, such as picked up after cancelled.
    """
    if ctx.invoked_subcommand is not None:
        return
    checked = options.validate_options(
        schemas.ConflictFiltersSchema(), account=account, limit=limit, cursor=cursor
    )
    settings = load_settings()
    with open_database(settings) as sessions, sessions() as session:
        page = schemas.ConflictPageSchema().dump(conflicts.list_conflicts(session, checked))
    if as_json:
        print_json(page)
        return
    columns: Columns = {
        "conflict": "id",
        "occurred": "occurred_at",
        "kind": "kind",
        "account": "account",
        "order": "courier_order_id",
        "status": lambda conflict: format_status(conflict["status"]),
    }
    GrowingTable(columns, optional=("status", "occurred")).add(page["conflicts"])
    if page["next_cursor"]:
        print_note(f"There are more: use --cursor {page['next_cursor']}")
    if not page["conflicts"]:
        require_account(settings, account)
        print_line("No open conflicts.")


@conflicts_command.command("close")
@options.order_arguments
@click.argument("conflict_id", type=options.Name())
@options.decision_options
@options.json_option
def close_command(
    account: str, order_id: str, conflict_id: str, by: str, note: str, as_json: bool
) -> None:
    """Close a conflict that was resolved.

    The order then no longer needs attention because of it.
    """
    resolution = options.validate_options(schemas.ConflictNoteSchema(), by=by, note=note)
    settings = load_settings()
    bells, now = make_bells(settings), datetime.now(UTC)
    with open_database(settings) as sessions, explain_unknown_order(sessions, account, order_id):
        closed = conflicts.close_conflict(
            sessions, bells, account, order_id, conflict_id, resolution, now
        )
    if as_json:
        print_json(schemas.ConflictSchema().dump(closed))
    else:
        print_line(f"Closed conflict {closed['kind']} of order {order_id} of {account}.")
