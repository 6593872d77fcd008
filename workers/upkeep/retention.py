"""Retention: drop what need not be kept any longer, a little at a time, beside live traffic.

What goes                        and when
a message's body                 INBOX_RETENTION_DAYS after it was processed; stuck ones stay
tour plans and their stops       together with the body of the plan that told them
what is known of people          PERSONAL_DATA_RETENTION_DAYS after the order's end
changes of the feed              INBOX_RETENTION_DAYS after them, but for each order's newest
what was refused at the door     30 days after it; a secret that nobody uses, after 90

An end that happened before we knew of the order counts from when we did: else what comes late, or
by a courier's wrong clock, would be gone before anybody could look at it.

An order that never came to its end counts as ended once it was silent for so long that asking about
it was given up. The status, the timeline and every message's row stay: rebuild takes the events of
a message without a body as they are stored.

Nothing here waits for a lock: what another transaction holds is left for the next time.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Integer, TextClause, bindparam, func, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.db.bulk import id_in
from receiver.db.models import (
    APPLIED,
    DISCARDED,
    ENDED_SINCE_SQL,
    TERMINAL_SQL,
    Change,
    Message,
    Order,
)
from receiver.orders.erasure import drop_bodies, forget, told_of
from receiver.settings import Settings

# How many rows go in one transaction: a few milliseconds of locks.
BODIES = 500
STOPS = 1000
ORDERS = 50
CHANGES = 2000
# All of them at once: there is one a day for each account and reason.
REFUSALS = 10_000
# After this an order of which nothing is heard is given up by whoever asks about it.
SILENT_FOR = timedelta(days=30)
LOCK_NOT_AVAILABLE = "55P03"

# A discarded message's reason may quote what could not be read.
DROP_BODIES = text(r"""
    UPDATE messages
    SET body = NULL,
        reason = CASE WHEN outcome = 'discarded'
                 THEN regexp_replace(reason, ' \(was (quarantined|parked): .*$', ' (was \1)')
                 ELSE reason END
    WHERE id = ANY (ARRAY(
        SELECT id FROM messages
        WHERE body IS NOT NULL AND outcome IN ('applied', 'discarded') AND processed_at < :before
        ORDER BY processed_at LIMIT :most FOR UPDATE SKIP LOCKED))
    RETURNING id
""")

# By their place in the table (ctid), which stays while they are locked: whatever PostgreSQL
# thinks of how many there are, it reads no more than these. Only once the plan itself is gone, or
# a rebuild would bring them back.
DROP_STOPS = text("""
    DELETE FROM tour_stops WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM tour_stops
        WHERE received_at < :before
              AND (SELECT body IS NULL FROM messages WHERE id = message_id)
        ORDER BY received_at LIMIT :most FOR UPDATE SKIP LOCKED))
    RETURNING message_id
""")
DROP_TOURS = text("""
    DELETE FROM tours WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM tours
        WHERE received_at < :before
              AND (SELECT body IS NULL FROM messages WHERE id = message_id)
        ORDER BY received_at LIMIT :most FOR UPDATE SKIP LOCKED))
    RETURNING message_id
""")

AT_THEIR_END = text(f"""
    SELECT id FROM orders
    WHERE erased_at IS NULL AND status IN {TERMINAL_SQL} AND {ENDED_SINCE_SQL} < :before
    ORDER BY {ENDED_SINCE_SQL} LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608 (our own words)
