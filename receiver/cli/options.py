"""Arguments and options that several commands have, and the lists that are read page by page."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click
from marshmallow import Schema, ValidationError
from sqlalchemy.orm import Session

from receiver.cli.output import GrowingTable, JsonObject, print_note
from receiver.cli.session import load_settings, open_database, require_account
from receiver.db.pagination import MOST_LISTED
from receiver.schemas.fields import TrueOrFalse

Command = TypeVar("Command", bound=Callable[..., Any])

json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON in the same shape as the HTTP API."
)
account_option = click.option("--account", help="Only this account.")
test_option = click.option(
    "--test", is_flag=True, default=None, help="Also those of test accounts."
)


class Name(click.ParamType[str]):
    """An identifier from the shell, without surrounding blanks, which must be valid UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).strip()
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("is not UTF-8", param, ctx)
        return text


def order_arguments(command: Command) -> Command:
    """Add the arguments ACCOUNT and ORDER_ID."""
    with_id = click.argument("order_id", type=Name())(command)
    return click.argument("account", type=Name())(with_id)


def decision_options(command: Command) -> Command:
    """Add --by and --note: who decided, and why."""
    with_note = click.option("--note", default="", help="Why, or how it was resolved.")(command)
    return click.option("--by", required=True, help="Name of the person who decides.")(with_note)


def time_options(**helps: str) -> Callable[[Command], Command]:
    """Add options that take a time, by the names of their fields, with their help."""

    def add(command: Command) -> Command:
        for name, text in reversed(helps.items()):
            option = f"--{name.replace('_', '-')}"
            command = click.option(option, metavar="TIME", help=text)(command)
        return command

    return add


def page_options(command: Command) -> Command:
    """Add the options of `print_pages`: --limit, --cursor, --all and --json."""
    limit_help = "Rows per page, 1 to 200.  [default: 50]"
    for option in (
        json_option,
        click.option("--all", "all_pages", is_flag=True, help="Show all pages."),
        click.option("--cursor", help="Continue after an earlier page."),
        click.option("--limit", "--most", "limit", type=int, help=limit_help),
    ):
        command = option(command)
    return command


def validate_options(schema: Schema, **options: Any) -> JsonObject:
    """Validate options by the API's schema; options that are None get its defaults.

    Raises: click.UsageError, which names the option.
    """
    given = {name: value for name, value in options.items() if value is not None}
    # Those of a query string are texts.
    flags = {
        name: json.dumps(value)
        for name, value in given.items()
        if isinstance(value, bool) and not isinstance(schema.fields[name], TrueOrFalse)
    }
    try:
        loaded: JsonObject = schema.load(given | flags)
    except ValidationError as error:
        messages: JsonObject = error.normalized_messages()  # type: ignore[no-untyped-call]
        faults = [f"{_option_name(name)}: {_join(text)}" for name, text in messages.items()]
        raise click.UsageError("; ".join(faults)) from None
    return loaded


def _option_name(field: str) -> str:
    """Return the option or argument that sets a field of the API's schema."""
    option = f"--{field.replace('_', '-')}"
    params = click.get_current_context().command.params
    return option if any(option in param.opts for param in params) else field.upper()


def _join(messages: Any) -> str:
    if isinstance(messages, Mapping):
        return ", ".join(f"{name}: {_join(text)}" for name, text in messages.items())
    return " ".join(map(str, messages)) if isinstance(messages, list) else str(messages)


def print_pages(
    table: GrowingTable,
    schema: Schema,
    read_page: Callable[[Session, JsonObject], JsonObject],
    *,
    limit: int | None,
    all_pages: bool,
    as_json: bool,
    **filters: Any,
) -> None:
    """Print a list, one page or all of them, as a table or as one JSON document.

    schema: of the filters. read_page: returns {<plural noun>: rows, "next_cursor"} as the API does.
    Each page is read in its own transaction, so that a slow reader holds no transaction open.
    Raises: click.UsageError; UnknownAccount if there are no rows because of it.
    """
    if all_pages and limit is not None:
        raise click.UsageError("--limit and --all cannot be used together")
    checked = validate_options(schema, limit=MOST_LISTED if all_pages else limit, **filters)
    settings = load_settings()
    name, count, separator = "", 0, ""
    with open_database(settings) as sessions:
        while True:
            with sessions() as session:
                page = read_page(session, checked)
            cursor = page["next_cursor"]
            (name,) = page.keys() - {"next_cursor"}
            separator = separator or f'{{"{name}": ['
            count += len(page[name])
            if as_json:
                for item in page[name]:
                    click.echo(f"{separator}\n  {json.dumps(item)}", nl=False)
                    separator = ","
            else:
                table.add(page[name])
            if not all_pages or cursor is None:
                break
            checked["cursor"] = cursor
    if as_json:
        start = "" if count else separator
        click.echo(f'{start}\n], "next_cursor": {json.dumps(cursor)}}}')
    elif cursor:
        print_note(f"There are more: use --cursor {cursor}, or --all")
    if not count:
        require_account(settings, filters.get("account"))
        print_note(f"No {name} found.")
