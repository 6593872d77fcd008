"""`ordertrail rebuild`."""

import sys
from datetime import UTC, datetime

import click

from receiver.cli.options import account_option
from receiver.cli.output import print_line
from receiver.cli.session import load_settings, open_database
from receiver.errors import UnknownOrder
from receiver.text import count_noun
from workers.upkeep.rebuild import count_orders, rebuild_orders
from workers.upkeep.rebuild_report import RebuildReport

MOST_SHOWN = 20


@click.command()
@account_option
@click.option("--order", "order_id", help="Only this order, by the courier's id.")
@click.option("--dry-run", is_flag=True, help="Change nothing; only report what would change.")
def rebuild_command(account: str | None, order_id: str | None, dry_run: bool) -> None:
    """Recompute orders from the stored messages.

    Safe to run beside live traffic. What cannot be decoded any more is listed and keeps its stored
    events; the rest is rebuilt. Exit code 1 if something changed (or would change) or could not be
    read, so that a dry run can be used in scripts.
    """
    settings = load_settings()
    limits = {"account": account, "courier_order_id": order_id}
    scope = {name: value for name, value in limits.items() if value is not None}
    total = RebuildReport()
    with open_database(settings) as sessions:
        with sessions() as session:
            length = count_orders(session, scope)
        if not length and scope:
            raise UnknownOrder("there is no such order: check --account and --order")
        reports = rebuild_orders(sessions, settings, scope, datetime.now(UTC), dry_run)
        with click.progressbar(
            length=length, label="orders", file=sys.stderr, hidden=not sys.stderr.isatty()
        ) as bar:
            for report in reports:
                total.orders += report.orders
                total.messages += report.messages
                total.differences += report.differences
                total.unreadable += report.unreadable
                total.failed += report.failed
                bar.update(report.orders)
    for lines in (total.differences, total.unreadable, total.failed):
        for line in lines[:MOST_SHOWN]:
            print_line(line)
    changed, unreadable = len(total.differences), len(total.unreadable)
    failed = f", {count_noun(len(total.failed), 'order')} failed" if total.failed else ""
    print_line(
        f"{count_noun(total.orders, 'order')} rebuilt from {count_noun(total.messages, 'message')}:"
        f" {changed} {'would change' if dry_run else 'changed'},"
        f" {count_noun(unreadable, 'message')} could not be decoded{failed}"
    )
    sys.exit(1 if changed or unreadable or total.failed else 0)
