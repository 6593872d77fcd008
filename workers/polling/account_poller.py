"""Poll the due orders of one account, one by one or by pages of the courier's list.

It runs in a few threads for each account, so that a courier that hangs delays neither a drain nor
another courier's orders. The answers enter the inbox like webhooks.
"""

import re
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil

import structlog
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import MovingWindowRateLimiter
from redis import Redis, RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from receiver import errors
from receiver.couriers import DRIVERS
from receiver.couriers.polling import Access, Api
from receiver.logs import failure_fields
from receiver.queue.doorbell import ring_doorbell
from receiver.settings import Account
from receiver.stats import totals
from receiver.stats.totals import ANSWERED, NONSENSE, UNKNOWN, UNREADABLE
from workers.polling import circuit_breaker, leases, poll_results
from workers.polling.circuit_breaker import Permit
from workers.polling.courier_api import CourierApi
from workers.polling.leases import Lease
from workers.polling.outage_recovery import OutageWatch
from workers.polling.poll_results import PollAnswer, ResultRecorder

log = structlog.get_logger(__name__)

# Threads that poll one account, in each worker.
MAX_THREADS = 4
MAX_ORDER_BYTES = 1_048_576
MAX_PAGE_BYTES = 8 * 1_048_576
# The courier's clock and ours may differ, and a list starts after the given time.
CLOCK_MARGIN = timedelta(minutes=5)
# A list ends well before the leases on its orders do, and no more orders than this are polled one
# by one after it.
LIST_SECONDS = leases.LEASE_DURATION.total_seconds() / 2
MAX_LEFT = 20

