"""What commands write: tables, facts and JSON.

Couriers' text is hostile: nothing of it can break a line, steer the terminal or be read as markup.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from receiver.orders.explain import clean
from receiver.statuses import DELIVERED, VOCABULARY

Told = dict[str, Any]
Fact = tuple[str, str | Text | None]

# A cell that may be folded is never made narrower than this.
LEAST_WIDTH = 14
GAP = 2


def as_json(told: Any, indent: int | None = 2) -> str:
    """JSON in ASCII, which no terminal is steered by."""
    return json.dumps(told, indent=indent)


def print_json(told: Any, indent: int | None = 2) -> None:
    click.echo(as_json(told, indent))


def print_json_pages(name: str, told: Iterable[Told]) -> int:
    """Pages as one document {name: [...], "next_cursor": ...}, written as they come; the rows."""
    cursor, begun, count = None, False, 0
    for page in told:
        rows = [f"\n  {as_json(row, indent=None)}" for row in page[name]]
        head = "," if begun and rows else "" if begun else f'{{"{name}": ['
        click.echo(head + ",".join(rows), nl=False)
        begun, cursor, count = True, page["next_cursor"], count + len(rows)
    click.echo(f'\n], "next_cursor": {json.dumps(cursor)}}}')
    return count


def at(time: str | None) -> str:
    """A time of the API in whole seconds; such a one can be pasted back into an option."""
    return f"{time[:19]}Z" if time else ""


def status_text(status: str, needs_attention: bool = False) -> Text:
    """A status in its colour; one that needs attention has a mark that pipes carry, too."""
    shown = Text(clean(status))
    if needs_attention:
        shown.append(" !")
        shown.stylize("bold yellow")
    elif status == DELIVERED:
        shown.stylize("green")
    elif status in VOCABULARY and VOCABULARY[status].terminal:
        shown.stylize("dim")
    return shown


def say(text: str, style: str = "") -> None:
    """A line for people, of any length."""
    _write([Text(clean(text), style)])


def note(text: str) -> None:
    """A line beside the output, on stderr: pipes do not see it."""
    click.echo(clean(text), err=True)


def facts(rows: Iterable[Fact]) -> None:
    """What there is to say of one thing, a line each; what is empty is left out.

    Lines are not folded, so that an address can be copied.
    """
    known = [(label, it) for label, it in rows if it]
    width = max((cell_len(label) for label, _ in known), default=0) + GAP
    last = ""
    lines = []
    for label, it in known:
        shown = "" if label == last else label
        lines.append(Text(shown.ljust(width), "dim").append_text(_cell(it)))
        last = label
    _write(lines)


class Sheet:
    """A table that may grow while it is shown: its columns only get wider.

    fold: columns that may be folded where a terminal is too narrow. spare: those that it can do
    without, the first first. Where that does not help, and where no person looks (a pipe), rows
    are as wide as they are. No cell is ever cut off.
    """

    def __init__(self, *columns: str, fold: Sequence[str] = (), spare: Sequence[str] = ()) -> None:
        self._fold = fold
        self._spare = list(spare)
        self._widths = {column: cell_len(column) for column in columns}
        self._shown = list(columns)
        self._headed = False

    def add(self, rows: Iterable[Sequence[str | Text | None]]) -> None:
        """Show further rows."""
        told = [dict(zip(self._widths, map(_cell, row), strict=True)) for row in rows]
        if not told:
            return
        for column, width in self._widths.items():
            self._widths[column] = max(width, *(row[column].cell_len for row in told))
        console = Console()
        if console.is_terminal and not self._headed:
            self._leave_out(console.width)
        wide = self._needed(self._widths)
        fold = console.is_terminal and self._needed(self._least()) <= console.width < wide
        table = Table(
            box=None, padding=(0, GAP, 0, 0), pad_edge=False, show_header=not self._headed
        )
        least = self._least() if fold else self._widths
        for column in self._shown:
            whole = least[column] == self._widths[column]
            table.add_column(
                Text(column, "bold"), no_wrap=whole, overflow="fold", min_width=least[column]
            )
        for row in told:
            table.add_row(*(row[column] for column in self._shown))
        _write([table], console.width if fold else wide + GAP)
        self._headed = True

    def _leave_out(self, room: int) -> None:
        whole, gone = self._shown, []
        while self._spare and self._needed(self._least()) > room:
            gone.append(self._spare.pop(0))
            self._shown = [column for column in self._shown if column != gone[-1]]
        if self._needed(self._least()) > room:
            self._shown = whole
        elif gone:
            note(f"(no room for: {', '.join(gone)})")

    def _least(self) -> dict[str, int]:
        return {
            column: min(width, max(LEAST_WIDTH, cell_len(column)))
            if column in self._fold
            else width
            for column, width in self._widths.items()
        }

    def _needed(self, widths: Mapping[str, int]) -> int:
        return sum(widths[column] for column in self._shown) + GAP * (len(self._shown) - 1)


def _cell(told: str | Text | None) -> Text:
    # Text is never read as markup.
    return told if isinstance(told, Text) else Text(clean(told or ""))


def _write(told: Sequence[Text | Table], width: int | None = None) -> None:
    """Render, and write it as click does: no colours into a pipe, and a pipe may end."""
    console = Console(width=width, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for it in told:
            console.print(it, soft_wrap=isinstance(it, Text))
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
