"""`ordertrail alerts`: list the alerts, acknowledge or snooze one, and test ALERT_URLS."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from receiver.alerts.history import acknowledge_alert
from receiver.cli import options, output
from receiver.cli.check import read_alerts
from receiver.cli.output import GrowingTable, JsonObject, format_time, print_line
from receiver.cli.session import load_settings, open_database
from receiver.schemas.account import AcknowledgementSchema, PastAlertSchema, SnoozeSchema
from receiver.times import rfc3339
from workers.alerting.pushes import send_test_push

MOST_HOURS = 24 * 365.0


@click.group(invoke_without_command=True)
@click.option("--history", is_flag=True, help="Also the alerts of the last 30 days.")
@options.json_option
@click.pass_context
def alerts_command(ctx: click.Context, history: bool, as_json: bool) -> None:
    """List open alerts; acknowledge or snooze one.

    An alert has an id once the clock has recorded it. `ordertrail check` is for monitors: its exit
    code says whether alerts are open.
    """
    if ctx.invoked_subcommand is not None:
        return
    found = read_alerts(load_settings(), with_history=history)
    if as_json:
        output.print_json(found)
        return
    if not found["alerts"]:
        print_line("No alerts are open.")
    _make_table({"since": lambda alert: format_time(alert["since"])}).add(found["alerts"])
    if history:
        print_line("")
        print_line("The last 30 days", "bold")
        _make_table({"opened": "opened_at", "closed": "closed_at"}).add(found["history"])


def _make_table(times: output.Columns) -> GrowingTable:
    columns: output.Columns = {
        "id": "id",
        "severity": "severity",
        "condition": "condition",
        "account": "account",
        **times,
        "acknowledged": _describe_acknowledgement,
        "summary": "summary",
    }
    return GrowingTable(columns, wrap=("acknowledged", "summary"))


def _describe_acknowledgement(alert: JsonObject) -> str:
    if not alert["acknowledged_until"]:
        return ""
    note = f": {alert['acknowledged_note']}" if alert["acknowledged_note"] else ""
    until = format_time(alert["acknowledged_until"])
    return f"by {alert['acknowledged_by'] or 'somebody'} until {until}{note}"


@alerts_command.command("acknowledge")
@click.argument("alert_id", type=click.IntRange(1, 2**63 - 1))
@options.decision_options
@options.json_option
def acknowledge_command(alert_id: int, by: str, note: str, as_json: bool) -> None:
    """Say that somebody takes care of an open alert.

    It is not pushed again for a day, unless it becomes critical; its end is pushed.
    """
    wanted = options.validate_options(AcknowledgementSchema(), by=by, note=note)
    _acknowledge(alert_id, wanted, datetime.now(UTC), as_json)


@alerts_command.command("snooze")
@click.argument("alert_id", type=click.IntRange(1, 2**63 - 1))
@click.option(
    "--hours", required=True, type=click.FloatRange(0, MOST_HOURS), help="For how long; 0 ends it."
)
@options.decision_options
@options.json_option
def snooze_command(alert_id: int, hours: float, by: str, note: str, as_json: bool) -> None:
    """Have an open alert not pushed for some hours.

    If it is still open then, it is pushed again; if it becomes critical, at once.
    """
    now = datetime.now(UTC)
    until = rfc3339(now + timedelta(hours=hours))
    wanted = options.validate_options(SnoozeSchema(), until=until, by=by, note=note)
    _acknowledge(alert_id, wanted, now, as_json)


def _acknowledge(alert_id: int, wanted: dict[str, Any], now: datetime, as_json: bool) -> None:
    with open_database(load_settings()) as sessions:
        notice = PastAlertSchema().dump(acknowledge_alert(sessions, alert_id, wanted, now))
    until = format_time(notice["acknowledged_until"])
    text = f"Alert {alert_id} ({notice['condition']}) is not pushed before {until}."
    output.print_result(notice, text, as_json)


@alerts_command.command("test")
def test_command() -> None:
    """Send a test alert to each of ALERT_URLS, and its end.

    Exit code 1 if an address does not take it, or none is set.
    """
    settings = load_settings()
    failed = not settings.alert_urls
    for number, url in enumerate(settings.alert_urls, 1):
        sent = send_test_push(settings, url)
        failed = failed or not sent
        # By its number: an address holds a password.
        print_line(f"address no. {number}: {'sent' if sent else 'failed'}")
    if not settings.alert_urls:
        print_line("ALERT_URLS is not set: alerts are shown, but not sent to anyone")
    sys.exit(1 if failed else 0)
