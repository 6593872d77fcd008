"""Evaluate the conditions, each for itself: one that fails or is too slow hides no other."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from receiver.alerts.condition import CATALOGUE, CRITICAL, WARNING, Alert, Condition, runbook_link
from receiver.alerts.context import AlertContext, SystemState
from receiver.alerts.platform_alerts import JOBS_FAILING, TABLES_OUTDATED
from receiver.logs import exception_fields, failure_fields
from receiver.text import count_noun

log = structlog.get_logger(__name__)

# Milliseconds for each statement of a condition: all are answered by an index within a few.
STATEMENT_MS = 2_000
# Seconds for all conditions together. Whoever waits for a page or a scrape has no more patience.
TOTAL_SECONDS = 5.0
QUERY_CANCELED = "57014"

# Those that failed when this process last evaluated them: a failure is logged when it begins.
_failing: set[str] = set()


@dataclass(frozen=True)
class Evaluation:
    """The alerts that are open, the critical ones first, and the names of unknown conditions.

    unknown: conditions that could not be computed, by name, with the reason: their alerts may be
    open or not.
    database_answers: whether PostgreSQL could be read.
    """

    alerts: list[Alert]
    unknown: dict[str, str]
    system: SystemState
    database_answers: bool


def find_alerts(context: AlertContext) -> list[Alert]:
    """Return an alert for every condition that holds, the critical ones first."""
    return evaluate_conditions(context).alerts


def evaluate_conditions(context: AlertContext, with_database: bool = True) -> Evaluation:
    """Compute every condition in a savepoint of its own, with a time limit of its own.

    with_database: False to leave out those that read PostgreSQL; they are unknown then, which is no
    alert by itself, because why PostgreSQL cannot be read is one.

    Raises: DBAPIError where the connection to PostgreSQL is lost.
    """
    alerts: list[Alert] = []
    unknown: dict[str, str] = {}
    left_out = {
        one.name: context.system.database
        for one in CATALOGUE.values()
        if one.needs_database and not with_database
    }
    ends_at = time.monotonic() + TOTAL_SECONDS
    # SET LOCAL outlives a savepoint that is released.
    before = context.session.scalar(text("SHOW statement_timeout")) if with_database else ""
    for condition in sorted(CATALOGUE.values(), key=lambda one: one.severity != CRITICAL):
        if condition.name in left_out:
            continue
        seconds = ends_at - time.monotonic()
        try:
            if condition.needs_database:
                with limited_savepoint(context.session, seconds):
                    found = list(condition.find(context))
            else:
                found = list(condition.find(context))
            _failing.discard(condition.name)
        except Exception as error:
            if isinstance(error, DBAPIError) and error.connection_invalidated:
                raise
            unknown[condition.name] = explain_failure(error)
            if condition.name not in _failing:
                log.error("condition_failed", condition=condition.name, **failure_fields(error))  # noqa: TRY400 (a traceback may quote rows)
            _failing.add(condition.name)
        else:
            alerts += [_complete(alert, condition, context) for alert in found]
    if with_database:
        context.session.execute(text(f"SET LOCAL statement_timeout = '{before}'"))
    alerts = _add_unknown(alerts, unknown, context)
    alerts.sort(key=lambda alert: (alert.severity != CRITICAL, alert.account or ""))
    return Evaluation(alerts, unknown | left_out, context.system, with_database)


@contextmanager
def limited_savepoint(session: Session, seconds: float) -> Iterator[None]:
    """Let statements run for STATEMENT_MS each, and never past so many seconds from now.

    A failure undoes the savepoint only, so that the transaction can be used afterwards. The limit
    holds until the transaction's end, or until another is set.

    Raises: TimeoutError where no time is left.
    """
    if seconds <= 0:
        raise TimeoutError
    with session.begin_nested():
        most = min(STATEMENT_MS, round(1000 * seconds) or 1)
        session.execute(text(f"SET LOCAL statement_timeout = {most}"))
        yield


def explain_failure(error: Exception) -> str:
    """Say in a few words why something could not be computed, without the error's text."""
    sqlstate = getattr(getattr(error, "orig", None), "sqlstate", None)
    if isinstance(error, TimeoutError) or sqlstate == QUERY_CANCELED:
        return "timeout"
    fields = exception_fields(error)
    state = f" {sqlstate}" if sqlstate else ""
    return f"{fields['error']}{state} at {fields['where']}"


NOT_COMPUTED = "conditions_not_computed"


def _none(_context: AlertContext) -> Iterator[Alert]:
    """Nothing: `evaluate_conditions` makes this alert when all others are computed."""
    yield from ()


CATALOGUE[NOT_COMPUTED] = Condition(
    NOT_COMPUTED,
    WARNING,
    "What these conditions watch may be wrong without an alert. After a timeout look for what slows"
    " PostgreSQL down, and run ANALYZE; the log line condition_failed has the place of an error.",
    _none,
    needs_database=False,
)


def _add_unknown(
    alerts: list[Alert], unknown: dict[str, str], context: AlertContext
) -> list[Alert]:
    """Add the alert on conditions that could not be computed.

    Without the right tables conditions cannot be computed and jobs fail, and that is an alert.
    """
    if any(alert.condition == TABLES_OUTDATED for alert in alerts):
        return [alert for alert in alerts if alert.condition != JOBS_FAILING]
    if unknown:
        return [*alerts, _complete(_report_unknown(unknown), CATALOGUE[NOT_COMPUTED], context)]
    return alerts


def _report_unknown(unknown: dict[str, str]) -> Alert:
    number = count_noun(len(unknown), "condition")
    reasons = ", ".join(f"{name} ({why})" for name, why in sorted(unknown.items()))
    severity = CRITICAL if any(CATALOGUE[name].severity == CRITICAL for name in unknown) else ""
    summary = f"{number} cannot be computed: {reasons}"
    return Alert(None, summary, count=len(unknown), causes=tuple(unknown), severity=severity)


def _complete(alert: Alert, condition: Condition, context: AlertContext) -> Alert:
    what_to_do = alert.what_to_do or condition.what_to_do
    if alert.account is not None:
        prefix = context.settings.accounts[alert.account].env_name("")
        what_to_do = what_to_do.replace("COURIER_<ACCOUNT>_", prefix)
    severity = alert.severity or condition.severity
    return replace(
        alert,
        condition=condition.name,
        severity=severity,
        what_to_do=what_to_do,
        runbook=runbook_link(condition.name, context.settings.runbook_base),
    )
