"""`ordertrail messages`, `retry` and `discard`: look at the inbox and deal with its messages."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from receiver.cli.options import (
    Name,
    account_option,
    all_option,
    cursor_option,
    json_option,
    limit_option,
    page_size,
    read_pages,
    validate_options,
)
from receiver.cli.output import (
    GrowingTable,
    JsonObject,
    Row,
    format_time,
    print_facts,
    print_json,
    print_line,
    print_note,
    print_pages,
)
from receiver.cli.session import (
    load_settings,
    make_bells,
    open_database,
    open_transaction,
    require_account,
)
from receiver.db.models import OUTCOMES, PARKED, QUARANTINED
from receiver.inbox import browse
from receiver.inbox.retry import discard_message, retry_message, retry_messages
from receiver.schemas.history import ConflictNoteSchema
from receiver.schemas.message import (
    MessageFiltersSchema,
    MessagePageSchema,
    MessageSchema,
    RetriedSchema,
    RetrySchema,
)
from receiver.text import count_noun, indent_json


@click.group(invoke_without_command=True)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only messages with this outcome.")
@account_option
@click.option("--courier-order-id", help="Only of this order; requires --account.")
@limit_option
@cursor_option
@all_option
@json_option
@click.pass_context
def messages_command(
    ctx: click.Context, /, limit: int | None, all_pages: bool, as_json: bool, **filters: Any
) -> None:
    """List the messages in the inbox, or show one.

    Newest first and without bodies; options narrow the list. An empty list is a success, but an
    account that is not configured is not.
    """
    if ctx.invoked_subcommand is not None:
        return
    checked = validate_options(MessageFiltersSchema(), limit=page_size(limit, all_pages), **filters)
    table = GrowingTable(
        *("id", "received", "account", "type", "outcome", "order", "repeated", "reason"),
        wrap=("reason",),
        optional=("repeated", "type", "received"),
    )
    settings = load_settings()
    with open_database(settings) as sessions:
        pages = read_pages(
            sessions, browse.list_messages, MessagePageSchema().dump, checked, all_pages
        )
        count = print_pages("messages", pages, None if as_json else table, _message_row)
    if not count:
        require_account(settings, filters["account"])
        print_note("No messages found.")


def _message_row(message: JsonObject) -> Row:
    return [
        message["id"],
        format_time(message["received_at"]),
        message["account"],
        f"{message['topic']}, {message['kind']}",
        message["outcome"],
        message["courier_order_id"],
        str(message["repetitions"] or ""),
        message["reason"],
    ]


@messages_command.command("show")
@click.argument("message_id", type=Name())
@json_option
def show_command(message_id: str, as_json: bool) -> None:
    """Show a message with its body.

    A JSON body is indented, any other is shown unchanged; control characters are shown as ?. --json
    gives the exact text.
    """
    with open_transaction() as session:
        message = MessageSchema().dump(browse.get_message(session, message_id))
    print_json(message) if as_json else _print_message(message)


def _print_message(message: JsonObject) -> None:
    print_line(f"Message {message['id']} of {message['account']}", "bold")
    repetitions = message["repetitions"]
    times = "once" if repetitions == 1 else f"{repetitions} times"
    repeated = f"{times}, last {format_time(message['last_seen_at'])}" if repetitions else None
    print_facts(
        [
            ("type", f"{message['topic']}, {message['kind']}, {message['trust']}"),
            ("outcome", message["outcome"]),
            ("reason", message["reason"]),
            ("order", message["courier_order_id"]),
            ("received", format_time(message["received_at"])),
            ("processed", format_time(message["processed_at"])),
            ("repeated", repeated),
            ("retried", format_time(message["retried_at"])),
            ("size", None if message["size"] is None else f"{message['size']} bytes"),
        ]
    )
    print_line("")
    for line in _body_lines(message):
        print_line(line)


def _body_lines(message: JsonObject) -> Iterator[str]:
    if message["body"] is not None:
        # Not splitlines(): the other line separators are control characters to a terminal.
        yield from indent_json(message["body"]).split("\n")
    elif message["body_base64"] is not None:
        yield "The body is not UTF-8; in base64:"
        yield message["body_base64"]
    else:
        yield "The body is no longer stored."


@click.command()
@click.argument("message_id", type=Name(), required=False)
@click.option(
    "--outcome",
    type=click.Choice([QUARANTINED, PARKED]),
    help="All messages with this outcome, oldest first, instead of one.",
)
@click.option("--account", help="With --outcome: only of this account.")
@json_option
def retry_command(
    message_id: str | None, outcome: str | None, account: str | None, as_json: bool
) -> None:
    """Send messages back to the workers.

    Either one that is quarantined, parked or discarded, or all that are quarantined or parked. The
    workers process them when no new messages are waiting. Exit code 1 if there was none to send.
    """
    if (message_id is None) == (outcome is None):
        raise click.UsageError("give either MESSAGE_ID or --outcome")
    if account is not None and outcome is None:
        raise click.UsageError("--account requires --outcome; MESSAGE_ID needs no account")
    settings = load_settings()
    require_account(settings, account)
    bells, now = make_bells(settings), datetime.now(UTC)
    with open_database(settings) as sessions:
        if message_id is not None:
            count = retry_message(sessions, bells, message_id, now)
        else:
            checked = validate_options(RetrySchema(), outcome=outcome, account=account)
            count = retry_messages(sessions, bells, checked, now)["retried"]
    if as_json:
        print_json(RetriedSchema().dump({"retried": count, "next_cursor": None}))
    elif message_id is not None:
        print_line(
            f"Message {message_id} was sent back to the workers."
            if count
            else f"Message {message_id} is already applied or pending: nothing to do."
        )
    else:
        messages = count_noun(count, "message was", "messages were")
        print_line(f"{messages} sent back to the workers ({outcome}).")
    click.get_current_context().exit(0 if count else 1)


@click.command()
@click.argument("message_id", type=Name())
@click.option("--by", required=True, help="Who decided it.")
@click.option("--note", default="", help="Why.")
@json_option
def discard_command(message_id: str, by: str, note: str, as_json: bool) -> None:
    """Mark a message as dealt with.

    For a quarantined or parked message that needs nothing more. It is kept, and `ordertrail retry`
    undoes this.
    """
    decision = validate_options(ConflictNoteSchema(), by=by, note=note)
    with open_database(load_settings()) as sessions:
        discarded = discard_message(sessions, message_id, decision, datetime.now(UTC))
    message = MessageSchema().dump(discarded)
    if as_json:
        print_json(message)
    else:
        print_line(f"Message {message['id']}: {message['reason']}.")
