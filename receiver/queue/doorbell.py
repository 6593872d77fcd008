"""The doorbell: tells the workers that the inbox holds something. A wake-up, never data.

One RQ job empties the whole inbox, so one ring is enough until a worker has come to the door.
"""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import unquote, urlsplit

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel
from rq import Queue, Worker
from rq.serializers import JSONSerializer

from receiver.logs import exception_fields

log = structlog.get_logger(__name__)

QUEUE = "ordertrail"
DRAIN = "workers.jobs.drain"
RUNG = "ordertrail:drain:rung"

# A ring that was lost (its worker died between taking the job and clearing the ring) blocks the
# next one for this long; the sweep looks more seldom than that.
RING_SECONDS = 5
DRAIN_SECONDS = 180
REDIS_SECONDS = 1.0
# A worker shows that it lives every few seconds while it waits, and before each job.
SHOWN_WITHIN = timedelta(seconds=60)
# Between two rings: nobody notices, and hundreds of commits a second need no ring each. Longer
# where the last one found that somebody had rung already: a worker is on its way.
PAUSE_SECONDS = 0.005
RUNG_PAUSE_SECONDS = 0.015


def connect_redis(url: str) -> Redis:
    """A client for Redis or Valkey; redis+sentinel://host:port,host:port/service asks Sentinel.

    Short timeouts and no second try: whoever rings has better things to do than to wait for
    Redis. (RQ's worker sets longer ones for itself.)
    """
    patience: dict[str, Any] = {
        "socket_timeout": REDIS_SECONDS,
        "socket_connect_timeout": REDIS_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if not url.startswith("redis+sentinel://"):
        return Redis.from_url(url, **patience)
    parts = urlsplit(url)
    hosts = [
        (host, int(port or 26379))
        for host, _, port in (
            address.partition(":") for address in parts.netloc.rpartition("@")[2].split(",")
        )
    ]
    service, _, database = parts.path.strip("/").partition("/")
    # Told so by itself: else a Sentinel that is gone is tried again and again, for a minute.
    sentinel: Any = Sentinel(hosts, sentinel_kwargs=patience, **patience)  # type: ignore[no-untyped-call] # redis-py's
    primary: Redis = sentinel.master_for(
        service or "mymaster",
        db=int(database or 0),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        **patience,
    )
    return primary


def queue(redis: Redis) -> Queue:
    """The one queue. JSON, since pickle from a shared Redis is code from a stranger."""
    return Queue(QUEUE, connection=redis, serializer=JSONSerializer)


def ring(redis: Redis) -> bool:
    """Queue a drain unless one is queued already; whether it was.

    Raises: RedisError; the sweep will ring for what this ring was for.
    """
    if not redis.set(RUNG, 1, nx=True, ex=RING_SECONDS):
        return False
    queue(redis).enqueue(DRAIN, job_timeout=DRAIN_SECONDS, result_ttl=0, failure_ttl=86_400)
    return True


def answered(redis: Redis) -> None:
    """Clear the ring: called before the last look into the inbox, never after.

    Whatever is kept from now on rings anew, and whatever was kept before is about to be seen.
    """
    redis.delete(RUNG)


def workers(redis: Redis) -> int:
    """How many workers showed a sign of life lately.

    RQ itself counts those that died as well, until a living one clears them away.

    Raises: RedisError.
    """
    with redis.pipeline(transaction=False) as pipeline:
        for key in Worker.all_keys(connection=redis):
            pipeline.hget(key, "last_heartbeat")
        shown = pipeline.execute()
    since = datetime.now(UTC) - SHOWN_WITHIN
    return sum(datetime.fromisoformat(at.decode()) > since for at in shown if at is not None)


class Doorbell:
    """Rings in the background, so that a slow or absent Redis never delays an answer.

    act: what ringing does; False where there was no need to. fails, works: what the log says when
    that begins to fail, and when it works again.
    """

    def __init__(
        self,
        redis: Redis,
        act: Callable[[Redis], object] = ring,
        fails: str = "doorbell does not work, the sweep will",
        works: str = "doorbell works again",
    ) -> None:
        self._redis = redis
        self._act = act
        self._fails = fails
        self._works = works
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._start = threading.Lock()

    def ring(self) -> None:
        """Ask for a ring and return at once; many asks become one."""
        if self._thread is None:
            with self._start:
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, daemon=True)
                    self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        reachable = True
        while True:
            self._wanted.wait()
            # Cleared before ringing: what is kept meanwhile sets it again.
            self._wanted.clear()
            needed: object = True
            try:
                needed = self._act(self._redis)
                if not reachable:
                    log.info(self._works)
                reachable = True
            except Exception as failure:  # noqa: BLE001 (nobody else would start this thread again)
                if reachable:
                    log.warning(self._fails, **exception_fields(failure))
                reachable = False
            # Under load a ring a commit would cost a tenth of what the commits do.
            time.sleep(RUNG_PAUSE_SECONDS if needed is False else PAUSE_SECONDS)
