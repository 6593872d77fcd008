"""The watchman: looks at the conditions every few seconds, notes what opens and closes, pushes it.

It runs in the clock's process and not as a job: that there are no workers, or no Redis, is news.
Of several clocks one looks at a time.
"""

import threading
from datetime import UTC, datetime, timedelta

import structlog
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver import telemetry
from receiver.alerts import find_alerts
from receiver.alerts.platform_alerts import read_system_state
from receiver.logs import exception_fields
from receiver.settings import Settings
from receiver.stats import history
from workers.alerting import pushes
from workers.alerting.notices import update_notices

log = structlog.get_logger(__name__)

LOOK_SECONDS = 15.0
# Workers and clock start together, and the first sweep takes a moment.
FIRST_LOOK_SECONDS = 30.0
FORGET_EVERY = timedelta(hours=1)
# Any number that nothing else locks.
WATCH_LOCK = 7_203_118_409


class AlertWatch:
    """Looks, notes and pushes, for as long as the clock runs."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], redis: Redis) -> None:
        self._settings, self._sessions, self._redis = settings, sessions, redis
        self._urls = pushes.name_targets(settings.alert_urls)
        self._forgot_at: datetime | None = None

    def watch(self, now: datetime) -> None:
        """Note what opened and what closed, and push what is due."""
        with self._sessions.begin() as session:
            if not session.scalar(select(func.pg_try_advisory_xact_lock(WATCH_LOCK))):
                return
            around = read_system_state(session, self._settings, self._redis)
            update_notices(
                session, find_alerts(session, self._settings, now, around), self._urls, now
            )
            if self._forgot_at is None or now - self._forgot_at >= FORGET_EVERY:
                history.delete_old_history(session, now)
                self._forgot_at = now
        pushes.send_due_pushes(self._sessions, self._urls, now)

    def run(self, stop: threading.Event) -> None:
        """Watch until told to stop; a PostgreSQL that is away costs a look."""
        wait, well = FIRST_LOOK_SECONDS, True
        while not stop.wait(wait):
            wait = LOOK_SECONDS
            try:
                self.watch(datetime.now(UTC))
                well = True
            except Exception as failure:  # noqa: BLE001 (nobody else would go on watching)
                if well:
                    log.error("nobody watches", **exception_fields(failure))  # noqa: TRY400 (rows may be in it)
                    telemetry.failed(failure)
                well = False
