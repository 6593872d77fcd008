"""The doorbell wakes the workers after messages were stored. It carries no data.

One RQ job empties the whole inbox, so one ring is enough until a worker has started that job.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import Redis

from receiver.background_thread import BackgroundThread
from receiver.queue.job_queue import enqueue_once

DRAIN_JOB = "workers.jobs.drain"

# Less than the time between two sweeps that look for messages nobody rang for.
RING_SECONDS = 5
DRAIN_SECONDS = 180
# Between two rings, so that hundreds of commits a second need no ring each. Longer where the last
# ring found a drain in the queue.
PAUSE_SECONDS = 0.005
RUNG_PAUSE_SECONDS = 0.015


def ring_doorbell(redis: Redis) -> bool:
    """Queue a drain unless one is queued already; return whether this queued one.

    Raises: RedisError; the sweep finds the messages later.
    """
    return enqueue_once(
        redis, DRAIN_JOB, RING_SECONDS, failure_ttl=86_400, job_timeout=DRAIN_SECONDS
    )


class Doorbell:
    """Ring in a background thread, so that a slow or absent Redis never delays a response.

    ring: what to do; False means that there was no need to. name: what the log calls it.
    """

    def __init__(
        self, redis: Redis, ring: Callable[[Redis], object] = ring_doorbell, name: str = "doorbell"
    ) -> None:
        self._redis = redis
        self._ring = ring
        self._thread = BackgroundThread(name, self._ring_and_pause)

    def ring(self) -> None:
        """Ask for a ring and return at once; requests at the same moment become one ring."""
        self._thread.wake()

    def _ring_and_pause(self) -> None:
        pause = PAUSE_SECONDS
        try:
            if self._ring(self._redis) is False:
                pause = RUNG_PAUSE_SECONDS
        finally:
            time.sleep(pause)


@dataclass(frozen=True, slots=True)
class Bells:
    """What an action rings after its commit; neither waits for Redis, and neither raises.

    doorbell: wake the workers, since messages are pending.
    feed: wake the readers who wait for the change feed, since it has new changes.
    """

    doorbell: Callable[[], None]
    feed: Callable[[], None]
