"""A courier's answers to polls: what is stored of them, and when each order is polled next."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from receiver.changes.feed import record_changes
from receiver.changes.order_version import touch_order
from receiver.couriers import DRIVERS
from receiver.couriers.schedule import Backoff, Schedule
from receiver.couriers.snapshot import Decoded
from receiver.db.bulk import id_in
from receiver.db.models import PENDING, QUARANTINED, Message, Order, Poll
from receiver.errors import BrokenAnswer, Undecodable, UnknownToCourier, UnreadableBody
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.inbox.content import parse_content
from receiver.orders.erasure import erase_unread_answer
from receiver.orders.find import load_orders
from receiver.orders.matching import parked_names
from receiver.orders.names import spell
from receiver.orders.poll_plan import UNKNOWN_TOO_LONG, needs_confirmation, plan_next_poll
from receiver.settings import Account
from receiver.statuses import TERMINAL_STATUSES
from workers.polling.leases import Lease, lock_leased_polls

# When to poll an order again whose poll failed.
RETRY = Backoff(timedelta(seconds=30), timedelta(minutes=30))

# A message that is being folded stays uncounted: its worker waits for our rows of `polls`.
COUNT_REPETITIONS = text("""
    UPDATE messages
    SET repetitions = repetitions + 1, last_seen_at = greatest(last_seen_at, repeated.at)
    FROM unnest(CAST(:id AS bigint[]), CAST(:at AS timestamptz[])) AS repeated (id, at)
    WHERE messages.id = repeated.id
          AND messages.id IN (SELECT id FROM messages WHERE id = ANY(:id) FOR UPDATE SKIP LOCKED)
""")


@dataclass(frozen=True, slots=True)
class PollAnswer:
    """A courier's answer about one order.

    message: quarantined, with the reason, if the answer cannot be used.
    decoded: None if it cannot be decoded.
    """

    lease: Lease
    message: IncomingMessage
    decoded: Decoded | None


def read_answer(account: Account, lease: Lease, body: bytes, asked_at: datetime) -> PollAnswer:
    """Decode the answer about one order and check that it is about that order.

    Raises: UnknownToCourier where the answer holds no order; BrokenAnswer where
        it is not JSON of the kind that the api declares.
    """
    decoded, problem = None, None
    try:
        decoded = _decode(account, body, asked_at, lease.courier_order_id)
    except UnreadableBody as error:
        what = f"account {account.slug}: the courier sent an answer that cannot be read: {error}"
        raise BrokenAnswer(what, body or None) from None
    except Undecodable as error:
        problem = str(error).replace("\x00", "")[:2000]
    else:
        if not decoded.orders:
            raise UnknownToCourier(f"account {account.slug}: the courier's answer holds no order")
        if not _is_about(account, lease, decoded):
            problem = f"polled {lease.courier_order_id!r}, but the response is about another order"
    message = answer_message(account, body, asked_at, lease.courier_order_id, problem)
    return PollAnswer(lease, message, decoded)


def read_list(
    account: Account, bodies: Collection[bytes], leases: Mapping[str, Lease], asked_at: datetime
) -> dict[str, PollAnswer]:
    """Return what a page of the courier's list says about leased orders, by their name.

    An order that cannot be decoded is left out: it is polled by itself, and quarantined then.
    """
    answers: dict[str, PollAnswer] = {}
    named = {spell(name): name for name, lease in leases.items() if not lease.is_courier_id}
    for body in bodies:
        try:
            decoded = _decode(account, body, asked_at)
        except (Undecodable, UnreadableBody):
            continue
        message = answer_message(account, body, asked_at, None)
        for snapshot in decoded.orders:
            names = {snapshot.courier_order_id, *snapshot.identifiers.values()}
            meant = {named[spell(name)] for name in names if spell(name) in named}
            for name in names & leases.keys() | meant:
                answers[name] = PollAnswer(leases[name], message, decoded)
    return answers


def answer_message(
    account: Account,
    body: bytes,
    asked_at: datetime,
    polled_order_id: str | None,
    problem: str | None = None,
) -> IncomingMessage:
    """Return an answer as a message, quarantined if there is a problem with it.

    polled_order_id: what the answer need not repeat; None for an order of a list, which must.
    """
    return IncomingMessage(
        account=account.slug,
        topic="orders",
        kind="poll",
        trust="fetched",
        body=body,
        received_at=asked_at,
        outcome=QUARANTINED if problem else PENDING,
        reason=problem,
        request=None if polled_order_id is None else {"polled_order_id": polled_order_id},
    )


def _is_about(account: Account, lease: Lease, decoded: Decoded) -> bool:
    """Until the courier's own id is known, any name under which the order was polled will do."""
    for snapshot in decoded.orders:
        if lease.courier_order_id == snapshot.courier_order_id:
            return True
        names = parked_names(account.driver, snapshot)
        if not lease.is_courier_id and spell(lease.courier_order_id) in names:
            return True
    return False


