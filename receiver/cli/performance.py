"""`ordertrail performance`."""

from datetime import UTC, datetime

import click

from receiver.cli import output
from receiver.cli.options import Name, json_option, validate_options
from receiver.cli.session import load_settings, open_database, require_account
from receiver.orders.performance.report import choose_period, report_account, report_accounts
from receiver.schemas.performance import PerformanceFiltersSchema, PerformanceSchema

UNITS = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}


@click.command()
@click.argument("account", type=Name(), required=False)
@click.option(
    "--since", metavar="DAY", help="The first UTC day.  [default: 29 days before --until]"
)
@click.option("--until", metavar="DAY", help="The last UTC day, included.  [default: today]")
@click.option("--test", is_flag=True, help="Also count sample orders and test accounts.")
@json_option
def performance_command(
    account: str | None, since: str | None, until: str | None, test: bool, as_json: bool
) -> None:
    """Show how fast and how reliably couriers deliver: one account, or all.

    Over the orders that were delivered, cancelled or returned in these whole UTC days. Durations
    are the median and, behind the slash, what nine out of ten took at most.
    """
    wanted = validate_options(PerformanceFiltersSchema(), since=since, until=until, test=test)
    period = choose_period(wanted, datetime.now(UTC))
    settings = load_settings()
    require_account(settings, account)
    with open_database(settings) as sessions, sessions() as session:
        if account is None:
            found = report_accounts(session, settings.accounts, period)
        else:
            found = [report_account(session, settings.accounts, account, period)]
    reports = PerformanceSchema(many=True).dump(found)
    if as_json:
        output.print_json(reports[0] if account is not None else {"accounts": reports})
        return
    output.print_line(f"{period.since} to {period.until}, UTC", "bold")
    columns: output.Columns = {
        "account": "account",
        "orders": "orders",
        "delivered": "delivered",
        "1st attempt": lambda report: _format_ratio(report["first_attempt_ratio"]),
        "on time": lambda report: _format_ratio(report["on_time_ratio"]),
        "pickup to delivery": lambda report: _format_range(report["pickup_to_delivery_seconds"]),
        "order to pickup": lambda report: _format_range(report["order_to_pickup_seconds"]),
        "webhook delay": lambda report: _format_range(report["webhook_delay_seconds"]),
        "missed webhooks": lambda report: _format_ratio(report["missed_webhook_ratio"]),
    }
    optional = ("missed webhooks", "webhook delay", "order to pickup", "delivered")
    output.GrowingTable(columns, optional=optional).add(reports)
    if not reports:
        output.print_note("No account is configured: set COURIER_<ACCOUNT>_SECRETS.")


def _format_ratio(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1%}"


def _format_range(percentiles: output.JsonObject) -> str:
    if percentiles["p50"] is None:
        return "-"
    return f"{_format_duration(percentiles['p50'])} / {_format_duration(percentiles['p90'])}"


def _format_duration(seconds: float) -> str:
    """Format a duration in the largest unit of which at least one fits."""
    for unit, size in UNITS.items():
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.2g} s"
