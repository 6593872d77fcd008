"""After an outage, poll every open order at once.

A courier's next attempt to deliver a webhook may be hours or days away, and some make only one.

An account may have a million open orders: whatever is about all of them is done a chunk at a time,
each in its own transaction, as a generator that yields how many orders a chunk changed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, exists, literal, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from receiver.accounts.learned_silence import LEAST_SILENCE, explain_silence, read_silences
from receiver.couriers.schedule import Schedule
from receiver.db.bulk import id_in
from receiver.db.models import AccountState, Order, Poll, is_watched
from receiver.db.pagination import IndexValues, select_page_ids
from receiver.settings import Account
from receiver.stats import totals
from receiver.statuses import OPEN_STATUSES, TERMINAL_STATUSES
from workers.polling import circuit_breaker

log = structlog.get_logger(__name__)

# Workers check each account every second, so a longer gap means that none was running.
AWAY = timedelta(minutes=2)
MIN_AWAY = timedelta(seconds=15)
# How often a check is written down, and how often a silence is judged.
RECORD_INTERVAL = timedelta(seconds=5)
SILENCE_INTERVAL = timedelta(minutes=1)
# The clocks of two hosts differ by less. A check so far in the future was made by a clock that was
# ahead and has been set back; everything it planned lies in the future too.
SET_BACK = timedelta(hours=1)
# How many orders one transaction changes, and for how long a check works before it lets others.
CHUNK = 2_000
WORK_SECONDS = 0.5


class OutageWatch:
    """Takes care that no open order of an account is forgotten, a little with each check."""

    def __init__(
        self,
        account: Account,
        schedule: Schedule,
        factor: float,
        sessions: sessionmaker[Session],
        now: Callable[[], datetime],
    ) -> None:
        self._account = account
        self._slug = account.slug
        self._schedule = schedule
        self._factor = factor
        self._sessions = sessions
        self._now = now
        self._silence_judged_at: datetime | None = None
        self._work: Iterator[int] | None = self._start()

    def check(self) -> int:
        """Look for an outage, or go on with the recovery; return how many orders became due.

        Two workers that recover at the same time both do all of it, which does no harm.
        """
        work, self._work = self._work or self._recover(), None
        due, until = 0, time.monotonic() + WORK_SECONDS
        for count in work:
            due += count
            if time.monotonic() > until:
                self._work = work
                break
        return due

    def _start(self) -> Iterator[int]:
        """Prepare the account when a worker starts, then check it for the first time."""
        with self._sessions.begin() as session:
            circuit_breaker.start_account(session, self._slug, self._now())
        added = 0
        for count in add_missing_polls(self._sessions, self._slug, self._now()):
            added += count
            yield count
        if added:
            log.info("open_orders_added", account=self._slug, orders=added)
        yield from self._recover()

    def _recover(self) -> Iterator[int]:
        """Make open orders due if we were down or the webhooks stopped."""
        now = self._now()
        with self._sessions() as session:
            state = session.scalar(select(AccountState).where(AccountState.account == self._slug))
            gap = now - state.tended_at if state and state.tended_at else None
            if state is None or (gap and -SET_BACK < gap < RECORD_INTERVAL * self._factor):
                return
            reason = self._outage(gap) or self._unusual_silence(session, state, now)
        restored = due = 0
        for count in restore_lost_polls(self._sessions, self._slug, now):
            restored += count
            yield count
        if reason:
            for count in make_open_orders_due(self._sessions, self._slug, now):
                due += count
                yield count
            log.warning("open_orders_made_due", account=self._slug, reason=reason, orders=due)
        # Not before all is done: a worker that is stopped meanwhile leaves the rest to the next.
        done = {"tended_at": self._now()} | ({"recovered_at": now} if reason else {})
        with self._sessions.begin() as session:
            if restored:
                totals.add_totals(
                    session, {(totals.MENDED, self._slug, totals.NEXT_POLLS): restored}
                )
            session.execute(
                update(AccountState).where(AccountState.account == self._slug).values(**done)
            )
        if restored:
            log.warning("lost_polls_restored", account=self._slug, orders=restored)

    def _outage(self, gap: timedelta | None) -> str | None:
        """Return in words why webhooks may have been lost, None if nothing indicates it.

        gap: since the last check; below -SET_BACK if the clock has been set back.
        """
        if gap is not None and gap <= -SET_BACK:
            return f"the clock was set back by {-gap}"
        if gap is not None and gap > max(AWAY * self._factor, MIN_AWAY):
            return f"no worker was running for {gap}"
        return None

    def _unusual_silence(self, session: Session, state: AccountState, now: datetime) -> str | None:
        """Return why the courier's silence is unusual, as the alert `courier_silent` judges it."""
        last_at, recovered_at = state.last_hook_at, state.recovered_at
        if self._schedule.calls_once or last_at is None or now - last_at < LEAST_SILENCE:
            return None
        # Once for each silence; after that the orders' own schedules are enough.
        if recovered_at is not None and recovered_at > last_at:
            return None
        judged_at = self._silence_judged_at
        if judged_at is not None and judged_at <= now < judged_at + SILENCE_INTERVAL:
            return None
        self._silence_judged_at = now
        silences = read_silences(session, [self._account], now)
        return next((explain_silence(silence, now - silence.since) for silence in silences), None)


