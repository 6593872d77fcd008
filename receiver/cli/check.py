"""`ordertrail check`: list the open alerts, for people and for monitors that run commands."""

import sys
from datetime import UTC, datetime

import click

from receiver.alerts import CRITICAL, Alert, AlertReader
from receiver.cli.options import json_option
from receiver.cli.output import print_json, print_line
from receiver.cli.session import load_settings, open_database
from receiver.db.group_commit import AutocommitPool
from receiver.inbox.storage_check import StorageCheck
from receiver.queue.redis_client import connect_redis
from receiver.schemas.account import AlertListSchema
from receiver.settings import Settings

EXIT_CODES = "Exit codes: 0 no alerts; 1 warnings; 2 critical, or PostgreSQL cannot be used."


@click.command(epilog=EXIT_CODES)
@json_option
def check_command(as_json: bool) -> None:
    """List the alerts that are open now.

    One per line: the severity, the condition and what is wrong, then the account, an example and
    since when. The runbook (deploy/runbook.md) has a section for each condition.
    """
    alerts = read_alerts(load_settings())
    if as_json:
        print_json(AlertListSchema().dump({"alerts": alerts}))
    else:
        for line in map(_alert_line, alerts) if alerts else ["ok"]:
            print_line(line)
    is_critical = any(alert.severity == CRITICAL for alert in alerts)
    sys.exit(2 if is_critical else 1 if alerts else 0)


def read_alerts(settings: Settings) -> list[Alert]:
    """Return the alerts that are open now; PostgreSQL and Redis may be away."""
    with connect_redis(settings.redis_url) as redis, open_database(settings) as sessions:
        storage = StorageCheck(AutocommitPool(sessions.kw["bind"]))
        reader = AlertReader(settings, sessions, redis, storage)
        return reader.read(datetime.now(UTC), settle=True).alerts


def _alert_line(alert: Alert) -> str:
    facts = [
        f"account {alert.account}" if alert.account else "",
        f"for example {alert.example}" if alert.example else "",
        f"since {alert.since:%Y-%m-%dT%H:%M:%SZ}" if alert.since else "",
    ]
    details = "; ".join(filter(None, facts))
    line = f"{alert.severity:<8}  {alert.condition}  {alert.summary}"
    return f"{line} ({details})" if details else line
