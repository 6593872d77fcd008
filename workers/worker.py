"""The worker process, `python -m workers.worker`: it runs the jobs in workers/jobs.py."""

import gc
import time
from typing import Any

import structlog
from redis import RedisError
from rq import SimpleWorker, worker_registration
from rq.job import Job
from rq.serializers import JSONSerializer

from receiver.logs import exception_fields, failure_fields
from receiver.queue import redis_check
from receiver.queue.job_queue import get_queue
from workers import jobs
from workers.progress import ProgressReporter
from workers.runtime import STOP, start_process

log = structlog.get_logger(__name__)

RECONNECT_SECONDS = 1.0
# A connection that lasted this long worked: its loss is worth a line again.
LASTED_SECONDS = 10.0


class KnownJob(Job):
    """A job of ours: whoever can write to Redis could otherwise have any function called."""

    success_callback = failure_callback = stopped_callback = None

    @property
    def func(self) -> Any:
        """The function. Raises: UnknownJob."""
        if self.instance is not None or self.func_name not in jobs.NAMES:
            raise UnknownJob(
                "Redis holds a job that Ordertrail did not queue: check who can write to Redis"
            )
        return super().func


class UnknownJob(Exception):
    """A job that we did not queue."""


class Worker(SimpleWorker):
    """RQ's worker, without a fork for each job: 3 ms instead of 8, and connections stay open."""

    # RQ's own 60, 405 and 415 s are how long a worker would hang on a dead connection.
    max_connection_wait_time = 2
    dequeue_timeout = 4
    connection_timeout = 6

    def __init__(self, *args: Any, progress: ProgressReporter, **options: Any) -> None:
        self._progress = progress
        super().__init__(*args, **options)

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call] # RQ's
        # A signal that came before RQ's handlers were there would be lost.
        self._stop_requested = STOP.is_set()

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Report progress; register again if Redis was emptied (RQ does so only at the start).

        RQ calls it in its main loop only: while it waits for a job, and around each job.
        """
        self._progress.report()
        super().heartbeat(timeout, pipeline)
        if pipeline is None and not self.connection.sismember(self.redis_workers_keys, self.key):
            log.warning("worker_registered_again")
            with self.connection.pipeline() as again:
                again.hset(self.key, mapping=self.serialize())
                worker_registration.register(self, again)
                again.execute()

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """Log why a job could not be run; RQ would log a traceback, also of one that ran."""
        error = exc_info[1]
        if isinstance(error, UnknownJob):
            log.error("unknown_job_refused", detail=str(error), **exception_fields(error))
        elif not isinstance(error, jobs.JobFailed):
            log.error("job_not_run", **failure_fields(error))

    def request_stop(self, signum: Any, frame: Any) -> None:
        """Note the signal before RQ handles it, which fails without Redis."""
        STOP.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call] # RQ's


def main() -> None:
    """Run jobs until the process is to stop; reconnect whenever Redis was unreachable."""
    runtime, progress = start_process("worker")
    redis = runtime.redis
    log.info("worker_started")
    # A batch makes tens of thousands of objects and no cycles: with the default thresholds the
    # garbage collector took an eighth of a drain's time. With this one none runs within a batch.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    fault = redis_check.OK
    while not STOP.is_set():
        began_at = time.monotonic()
        progress.report()
        try:
            # With a single queue RQ moves a job between lists atomically: no crash loses it.
            worker = Worker(
                [get_queue(redis)],
                connection=redis,
                serializer=JSONSerializer,
                job_class=KnownJob,
                progress=progress,
            )
            worker.work(logging_level="WARNING")
        except (RedisError, OSError) as error:
            lasted = time.monotonic() - began_at
            if lasted > LASTED_SECONDS or fault != redis_check.name_redis_fault(error):
                fault = redis_check.name_redis_fault(error)
                log.warning("redis_unreachable", fault=fault, **exception_fields(error))
            STOP.wait(RECONNECT_SECONDS)
    jobs.close()
    log.info("worker_stopped")


if __name__ == "__main__":
    main()
