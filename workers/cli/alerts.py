"""`ordertrail alerts test`."""

import sys
from datetime import UTC, datetime

import click

from receiver.alerts import WARNING, Alert
from receiver.cli.output import print_line
from receiver.cli.session import load_settings
from workers.alerting.pushes import CLOSED, OPENED, Target, write_push


@click.group()
def alerts_command() -> None:
    """Send a test alert to each of ALERT_URLS. `ordertrail check` lists the open alerts."""


@alerts_command.command("test")
def test_command() -> None:
    """Send a test alert to each of ALERT_URLS, and its end.

    Exit code 1 if an address does not take it, or none is set.
    """
    settings = load_settings()
    alert = Alert(
        None,
        "This is a test of ALERT_URLS",
        since=datetime.now(UTC),
        severity=WARNING,
        what_to_do="Nothing is wrong.",
        condition="test",
    )
    failed = not settings.alert_urls
    for number, url in enumerate(settings.alert_urls, 1):
        target = Target(url)
        sent = all(target.send(write_push(settings, kind, alert)) for kind in (OPENED, CLOSED))
        failed = failed or not sent
        # By its number: an address holds a password.
        print_line(f"address no. {number}: {'sent' if sent else 'failed'}")
    if not settings.alert_urls:
        print_line("ALERT_URLS is not set: alerts are shown, but not sent to anyone")
    sys.exit(1 if failed else 0)
