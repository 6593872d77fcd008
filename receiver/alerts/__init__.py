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
        _alert(condition, finding)
        for condition in CATALOGUE.values()
        for finding in condition.find(context)
    ]
    return sorted(alerts, key=lambda alert: (alert.severity != CRITICAL, alert.account or ""))


def _alert(condition: Condition, finding: Finding) -> Alert:
    account, what_to_do = finding.account, finding.what_to_do or condition.what_to_do
    if account is not None:
        what_to_do = what_to_do.replace("COURIER_<ACCOUNT>_", account.env_name(""))
    return Alert(
        condition=condition.name,
        severity=finding.severity or condition.severity,
        account=account.slug if account else None,
        since=finding.since,
        count=finding.count,
        example=finding.example,
        summary=finding.summary or condition.summary,
        what_to_do=what_to_do,
    )
