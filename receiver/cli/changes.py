"""`ordertrail changes`: the change feed in a terminal."""

import signal
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import click
from sqlalchemy import RowMapping
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.changes.order_version import CREATED
from receiver.cli.options import json_option, test_option, validate_options
from receiver.cli.output import Columns, GrowingTable, print_json, print_note
from receiver.cli.session import load_settings, open_database
from receiver.schemas.history import ChangeFiltersSchema, ChangePageSchema

BEGINNING = "beginning"
POLL_SECONDS = 1.0
PAGE_SIZE = 1000


@click.command()
@click.option("--follow", "-f", is_flag=True, help="Wait for further changes until Ctrl-C.")
@click.option(
    "--after",
    metavar="WHERE",
    help="A cursor, `now` or `beginning`.  [default: now with --follow, else beginning]",
)
@click.option("--limit", type=int, help="Page size, 1 to 1000; not with --follow. [default: 100]")
@test_option
@json_option
def changes_command(
    follow: bool, after: str | None, limit: int | None, test: bool | None, as_json: bool
) -> None:
    """Show the change feed, or follow it.

    Oldest first and without gaps. With --follow, --json prints one change per line; Ctrl-C ends it
    with exit code 0 and prints the cursor to continue from on stderr.
    """
    if follow and limit is not None:
        raise click.UsageError("--limit and --follow cannot be used together")
    start = after or (feed.NOW if follow else BEGINNING)
    size = PAGE_SIZE if follow else limit
    filters = validate_options(ChangeFiltersSchema(), after=start, limit=size)
    cursor = None if start == BEGINNING else filters["after"]
    settings = load_settings()
    left_out = settings.left_out_accounts(bool(test))
    with open_database(settings) as sessions:
        with sessions() as session:
            number, rows = feed.start_reading(session, cursor, filters["limit"], left_out=left_out)
        if follow:
            follow_changes(sessions, number, rows, as_json, left_out)
            return
    page = ChangePageSchema().dump(feed.render_changes(number, rows))
    if as_json:
        print_json(page)
        return
    _new_table().add(page["changes"])
    command = f"Continue with: ordertrail changes --after {page['next_cursor']}"
    print_note(command if rows else "No changes.")


def _new_table() -> GrowingTable:
    columns: Columns = {
        "cursor": "cursor",
        "account": "account",
        "order": "courier_order_id",
        "reference": "reference",
        "version": "version",
        "status": "status",
        # Everything about a new order is new.
        "changed": lambda row: CREATED if CREATED in row["changed"] else ", ".join(row["changed"]),
    }
    optional = ("version", "cursor", "reference", "changed")
    return GrowingTable(columns, wrap=("changed",), optional=optional)


def follow_changes(
    sessions: sessionmaker[Session],
    number: int,
    rows: Sequence[RowMapping],
    as_json: bool,
    left_out: Collection[str] = (),
) -> None:
    """Print changes as they come, until Ctrl-C, or until the reader of our pipe ends.

    number: of the change before these rows. left_out: without those of these accounts.
    """
    table = _new_table()
    cursor = feed.render_changes(number, [])["next_cursor"]
    try:
        while True:
            page = ChangePageSchema().dump(feed.render_changes(number, rows))
            for change in page["changes"]:
                with _interrupt_deferred():
                    print_json(change, indent=None) if as_json else table.add([change])
                    cursor = change["cursor"]
            if rows:
                number = rows[-1]["seq"]
            # After a full page there are more already.
            if len(rows) < PAGE_SIZE:
                time.sleep(POLL_SECONDS)
            number, rows = _read_new_changes(sessions, number, left_out)
    except KeyboardInterrupt:
        # Not after a broken pipe: its reader may not have read all that was printed.
        print_note("")
        print_note(f"Continue with: ordertrail changes --follow --after {cursor}")


def _read_new_changes(
    sessions: sessionmaker[Session], number: int, left_out: Collection[str]
) -> tuple[int, Sequence[RowMapping]]:
    """Read the new changes; wait while the database cannot be reached."""
    reported = False
    while True:
        try:
            with sessions() as session:
                read = feed.read_on(session, number, PAGE_SIZE, left_out)
        except OperationalError:
            if not reported:
                print_note("PostgreSQL cannot be reached; retrying every second.")
            reported = True
            time.sleep(POLL_SECONDS)
            continue
        if reported:
            print_note("PostgreSQL can be reached again.")
        return read


@contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Defer Ctrl-C, so that it cannot come between a printed change and its cursor."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
