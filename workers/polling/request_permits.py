"""Permits for requests to one account's courier: within its rate limit, and not during a pause."""

import threading
from collections.abc import Callable
from datetime import datetime
from math import ceil

from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from workers.polling import circuit_breaker
from workers.polling.circuit_breaker import Permit

# For how long a further request of one poll waits for the rate limit.
TRIES, SECONDS_BETWEEN = 200, 0.05


class RequestPermits:
    """Gives out the permits of one account; all workers share its rate limit in Redis.

    per_second: requests per second that the courier accepts.
    """

    def __init__(
        self,
        slug: str,
        per_second: float,
        sessions: sessionmaker[Session],
        redis: Redis,
        stop: threading.Event,
        now: Callable[[], datetime],
    ) -> None:
        self._slug = slug
        self._sessions = sessions
        self._stop = stop
        self._now = now
        self._limiter = MovingWindowRateLimiter(
            RedisStorage("redis://", connection_pool=redis.connection_pool)
        )
        self._rate_limit = RateLimitItemPerSecond(max(1, int(per_second)), ceil(1 / per_second))

    def is_within_rate_limit(self) -> bool:
        """Return whether a request may be sent now, and count it if so."""
        return self._limiter.hit(self._rate_limit, self._slug)

    def wait_for_permit(self) -> Permit | None:
        """Return a permit for a further request: wait for the rate limit, but not for a pause."""
        for _ in range(TRIES):
            if not self._stop.is_set() and self.is_within_rate_limit():
                with self._sessions.begin() as session:
                    return circuit_breaker.request_permit(session, self._slug, self._now())
            if self._stop.wait(SECONDS_BETWEEN):
                break
        return None