def _decode(
    account: Account, body: bytes, asked_at: datetime, polled_order_id: str = ""
) -> Decoded:
    api = DRIVERS[account.driver].api
    assert api is not None  # noqa: S101 (only accounts with an API are polled)
    context = account.message_context(asked_at, "poll", polled_order_id)
    return api.decode(parse_content(body, api.answer_body), context)


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
        orders = load_orders(session, by_order)
        answer_ids = [poll.answer_id for poll in polls if poll.answer_id]
        stored = select(Message.id, Message.body_sha256, Message.body)
        rows = session.execute(stored.where(id_in(Message.id, answer_ids)))
        earlier = {row.id: row for row in rows}
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
        messages = [by_order[poll.order_id].message for poll in changed]
        for poll, accepted in zip(changed, store_messages(session, messages), strict=True):
            poll.answer_id = accepted.message_id
            order, message = orders[poll.order_id], by_order[poll.order_id].message
            if message.reason is not None:
                erase_unread_answer(
                    session, order, accepted.message_id, message.body, message.request
                )
        if repeated:
            ids_and_times = {"id": list(repeated), "at": list(repeated.values())}
            session.execute(COUNT_REPETITIONS, ids_and_times)
        return len(changed)

    def record_failure(self, session: Session, leases: Collection[Lease], now: datetime) -> None:
        """Plan the next attempt for orders that could not be polled, through no fault of theirs."""
        for poll in lock_leased_polls(session, leases):
            poll.leased_until = None
            self._plan_retry(poll, now)

    def record_unknown_order(self, session: Session, lease: Lease, asked_at: datetime) -> None:
        """Plan the next poll of an order that the courier does not know: not yet, or no longer.

        A new order is given up after schedule.unknown_for; one that the courier has reported
        before, like any other without news. An order of which no message has come needs attention
        once the courier has not known it for some time: its id may be none of this courier's.
        """
        # Before the row of `polls`, as whoever folds the order does.
        orders = load_orders(session, [lease.order_id], lock=True)
        for poll in lock_leased_polls(session, [lease]):
            order = orders[poll.order_id]
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
            is_lasting = unknown_for >= UNKNOWN_TOO_LONG * self.factor
            if is_lasting and order.last_heard_at is None and not order.needs_attention:
                order.needs_attention = True
                change = touch_order(order, ["needs_attention"], asked_at)
                record_changes(session, [change], asked_at)

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
            _stop(poll, now, f"given up: {self.schedule.give_up.days} days without a change")

    def _is_repetition(self, earlier: Any, answer: PollAnswer) -> bool:
        """Return whether an answer says the same as the one before.

        Some couriers' answers hold a value that differs each time, such as the server's clock.
        """
        if earlier is None:
            return False
        if bytes(earlier.body_sha256) == answer.message.body_sha256:
            return True
        if earlier.body is None:
            return False
        try:
            asked_at, polled_id = answer.message.received_at, answer.lease.courier_order_id
            return answer.decoded == _decode(self.account, earlier.body, asked_at, polled_id)
        except (Undecodable, UnreadableBody):
            return False


def _stop(poll: Poll, now: datetime, reason: str) -> None:
    poll.due_at = None
    poll.stopped_at = now
    poll.stop_reason = reason
