"""Alerts: what needs a person's attention now.

GET /v1/alerts, `ordertrail check`, the console, /metrics and the pushes to ALERT_URLS all show what
`find_alerts` returns. There is one alert for each condition and account, however many orders it is
about.
"""

from dataclasses import replace

from receiver.alerts import (  # noqa: F401 (each puts its conditions into CATALOGUE)
    inbox_alerts,
    order_alerts,
    platform_alerts,
    polling_alerts,
    webhook_alerts,
)
from receiver.alerts.condition import CATALOGUE, CRITICAL, WARNING, Alert, runbook_link
from receiver.alerts.context import AlertContext, SystemState

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
    alerts = []
    for condition in CATALOGUE.values():
        for alert in condition.find(context):
            what_to_do = alert.what_to_do or condition.what_to_do
            if alert.account is not None:
                prefix = context.settings.accounts[alert.account].env_name("")
                what_to_do = what_to_do.replace("COURIER_<ACCOUNT>_", prefix)
            severity = alert.severity or condition.severity
            alerts.append(
                replace(alert, condition=condition.name, severity=severity, what_to_do=what_to_do)
            )
    return sorted(alerts, key=lambda alert: (alert.severity != CRITICAL, alert.account or ""))
