"""`ordertrail changes`: the change feed in a terminal."""

import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import click
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver.accounts.known_accounts import require_known_account
from receiver.changes import feed
from receiver.changes.order_version import CREATED
from receiver.cli.options import account_option, json_option, test_option, validate_options
from receiver.cli.output import Columns, GrowingTable, print_json, print_note
from receiver.cli.session import load_settings, open_database
from receiver.schemas.history import ChangeFiltersSchema
from receiver.statuses import GROUPS

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
@account_option
@click.option(
    "--status-group",
    metavar="GROUPS",
    help=f"Only after which the status is of one of: {', '.join(GROUPS)}; separated by commas.",
)
@click.option(
    "--changed", metavar="NAMES", help="Only of one of these, separated by commas: status,eta."
)
@test_option
@json_option
def changes_command(
    follow: bool,
    after: str | None,
    limit: int | None,
    test: bool | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Show the change feed, or follow it.

    Oldest first and without gaps; --account, --status-group and --changed filter it. With --follow,
    --json prints one change per line; Ctrl-C ends it with exit code 0 and prints the cursor to
    continue from on stderr.
    """
    if follow and limit is not None:
        raise click.UsageError("--limit and --follow cannot be used together")
    start = after or (feed.NOW if follow else BEGINNING)
    size = PAGE_SIZE if follow else limit
    filters = validate_options(ChangeFiltersSchema(), after=start, limit=size, **given)
    cursor = None if start == BEGINNING else filters["after"]
    settings = load_settings()
    left_out = settings.left_out_accounts(bool(test))
    with open_database(settings) as sessions:
        with sessions() as session:
            require_known_account(session, settings, given["account"])
            number = feed.find_start(session, cursor)
            page = feed.read_page(session, number, filters["limit"], filters, left_out)
        if follow:
            follow_changes(sessions, page, filters, as_json, left_out)
            return
    rendered = feed.render_changes(page.position, page.rows)
    if as_json:
        print_json(rendered)
        return
    _new_table().add(rendered["changes"])
    command = f"Continue with: ordertrail changes --after {rendered['next_cursor']}"
    print_note(command if rendered["changes"] else "No changes.")


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
    page: feed.ChangePage,
    filters: feed.Filters,
    as_json: bool,
    left_out: Collection[str] = (),
) -> None:
    """Print changes as they come, until Ctrl-C, or until the reader of our pipe ends.

    page: the first one. filters, left_out: as feed.read_page() has them.
    """
    table = _new_table()
    cursor = feed.render_changes(page.position, [])["next_cursor"]
    if page.rows:
        cursor = feed.render_changes(page.rows[0]["seq"] - 1, [])["next_cursor"]
    try:
        while True:
            rendered = feed.render_changes(page.position, page.rows)
            for change in rendered["changes"]:
                with _interrupt_deferred():
                    print_json(change, indent=None) if as_json else table.add([change])
                    cursor = change["cursor"]
            cursor = rendered["next_cursor"]
            if page.at_end:
                time.sleep(POLL_SECONDS)
            page = _read_new_changes(sessions, page.position, filters, left_out)
    except KeyboardInterrupt:
        # Not after a broken pipe: its reader may not have read all that was printed.
        print_note("")
        print_note(f"Continue with: ordertrail changes --follow --after {cursor}")


def _read_new_changes(
    sessions: sessionmaker[Session], position: int, filters: feed.Filters, left_out: Collection[str]
) -> feed.ChangePage:
    """Read the new changes; wait while the database cannot be reached."""
    reported = False
    while True:
        try:
            with sessions() as session:
                page = feed.read_page(session, position, PAGE_SIZE, filters, left_out)
        except OperationalError:
            if not reported:
                print_note("PostgreSQL cannot be reached; retrying every second.")
            reported = True
            time.sleep(POLL_SECONDS)
            continue
        if reported:
            print_note("PostgreSQL can be reached again.")
        return page


@contextmanager
def _interrupt_deferred() -> Iterator[None]:
    """Defer Ctrl-C, so that it cannot come between a printed change and its cursor."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
