"""What a person should know of now: every condition, computed in this one place.

GET /v1/alerts, `ordertrail check`, the console, /metrics (and by it Prometheus' rules) and the
pushes of ALERT_URLS all show what `conditions` yields. A family of conditions is a file here; each
has its row in the catalogue and its section in deploy/runbook.md.

One alert for each condition and account, however many orders it is about: a hundred orders that are
given up are one piece of news.
"""

from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy.orm import Session

from receiver.alerts import (
    inbox_alerts,
    order_alerts,
    platform_alerts,
    polling_alerts,
    webhook_alerts,
)
from receiver.alerts.catalogue import CATALOGUE, CRITICAL, WARNING
from receiver.alerts.context import Alert, AlertContext, SystemState
from receiver.settings import Settings

__all__ = ["CATALOGUE", "CRITICAL", "WARNING", "Alert", "SystemState", "conditions"]

FAMILIES: tuple[Callable[[AlertContext], Iterator[Alert]], ...] = (
    platform_alerts.alerts,
    inbox_alerts.alerts,
    webhook_alerts.alerts,
    polling_alerts.alerts,
    order_alerts.alerts,
)


def find_alerts(
    session: Session, settings: Settings, now: datetime, around: SystemState
) -> Iterator[Alert]:
    """All conditions that hold, the critical ones first.

    around: what is not in PostgreSQL, as machine.look_around() finds it.
    """
    scene = AlertContext.open(session, settings, now, around)
    found = [alert for family in FAMILIES for alert in family(scene)]
    yield from sorted(found, key=lambda alert: (alert.severity != CRITICAL, alert.account or ""))
