"""Poll: ask the couriers that stay silent, and let their answers in by the same door as hooks.

A job of the queue only starts it: the asking itself goes on in threads, a few for each account, so
that a courier that hangs delays neither the draining nor another courier's orders.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.settings import Settings
from workers.polling import outage_recovery
from workers.polling.account_poller import ASKERS, Asker


class Poller:
    """All askers of one worker process."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        redis: Redis,
        stop: threading.Event,
    ) -> None:
        self._askers = {
            account.slug: Asker(
                account, access, settings.poll_interval_factor, sessions, redis, stop
            )
            for account in settings.accounts.values()
            if (access := account.access) is not None
        }
        self._threads = {
            slug: ThreadPoolExecutor(ASKERS, thread_name_prefix=f"poll-{slug}")
            for slug in self._askers
        }
        self._running: dict[str, list[Future[None]]] = {slug: [] for slug in self._askers}
        with sessions.begin() as session:
            for slug in sorted(self._askers):
                outage_recovery.start(session, slug, datetime.now(UTC))

    def poll(self) -> None:
        """Set as many askers going as there is work for; returns at once."""
        for slug, asker in self._askers.items():
            running = [future for future in self._running[slug] if not future.done()]
            wanted = min(asker.tend(), ASKERS) - len(running)
            running += [self._threads[slug].submit(asker.ask_around) for _ in range(wanted)]
            self._running[slug] = running

    def close(self) -> None:
        """Let the askers finish the request that they are at; `stop` has been set before."""
        for threads in self._threads.values():
            threads.shutdown(wait=True, cancel_futures=True)
        for asker in self._askers.values():
            asker.courier.close()
