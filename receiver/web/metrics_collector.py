"""Prometheus' collector of what is read from PostgreSQL and Redis when it scrapes a web process.

Every web process shows the same numbers, whichever worker or host they come from. One measurement
serves all scrapes of a few seconds, and a scrape waits for it no longer than PATIENCE. A part that
fails or is too slow is absent, and leaves the others.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from platform import python_version

import structlog
from prometheus_client import Metric, core
from prometheus_client.registry import Collector
from redis import Redis, RedisError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import AlertContext, AlertReader, Evaluation
from receiver.alerts.evaluation import limited_savepoint
from receiver.background_thread import BackgroundThread
from receiver.logs import failure_fields
from receiver.settings import Settings
from receiver.stats.process_usage import ProcessUsage, read_usage
from receiver.web.metric_families import PARTS, describe_evaluation, describe_processes, gauge

log = structlog.get_logger(__name__)

# Seconds that a measurement is shown for, and that a scrape waits for one.
FRESH = 5.0
PATIENCE = 8.0


@dataclass
class _Measurement:
    """What one measurement has found so far. up: whether PostgreSQL answers, once that is known."""

    started_at: float
    up: bool = False
    families: list[Metric] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)


class MetricsCollector(Collector):
    """Prometheus' collector; it runs one measurement at a time."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        redis: Redis,
        alert_reader: AlertReader,
    ) -> None:
        self._settings, self._sessions, self._redis = settings, sessions, redis
        self._alert_reader = alert_reader
        self._lock = threading.Lock()
        self._measurement: _Measurement | None = None
        self._thread = BackgroundThread("metrics_collection", self._measure)

    def describe(self) -> Iterable[Metric]:
        """Nothing: registering must not wait for a database."""
        return ()

    def collect(self) -> Iterator[Metric]:
        build = core.InfoMetricFamily("ordertrail_build", "Ordertrail's and Python's versions.")
        build.add_metric([], {"version": version("ordertrail"), "python": python_version()})
        yield build
        measurement = self._newest_measurement()
        measurement.done.wait(PATIENCE)
        yield gauge("database_up", "Whether PostgreSQL answers.", {(): float(measurement.up)})
        # A copy: a measurement that takes too long goes on.
        yield from list(measurement.families)

    def close(self) -> None:
        """Wait for the measurement in progress."""
        self._thread.close()

    def _newest_measurement(self) -> _Measurement:
        with self._lock:
            newest, now = self._measurement, time.monotonic()
            if newest is None or (newest.done.is_set() and now - newest.started_at > FRESH):
                newest = self._measurement = _Measurement(now)
                self._thread.wake()
            return newest

    def _measure(self) -> None:
        measurement = self._measurement
        if measurement is None or measurement.done.is_set():
            return
        try:
            evaluation = self._alert_reader.read(datetime.now(UTC))
            measurement.up = evaluation.database_answers
            measurement.families += describe_evaluation(evaluation)
            usage: dict[str, ProcessUsage] = {}
            with suppress(RedisError, OSError):
                usage = read_usage(self._redis)
            measurement.families += describe_processes(usage)
            if measurement.up:
                with self._sessions() as session:
                    self._measure_parts(session, evaluation, measurement)
        finally:
            measurement.done.set()

    def _measure_parts(
        self, session: Session, evaluation: Evaluation, measurement: _Measurement
    ) -> None:
        """Measure each part by itself.

        Raises: DBAPIError where the connection to PostgreSQL is lost.
        """
        now, meter = datetime.now(UTC), self._alert_reader.meter
        context = AlertContext(
            session, self._settings, now, evaluation.system, meter, with_test=True
        )
        ends_at = measurement.started_at + PATIENCE
        failed = dict.fromkeys(PARTS, 0.0)
        for part, measure in PARTS.items():
            try:
                with limited_savepoint(session, ends_at - time.monotonic()):
                    measurement.families += list(measure(context))
            except Exception as error:
                if isinstance(error, DBAPIError) and error.connection_invalidated:
                    raise
                failed[part] = 1.0
                log.warning("metrics_part_failed", part=part, **failure_fields(error))
        help_text = "1 while a part of the metrics cannot be read; its metrics are absent."
        measurement.families.append(gauge("metrics_failed", help_text, failed, "part"))
