"""Now: what is wrong, how far behind we are, what came in, and how each courier fares."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Blueprint, render_template, url_for

from receiver.accounts.account_status import list_account_statuses
from receiver.accounts.refused_credentials import read_refusals
from receiver.alerts import Alert, AlertContext, find_alerts
from receiver.db.models import PARKED, PENDING, QUARANTINED
from receiver.inbox import browse
from receiver.inbox.pending import read_progress
from receiver.stats.history import BUCKET, Point, read_history, start_of_step
from receiver.web.console.charts import Chart, Series, spark
from receiver.web.console.pages import asked, order_url
from receiver.web.console.template_filters import number, short, span
from receiver.web.context import app_context

now = Blueprint("now", __name__)


@dataclass(frozen=True, slots=True)
class Window:
    """How far back the charts go, and in which steps."""

    name: str
    whole: timedelta
    step: timedelta


WINDOWS = {
    "6h": Window("6 hours", timedelta(hours=6), BUCKET),
    "24h": Window("24 hours", timedelta(hours=24), 4 * BUCKET),
    "7d": Window("7 days", timedelta(days=7), 24 * BUCKET),
}
# Kinds of refusals that are shown, the latest.
MOST_REFUSALS = 20
# The bars beside a courier's name.
SPARK = Window("24 hours", timedelta(hours=24), 6 * BUCKET)


@now.get("")
@now.get("/")
def show() -> str:
    """The page that is opened first."""
    app, at = app_context(), datetime.now(UTC)
    over = asked().get("over", "")
    window = WINDOWS.get(over) or WINDOWS["6h"]
    accounts = app.settings.accounts
    app.credential_recorder.flush()
    with app.sessions() as session:
        context = AlertContext.read(session, app.settings, app.redis, at)
        alerts = find_alerts(context)
        cards = list_account_statuses(session, accounts, at)["couriers"]
        counts = {it: browse.count_messages(session, it) for it in (PENDING, QUARANTINED, PARKED)}
        refused = read_refusals(session)[:MOST_REFUSALS]
        waiting = read_progress(session, at).waiting_seconds
        points = read_history(session, at - window.whole, at, window.step)
        sparks = {
            it: read_history(session, at - SPARK.whole, at, SPARK.step, it) for it in accounts
        }
    wrong = defaultdict(list)
    for alert in alerts:
        wrong[alert.account].append(alert)
    return render_template(
        "console/now.html",
        alerts=alerts,
        wrong=wrong,
        cards=cards,
        sparks={it: _spark(told) for it, told in sparks.items()},
        counts=counts,
        refused=refused,
        waiting=waiting,
        most=browse.MOST_COUNTED,
        workers=context.system.workers,
        example_url=example_url,
        charts=_charts(points, window, at),
        windows=WINDOWS,
        window=window,
    )


def example_url(alert: Alert) -> str | None:
    """The page of what an alert names as an example."""
    if alert.example is None or alert.account is None:
        return None
    if alert.condition.startswith("messages_"):
        return url_for("console.messages.show", message_id=alert.example)
    return order_url(alert.account, alert.example)


def _spark(points: Sequence[Point]) -> str:
    hooks = [point.hooks for point in points]
    return spark(hooks, f"{number(sum(hooks))} hooks in the last {SPARK.name}")


def _charts(points: Sequence[Point], window: Window, at: datetime) -> list[Chart]:
    moments = [point.at for point in points]
    until = start_of_step(at, window.step) + window.step
    each = f"each {span(window.step)}"

    def of(name: str, label: str, look: str) -> Series:
        return Series(label, look, [getattr(point, name) for point in points])

    def counted(key: str, title: str, *series: Series) -> Chart:
        return Chart(key, f"{title}, {each}", moments, until, series, number, stacked=True)

    def measured(key: str, title: str) -> Chart:
        both = [of(f"longest_{key}", "longest", "longest"), of(f"mean_{key}", "mean", "mean")]
        return Chart(key, title, moments, until, both, span, of_time=True, beside=short)

    return [
        counted(
            "came",
            "Messages in",
            of("hooks", "hooks", "hooks"),
            of("answers", "poll answers", "answers"),
        ),
        counted(
            "trouble",
            "Trouble",
            of("missed", "missed hooks", "missed"),
            of("quarantined", "quarantined", "quarantined"),
            of("parked", "parked", "parked"),
        ),
        measured("wait", "From received to read"),
        measured("lag", "From happened to received, hooks"),
    ]
