"""RQ's SimpleWorker with an empty job per message: how long it takes for so many.

python -m tests.bench.peers.simple_worker COUNT     with REDIS_URL set; prints the seconds
"""

import os
import sys
import time

from redis import Redis
from rq import Queue, SimpleWorker

from tests.bench.peers.jobs import nothing


def main() -> None:
    redis = Redis.from_url(os.environ["REDIS_URL"])
    queue = Queue("empty", connection=redis)
    for _ in range(int(sys.argv[1])):
        queue.enqueue(nothing)
    worker = SimpleWorker([queue], connection=redis)
    started = time.perf_counter()
    worker.work(burst=True, logging_level="WARNING")
    sys.stdout.write(f"{time.perf_counter() - started}\n")


if __name__ == "__main__":
    main()
