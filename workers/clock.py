"""The clock process: `python -m workers.clock`. It queues what is due, and does none of it.

Beside that it watches (workers/alerting/watch.py), which is not to depend on workers.

Any number of clocks may run: whoever sets a job's key in Redis first has queued it for this
interval. RQ's own cron would do, but it can only pickle its jobs.
"""

import signal
import sys
import threading
from datetime import UTC, datetime

import structlog
from redis import Redis, RedisError

from receiver import logs, telemetry
from receiver.queue.job_queue import enqueue_once
from receiver.queue.liveness import record_clock_tick
from receiver.settings import BadSettings
from workers.alerting.watch import AlertWatch
from workers.runtime import runtime

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.5

# The job, and its interval in seconds.
SCHEDULE = {"workers.jobs.sweep": 3, "workers.jobs.poll": 1, "workers.jobs.retain": 10}
# A job that no worker takes is dropped after so many seconds. Longer than a drain, or a worker that
# runs one drain after another would never find another job in the queue.
JOB_TTL_SECONDS = 15


def queue_due_jobs(redis: Redis) -> list[str]:
    """Queue every job that is due, unless one of its name waits, and return their names.

    Raises: RedisError, OSError.
    """
    due = [
        job
        for job, seconds in SCHEDULE.items()
        if redis.set(interval_key(job), 1, nx=True, ex=seconds)
    ]
    queued = [
        job
        for job in due
        if enqueue_once(redis, job, JOB_TTL_SECONDS, failure_ttl=3600, ttl=JOB_TTL_SECONDS)
    ]
    record_clock_tick(redis, datetime.now(UTC))
    return queued


def interval_key(job: str) -> str:
    """Return the name of the key in Redis that exists until a job is due again."""
    return f"ordertrail:clock:{job}"


def main() -> None:
    """Tick until told to stop."""
    logs.configure("clock")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        here = runtime()
    except BadSettings as bad:
        sys.exit(str(bad))
    redis = here.redis
    telemetry.start(
        "clock", here.engine, here.settings.sentry_dsn, here.settings.otel_exporter_otlp_endpoint
    )
    alert_watch = AlertWatch(here.settings, here.sessions, redis)
    threading.Thread(target=alert_watch.run, args=(stop,), daemon=True).start()
    reachable = True
    while not stop.wait(TICK_SECONDS):
        try:
            queue_due_jobs(redis)
            reachable = True
        except (RedisError, OSError) as failure:
            if reachable:
                log.warning("Redis is away", error=str(failure))
            reachable = False


if __name__ == "__main__":
    main()
