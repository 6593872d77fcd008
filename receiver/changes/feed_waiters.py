"""Waiting for the change feed: one check of PostgreSQL serves all readers of a web process.

A writer announces its commit over Redis, and the check that follows wakes the readers. Without
Redis there is a check every second. LISTEN would need a PostgreSQL connection of its own, which a
pooler in transaction mode does not give.
"""

import resource
import threading
import time
from typing import Any

from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.background_thread import BackgroundThread
from receiver.changes import feed
from receiver.errors import TooManyWaiting
from receiver.stats import counters

CHECK_SECONDS = 1.0
# How long the subscription may take to notice that nobody waits any more.
LISTEN_SECONDS = 0.5
# Then it subscribes again: a connection on which nothing arrives may have died unnoticed.
SUBSCRIPTION_SECONDS = 60.0
# Fewer than gunicorn's worker_connections, so that couriers always get through: that is 4000, or
# less where a process may open few files (deploy/gunicorn.conf.py).
FILES, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
MOST_WAITING = 3000
if FILES != resource.RLIM_INFINITY:
    MOST_WAITING = min(MOST_WAITING, max(FILES - 100, FILES // 2) * 3 // 4)


class FeedWaiters:
    """The readers that wait for a change, and two threads that work only while somebody waits."""

    def __init__(self, sessions: sessionmaker[Session], redis: Redis) -> None:
        self._sessions = sessions
        self._redis = redis
        self._changed = threading.Condition()
        self._latest = 0
        self._waiting = 0
        self._waited = False
        self._active = False
        self._closed = False
        self._checker = BackgroundThread("feed_check", self._check, retry_seconds=CHECK_SECONDS)
        self._listener = BackgroundThread(
            "feed_subscription", self._listen, retry_seconds=LISTEN_SECONDS
        )

    def wait(self, after: int, seconds: float) -> bool:
        """Wait for a change with a higher number, and return whether there is one.

        It holds no connection meanwhile, and ends early when the process stops.

        Raises: TooManyWaiting.
        """
        with self._changed:
            if self._waiting >= MOST_WAITING:
                raise TooManyWaiting(
                    "too many clients are waiting for changes: retry later, or omit wait"
                )
            self._waiting += 1
            self._waited = True
            counters.WAITING.inc()
            try:
                if not self._active and not self._closed:
                    # The first check is at once: there may be a change since the reader's own read.
                    self._active = True
                    self._checker.wake()
                    self._listener.wake()
                self._changed.wait_for(lambda: self._latest > after or self._closed, seconds)
            finally:
                self._waiting -= 1
                counters.WAITING.dec()
            return self._latest > after

    def close(self) -> None:
        """End every wait, now and in the future."""
        with self._changed:
            self._closed, self._active = True, False
            self._changed.notify_all()
        self._checker.close(2 * LISTEN_SECONDS)
        self._listener.close(2 * LISTEN_SECONDS)

    def _check(self) -> float | None:
        with self._changed:
            # A reader that has its answer comes back at once: the threads stay a little longer.
            self._active = (self._waiting > 0 or self._waited) and not self._closed
            self._waited = False
            if not self._active:
                return None
        with self._sessions() as session:
            latest = feed.latest_change(session)
        with self._changed:
            if latest != self._latest:
                self._latest = latest
                self._changed.notify_all()
        return CHECK_SECONDS

    def _listen(self) -> float | None:
        if not self._is_active():
            return None
        ends_at = time.monotonic() + SUBSCRIPTION_SECONDS
        # pubsub() is not typed.
        subscription: Any = self._redis.pubsub()  # type: ignore[no-untyped-call]
        try:
            subscription.subscribe(feed.CHANNEL)
            while self._is_active() and time.monotonic() < ends_at:
                # The first message confirms the subscription. What was announced before was not
                # received, so this checks for it now.
                if subscription.get_message(timeout=LISTEN_SECONDS) is not None:
                    self._checker.wake()
        finally:
            subscription.close()
        return 0 if self._is_active() else None

    def _is_active(self) -> bool:
        return self._active
