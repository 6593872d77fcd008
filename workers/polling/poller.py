"""Poll couriers that send no webhooks, and store their answers in the inbox like webhooks.

A job only starts the polling; it runs in threads, a few for each account, so that a courier that
hangs delays neither a drain nor another courier's orders.
"""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from redis import Redis
from sqlalchemy.orm import Session, sessionmaker

from receiver.settings import Settings
from workers.polling import outage_recovery
from workers.polling.account_poller import MAX_THREADS, AccountPoller


class Poller:
    """The pollers of all accounts in one worker process, and their threads."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        redis: Redis,
        stop: threading.Event,
    ) -> None:
        self._pollers = {
            account.slug: AccountPoller(
                account, access, settings.poll_interval_factor, sessions, redis, stop
            )
            for account in settings.accounts.values()
            if (access := account.access) is not None
        }
        self._threads = {
            slug: ThreadPoolExecutor(MAX_THREADS, thread_name_prefix=f"poll-{slug}")
            for slug in self._pollers
        }
        self._running: dict[str, list[Future[None]]] = {slug: [] for slug in self._pollers}
        with sessions.begin() as session:
            for slug in sorted(self._pollers):
                outage_recovery.start_polling(session, slug, datetime.now(UTC))

    def start_threads(self) -> None:
        """Start as many threads as there are due orders, up to MAX_THREADS for each account."""
        for slug, poller in self._pollers.items():
            running = [future for future in self._running[slug] if not future.done()]
            missing = min(poller.check_for_outage(), MAX_THREADS) - len(running)
            running += [self._threads[slug].submit(poller.poll_due_orders) for _ in range(missing)]
            self._running[slug] = running

    def close(self) -> None:
        """Wait for the requests that are under way; `stop` has been set before."""
        for threads in self._threads.values():
            threads.shutdown(wait=True, cancel_futures=True)
        for poller in self._pollers.values():
            poller.courier.close()
