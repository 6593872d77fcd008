"""`ordertrail check`: is all well? For people, and for a monitor that runs commands."""

import sys
from datetime import UTC, datetime

import click
from sqlalchemy.exc import SQLAlchemyError

from receiver.alerts import CRITICAL, Alert, AlertContext, find_alerts
from receiver.cli import main
from receiver.cli.options import json_option
from receiver.cli.output import print_json, say
from receiver.queue.redis_client import connect_redis
from receiver.schemas.account import AlertListSchema

HEALTHY, WARNS, IS_CRITICAL = 0, 1, 2
EXIT_CODES = (
    "Exit codes: 0 all is well; 1 a warning; 2 a critical condition, or PostgreSQL cannot be used."
)


@click.command(epilog=EXIT_CODES)
@json_option
def check(as_json: bool) -> None:
    """Say what is wrong now, a line for each condition.

    A line has the severity, the condition, its account, an example and since when, then what is
    wrong. The runbook (deploy/runbook.md) has a section for each condition.
    """
    settings = main.settings()
    redis = connect_redis(settings.redis_url)
    try:
        with main.opened(settings) as sessions, sessions() as session:
            context = AlertContext.read(session, settings, redis, datetime.now(UTC))
            found = find_alerts(context)
    except SQLAlchemyError as failure:
        told = main.in_one_line(failure) or type(failure).__name__
        say(f"critical  database_away  {told}")
        sys.exit(IS_CRITICAL)
    finally:
        redis.close()
    if as_json:
        print_json(AlertListSchema().dump({"alerts": found}))
    for alert in () if as_json else found:
        say(line(alert))
    if not found and not as_json:
        say("ok")
    critical = any(alert.severity == CRITICAL for alert in found)
    sys.exit(IS_CRITICAL if critical else WARNS if found else HEALTHY)


def line(alert: Alert) -> str:
    """An alert in one line."""
    facts = [
        f"account {alert.account}" if alert.account else None,
        f"such as {alert.example}" if alert.example else None,
        f"since {alert.since:%Y-%m-%dT%H:%M:%SZ}" if alert.since else None,
    ]
    told = "; ".join(fact for fact in facts if fact)
    return f"{alert.severity:<8}  {alert.condition}  {alert.summary}" + (
        f" ({told})" if told else ""
    )