FAILURES: dict[type[errors.OrdertrailError], str] = {
    errors.BrokenAnswer: NONSENSE,
    errors.CourierBusy: totals.BUSY,
    errors.CourierRefused: totals.REFUSED,
    errors.CourierUnavailable: totals.UNAVAILABLE,
}

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
        self._no_list_until = 0.0
        self._access = access
        self._factor = factor
        self._sessions = sessions
        self._redis = redis
        self._stop = stop
        self._now = now
        self._limiter = MovingWindowRateLimiter(
            RedisStorage("redis://", connection_pool=redis.connection_pool)
        )
        rate = api.per_second / factor
        self._rate_limit = RateLimitItemPerSecond(max(1, int(rate)), ceil(1 / rate))

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
        if not self._within_rate_limit():
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

    def _within_rate_limit(self) -> bool:
        return self._limiter.hit(self._rate_limit, self.slug)

    def _wait_for_permit(self) -> Permit | None:
        """Return a permit for a further request: wait for the rate limit, but not for a pause."""
        for _ in range(200):
            if not self._stop.is_set() and self._within_rate_limit():
                with self._sessions.begin() as session:
                    return circuit_breaker.request_permit(session, self.slug, self._now())
            if self._stop.wait(0.05):
                break
        return None

    # --- one order ---

    def _poll_order(self, first_permit: Permit, lease: Lease) -> bool:
        """Poll an order by its names until the courier knows one; return whether to go on."""
        asked_at = self._now()
        permit: Permit | None = first_permit
        for request in self.api.list_order_requests(self._access, lease.names):
            permit = permit or self._wait_for_permit()
            if permit is None:
                return self._release([lease])
            try:
                body, document = self.courier.fetch_object(request, MAX_ORDER_BYTES, self._now())
                answer = poll_results.read_answer(self.account, lease, body, document, asked_at)
            except errors.UnknownToCourier:
                with self._sessions.begin() as session:
                    circuit_breaker.record_api_success(session, permit)
                    self._count(session, UNKNOWN)
                permit = None
                continue
            except tuple(FAILURES) as error:
                return self._record_failure(permit, [lease], error, asked_at)
            result = UNREADABLE if answer.message.reason else ANSWERED
            self._record_answers(permit, [answer], result)
            return True
        with self._sessions.begin() as session:
            if permit is not None:
                # No request was sent: no request can be made of its names.
                circuit_breaker.return_permit(session, permit, self._now())
            self.recorder.record_unknown_order(session, lease, asked_at)
        return True

    # --- many orders ---

    def _poll_list(self, first_permit: Permit, held: list[Lease], since: datetime) -> bool:
        """Fetch orders page by page, then the few that no page held one by one."""
        list_request, read_page = self.api.list_request, self.api.read_list_page
        assert list_request is not None and read_page is not None  # noqa: S101, PT018 (see _plan_list)
        left = {lease.courier_order_id: lease for lease in held}
        until = time.monotonic() + LIST_SECONDS
        permit: Permit | None = first_permit
        cursor: str | None = None
        while left and time.monotonic() < until:
            permit = permit or self._wait_for_permit()
            if permit is None:
                return self._release(left.values())
            asked_at = self._now()
            try:
                request = list_request(self._access, since - CLOCK_MARGIN, cursor)
                body = self.courier.fetch(request, MAX_PAGE_BYTES, self._now())
                page = read_page(body, cursor)
            except (errors.BrokenAnswer, errors.UnknownToCourier, errors.Undecodable) as error:
                # Whatever is wrong with the list, the orders can be polled one by one.
                self._no_list_until = time.monotonic() + 600
                self._release(left.values())
                broken = errors.BrokenAnswer(f"the list of orders cannot be used: {error}", None)
                return self._record_failure(permit, [], broken, asked_at)
            except (errors.CourierBusy, errors.CourierRefused, errors.CourierUnavailable) as error:
                return self._record_failure(permit, list(left.values()), error, asked_at)
            answers = poll_results.read_list(self.account, page.bodies, left, asked_at)
            self._record_answers(permit, answers.values(), ANSWERED)
            for name in answers:
                del left[name]
            permit, cursor = None, page.next_cursor
            is_longer = page.pages_left is not None and page.pages_left > len(left)
            if cursor is None or (
                # The list is longer than planned: one by one takes fewer requests.
                is_longer and not any(map(self._is_only_listed, left.values()))
            ):
                break
        if len(left) > MAX_LEFT:
            self._no_list_until = time.monotonic() + 60
            self._release(left.values())
            return True
        for name, lease in list(left.items()):
            permit = self._wait_for_permit()
            if permit is None or not self._poll_order(permit, lease):
                return self._release(left.values())
            del left[name]
        return True

    def _is_only_listed(self, lease: Lease) -> bool:
        name = self.api.listed_name
        if name is None or lease.is_courier_id:
            return False
        return bool(re.fullmatch(name, lease.courier_order_id.strip(), re.IGNORECASE))

    # --- results ---

    def _record_answers(
        self,
        permit: Permit,
        answers: Collection[PollAnswer],
        result: str,
        error: errors.BrokenAnswer | None = None,
    ) -> None:
        """Store answers and wake a worker. error: why the API and not only the order has failed."""
        with self._sessions.begin() as session:
            stored = self.recorder.record_answers(session, answers)
            if error is None:
                circuit_breaker.record_api_success(session, permit, saved=len(answers) - 1)
            else:
                now = self._now()
                circuit_breaker.record_api_failure(session, permit, error, now, self._factor)
            self._count(session, result)
        if stored:
            try:
                ring_doorbell(self._redis)
            except (RedisError, OSError):
                # The answers are stored, and the sweep finds them.
                log.warning("ring_failed", bell="doorbell")

    def _record_failure(
        self, permit: Permit, held: list[Lease], error: errors.OrdertrailError, asked_at: datetime
    ) -> bool:
        """Record that the courier did not answer; return whether to go on polling."""
        log.warning("courier_request_failed", account=self.slug, error=str(error))
        if isinstance(error, errors.BrokenAnswer) and error.body is not None and len(held) == 1:
            message = poll_results.answer_message(self.account, error.body, asked_at, str(error))
            self._record_answers(permit, [PollAnswer(held[0], message, None)], NONSENSE, error)
            return True
        goes_on = not isinstance(error, errors.CourierBusy | errors.CourierRefused)
        now = self._now()
        with self._sessions.begin() as session:
            if goes_on:
                self.recorder.record_failure(session, held, now)
            else:
                leases.release_leases(session, held)
            circuit_breaker.record_api_failure(session, permit, error, now, self._factor)
            self._count(session, FAILURES[type(error)])
        return goes_on

    def _release(self, held: Collection[Lease]) -> bool:
        with self._sessions.begin() as session:
            leases.release_leases(session, held)
        return False

    def _count(self, session: Session, result: str) -> None:
        totals.add_totals(session, {(totals.POLLS, self.slug, result): 1})
