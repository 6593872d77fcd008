"""Alerts: what needs a person's attention now.

GET /v1/alerts, `ordertrail check`, the console, /metrics and the pushes to ALERT_URLS all show what
`find_alerts` returns. There is one alert for each condition and account, however many orders it is
about.
"""

from receiver.alerts.catalogue import CATALOGUE
from receiver.alerts.condition import CRITICAL, WARNING, Alert, Condition, Finding, runbook_link
from receiver.alerts.context import AlertContext
from receiver.alerts.system_state import SystemState

__all__ = [
    "CATALOGUE",
    "CRITICAL",
    "WARNING",
    "Alert",
    "AlertContext",
    "SystemState",
    "find_alerts",
    "runbook_link",
]


def find_alerts(context: AlertContext) -> list[Alert]:
    """Return an alert for every condition that holds, the critical ones first."""
    alerts = [
        _alert(context, condition, finding)
        for condition in CATALOGUE.values()
        for finding in condition.find(context)
    ]
    return sorted(alerts, key=lambda alert: (alert.severity != CRITICAL, alert.account or ""))


def _alert(context: AlertContext, condition: Condition, finding: Finding) -> Alert:
    what_to_do = finding.what_to_do or condition.what_to_do
    if finding.account is not None:
        prefix = context.settings.accounts[finding.account].env_name("")
        what_to_do = what_to_do.replace("COURIER_<ACCOUNT>_", prefix)
    return Alert(
        condition=condition.name,
        severity=finding.severity or condition.severity,
        account=finding.account,
        since=finding.since,
        count=finding.count,
        example=finding.example,
        summary=finding.summary or condition.summary,
        what_to_do=what_to_do,
    )
