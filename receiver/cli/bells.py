"""Telling the workers, and the readers of the change feed, what a command has just committed."""

from collections.abc import Callable

from redis import Redis, RedisError

from receiver.changes import feed
from receiver.cli.output import note
from receiver.queue.doorbell import ring_doorbell
from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings

Bell = Callable[[Redis], object]

WORKERS: Bell = ring_doorbell
READERS: Bell = feed.announce


def ring(settings: Settings, *bells: Bell) -> None:
    """Ring, after the commit. Without Redis it is done all the same, only noticed later."""
    redis = connect_redis(settings.redis_url)
    try:
        for bell in bells:
            bell(redis)
    except (RedisError, OSError):
        note("ordertrail: it is done, but Redis is away: it may take a while until it is noticed")
    finally:
        redis.close()
