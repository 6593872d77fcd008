"""`ordertrail poll`."""

from datetime import UTC, datetime

import click

from receiver import audit
from receiver.cli.options import account_option
from receiver.cli.output import print_line
from receiver.cli.session import load_settings, open_database, require_account
from receiver.errors import NotPolled
from receiver.text import count_noun
from workers.polling import circuit_breaker, outage_recovery


@click.command()
@click.option(
    "--all-open", is_flag=True, help="All open orders, also those whose polling was given up."
)
@account_option
def poll_command(all_open: bool, account: str | None) -> None:
    """Poll the couriers for all open orders now.

    For use after an outage. All open orders become due at once; the workers poll them within each
    account's rate limits, so many orders take a while. Exit code 1 if no account can be polled.
    """
    if not all_open:
        raise click.UsageError("--all-open is required; for one order use `ordertrail refresh`")
    settings = load_settings()
    require_account(settings, account)
    polled = sorted(
        slug
        for slug, configured in settings.accounts.items()
        if configured.access is not None and account in {None, slug}
    )
    if not polled:
        raise NotPolled(
            "no account can be polled: set COURIER_<ACCOUNT>_API_TOKEN, and _API_URL where"
            " the courier has no default"
        )
    now = datetime.now(UTC)
    with open_database(settings) as sessions:
        for slug in polled:
            with sessions.begin() as session:
                circuit_breaker.start_account(session, slug, now)
                audit.record_action(session, audit.REFRESH, account=slug)
            added = sum(outage_recovery.add_missing_polls(sessions, slug, now))
            due = outage_recovery.make_open_orders_due(sessions, slug, now, stopped=True)
            count = added + sum(due)
            orders = count_noun(count, "open order is", "open orders are")
            print_line(f"{slug}: {orders} due for polling now")
