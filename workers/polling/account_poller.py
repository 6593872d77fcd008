"""Poll the due orders of one account, one by one or by pages of the courier's list.

It runs in a few threads for each account, so that a courier that hangs delays neither a drain nor
another courier's orders. The answers enter the inbox like webhooks.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial

import structlog
from redis import Redis
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from receiver import errors
from receiver.couriers import DRIVERS
from receiver.couriers.polling import Access, Api
from receiver.logs import failure_fields
from receiver.settings import Account
from receiver.stats.totals import ANSWERED, UNREADABLE
from workers.polling import circuit_breaker, leases, poll_results
from workers.polling.circuit_breaker import Permit
from workers.polling.courier_api import CourierApi
from workers.polling.leases import Lease
from workers.polling.list_poll import ListPoll, ListStopped
from workers.polling.outage_recovery import OutageWatch
from workers.polling.poll_outcomes import FAILURES, OutcomeRecorder
from workers.polling.poll_results import ResultRecorder
from workers.polling.request_permits import RequestPermits

log = structlog.get_logger(__name__)

# Threads that poll one account, in each worker.
MAX_THREADS = 4
MAX_ORDER_BYTES = 1_048_576
# No more orders than this are polled one by one after a list.
MAX_LEFT = 20

CLOCK = partial(datetime.now, UTC)


class AccountPoller:
    """Polls the due orders of one account, in threads of its own."""

    def __init__(
        self,
        account: Account,
        access: Access,
        factor: float,
        sessions: sessionmaker[Session],
        redis: Redis,
        stop: threading.Event,
        now: Callable[[], datetime] = CLOCK,
    ) -> None:
        api = DRIVERS[account.driver].api
        assert api is not None  # noqa: S101 (an account has an access only where there is an api)
        self.account = account
        self.slug = account.slug
        self.api: Api = api
        self.courier = CourierApi(account.slug, access, api)
        self.recorder = ResultRecorder(account, api.schedule, factor)
        self.outages = OutageWatch(account, api.schedule, factor, sessions, now)
        self.permits = RequestPermits(
            account.slug, api.per_second / factor, sessions, redis, stop, now
        )
        self.outcomes = OutcomeRecorder(account, self.recorder, factor, sessions, redis, now)
        self.list = ListPoll(account, access, api, self.courier, self.permits, self.outcomes, now)
        self._no_list_until = 0.0
        self._access = access
        self._sessions = sessions
        self._stop = stop
        self._now = now

        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix=f"poll-{self.slug}")
        self._running: list[Future[None]] = []

    def start_threads(self) -> None:
        """Start as many threads as there are due orders, up to MAX_THREADS."""
        try:
            self.outages.check()
        except Exception as error:  # noqa: BLE001 (the due orders are polled all the same)
            log.error("outage_check_failed", account=self.slug, **failure_fields(error))  # noqa: TRY400
        self._running = [future for future in self._running if not future.done()]
        with self._sessions() as session:
            due = len(leases.find_due_orders(session, self.slug, self._now(), MAX_THREADS))
        missing = due - len(self._running)
        self._running += [self._threads.submit(self.poll_due_orders) for _ in range(missing)]

    def close(self) -> None:
        """Wait for the requests that are under way; `stop` has been set before."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self.courier.close()

    def poll_due_orders(self) -> None:
        """Poll until no order is due or the account has to wait."""
        try:
            while not self._stop.is_set() and self.poll_next():
                pass
        except Exception as error:  # noqa: BLE001 (the outermost edge of a thread; leases run out)
            log.error(  # noqa: TRY400 (a traceback may show an answer)
                "poll_failed", account=self.slug, **failure_fields(error)
            )

    def poll_next(self) -> bool:
        """Poll the order that is due longest, or many orders by list; return whether to go on."""
        now = self._now()
        with self._sessions() as session:
            if not leases.find_due_orders(session, self.slug, now, 1):
                return False
            since = self._plan_list(session, now)
        if not self.permits.is_within_rate_limit():
            return False
        with self._sessions.begin() as session:
            permit = circuit_breaker.request_permit(session, self.slug, now)
            if permit is None:
                return False
            limit = 1 if since is None else leases.MAX_LISTED
            name = self.api.listed_name
            held = leases.lease_orders(session, self.slug, now, limit, since, name)
            if not held:
                circuit_breaker.return_permit(session, permit, now)
                return False
        try:
            if since is None:
                return self._poll_order(permit, held[0])
            return self._poll_list(permit, held, since)
        except Exception:
            # Sooner than the leases run out by themselves.
            with suppress(SQLAlchemyError), self._sessions.begin() as session:
                self.recorder.record_failure(session, held, self._now())
            raise

    def _plan_list(self, session: Session, now: datetime) -> datetime | None:
        if self.api.list_request is None or time.monotonic() < self._no_list_until:
            return None
        since = leases.plan_list(session, self.slug, now, self.api.listed_name)
        if since is None:
            # Not computed again for each of these orders.
            self._no_list_until = time.monotonic() + 1
        return since

    def _poll_order(self, first_permit: Permit, lease: Lease) -> bool:
        """Poll an order by its names until the courier knows one; return whether to go on."""
        asked_at = self._now()
        permit: Permit | None = first_permit
        for request in self.api.list_order_requests(self._access, lease.names):
            permit = permit or self.permits.wait_for_permit()
            if permit is None:
                self.outcomes.release([lease])
                return False
            try:
                body = self.courier.fetch(request, MAX_ORDER_BYTES, self._now())
                answer = poll_results.read_answer(self.account, lease, body, asked_at)
            except errors.UnknownToCourier:
                self.outcomes.record_unknown_name(permit)
                permit = None
                continue
            except tuple(FAILURES) as error:
                return self.outcomes.record_failure(permit, [lease], error, asked_at)
            result = UNREADABLE if answer.message.reason else ANSWERED
            self.outcomes.record_answers(permit, [answer], result)
            return True
        self.outcomes.record_unknown_order(lease, asked_at, unused=permit)
        return True

    def _poll_list(self, permit: Permit, held: list[Lease], since: datetime) -> bool:
        """Poll many orders by list, then the few that no page held one by one."""
        try:
            left = self.list.poll(permit, held, since)
        except ListStopped as stopped:
            if stopped.unusable:
                self._no_list_until = time.monotonic() + 600
            return stopped.goes_on
        if len(left) > MAX_LEFT:
            self._no_list_until = time.monotonic() + 60
            self.outcomes.release(left.values())
            return True
        for name, lease in list(left.items()):
            next_permit = self.permits.wait_for_permit()
            if next_permit is None or not self._poll_order(next_permit, lease):
                self.outcomes.release(left.values())
                return False
            del left[name]
        return True