def add_missing_polls(
    sessions: sessionmaker[Session], account: str, now: datetime
) -> Iterator[int]:
    """Start polling the open orders from before the account could be polled."""
    wanted: IndexValues = {
        Order.status: OPEN_STATUSES,
        Order.account: [account],
        Order.needs_attention: [False, True],
    }
    last_id = 0
    while True:
        with sessions.begin() as session:
            page = select_page_ids(Order.id, wanted, CHUNK, after=last_id, oldest_first=True)
            ids = session.scalars(page).all()
            if not ids:
                return
            last_id = ids[-1]
            columns = ["order_id", "account", "placed_at", "due_at"]
            orders = select(Order.id, Order.account, Order.created_at, literal(now))
            missing = orders.where(id_in(Order.id, ids), ~exists().where(Poll.order_id == Order.id))
            # Locked, so that tracking is not stopped meanwhile.
            missing = missing.where(is_watched).order_by(Order.id).with_for_update(read=True)
            added = insert(Poll).from_select(columns, missing).on_conflict_do_nothing()
            count = len(session.execute(added.returning(Poll.order_id)).all())
        yield count


def restore_lost_polls(
    sessions: sessionmaker[Session], account: str, now: datetime
) -> Iterator[int]:
    """Make due what has neither a next poll nor an end, and would be forgotten."""
    lost = [column.is_(None) for column in (Poll.due_at, Poll.finished_at, Poll.stopped_at)]
    yield from _update_polls(sessions, account, lost, None, due_at=now)


def make_open_orders_due(
    sessions: sessionmaker[Session], account: str, now: datetime, stopped: bool = False
) -> Iterator[int]:
    """Make due every open order of an account that has not been polled since now.

    stopped: also those whose polling has stopped.
    """
    is_open = exists().where(Order.id == Poll.order_id, Order.status.not_in(TERMINAL_STATUSES))
    values: dict[str, Any] = {"due_at": now, "quiet": 0, "failures": 0}
    cleared = ("finished_at", "stopped_at", "stop_reason", "unknown_since")
    values |= dict.fromkeys(cleared)
    later = [Poll.due_at > now, (Poll.polled_at <= now) | Poll.polled_at.is_(None), is_open]
    yield from _update_polls(sessions, account, later, Poll.due_at, **values)
    if stopped:
        values["unchanged_for"] = timedelta()
        ended = [Poll.stopped_at.is_not(None), is_open]
        yield from _update_polls(sessions, account, ended, Poll.stopped_at, **values)


def _update_polls(
    sessions: sessionmaker[Session],
    account: str,
    where: Sequence[ColumnElement[bool]],
    column: InstrumentedAttribute[Any] | None,
    **values: Any,
) -> Iterator[int]:
    """Update rows that afterwards are no longer among those of `where`.

    column: the second one of an index, after the account, by which the rows are found; none where
        an index has only these rows.
    """
    following: list[ColumnElement[bool]] = []
    while True:
        with sessions.begin() as session:
            found = select(Poll.order_id, column if column is not None else Poll.account)
            found = found.where(Poll.account == account, *where, *following).limit(CHUNK)
            rows = session.execute(found.order_by(column) if column is not None else found).all()
            if not rows:
                return
            if column is not None:
                following = [column >= rows[-1][1]]
            # Locked in the same order as by a drain, so that the two do not deadlock.
            locked = select(Poll.order_id).where(
                id_in(Poll.order_id, [row.order_id for row in rows]), *where
            )
            locked = locked.order_by(Poll.order_id).with_for_update()
            changed = update(Poll).where(Poll.order_id.in_(locked)).values(values)
            changed = changed.returning(Poll.order_id)
            options = {"synchronize_session": False}
            count = len(session.execute(changed, execution_options=options).all())
        yield count
