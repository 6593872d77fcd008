"""`ordertrail explain` and `ordertrail conflicts`: for whoever has to look into an order."""

from datetime import UTC, datetime

import click

from receiver.cli import main
from receiver.cli.bells import command_bells
from receiver.cli.finding import refuse_unknown, the_order, unknown_orders_explained
from receiver.cli.options import Name, checked, json_option, order_arguments
from receiver.cli.output import Sheet, at, note, print_json, say, status_text
from receiver.orders import conflicts
from receiver.orders.explain import explain, page
from receiver.schemas.conflict import (
    ConflictFiltersSchema,
    ConflictNoteSchema,
    ConflictPageSchema,
    ConflictSchema,
)
from receiver.schemas.explanation import ExplanationSchema


@click.command("explain")
@order_arguments
@json_option
def explain_order(account: str, order_id: str, as_json: bool) -> None:
    """Tell why an order stands where it stands.

    ORDER_ID is the courier's id or any other identifier that the courier gave the order.
    """
    with main.database() as session:
        told = explain(session, the_order(session, account, order_id))
    if as_json:
        print_json(ExplanationSchema().dump(told))
    else:
        click.echo(page(told), nl=False)


@click.group("conflicts", invoke_without_command=True)
@click.option("--account", help="Only this account's.")
@click.option(
    "--most", "--limit", "limit", type=int, help="How many orders to show, 1 to 200.  [default: 50]"
)
@click.option("--cursor", help="Go on where an earlier list ended.")
@json_option
@click.pass_context
def list_conflicts(
    ctx: click.Context, account: str | None, limit: int | None, cursor: str | None, as_json: bool
) -> None:
    """List open conflicts, or close one.

    A conflict is two facts that do not go together, such as picked up after cancelled.
    """
    if ctx.invoked_subcommand is not None:
        return
    asked = checked(ConflictFiltersSchema(), account=account, limit=limit, cursor=cursor)
    settings = main.settings()
    with main.opened(settings) as sessions, sessions() as session:
        told = ConflictPageSchema().dump(conflicts.list_conflicts(session, asked))
    if as_json:
        print_json(told)
    elif not told["conflicts"]:
        refuse_unknown(settings, account)
        say("No open conflicts.")
    else:
        Sheet("conflict", "since", "kind", "account", "order", "now", spare=("now", "since")).add(
            [
                it["id"],
                at(it["occurred_at"]),
                it["kind"],
                it["account"],
                it["courier_order_id"],
                status_text(it["status"]),
            ]
            for it in told["conflicts"]
        )
    if told["next_cursor"] and not as_json:
        note(f"There are more: --cursor {told['next_cursor']}")


@list_conflicts.command()
@order_arguments
@click.argument("conflict_id", type=Name())
@click.option("--by", required=True, help="Who dealt with it.")
@click.option("--note", "said", default="", help="How.")
@json_option
def close(account: str, order_id: str, conflict_id: str, by: str, said: str, as_json: bool) -> None:
    """Say that a conflict was dealt with, who says so, and how."""
    word = checked(ConflictNoteSchema(), by=by, note=said)
    settings = main.settings()
    bells, now = command_bells(settings), datetime.now(UTC)
    with (
        main.opened(settings) as sessions,
        unknown_orders_explained(sessions, account, order_id),
    ):
        closed = conflicts.close_conflict(
            sessions, bells, account, order_id, conflict_id, word, now
        )
    if as_json:
        print_json(ConflictSchema().dump(closed))
    else:
        say(f"{closed['kind']} of {account} {order_id} is closed.")
