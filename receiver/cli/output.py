"""Print tables, labelled facts and JSON to the terminal.

Couriers' text is not trusted: it cannot break a line, control the terminal or be read as markup.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
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
# By heading, the field of a row or a function of the row; a field whose name ends with _at is a
# time.
Columns = Mapping[str, str | Callable[[JsonObject], str | Text | int]]

# Columns of a terminal: what a column that may wrap gets at least, and what is between two columns.
LEAST_WIDTH = 14
GAP = 2


def print_json(value: Any, indent: int | None = 2) -> None:
    """Print JSON in ASCII, which cannot control a terminal."""
    click.echo(json.dumps(value, indent=indent))


def print_result(value: Any, text: str, as_json: bool) -> None:
    """Print what a command did, as JSON or as one line of text."""
    print_json(value) if as_json else print_line(text)


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
    _print(Text(replace_unprintable(text), style))


def print_note(text: str) -> None:
    """Print a line to stderr, so that it is not part of what a pipe reads."""
    click.echo(replace_unprintable(text), err=True)


def print_facts(facts: Iterable[Fact]) -> None:
    """Print facts as label and value, one per line, without the empty ones.

    Lines are not wrapped, so that an address can be copied.
    """
    known = [(label, value) for label, value in facts if value]
    width = max((cell_len(label) for label, _ in known), default=0) + GAP
    last_label = ""
    for label, value in known:
        shown = "" if label == last_label else label
        _print(Text(shown.ljust(width), "dim").append_text(_cell(value)))
        last_label = label


class GrowingTable:
    """A table that is printed in parts, as its rows become known.

    wrap: the columns whose text may be wrapped. optional: the columns that a narrow terminal leaves
    out, the first one first. No text is ever cut off; what is not a terminal gets whole rows.
    """

    def __init__(
        self, columns: Columns, wrap: Sequence[str] = (), optional: Sequence[str] = ()
    ) -> None:
        self._columns = dict(columns)
        self._wrap = wrap
        self._optional = list(optional)
        self._widths = {column: cell_len(column) for column in columns}
        self._started = False

    def add(self, rows: Iterable[JsonObject]) -> None:
        """Print further rows."""
        cells = [
            {column: _field(row, field) for column, field in self._columns.items()} for row in rows
        ]
        if not cells:
            return
        for column in self._columns:
            longest = max(row[column].cell_len for row in cells)
            self._widths[column] = max(self._widths[column], longest)
        width = Console().width if Console().is_terminal else None
        if width is not None and not self._started:
            left_out = []
            while self._optional and self._least_total() > width:
                left_out.append(self._optional.pop(0))
                del self._columns[left_out[-1]]
            if left_out:
                print_note(f"(the terminal is too narrow for: {', '.join(left_out)})")
        table = Table(box=None, padding=(0, GAP, 0, 0), pad_edge=False)
        table.show_header = not self._started
        for column in self._columns:
            table.add_column(
                Text(column, "bold"),
                no_wrap=column not in self._wrap,
                overflow="fold",
                min_width=self._least_width(column),
            )
        for row in cells:
            table.add_row(*(row[column] for column in self._columns))
        self._started = True
        whole = sum(self._widths[column] + GAP for column in self._columns)
        _print(table, whole if width is None else max(width, self._least_total()))

    def _least_total(self) -> int:
        return sum(self._least_width(column) + GAP for column in self._columns) - GAP

    def _least_width(self, column: str) -> int:
        width = self._widths[column]
        return min(width, max(LEAST_WIDTH, cell_len(column))) if column in self._wrap else width


def _field(row: JsonObject, field: Any) -> Text:
    if callable(field):
        return _cell(field(row))
    return _cell(format_time(row[field]) if field.endswith("_at") else row[field])


def _cell(value: Any) -> Text:
    # A Text is never parsed as markup.
    if isinstance(value, Text):
        return value
    return Text(replace_unprintable("" if value is None else str(value)))


def _print(part: Text | Table, width: int | None = None) -> None:
    """Render and print as click does: no colours into a pipe, and a closed pipe is detected."""
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(part, soft_wrap=isinstance(part, Text))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
