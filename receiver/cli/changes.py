"""`ordertrail changes`: the change feed in a terminal."""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from sqlalchemy import RowMapping
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.cli import main
from receiver.cli.options import checked, json_option
from receiver.cli.output import Sheet, Told, note, print_json
from receiver.schemas.timeline import ChangeFiltersSchema, ChangePageSchema

BEGINNING = "beginning"
LOOK_SECONDS = 1.0
MOST_AT_ONCE = 1000


@click.command()
@click.option(
    "--follow", "-f", is_flag=True, help="Go on until Ctrl-C, with what is still to come."
)
@click.option(
    "--after",
    metavar="WHERE",
    help="A cursor, `now` or `beginning`.  [default: now with --follow, else beginning]",
)
@click.option("--limit", type=int, help="Without --follow: how many, 1 to 1000.  [default: 100]")
@json_option
def changes(follow: bool, after: str | None, limit: int | None, as_json: bool) -> None:
    """Show what changed in which order, or follow it.

    The oldest first; none is left out, however many write. With --follow, --json writes one change
    a line. Ctrl-C ends it with 0, and stderr says from which cursor to go on.
    """
    if follow and limit is not None:
        raise click.UsageError("--limit and --follow do not go together")
    where = after or (feed.NOW if follow else BEGINNING)
    asked = checked(ChangeFiltersSchema(), after=where, limit=MOST_AT_ONCE if follow else limit)
    asked["after"] = None if where == BEGINNING else asked["after"]
    with main.opened(main.settings()) as sessions:
        with sessions() as session:
            number, rows = feed.begin(session, asked["after"], asked["limit"])
        if follow:
            Follower(sessions, number, as_json).follow(rows)
            return
    told = ChangePageSchema().dump(feed.told(number, rows))
    if as_json:
        print_json(told)
        return
    sheet().add(map(_row, told["changes"]))
    note(f"Go on: ordertrail changes --after {told['next_cursor']}" if rows else "No changes.")


def sheet() -> Sheet:
    names = ("cursor", "account", "order", "reference", "version", "status", "changed")
    return Sheet(*names, fold=("changed",), spare=("version", "cursor", "reference", "changed"))


def _row(told: Told) -> list[str | None]:
    return [
        told["cursor"],
        told["account"],
        told["courier_order_id"],
        told["reference"],
        str(told["version"]),
        told["status"],
        # Of a new order everything is.
        feed.CREATED if feed.CREATED in told["changed"] else ", ".join(told["changed"]),
    ]


class Follower:
    """Writes changes as they come, and knows which was the last."""

    def __init__(self, sessions: sessionmaker[Session], after: int, as_json: bool) -> None:
        self._sessions = sessions
        self._read = after
        self._cursor = feed.told(after, [])["next_cursor"]
        self._as_json = as_json
        self._sheet = sheet()

    def follow(self, rows: Sequence[RowMapping]) -> None:
        """Until Ctrl-C, or until nobody reads any more; then say where to go on."""
        try:
            while True:
                self._write(rows)
                # A full page means that there are more.
                if len(rows) < MOST_AT_ONCE:
                    time.sleep(LOOK_SECONDS)
                rows = self._look()
        except KeyboardInterrupt:
            # Only here: where a pipe ended, what was written into it may not have been read.
            note("")
            note(f"Go on: ordertrail changes --follow --after {self._cursor}")

    def _look(self) -> Sequence[RowMapping]:
        """What is new; a database that is away for a while is waited for."""
        away = False
        while True:
            try:
                with self._sessions() as session:
                    rows = feed.page(session, self._read, MOST_AT_ONCE)
            except OperationalError:
                if not away:
                    note("PostgreSQL is away; it is asked again until it is back.")
                away = True
                time.sleep(LOOK_SECONDS)
                continue
            if away:
                note("PostgreSQL is back.")
            return rows

    def _write(self, rows: Sequence[RowMapping]) -> None:
        for told in ChangePageSchema().dump(feed.told(self._read, rows))["changes"]:
            with _ctrl_c_held():
                if self._as_json:
                    print_json(told, indent=None)
                else:
                    self._sheet.add([_row(told)])
                self._cursor = told["cursor"]
        if rows:
            self._read = rows[-1]["seq"]


@contextmanager
def _ctrl_c_held() -> Iterator[None]:
    """Ctrl-C waits for the end of this, so that what was shown is not told to be still to come.

    A second one does not wait: whoever reads us may have stopped.
    """
    pressed = False

    def hold(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = signal.signal(signal.SIGINT, hold)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        signal.raise_signal(signal.SIGINT)
