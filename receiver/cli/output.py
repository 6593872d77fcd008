"""Print tables, labelled facts and JSON to the terminal.

Couriers' text is not trusted: it cannot break a line, control the terminal or be read as markup.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from receiver.statuses import DELIVERED, find_status
from receiver.text import replace_unprintable

JsonObject = dict[str, Any]
Fact = tuple[str, str | Text | None]
Row = Sequence[str | Text | None]

# Columns of a terminal: what a column that may wrap gets at least, and what is between two columns.
LEAST_WIDTH = 14
GAP = 2


def format_json(value: Any, indent: int | None = 2) -> str:
    """Format JSON in ASCII, which cannot control a terminal."""
    return json.dumps(value, indent=indent)


def print_json(value: Any, indent: int | None = 2) -> None:
    click.echo(format_json(value, indent))


def format_time(time: str | None) -> str:
    """Format a time of the API in whole seconds; options accept it in this form."""
    return f"{time[:19]}Z" if time else ""


def format_status(status: str, needs_attention: bool = False) -> Text:
    """Colour a status; one that needs attention also gets a mark, which is kept in a pipe."""
    text = Text(replace_unprintable(status))
    if needs_attention:
        text.append(" !")
        text.stylize("bold yellow")
    elif status == DELIVERED:
        text.stylize("green")
    elif find_status(status).terminal:
        text.stylize("dim")
    return text


def print_line(text: str, style: str = "") -> None:
    """Print a line of any length without wrapping it."""
    _print([Text(replace_unprintable(text), style)])


def print_note(text: str) -> None:
    """Print a line to stderr, so that it is not part of what a pipe reads."""
    click.echo(replace_unprintable(text), err=True)


def print_facts(facts: Iterable[Fact]) -> None:
    """Print facts as label and value, one per line, without the empty ones.

    Lines are not wrapped, so that an address can be copied.
    """
    known = [(label, value) for label, value in facts if value]
    width = max((cell_len(label) for label, _ in known), default=0) + GAP
    lines, last_label = [], ""
    for label, value in known:
        shown = "" if label == last_label else label
        lines.append(Text(shown.ljust(width), "dim").append_text(_cell(value)))
        last_label = label
    _print(lines)


class GrowingTable:
    """A table that is printed in parts, as its rows become known.

    wrap: the columns whose text may be wrapped. optional: the columns that a narrow terminal leaves
    out, the first one first. No text is ever cut off; what is not a terminal gets whole rows.
    """

    def __init__(
        self, *columns: str, wrap: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> None:
        self._columns = columns
        self._wrap = wrap
        self._optional = list(optional)
        self._widths = {column: cell_len(column) for column in columns}
        self._shown: list[str] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Print further rows."""
        cells = [dict(zip(self._columns, map(_cell, row), strict=True)) for row in rows]
        if not cells:
            return
        for column, width in self._widths.items():
            self._widths[column] = max(width, *(row[column].cell_len for row in cells))
        console = Console()
        first = not self._shown
        if first:
            self._shown = self._columns_within(console.width if console.is_terminal else None)
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=first)
        for column in self._shown:
            table.add_column(
                Text(column, "bold"),
                no_wrap=column not in self._wrap,
                overflow="fold",
                min_width=self._least_width(column),
            )
        for row in cells:
            table.add_row(*(row[column] for column in self._shown))
        gaps = GAP * (len(self._shown) - 1)
        least = gaps + sum(map(self._least_width, self._shown))
        whole = gaps + sum(self._widths[column] for column in self._shown)
        _print([table], max(console.width, least) if console.is_terminal else whole)

    def _columns_within(self, width: int | None) -> list[str]:
        """Return the columns that a terminal has room for; width None: there is no limit."""
        shown = list(self._columns)
        left_out = []
        for column in self._optional:
            if (
                width is None
                or sum(map(self._least_width, shown)) + GAP * (len(shown) - 1) <= width
            ):
                break
            shown.remove(column)
            left_out.append(column)
        if left_out:
            print_note(f"(the terminal is too narrow for: {', '.join(left_out)})")
        return shown

    def _least_width(self, column: str) -> int:
        width = self._widths[column]
        return min(width, max(LEAST_WIDTH, cell_len(column))) if column in self._wrap else width


def print_pages(
    name: str,
    pages: Iterable[JsonObject],
    table: GrowingTable | None,
    to_row: Callable[[JsonObject], Row],
) -> int:
    """Print pages as they are read and return the number of rows.

    table: None for one JSON document of the shape {name: [...], "next_cursor"}.
    """
    count, cursor, separator = 0, None, f'{{"{name}": ['
    for page in pages:
        count, cursor = count + len(page[name]), page["next_cursor"]
        if table is not None:
            table.add(map(to_row, page[name]))
            continue
        for item in page[name]:
            click.echo(f"{separator}\n  {format_json(item, indent=None)}", nl=False)
            separator = ","
    if table is None:
        start = "" if count else separator
        click.echo(f'{start}\n], "next_cursor": {json.dumps(cursor)}}}')
    elif cursor:
        print_note(f"There are more: use --cursor {cursor}, or --all")
    return count


def _cell(value: str | Text | None) -> Text:
    # A Text is never parsed as markup.
    return value if isinstance(value, Text) else Text(replace_unprintable(value or ""))


def _print(parts: Sequence[Text | Table], width: int | None = None) -> None:
    """Render and print as click does: no colours into a pipe, and a closed pipe is detected."""
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for part in parts:
            console.print(part, soft_wrap=isinstance(part, Text))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
