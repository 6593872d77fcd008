"""The result of a poll: what of the answer is stored, and when the order is polled next."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from receiver.couriers.schedule import Backoff, Schedule
from receiver.db.bulk import id_in
from receiver.db.models import Message, Order, Poll
from receiver.inbox.accept import store_messages
from receiver.orders.poll_plan import needs_confirmation, plan_next_poll
from receiver.settings import Account
from receiver.statuses import TERMINAL_STATUSES
from workers.polling.leases import Lease, lock_leased_polls
from workers.polling.poll_answers import PollAnswer, has_same_content

# When to poll an order again whose poll failed.
RETRY = Backoff(timedelta(seconds=30), timedelta(minutes=30))


@dataclass(frozen=True, slots=True)
class ResultRecorder:
    """Records the results of an account's polls in the caller's transaction.

    factor: POLL_INTERVAL_FACTOR.
    """

    account: Account
    schedule: Schedule
    factor: float

    def record_answers(self, session: Session, answers: Collection[PollAnswer]) -> int:
        """Store answers, plan each order's next poll, and return how many were stored.

        An answer that says the same as the one before is only counted, unless a webhook came in
        between. An answer that cannot be used is stored and counts as a failed poll.
        """
        by_order = {answer.lease.order_id: answer for answer in answers}
        polls = lock_leased_polls(session, [answer.lease for answer in answers])
        # Read after the rows of `polls` are locked: whoever folds an order writes its row there.
        orders = _find_orders(session, by_order)
        earlier = _find_messages(session, [poll.answer_id for poll in polls if poll.answer_id])
        changed: list[Poll] = []
        repeated: dict[int, datetime] = {}
        for poll in polls:
            answer = by_order[poll.order_id]
            asked_at = answer.message.received_at
            if poll.answer_id and self._is_repetition(earlier.get(poll.answer_id), answer):
                repeated[poll.answer_id] = poll.confirmed_at = asked_at
            else:
                changed.append(poll)
            poll.leased_until = None
            if answer.message.reason is not None:
                self._plan_retry(poll, asked_at)
                continue
            poll.failures, poll.unknown_since = 0, None
            self._plan_unchanged(poll, answer.lease, orders[poll.order_id], asked_at)
            if poll.due_at is not None:
                # Folding the answer undoes this if it brings news.
                self._stop_without_news(poll, asked_at)
        stored = store_messages(session, [by_order[poll.order_id].message for poll in changed])
        for poll, accepted in zip(changed, stored, strict=True):
            poll.answer_id = accepted.message_id
        _count_repetitions(session, repeated)
        return len(stored)

    def record_failure(self, session: Session, leases: Collection[Lease], now: datetime) -> None:
        """Plan the next attempt for orders that could not be polled, through no fault of theirs."""
        for poll in lock_leased_polls(session, leases):
            poll.leased_until = None
            self._plan_retry(poll, now)

    def record_unknown_order(self, session: Session, lease: Lease, asked_at: datetime) -> None:
        """Plan the next poll of an order that the courier does not know: not yet, or no longer.

        A new order is given up after schedule.unknown_for; one that the courier has reported
        before, like any other without news.
        """
        for poll in lock_leased_polls(session, [lease]):
            order = _find_orders(session, [poll.order_id])[poll.order_id]
            unconfirmed = needs_confirmation(order, self.account)
            poll.leased_until = None
            poll.failures += 1
            poll.unknown_since = poll.unknown_since or asked_at
            self._plan_unchanged(poll, lease, order, asked_at, may_finish=not unconfirmed)
            if poll.due_at is None:
                poll.unknown_since = None
                continue
            unknown_for = asked_at - max(poll.unknown_since, poll.placed_at)
            never_reported = order.last_heard_at is None or unconfirmed
            if unknown_for >= self.schedule.unknown_for * self.factor and never_reported:
                _stop(poll, asked_at, "given up: the courier does not know this order")
            else:
                self._stop_without_news(poll, asked_at)

    def _plan_unchanged(
        self, poll: Poll, lease: Lease, order: Order, asked_at: datetime, may_finish: bool = True
    ) -> None:
        """Plan the next poll as if there was no news; folding an answer with news plans anew.

        may_finish: whether a terminal status of the order is trusted.
        """
        since = max(filter(None, (poll.polled_at, order.last_heard_at)), default=poll.placed_at)
        planned = plan_next_poll(self.schedule, order, self.factor, poll.polled_at, poll.quiet)
        poll.polled_at = asked_at
        if poll.due_at != lease.due_at:
            # Planned anew during the poll: a webhook or a refresh came.
            return
        terminal = order.status in TERMINAL_STATUSES
        if planned is not None and not terminal:
            # Only until the planned time: while we could not poll, silence says nothing.
            poll.unchanged_for += max(min(planned, asked_at) - since, timedelta())
        poll.quiet += 1
        poll.due_at = plan_next_poll(self.schedule, order, self.factor, asked_at, poll.quiet)
        if terminal and not may_finish:
            poll.due_at = asked_at + self.schedule.default.delay(poll.quiet) * self.factor
        poll.finished_at = asked_at if poll.due_at is None else None

    def _plan_retry(self, poll: Poll, now: datetime) -> None:
        poll.polled_at = now
        poll.due_at = now + RETRY.delay(poll.failures) * self.factor
        poll.failures += 1

    def _stop_without_news(self, poll: Poll, now: datetime) -> None:
        if poll.unchanged_for >= self.schedule.give_up * self.factor:
            _stop(poll, now, f"given up: {self.schedule.give_up.days} days without news")

    def _is_repetition(self, earlier: Any, answer: PollAnswer) -> bool:
        if earlier is None:
            return False
        if bytes(earlier.body_sha256) == hashlib.sha256(answer.message.body).digest():
            return True
        return earlier.body is not None and has_same_content(
            self.account, bytes(earlier.body), answer
        )


def _stop(poll: Poll, now: datetime, reason: str) -> None:
    poll.due_at = None
    poll.stopped_at = now
    poll.stop_reason = reason


def _find_orders(session: Session, order_ids: Collection[int]) -> dict[int, Order]:
    rows = session.scalars(select(Order).where(id_in(Order.id, order_ids)))
    return {order.id: order for order in rows}


def _find_messages(session: Session, message_ids: Collection[int]) -> dict[int, Any]:
    stored = select(Message.id, Message.body_sha256, Message.body)
    rows = session.execute(stored.where(id_in(Message.id, message_ids))) if message_ids else ()
    return {row.id: row for row in rows}


# A message that is being folded stays uncounted: its worker waits for our rows of `polls`.
COUNT_REPETITIONS = text("""
    UPDATE messages
    SET repetitions = repetitions + 1, last_seen_at = greatest(last_seen_at, repeated.at)
    FROM unnest(CAST(:id AS bigint[]), CAST(:at AS timestamptz[])) AS repeated (id, at)
    WHERE messages.id = repeated.id
          AND messages.id IN (SELECT id FROM messages WHERE id = ANY(:id) FOR UPDATE SKIP LOCKED)
""")


def _count_repetitions(session: Session, repeated: Mapping[int, datetime]) -> None:
    if repeated:
        values = {"id": list(repeated), "at": list(repeated.values())}
        session.execute(COUNT_REPETITIONS, values)
