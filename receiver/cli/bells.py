"""The bells that a command rings after its commit."""

from collections.abc import Callable

from redis import Redis, RedisError

from receiver.changes import feed
from receiver.cli.output import note
from receiver.queue.bells import Bells
from receiver.queue.doorbell import ring_doorbell
from receiver.queue.redis_client import connect_redis
from receiver.settings import Settings


def command_bells(settings: Settings) -> Bells:
    """Return bells that ring at once; where Redis is unreachable, a note says so and no more."""

    def bell(ring: Callable[[Redis], object]) -> Callable[[], None]:
        def ring_now() -> None:
            redis = connect_redis(settings.redis_url)
            try:
                ring(redis)
            except (RedisError, OSError):
                note("ordertrail: done, but Redis is unreachable: it takes effect a little later")
            finally:
                redis.close()

        return ring_now

    return Bells(bell(ring_doorbell), bell(feed.announce))
