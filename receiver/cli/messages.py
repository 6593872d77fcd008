"""`ordertrail messages`, `retry` and `discard`: look at the inbox and deal with its messages."""

from datetime import UTC, datetime
from typing import Any

import click

from receiver.cli import options, output
from receiver.cli.output import format_time
from receiver.cli.session import load_settings, make_bells, open_database, require_account
from receiver.db.models import OUTCOMES, PARKED, QUARANTINED
from receiver.inbox import browse
from receiver.inbox.retry import discard_message, discard_messages, retry_message, retry_messages
from receiver.schemas import message as schemas
from receiver.schemas.history import ConflictNoteSchema
from receiver.text import count_noun, indent_json


@click.group(invoke_without_command=True)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only messages with this outcome.")
@options.account_option
@click.option("--courier-order-id", help="Only messages of this order; requires --account.")
@options.time_options(
    received_since="Only messages since this time, with its zone: 2026-04-16T07:00:00Z.",
    received_until="Only messages before this time.",
)
@click.option(
    "--contains",
    metavar="TEXT",
    help="With --outcome quarantined: only with this text in the reason or the body.",
)
@options.page_options
@click.pass_context
def messages_command(ctx: click.Context, /, **given: Any) -> None:
    """List the messages in the inbox, or show one.

    Newest first and without bodies; the options filter the list. Exit code 0 also for an empty
    list, but 1 for an account that is not configured.
    """
    if ctx.invoked_subcommand is not None:
        return
    table = output.GrowingTable(
        {
            "id": "id",
            "received": "received_at",
            "account": "account",
            "type": lambda message: f"{message['topic']}, {message['kind']}",
            "outcome": "outcome",
            "order": "courier_order_id",
            "repeated": lambda message: message["repetitions"] or "",
            "reason": "reason",
        },
        wrap=("reason",),
        optional=("repeated", "type", "received"),
    )
    options.print_pages(
        table,
        schemas.MessageFiltersSchema(),
        lambda *read: schemas.MessagePageSchema().dump(browse.list_messages(*read)),
        **given,
    )


@messages_command.command("show")
@click.argument("message_id", type=options.Name())
@options.json_option
def show_command(message_id: str, as_json: bool) -> None:
    """Show a message with its body.

    A JSON body is indented, any other is shown unchanged; control characters are shown as ?. --json
    gives the exact text.
    """
    with open_database(load_settings()) as sessions, sessions() as session:
        message = schemas.MessageSchema().dump(browse.get_message(session, message_id))
    if as_json:
        output.print_json(message)
        return
    output.print_line(f"Message {message['id']} of {message['account']}", "bold")
    times = count_noun(message["repetitions"], "time")
    repeated = f"{times}, last {format_time(message['last_seen_at'])}"
    facts = {
        "type": f"{message['topic']}, {message['kind']}, {message['trust']}",
        "outcome": message["outcome"],
        "reason": message["reason"],
        "left out": "; ".join(
            f"{item['field']}: {item['why']}" for item in message["left_out"] or ()
        )
        or None,
        "order": message["courier_order_id"],
        "received": format_time(message["received_at"]),
        "processed": format_time(message["processed_at"]),
        "repeated": repeated if message["repetitions"] else None,
        "retried": format_time(message["retried_at"]),
        "size": None if message["size"] is None else f"{message['size']} bytes",
        **_describe_request(message["request"]),
    }
    output.print_facts(facts.items())
    output.print_line("")
    if message["body"] == "":
        output.print_line("The body is empty.")
    elif message["body"] is not None:
        # Not splitlines(): the other line separators are control characters to a terminal.
        for line in indent_json(message["body"]).split("\n"):
            output.print_line(line)
    elif message["body_base64"] is not None:
        output.print_line("The body is not UTF-8; in base64:")
        output.print_line(message["body_base64"])
    else:
        output.print_line("The body is no longer stored.")


def _describe_request(request: output.JsonObject | None) -> output.JsonObject:
    """Return what the courier said beside the body: the method, each header and parameter."""
    if request is None:
        return {}
    if "polled_order_id" in request:
        return {"polled as": request["polled_order_id"]}
    query = {
        f"?{name}": value if isinstance(value, str) else ", ".join(value)
        for name, value in request["query"].items()
    }
    return {"method": request["method"], **request["headers"], **query}


