"""The clock process, `python -m workers.clock`: it queues the jobs that are due.

It also watches for alerts (workers/alerting.py), which must not depend on workers.

Any number of clocks may run: whichever sets a job's key in Redis first queues the job. RQ's own
cron would do, but it can only pickle its jobs.
"""

from datetime import UTC, datetime

import structlog
from redis import Redis, RedisError

from receiver.logs import exception_fields
from receiver.queue.job_queue import enqueue_once
from receiver.queue.liveness import record_clock_tick
from workers.alerting import AlertWatch
from workers.runtime import STOP, start_process

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
    queued = [
        job
        for job, seconds in SCHEDULE.items()
        if redis.set(interval_key(job), 1, nx=True, ex=seconds)
        and enqueue_once(redis, job, JOB_TTL_SECONDS, failure_ttl=3600, ttl=JOB_TTL_SECONDS)
    ]
    record_clock_tick(redis, datetime.now(UTC))
    return queued


def interval_key(job: str) -> str:
    """Return the name of the key in Redis that exists until a job is due again."""
    return f"ordertrail:clock:{job}"


def main() -> None:
    """Queue jobs and watch for alerts until the process is to stop."""
    runtime = start_process("clock")
    log.info("clock_started")
    AlertWatch(runtime.settings, runtime.sessions, runtime.redis).start()
    reachable = True
    while not STOP.wait(TICK_SECONDS):
        try:
            queue_due_jobs(runtime.redis)
            if not reachable:
                log.info("redis_recovered")
            reachable = True
        except (RedisError, OSError) as error:
            if reachable:
                log.warning("redis_unreachable", **exception_fields(error))
            reachable = False
    log.info("clock_stopped")


if __name__ == "__main__":
    main()
