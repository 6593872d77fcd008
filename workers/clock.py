"""The clock process: `python -m workers.clock`. It queues what is due, and does none of it.

Beside that it watches (workers/alerting/watch.py), which is not to depend on workers.

Any number of clocks may run: whoever sets a job's key in Redis first has queued it for this
interval. RQ's own cron would do, but it can only pickle its jobs.
"""

import signal
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from redis import Redis, RedisError

from receiver import logs, telemetry
from receiver.queue import clock_ticks
from receiver.queue.doorbell import queue
from receiver.settings import BadSettings
from workers.alerting.watch import AlertWatch
from workers.runtime import runtime

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.5

# The job, and how many seconds lie between two of it.
SCHEDULE = {"workers.jobs.sweep": 3, "workers.jobs.poll": 1, "workers.jobs.retain": 10}


def tick(redis: Redis) -> list[str]:
    """Queue every job that is due, unless one of its kind waits, and return their names.

    A job that no worker takes for long goes away: the next one does the same work.
    """
    due = [job for job, seconds in SCHEDULE.items() if redis.set(key(job), 1, nx=True, ex=seconds)]
    new = [job for job in due if clock_ticks.may_wait(redis, job)]
    for job in new:
        try:
            queue(redis).enqueue(job, ttl=clock_ticks.WAIT_SECONDS, result_ttl=0, failure_ttl=3600)
        except (RedisError, OSError):
            # Nothing waits, as far as is known; the next tick is not to wait for it.
            with suppress(RedisError, OSError):
                clock_ticks.taken(redis, job)
            raise
    clock_ticks.note(redis, datetime.now(UTC))
    return new


def key(job: str) -> str:
    """Where the clocks note that a job was due, for as long as it is not due again."""
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
    telemetry.start(here.settings, "clock", here.engine)
    watchman = AlertWatch(here.settings, here.sessions, redis)
    threading.Thread(target=watchman.run, args=(stop,), daemon=True).start()
    reachable = True
    while not stop.wait(TICK_SECONDS):
        try:
            tick(redis)
            reachable = True
        except (RedisError, OSError) as failure:
            if reachable:
                log.warning("Redis is away", error=str(failure))
            reachable = False


if __name__ == "__main__":
    main()