SILENT = text(f"""
    SELECT id FROM orders
    WHERE erased_at IS NULL AND status NOT IN {TERMINAL_SQL} AND created_at < :before
          AND (last_heard_at IS NULL OR last_heard_at < :before)
          AND NOT EXISTS (SELECT FROM polls WHERE order_id = orders.id AND due_at IS NOT NULL)
    ORDER BY created_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608 (our own words)

# An order's newest change has the order's version.
DROP_CHANGES = text("""
    DELETE FROM changes USING orders
    WHERE seq > :after AND seq <= :upto AND orders.id = order_id
          AND changes.version < orders.version AND changed_at < :before
    RETURNING seq
""")

REFUSED_FOR = timedelta(days=30)
SECRETS_FOR = timedelta(days=90)
DROP_REFUSALS = text("DELETE FROM refusals WHERE day < :day RETURNING day")
DROP_SECRETS = text("DELETE FROM secret_uses WHERE last_at < :used")

Step = Callable[[Session, datetime], int]


@dataclass
class Retention:
    """What goes, for these settings. position: how far the feed was looked through."""

    settings: Settings
    position: int = field(default=0)

    def drop(self, sessions: sessionmaker[Session], now: datetime, seconds: float) -> Counter[str]:
        """Drop what is due, for so long at the most; how many of each there were."""
        until = time.monotonic() + seconds
        dropped: Counter[str] = Counter()
        for name, step, most in self._steps():
            while time.monotonic() < until:
                with sessions.begin() as session:
                    gone = step(session, now)
                dropped[name] += gone
                if gone < most:
                    break
        return +dropped

    def _steps(self) -> tuple[tuple[str, Step, int], ...]:
        return (
            ("orders", self.forget_people, ORDERS),
            ("bodies", self.drop_bodies, BODIES),
            ("tours", self.drop_tours, STOPS),
            ("changes", self.drop_changes, CHANGES),
            ("refusals", self.drop_refusals, REFUSALS),
        )

    def forget_people(self, session: Session, now: datetime) -> int:
        """Erase the personal data of orders that are long at their end, or long silent."""
        before = now - timedelta(days=self.settings.personal_data_retention_days)
        ids = _ids(session, AT_THEIR_END, before, ORDERS)
        ids += _ids(session, SILENT, before - SILENT_FOR, ORDERS - len(ids))
        if not ids:
            return 0
        orders = session.scalars(select(Order).where(id_in(Order.id, ids)).order_by(Order.id)).all()
        read = (Message.outcome.in_((APPLIED, DISCARDED)),)
        try:
            # Whoever folds a message holds it and waits for its order, which we hold: so whoever
            # holds an order may not wait for a message.
            with session.begin_nested():
                told = session.scalars(
                    select(Message.id)
                    .where(Message.id.in_(told_of(orders, *read)))
                    .with_for_update(nowait=True)
                ).all()
        except OperationalError as failure:
            if getattr(failure.orig, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            return 0
        drop_bodies(session, told)
        feed.tell(session, forget(session, orders, now), now)
        return len(ids)

    def drop_bodies(self, session: Session, now: datetime) -> int:
        """Drop the bodies of messages that were dealt with long ago."""
        return len(_ids(session, DROP_BODIES, self._kept_since(now), BODIES))

    def drop_tours(self, session: Session, now: datetime) -> int:
        """Drop tour plans, and the stops in them, whose message has no body any more."""
        before = self._kept_since(now)
        _ids(session, DROP_TOURS, before, STOPS)
        return len(_ids(session, DROP_STOPS, before, STOPS))

    def drop_changes(self, session: Session, now: datetime) -> int:
        """Look through a stretch of the feed, round and round, and drop what newer ones replace.

        Whoever reads the feed from its beginning still hears of every order.
        """
        stretch = select(Change.seq).where(Change.seq > self.position).order_by(Change.seq)
        numbers = select(func.max(stretch.limit(CHANGES).subquery().c.seq))
        upto = session.scalar(numbers)
        if upto is None:
            self.position = 0
            return 0
        values: dict[str, Any] = {"after": self.position, "upto": upto}
        gone = session.execute(DROP_CHANGES, {**values, "before": self._kept_since(now)}).all()
        self.position = upto
        return len(gone)

    def drop_refusals(self, session: Session, now: datetime) -> int:
        """Drop what was refused long ago, and secrets that were; a few rows in small tables."""
        before = {"day": (now - REFUSED_FOR).date(), "used": now - SECRETS_FOR}
        session.execute(DROP_SECRETS, before)
        return len(session.execute(DROP_REFUSALS, before).all())

    def _kept_since(self, now: datetime) -> datetime:
        return now - timedelta(days=self.settings.inbox_retention_days)


def _ids(session: Session, statement: TextClause, before: datetime, most: int) -> list[int]:
    # In the statement's own text: a plan for any number of rows whatever would read the table.
    limited = statement.bindparams(bindparam("most", type_=Integer, literal_execute=True))
    return list(session.scalars(limited, {"before": before, "most": most}))
