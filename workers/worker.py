"""The worker process: `python -m workers.worker`."""

import gc
import signal
import sys
from typing import Any

import structlog
from redis import RedisError
from rq import SimpleWorker, worker_registration
from rq.job import Job
from rq.serializers import JSONSerializer

from receiver import logs, telemetry
from receiver.queue.job_queue import get_queue
from receiver.settings import BadSettings
from workers import jobs
from workers.runtime import STOP, runtime

log = structlog.get_logger(__name__)

WAIT_SECONDS = 1.0
# How long a worker waits for its next job before it looks up, and how long for an answer of Redis.
# RQ's own 405 and 415 would be as long a standstill where a connection goes dead without a word.
JOB_SECONDS = 4
ANSWER_SECONDS = 6


class KnownJob(Job):
    """A job that names one of ours. Whoever can write to Redis may name any function there is."""

    success_callback = failure_callback = stopped_callback = None

    @property
    def func(self) -> Any:
        """The function. Raises: StrangeJob."""
        name = self.func_name
        if self.instance is not None or name not in jobs.NAMES:
            raise StrangeJob("Redis holds a job that is none of ours: see who can write to it")
        return super().func


class StrangeJob(Exception):
    """A job that we never queued."""


class Worker(SimpleWorker):
    """RQ's worker, which does not fork: a job costs 3 ms instead of 8, and connections stay open.

    Told to stop it remembers it, for while Redis is away RQ itself fails at that.
    """

    max_connection_wait_time = 2
    dequeue_timeout = JOB_SECONDS
    connection_timeout = ANSWER_SECONDS

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call] # RQ's
        # Told so before RQ listened, and RQ would go on for good.
        self._stop_requested = STOP.is_set()

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        """Show a sign of life, and be registered anew where Redis was emptied.

        RQ registers a worker at its birth alone: nobody would count this one any more.
        """
        super().heartbeat(timeout, pipeline)
        if pipeline is None and not self.connection.sismember(self.redis_workers_keys, self.key):
            log.warning("Redis had forgotten this worker")
            with self.connection.pipeline() as again:
                again.hset(self.key, mapping=self.serialize())
                worker_registration.register(self, again)
                again.execute()

    def request_stop(self, signum: Any, frame: Any) -> None:
        STOP.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call] # RQ's


def main() -> None:
    """Work until told to stop; a Redis that goes and comes back needs nobody's help."""
    logs.configure("worker")
    try:
        here = runtime()
    except BadSettings as bad:
        sys.exit(str(bad))
    redis = here.redis
    telemetry.start(
        "worker", here.engine, here.settings.sentry_dsn, here.settings.otel_exporter_otlp_endpoint
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: STOP.set())
    # A batch makes thousands of objects and no cycles: a collector that looks for some after every
    # few hundred of them took an eighth of a drain's time.
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)
    while not STOP.is_set():
        try:
            # One queue only: RQ then moves a job from list to list instead of popping it, so that
            # a crash between the two loses nothing.
            worker = Worker(
                [get_queue(redis)], connection=redis, serializer=JSONSerializer, job_class=KnownJob
            )
            worker.work(logging_level="WARNING")
        except (RedisError, OSError) as failure:
            log.warning("Redis is away", error=type(failure).__name__)
            STOP.wait(WAIT_SECONDS)
    jobs.close()


if __name__ == "__main__":
    main()
