"""`ordertrail audit`: list the audit log."""

from typing import Any

import click

from receiver.audit import ACTIONS
from receiver.audit.browse import list_entries
from receiver.cli import options, output
from receiver.schemas.audit import AuditFiltersSchema, AuditPageSchema


@click.command()
@click.option("--since", help="Only what was done at this time or later (RFC 3339).")
@click.option("--until", help="Only what was done before this time (RFC 3339).")
@click.option("--who", help="Only what this name did.")
@click.option("--action", type=click.Choice(ACTIONS), help="Only this action.")
@options.account_option
@click.option("--courier-order-id", help="Only what was done to this order; requires --account.")
@options.page_options
def audit_command(**given: Any) -> None:
    """List what people and clients of the API did.

    Newest first: by the API, in the console and on the command line. An action on many messages at
    once is one entry. Entries are kept for ORDER_RETENTION_DAYS, without it for good.
    """
    columns: output.Columns = {
        "time": lambda entry: output.format_time(entry["at"]),
        "who": "who",
        "token": lambda entry: "" if entry["token_name"] == entry["who"] else entry["token_name"],
        "action": "action",
        "account": "account",
        "order": "courier_order_id",
        "message": "message_id",
        "request": "request_id",
    }
    table = output.GrowingTable(columns, optional=("request", "token", "message"))
    options.print_pages(
        table,
        AuditFiltersSchema(),
        lambda *read: AuditPageSchema().dump(list_entries(*read)),
        **given,
    )
