"""The clock process, `python -m workers.clock`: it queues the jobs that are due.

It also watches for alerts (workers/alerting), which must not depend on workers, and pushes the
change feed to the shop (workers/pushing). Where Redis is away or refuses writes, nobody can wake a
worker: the clock folds messages itself then.

Any number of clocks may run: whichever sets a job's key in Redis first queues the job. RQ's own
cron would do, but it can only pickle its jobs.
"""

from datetime import UTC, datetime

import structlog
from redis import Redis, RedisError
from rq.timeouts import UnixSignalDeathPenalty

from receiver.logs import exception_fields, failure_fields
from receiver.queue import doorbell, redis_check
from receiver.queue.job_queue import enqueue_once
from receiver.queue.liveness import record_clock_tick
from workers.alerting import AlertWatch
from workers.folding.drain import drain_inbox
from workers.folding.poison import CrashGuard
from workers.pushing import FeedSender
from workers.runtime import STOP, Runtime, start_process

log = structlog.get_logger(__name__)

TICK_SECONDS = 0.5
# The clock folds for so long before it looks for Redis again.
DRAIN_SECONDS = 5.0

# The job, and its interval in seconds.
SCHEDULE = {
    "workers.jobs.sweep": 3,
    "workers.jobs.poll": 1,
    "workers.jobs.retain": 3,
    "workers.jobs.count": 3,
}
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


def drain_alone(runtime: Runtime, guard: CrashGuard) -> None:
    """Fold what is pending, for some seconds. Not in a thread: the limit of CPU time needs this."""
    try:
        # As a worker does it: a batch that takes forever is stopped.
        with UnixSignalDeathPenalty(doorbell.DRAIN_SECONDS):  # type: ignore[no-untyped-call] # RQ's
            feed = runtime.feed_bell.ring
            drain_inbox(runtime.sessions, runtime.settings, guard, DRAIN_SECONDS, feed, STOP)
    except Exception as error:  # noqa: BLE001 (the clock goes on, and tries again at its next tick)
        log.warning("drain_failed", **failure_fields(error))


def start_sender(runtime: Runtime) -> FeedSender | None:
    """Start to push the change feed, where PUSH_URL is set."""
    settings = runtime.settings
    if settings.push_url is None:
        return None
    log.info("shop_push_started", url=settings.shown_push_url)
    sender = FeedSender(
        settings.push_url,
        settings.push_secret,
        runtime.sessions,
        runtime.redis,
        settings.test_accounts,
    )
    sender.start()
    return sender


def main() -> None:
    """Queue jobs and watch for alerts until the process is to stop."""
    runtime, progress = start_process("clock")
    log.info("clock_started")
    watch = AlertWatch(runtime.settings, runtime.sessions, runtime.redis)
    watch.start()
    sender = start_sender(runtime)
    guard, fault = CrashGuard(), redis_check.OK
    while not STOP.wait(TICK_SECONDS):
        if not watch.hangs():
            progress.report()
        try:
            queue_due_jobs(runtime.redis)
            if fault != redis_check.OK:
                log.info("redis_recovered")
            fault = redis_check.OK
        except (RedisError, OSError) as error:
            if fault != redis_check.name_redis_fault(error):
                fault = redis_check.name_redis_fault(error)
                log.warning("redis_unreachable", fault=fault, **exception_fields(error))
            drain_alone(runtime, guard)
    if sender is not None:
        sender.close()
    log.info("clock_stopped")


if __name__ == "__main__":
    main()
