"""Waiting for the change feed: one look at PostgreSQL for all readers of a web process.

A writer announces its commit over Redis, and the look that follows wakes whoever has news to read.
Without Redis the look comes once a second. LISTEN would need a connection of its own to PostgreSQL,
which a pooler in transaction mode does not give.
"""

import threading
import time
from typing import Any

import structlog
from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.errors import TooManyWaiting
from receiver.logs import exception_fields
from receiver.stats import counters

log = structlog.get_logger(__name__)

LOOK_SECONDS = 1.0
# How long the listener may take to notice that it is not needed any more.
LISTEN_SECONDS = 0.5
# Then it subscribes anew: the other end of a connection on which nothing comes may be long gone.
SUBSCRIBED_SECONDS = 60.0
# Fewer than gunicorn's worker_connections, so that couriers always get through.
MOST_WAITING = 3000


class Watcher:
    """Wakes those who wait. Its two threads run only while somebody does."""

    def __init__(self, sessions: sessionmaker[Session], redis: Redis) -> None:
        self._sessions = sessions
        self._redis = redis
        self._changed = threading.Condition()
        self._latest = 0
        self._waiting = 0
        self._closed = False
        self._rung = threading.Event()
        self._looker: threading.Thread | None = None
        self._listener: threading.Thread | None = None

    def wait(self, after: int, seconds: float) -> bool:
        """Wait for a change with a higher number; whether there is one.

        Nothing of the database is held meanwhile. Ends early where the process is to stop.

        Raises: TooManyWaiting.
        """
        with self._changed:
            if self._waiting >= MOST_WAITING:
                raise TooManyWaiting(
                    "too many readers wait for changes: ask again later, or without wait"
                )
            self._waiting += 1
            counters.WAITING.inc()
            try:
                self._start()
                self._changed.wait_for(lambda: self._latest > after or self._closed, seconds)
            finally:
                self._waiting -= 1
                counters.WAITING.dec()
            return self._latest > after

    def close(self) -> None:
        """Send everybody home, for good."""
        with self._changed:
            self._closed = True
            threads = [thread for thread in (self._looker, self._listener) if thread is not None]
            self._changed.notify_all()
        self._rung.set()
        for thread in threads:
            thread.join(2 * LISTEN_SECONDS)

    def _start(self) -> None:
        if self._looker is None and not self._closed:
            # The first look is at once: there may be news since the reader looked itself.
            self._rung.set()
            self._looker = threading.Thread(target=self._look, daemon=True)
            self._looker.start()
            if self._listener is None or not self._listener.is_alive():
                self._listener = threading.Thread(target=self._listen, daemon=True)
                self._listener.start()

    def _look(self) -> None:
        reachable = True
        while True:
            rung = self._rung.wait(LOOK_SECONDS)
            # Cleared before looking: what is committed meanwhile sets it again.
            self._rung.clear()
            with self._changed:
                # A reader that has its answer comes back at once, so the last one is waited for.
                if self._closed or not (rung or self._waiting):
                    self._looker = None
                    return
            try:
                with self._sessions() as session:
                    latest = feed.latest_change(session)
                reachable = True
            except Exception as failure:  # noqa: BLE001 (those who wait have nobody else)
                if reachable:
                    log.warning(
                        "nobody sees changes, PostgreSQL is away", **exception_fields(failure)
                    )
                reachable = False
                continue
            with self._changed:
                if latest != self._latest:
                    self._latest = latest
                    self._changed.notify_all()

    def _listen(self) -> None:
        reachable = True
        while self._is_needed():
            # pubsub() is not typed.
            subscription: Any = self._redis.pubsub()  # type: ignore[no-untyped-call]
            try:
                subscription.subscribe(feed.CHANNEL)
                until = time.monotonic() + SUBSCRIBED_SECONDS
                while self._is_needed() and time.monotonic() < until:
                    # The first message says that we are subscribed: what was announced before
                    # that was not heard, and is looked for now.
                    if subscription.get_message(timeout=LISTEN_SECONDS) is not None:
                        self._rung.set()
                        reachable = True
            except Exception as failure:  # noqa: BLE001 (Redis is a help, and no more)
                if reachable:
                    log.warning(
                        "changes are not heard of, Redis is away", **exception_fields(failure)
                    )
                reachable = False
                time.sleep(LISTEN_SECONDS)
            finally:
                subscription.close()

    def _is_needed(self) -> bool:
        me = threading.current_thread()
        with self._changed:
            if self._looker is None and self._listener is me:
                self._listener = None
            return self._listener is me
