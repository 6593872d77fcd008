"""The worker process: `python -m workers.worker`."""

import sys
import time

import structlog
from redis import RedisError
from rq import SimpleWorker
from rq.serializers import JSONSerializer

from receiver import logs
from receiver.doorbell import queue
from receiver.settings import BadSettings
from workers.runtime import runtime

log = structlog.get_logger(__name__)

WAIT_SECONDS = 1.0


def main() -> None:
    """Work until told to stop; a Redis that goes and comes back needs nobody's help."""
    logs.configure("worker")
    try:
        redis = runtime().redis
    except BadSettings as bad:
        sys.exit(str(bad))
    while True:
        try:
            # Not forking: a job costs 3 ms instead of 8, and the pool of connections stays open.
            # One queue only: RQ then moves a job from list to list instead of popping it, so that
            # a crash between the two loses nothing.
            worker = SimpleWorker([queue(redis)], connection=redis, serializer=JSONSerializer)
            worker.work(logging_level="WARNING")
            return
        except (RedisError, OSError) as failure:
            log.warning("Redis is away", error=str(failure))
            time.sleep(WAIT_SECONDS)


if __name__ == "__main__":
    main()
