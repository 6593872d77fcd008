"""`ordertrail rebuild`."""

import sys
from datetime import UTC, datetime

import click

from receiver.cli.options import account_option
from receiver.cli.output import print_line
from receiver.cli.session import load_settings, open_database
from receiver.errors import UnknownOrder
from receiver.text import count_noun
from workers.upkeep.rebuild import RebuildReport, count_orders, rebuild_orders

MOST_SHOWN = 20


@click.command()
@account_option
@click.option("--order", "order_id", help="Only this order, by the courier's id.")
@click.option("--dry-run", is_flag=True, help="Change nothing; only report what would change.")
def rebuild_command(account: str | None, order_id: str | None, dry_run: bool) -> None:
    """Recompute orders from the stored messages.

    Safe to run beside live traffic. Exit code 1 if an order changed (or would change), so that a
    dry run can be used in scripts.
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
                bar.update(report.orders)
    for line in [*total.differences[:MOST_SHOWN], *total.unreadable[:MOST_SHOWN]]:
        print_line(line)
    changed, unreadable = len(total.differences), len(total.unreadable)
    print_line(
        f"{count_noun(total.orders, 'order')} rebuilt from {count_noun(total.messages, 'message')}:"
        f" {changed} {'would change' if dry_run else 'changed'},"
        f" {count_noun(unreadable, 'message')} could not be decoded"
    )
    sys.exit(1 if changed or unreadable else 0)