def selection_options(command: options.Command) -> options.Command:
    """Add MESSAGE_ID, and the options that select messages instead of it."""
    for option in (
        click.option("--dry-run", is_flag=True, help="With --outcome: only count them."),
        options.time_options(
            received_since="With --outcome: only messages since this time (RFC 3339).",
            received_until="With --outcome: only messages before this time (RFC 3339).",
        ),
        click.option(
            "--reason", help="With --outcome: only messages whose reason contains this text."
        ),
        click.option("--account", help="With --outcome: only messages of this account."),
        click.option(
            "--outcome",
            type=click.Choice([QUARANTINED, PARKED]),
            help="All messages with this outcome, oldest first, instead of one.",
        ),
        click.argument("message_id", type=options.Name(), required=False),
    ):
        command = option(command)
    return command


def _check_selection(message_id: str | None, selection: dict[str, Any]) -> None:
    """Check that either one message is named, or a selection. Raises: click.UsageError."""
    outcome = selection["outcome"]
    if (message_id is None) == (outcome is None):
        raise click.UsageError("give either MESSAGE_ID or --outcome")
    if outcome is None and any(selection.values()):
        raise click.UsageError("a filter or --dry-run requires --outcome")


@click.command()
@selection_options
@options.json_option
def retry_command(message_id: str | None, as_json: bool, **given: Any) -> None:
    """Process messages again.

    Either one message that is quarantined, parked or discarded (MESSAGE_ID), or all that match
    (--outcome). The workers process new messages first. Exit code 1 if there was no message to
    process again.
    """
    _check_selection(message_id, given)
    settings = load_settings()
    require_account(settings, given["account"])
    bells, now = make_bells(settings), datetime.now(UTC)
    with open_database(settings) as sessions:
        if message_id is not None:
            count = int(retry_message(sessions, bells, message_id, now))
            text = f"Message {message_id} is already applied or pending: nothing to do."
            if count:
                text = f"Message {message_id} will be processed again."
        else:
            selection = options.validate_options(schemas.RetrySchema(), **given)
            count = retry_messages(sessions, bells, selection, now)["retried"]
            messages = count_noun(count, f"{selection['outcome']} message")
            verb = "would" if given["dry_run"] else "will"
            text = f"{messages} {verb} be processed again."
    retried = schemas.RetriedSchema().dump({"retried": count, "next_cursor": None})
    output.print_result(retried, text, as_json)
    click.get_current_context().exit(0 if count else 1)


@click.command()
@selection_options
@options.decision_options
@options.json_option
def discard_command(
    message_id: str | None, as_json: bool, by: str, note: str, **given: Any
) -> None:
    """Discard messages that are not needed.

    Either one message that is quarantined or parked (MESSAGE_ID), or all that match (--outcome;
    requires --note). They stay stored, and `ordertrail retry <id>` reverses the decision. Exit
    code 1 if there was no message to discard.
    """
    _check_selection(message_id, given)
    if message_id is not None:
        _discard_one(message_id, by, note, as_json)
        return
    selection = options.validate_options(schemas.DiscardSchema(), by=by, note=note, **given)
    settings = load_settings()
    require_account(settings, given["account"])
    with open_database(settings) as sessions:
        discarded = discard_messages(sessions, selection, datetime.now(UTC))
    count = discarded["discarded"]
    messages = count_noun(count, f"{selection['outcome']} message")
    verb = "would be" if given["dry_run"] else "was" if count == 1 else "were"
    text = f"{messages} {verb} discarded."
    output.print_result(schemas.DiscardedSchema().dump(discarded), text, as_json)
    click.get_current_context().exit(0 if count else 1)


def _discard_one(message_id: str, by: str, note: str, as_json: bool) -> None:
    decision = options.validate_options(ConflictNoteSchema(), by=by, note=note)
    with open_database(load_settings()) as sessions:
        discarded = discard_message(sessions, message_id, decision, datetime.now(UTC))
    message = schemas.MessageSchema().dump(discarded)
    output.print_result(message, f"Message {message['id']}: {message['reason']}.", as_json)
