"""`ordertrail poll`."""

import sys
from datetime import UTC, datetime

import click

from receiver.cli import main
from receiver.db import engine as db
from workers.polling import leases, outage_recovery


@click.command()
@click.option("--all-open", is_flag=True, help="Every order that is not over, given up or not.")
@click.option("--account", help="Only this account's orders.")
def poll(all_open: bool, account: str | None) -> None:
    """Ask the couriers about all open orders now, as after an outage of ours.

    The orders become due at once; the workers ask within each account's limits, so a great many
    take their time. Ends with 1 where no account can be asked.
    """
    if not all_open:
        raise click.UsageError("say --all-open: one order is asked about by `ordertrail refresh`")
    settings = main.settings()
    polled = {slug for slug, it in settings.accounts.items() if it.access is not None}
    if account is not None and account not in settings.accounts:
        click.echo(f"ordertrail: no account {account!r} is switched on", err=True)
        sys.exit(1)
    wanted = sorted(polled & {account} if account is not None else polled)
    if not wanted:
        click.echo("ordertrail: no API_TOKEN and API_URL to ask with", err=True)
        sys.exit(1)
    engine = db.create_engine_for(settings.database_url, pool_size=1)
    now = datetime.now(UTC)
    for slug in wanted:
        with db.session_factory(engine).begin() as session:
            outage_recovery.start(session, slug, now)
            due = leases.make_due(session, slug, now, stopped=True)
        click.echo(f"{slug}: {due} open orders are asked about from now on")
    engine.dispose()
