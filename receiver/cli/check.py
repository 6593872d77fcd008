"""`ordertrail check`: list the open alerts, for people and for monitors that run commands."""

import sys
from datetime import UTC, datetime

import click

from receiver.alerts import CRITICAL, AlertReader
from receiver.alerts.history import list_alerts
from receiver.cli.options import json_option
from receiver.cli.output import JsonObject, format_time, print_json, print_line
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
    found = read_alerts(load_settings())
    if as_json:
        print_json(found)
    else:
        for line in map(_alert_line, found["alerts"]) if found["alerts"] else ["ok"]:
            print_line(line)
    severities = {alert["severity"] for alert in found["alerts"]}
    sys.exit(2 if CRITICAL in severities else 1 if severities else 0)


def read_alerts(settings: Settings, with_history: bool = False) -> JsonObject:
    """Return the open alerts as the API does; PostgreSQL and Redis may be away."""
    with connect_redis(settings.redis_url) as redis, open_database(settings) as sessions:
        storage = StorageCheck(AutocommitPool(sessions.kw["bind"]))
        reader = AlertReader(settings, sessions, redis, storage)
        evaluation = reader.read(datetime.now(UTC), settle=True)
        found: JsonObject = AlertListSchema().dump(list_alerts(evaluation, sessions, with_history))
        return found


def _alert_line(alert: JsonObject) -> str:
    reference = f" (reference {alert['example_reference']})" if alert["example_reference"] else ""
    facts = [
        f"account {alert['account']}" if alert["account"] else "",
        f"for example {alert['example']}{reference}" if alert["example"] else "",
        f"since {format_time(alert['since'])}" if alert["since"] else "",
    ]
    details = "; ".join(filter(None, facts))
    line = f"{alert['severity']:<8}  {alert['condition']}  {alert['summary']}"
    return f"{line} ({details})" if details else line
