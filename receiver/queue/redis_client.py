"""The Redis client, also for a primary that Sentinel names."""

from typing import Any
from urllib.parse import unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

# For a connection and for each answer. RQ's worker sets a longer one for itself.
TIMEOUT_SECONDS = 1.0


def connect_redis(url: str) -> Redis:
    """Return a client with short timeouts and without retries: a webhook must not wait for Redis.

    url: redis://, rediss://, unix://, or redis+sentinel://host:port,host:port/service/database.
    """
    options: dict[str, Any] = {
        "socket_timeout": TIMEOUT_SECONDS,
        "socket_connect_timeout": TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    if not url.startswith("redis+sentinel://"):
        return Redis.from_url(url, **options)
    parts = urlsplit(url)
    hosts = [
        (host, int(port or 26379))
        for host, _, port in (
            address.partition(":") for address in parts.netloc.rpartition("@")[2].split(",")
        )
    ]
    service, _, database = parts.path.strip("/").partition("/")
    # Sentinel does not pass its own options on to the sentinels: without these, one that is down
    # is retried for a minute.
    sentinel: Any = Sentinel(hosts, sentinel_kwargs=options, **options)  # type: ignore[no-untyped-call] # redis-py's
    primary: Redis = sentinel.master_for(
        service or "mymaster",
        db=int(database or 0),
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else None,
        **options,
    )
    return primary
