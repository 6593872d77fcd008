"""What commands take: names, options as the API's schemas read them, and a list's pages."""

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import click
from marshmallow import Schema, ValidationError
from sqlalchemy.orm import Session, sessionmaker

Told = dict[str, Any]
Command = TypeVar("Command", bound=Callable[..., Any])

# As many as a page may have.
MOST_LISTED = 200

json_option = click.option(
    "--json", "as_json", is_flag=True, help="For machines: the same shape as the HTTP API's."
)


class Name(click.ParamType[str]):
    """An id or a name, as the shell gave it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        told = str(value)
        try:
            told.encode()
        except UnicodeEncodeError:
            self.fail("is not UTF-8", param, ctx)
        return told


def order_arguments(command: Command) -> Command:
    """ACCOUNT and ORDER_ID, by which a command finds one order."""
    with_id = click.argument("order_id", type=Name())(command)
    return click.argument("account", type=Name())(with_id)


def checked(schema: Schema, **given: Any) -> Told:
    """The options as the API's schema reads them; what was not given is left to its defaults.

    Raises: click.UsageError in the words of the command line.
    """
    try:
        told: Told = schema.load(
            {
                # As a query string spells it.
                name: json.dumps(it) if isinstance(it, bool) else it
                for name, it in given.items()
                if it is not None
            }
        )
    except ValidationError as wrong:
        faults: Told = wrong.normalized_messages()  # type: ignore[no-untyped-call]
        raise click.UsageError(
            "; ".join(f"{_spelled(name)}: {_flat(said)}" for name, said in faults.items())
        ) from None
    return told


def _spelled(field: str) -> str:
    """What a field of the API is called on the command line."""
    option = f"--{field.replace('_', '-')}"
    for param in click.get_current_context().command.params:
        if option in param.opts:
            return option
    return field.upper()


def _flat(said: Any) -> str:
    if isinstance(said, Mapping):
        return ", ".join(f"{name}: {_flat(it)}" for name, it in said.items())
    return " ".join(map(str, said)) if isinstance(said, list) else str(said)


def pages(
    sessions: sessionmaker[Session],
    page: Callable[[Session, Told], Told],
    schema: Schema,
    filters: Told,
    everything: bool,
) -> Iterator[Told]:
    """A page as the API shows it; everything: and all that follow, each read when it is wanted.

    Each in a transaction of its own, so that a slow reader holds nothing of the database.
    """
    while True:
        with sessions() as session:
            told: Told = schema.dump(page(session, filters))
        yield told
        if not everything or told["next_cursor"] is None:
            return
        filters = {**filters, "cursor": told["next_cursor"]}


def limit_of(limit: int | None, everything: bool) -> int | None:
    """How many rows a page has. Raises: click.UsageError."""
    if everything and limit is not None:
        raise click.UsageError("--limit and --all do not go together")
    return MOST_LISTED if everything else limit
