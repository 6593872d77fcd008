"""The page of couriers' performance: a table of all accounts, and a chart of ended orders."""

from datetime import UTC, datetime, timedelta

from flask import Blueprint, render_template

from receiver.orders.performance.report import (
    choose_period,
    find_account,
    read_days,
    report_accounts,
)
from receiver.schemas.performance import PerformanceFiltersSchema
from receiver.web.console.forms import load_fields, read_query
from receiver.web.console.performance_chart import lay_out_chart
from receiver.web.context import app_context

performance = Blueprint("performance", __name__)

FILTERS = PerformanceFiltersSchema()
# The periods that a link leads to, by how many days until today.
PERIODS = {7: "7 days", 30: "30 days", 90: "90 days", 365: "a year"}


@performance.get("/performance")
def show_performance_page() -> str:
    """Report on the accounts over a period."""
    query, now = read_query(), datetime.now(UTC)
    period = choose_period(load_fields(FILTERS, query), now)
    accounts = app_context().settings.accounts
    if slug := query["account"]:
        accounts = {slug: find_account(accounts, slug)}
    with app_context().sessions() as session:
        reports = report_accounts(session, accounts, period)
        days = read_days(session, accounts.values(), period)
    today = now.date()
    return render_template(
        "console/performance.html",
        query=query,
        period=period,
        today=today,
        periods={label: today - timedelta(days=days - 1) for days, label in PERIODS.items()},
        reports=reports,
        chart=lay_out_chart(days),
    )
