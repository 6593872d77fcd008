"""`ordertrail rebuild`."""

import sys
from datetime import UTC, datetime

import click

from receiver.cli import main
from receiver.db import engine as db
from workers.upkeep.rebuild import Report, Scope, count
from workers.upkeep.rebuild import rebuild as rebuild_orders

MOST_SHOWN = 20


@click.command()
@click.option("--account", help="Only this account's orders.")
@click.option("--order", "order_id", help="Only this order, by the courier's id.")
@click.option("--dry-run", is_flag=True, help="Change nothing, only say what would differ.")
def rebuild(account: str | None, order_id: str | None, dry_run: bool) -> None:
    """Fold orders anew from the messages that are kept, beside live traffic.

    Ends with 1 where something differs (or did), so that a dry run can stand in a script.
    """
    settings = main.settings()
    engine = db.create_engine_for(settings.database_url, pool_size=2)
    sessions = db.session_factory(engine)
    scope = Scope(account, order_id)
    total = Report()
    with sessions() as session:
        length = count(session, scope)
    if not length and (account or order_id):
        click.echo("No order fits --account and --order.", err=True)
        sys.exit(1)
    chunks = rebuild_orders(sessions, settings, scope, datetime.now(UTC), dry_run)
    with click.progressbar(
        length=length, label="orders", file=sys.stderr, hidden=not sys.stderr.isatty()
    ) as bar:
        for report in chunks:
            total.orders += report.orders
            total.messages += report.messages
            total.differences += report.differences
            total.unreadable += report.unreadable
            bar.update(report.orders)
    engine.dispose()
    for line in [*total.differences[:MOST_SHOWN], *total.unreadable[:MOST_SHOWN]]:
        click.echo(line)
    found = "would differ" if dry_run else "differed and are mended"
    click.echo(
        f"{total.orders} orders from {total.messages} messages: {len(total.differences)} {found},"
        f" {len(total.unreadable)} messages could not be read"
    )
    sys.exit(1 if total.differences or total.unreadable else 0)
