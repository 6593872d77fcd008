"""`ordertrail messages`: the inbox, word for word."""

from collections.abc import Iterable, Iterator
from typing import Any

import click

from receiver.cli import main
from receiver.cli.finding import refuse_unknown
from receiver.cli.options import Name, checked, json_option, limit_of, pages
from receiver.cli.output import (
    Sheet,
    Told,
    at,
    facts,
    note,
    print_json,
    print_json_pages,
    say,
)
from receiver.db.models import OUTCOMES
from receiver.inbox import browse
from receiver.schemas.message import MessageFiltersSchema, MessagePageSchema, MessageSchema
from receiver.text import laid_out


@click.group(invoke_without_command=True)
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only those of which this became.")
@click.option("--account", help="Only this account's.")
@click.option("--courier-order-id", help="Only of this order; needs --account beside it.")
@click.option("--limit", type=int, help="How many to show, 1 to 200.  [default: 50]")
@click.option("--cursor", help="Go on where an earlier list ended.")
@click.option("--all", "everything", is_flag=True, help="All pages, to the end.")
@json_option
@click.pass_context
def messages(
    ctx: click.Context, /, limit: int | None, everything: bool, as_json: bool, **filters: Any
) -> None:
    """List the inbox, or show a message.

    The newest first and without bodies; every option narrows the list. An empty list is no failure,
    unless there is no such account.
    """
    if ctx.invoked_subcommand is not None:
        return
    asked = checked(MessageFiltersSchema(), limit=limit_of(limit, everything), **filters)
    settings = main.settings()
    with main.opened(settings) as sessions:
        told = pages(sessions, browse.list_messages, MessagePageSchema(), asked, everything)
        if as_json:
            found, cursor = print_json_pages("messages", told), None
        else:
            found, cursor = _list(told)
    if not found:
        refuse_unknown(settings, filters["account"])
        note("No message fits.")
    if cursor:
        note(f"There are more: --cursor {cursor}, or --all")


def _list(told: Iterable[Told]) -> tuple[int, str | None]:
    """Show pages; how many messages there were, and where a further page begins."""
    sheet = Sheet(
        "id",
        "received",
        "account",
        "what",
        "outcome",
        "order",
        "again",
        "reason",
        fold=("reason",),
        spare=("again", "what", "received"),
    )
    found, cursor = 0, None
    for it in told:
        sheet.add(map(_row, it["messages"]))
        found, cursor = found + len(it["messages"]), it["next_cursor"]
    return found, cursor


def _row(told: Told) -> list[str | None]:
    return [
        told["id"],
        at(told["received_at"]),
        told["account"],
        f"{told['topic']}, {told['kind']}",
        told["outcome"],
        told["courier_order_id"],
        str(told["repetitions"] or ""),
        told["reason"],
    ]


@messages.command("show")
@click.argument("message_id", type=Name())
@json_option
def show_message(message_id: str, as_json: bool) -> None:
    """Show a message with its body.

    A body that is JSON is shown with line breaks, and else as it is; characters that could steer
    the terminal are shown as ?. Word for word it stands in --json.
    """
    with main.database() as session:
        found = browse.get_message(session, message_id)
    told = MessageSchema().dump(found)
    print_json(told) if as_json else show(told)


def show(told: Told) -> None:
    """A message for people."""
    say(f"Message {told['id']} of {told['account']}", "bold")
    facts(
        [
            ("what", f"{told['topic']}, {told['kind']}, {told['trust']}"),
            ("outcome", told["outcome"]),
            ("reason", told["reason"]),
            ("order", told["courier_order_id"]),
            ("received", at(told["received_at"])),
            ("processed", at(told["processed_at"])),
            ("came again", _again(told)),
            ("sent back", at(told["retried_at"])),
            ("size", f"{told['size']} bytes" if told["size"] is not None else None),
        ]
    )
    say("")
    for line in body_lines(told):
        say(line)


def _again(told: Told) -> str | None:
    times = told["repetitions"]
    return f"{times} times, last {at(told['last_seen_at'])}" if times else None


def body_lines(told: Told) -> Iterator[str]:
    """The body, for reading."""
    if told["body"] is not None:
        # Only \n ends a line: the rest of what Python takes for a line's end steers terminals.
        yield from laid_out(told["body"]).split("\n")
    elif told["body_base64"] is not None:
        yield "The body is not UTF-8; in base64:"
        yield told["body_base64"]
    else:
        yield "The body is no longer kept."
