"""Arguments and options that several commands have, and reading a list page by page."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import click
from marshmallow import Schema, ValidationError
from sqlalchemy.orm import Session, sessionmaker

from receiver.cli.output import JsonObject
from receiver.db.pagination import MOST_LISTED

Command = TypeVar("Command", bound=Callable[..., Any])


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON in the same shape as the HTTP API."
)
account_option = click.option("--account", help="Only of this account.")
cursor_option = click.option("--cursor", help="Continue where an earlier page ended.")
limit_option = click.option("--limit", type=int, help="Page size, 1 to 200.  [default: 50]")
all_option = click.option("--all", "all_pages", is_flag=True, help="Show all pages.")


class Name(click.ParamType[str]):
    """An identifier from the shell, which must be valid UTF-8."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value)
        try:
            text.encode()
        except UnicodeEncodeError:
            self.fail("is not UTF-8", param, ctx)
        return text


def order_arguments(command: Command) -> Command:
    """Add the arguments ACCOUNT and ORDER_ID."""
    with_id = click.argument("order_id", type=Name())(command)
    return click.argument("account", type=Name())(with_id)


def validate_options(schema: Schema, **options: Any) -> JsonObject:
    """Validate options by the API's schema; options that are None get its defaults.

    Raises: click.UsageError, which names the option.
    """
    try:
        loaded: JsonObject = schema.load(
            {
                # Booleans are spelled as in a query string.
                name: json.dumps(value) if isinstance(value, bool) else value
                for name, value in options.items()
                if value is not None
            }
        )
    except ValidationError as error:
        messages: JsonObject = error.normalized_messages()  # type: ignore[no-untyped-call]
        raise click.UsageError(
            "; ".join(f"{_option_name(name)}: {_join(text)}" for name, text in messages.items())
        ) from None
    return loaded


def _option_name(field: str) -> str:
    """Return the option or argument that sets a field of the API's schema."""
    option = f"--{field.replace('_', '-')}"
    for param in click.get_current_context().command.params:
        if option in param.opts:
            return option
    return field.upper()


def _join(messages: Any) -> str:
    if isinstance(messages, Mapping):
        return ", ".join(f"{name}: {_join(text)}" for name, text in messages.items())
    return " ".join(map(str, messages)) if isinstance(messages, list) else str(messages)


def read_pages(
    sessions: sessionmaker[Session],
    read_page: Callable[[Session, JsonObject], JsonObject],
    render: Callable[[JsonObject], JsonObject],
    filters: JsonObject,
    all_pages: bool,
) -> Iterator[JsonObject]:
    """Yield one page in the API's shape, or with all_pages every page, read on demand.

    Each is read in its own transaction, so that a slow reader holds no transaction open.
    """
    while True:
        with sessions() as session:
            page: JsonObject = render(read_page(session, filters))
        yield page
        if not all_pages or page["next_cursor"] is None:
            return
        filters = {**filters, "cursor": page["next_cursor"]}


def page_size(limit: int | None, all_pages: bool) -> int | None:
    """Return how many rows a page has. Raises: click.UsageError."""
    if all_pages and limit is not None:
        raise click.UsageError("--limit and --all cannot be used together")
    return MOST_LISTED if all_pages else limit
