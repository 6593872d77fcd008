"""Record how a request to a courier ended: answers, the circuit breaker and the counts together."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime

import structlog
from redis import Redis, RedisError
from sqlalchemy.orm import Session, sessionmaker

from receiver import errors
from receiver.queue.doorbell import ring_doorbell
from receiver.settings import Account
from receiver.stats import totals
from workers.polling import circuit_breaker, leases, poll_results
from workers.polling.circuit_breaker import Permit
from workers.polling.leases import Lease
from workers.polling.poll_results import PollAnswer, ResultRecorder

log = structlog.get_logger(__name__)

FAILURES: dict[type[errors.OrdertrailError], str] = {
    errors.BrokenAnswer: totals.NONSENSE,
    errors.CourierBusy: totals.BUSY,
    errors.CourierRefused: totals.REFUSED,
    errors.CourierUnavailable: totals.UNAVAILABLE,
}


class OutcomeRecorder:
    """Records the outcomes of one account's requests, each in a transaction of its own.

    results: what becomes of the orders. factor: POLL_INTERVAL_FACTOR.
    """

    def __init__(
        self,
        account: Account,
        results: ResultRecorder,
        factor: float,
        sessions: sessionmaker[Session],
        redis: Redis,
        now: Callable[[], datetime],
    ) -> None:
        self._account = account
        self._results = results
        self._factor = factor
        self._sessions = sessions
        self._redis = redis
        self._now = now

    def record_answers(
        self,
        permit: Permit,
        answers: Collection[PollAnswer],
        result: str,
        error: errors.BrokenAnswer | None = None,
    ) -> None:
        """Store answers and wake a worker. error: why the API and not only the order has failed."""
        with self._sessions.begin() as session:
            stored = self._results.record_answers(session, answers)
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

    def record_unknown_name(self, permit: Permit) -> None:
        """Record that the courier knows no order of the name in this request."""
        with self._sessions.begin() as session:
            circuit_breaker.record_api_success(session, permit)
            self._count(session, totals.UNKNOWN)

    def record_unknown_order(self, lease: Lease, asked_at: datetime, unused: Permit | None) -> None:
        """Record that the courier knows the order by none of its names.

        unused: the permit of a request that was not sent, as none can be made of the names.
        """
        with self._sessions.begin() as session:
            if unused is not None:
                circuit_breaker.return_permit(session, unused, self._now())
            self._results.record_unknown_order(session, lease, asked_at)

    def record_failure(
        self,
        permit: Permit,
        held: Sequence[Lease],
        error: errors.OrdertrailError,
        asked_at: datetime,
    ) -> bool:
        """Record that the courier did not answer; return whether to go on polling."""
        log.warning("courier_request_failed", account=self._account.slug, error=str(error))
        if isinstance(error, errors.BrokenAnswer) and error.body is not None and len(held) == 1:
            polled_id = held[0].courier_order_id
            message = poll_results.answer_message(
                self._account, error.body, asked_at, polled_id, str(error)
            )
            answer = PollAnswer(held[0], message, None)
            self.record_answers(permit, [answer], totals.NONSENSE, error)
            return True
        goes_on = not isinstance(error, errors.CourierBusy | errors.CourierRefused)
        now = self._now()
        with self._sessions.begin() as session:
            if goes_on:
                self._results.record_failure(session, held, now)
            else:
                leases.release_leases(session, held)
            circuit_breaker.record_api_failure(session, permit, error, now, self._factor)
            self._count(session, FAILURES[type(error)])
        return goes_on

    def release(self, held: Collection[Lease]) -> None:
        """Give back the leases of orders that were not polled; they stay due."""
        with self._sessions.begin() as session:
            leases.release_leases(session, held)

    def _count(self, session: Session, result: str) -> None:
        totals.add_totals(session, {(totals.POLLS, self._account.slug, result): 1})
