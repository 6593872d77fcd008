"""Alerts: what needs a person's attention now.

GET /v1/alerts, `ordertrail check`, the console, /metrics and the pushes to ALERT_URLS all show what
`evaluate_conditions` returns. There is one alert for each condition and account, however many
orders it is about.
"""

from receiver.alerts import (  # noqa: F401 (each puts its conditions into CATALOGUE)
    inbox_alerts,
    order_alerts,
    platform_alerts,
    polling_alerts,
    push_alerts,
    webhook_alerts,
)
from receiver.alerts.condition import CATALOGUE, CRITICAL, WARNING, Alert, runbook_link
from receiver.alerts.context import AlertContext, SystemState
from receiver.alerts.evaluation import Evaluation, evaluate_conditions, find_alerts
from receiver.alerts.reading import AlertReader

__all__ = [
    "CATALOGUE",
    "CRITICAL",
    "WARNING",
    "Alert",
    "AlertContext",
    "AlertReader",
    "Evaluation",
    "SystemState",
    "evaluate_conditions",
    "find_alerts",
    "runbook_link",
]
