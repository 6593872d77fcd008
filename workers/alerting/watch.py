"""The alert watch: computes the conditions every few seconds, records and pushes the alerts.

It runs in the clock's process and not as a job, because missing workers and a missing Redis are
alerts too. Where several clocks run, one of them computes at a time.
"""

import threading
from datetime import UTC, datetime, timedelta

import structlog
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import AlertContext, find_alerts
from receiver.db.locks import ALERTS_LOCK, try_lock
from receiver.logs import exception_fields
from receiver.settings import Settings
from receiver.stats.history import delete_old_history
from workers.alerting.notices import update_notices
from workers.alerting.pushes import name_targets, send_due_pushes

log = structlog.get_logger(__name__)

INTERVAL_SECONDS = 15.0
# Workers and clock start together, and the first sweep takes a moment.
FIRST_INTERVAL_SECONDS = 30.0
CLEAN_UP_EVERY = timedelta(hours=1)


class AlertWatch:
    """Watch the conditions for as long as the clock runs."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], redis: Redis) -> None:
        self._settings, self._sessions, self._redis = settings, sessions, redis
        self._urls = name_targets(settings.alert_urls)
        self._cleaned_up_at: datetime | None = None

    def check(self, now: datetime) -> None:
        """Record the alerts that opened and closed, and send the pushes that are due."""
        with self._sessions.begin() as session:
            if not try_lock(session, ALERTS_LOCK):
                return
            context = AlertContext.read(session, self._settings, self._redis, now)
            update_notices(session, find_alerts(context), self._urls, now)
            if self._cleaned_up_at is None or now - self._cleaned_up_at >= CLEAN_UP_EVERY:
                delete_old_history(session, now)
                self._cleaned_up_at = now
        send_due_pushes(self._sessions, self._urls, now)

    def run(self, stop: threading.Event) -> None:
        """Check every few seconds until stop is set; log when checking begins to fail."""
        interval, failing = FIRST_INTERVAL_SECONDS, False
        while not stop.wait(interval):
            interval = INTERVAL_SECONDS
            try:
                self.check(datetime.now(UTC))
                failing = False
            except Exception as error:  # noqa: BLE001 (nobody would start the thread again)
                if not failing:
                    log.error("alert_check_failed", **exception_fields(error))  # noqa: TRY400 (rows may be in it)
                failing = True
