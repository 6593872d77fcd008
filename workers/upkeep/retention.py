"""Retention: drops data that need not be kept any longer, a little at a time beside live traffic.

Dropped                       when
bodies of messages            INBOX_RETENTION_DAYS after processing; not quarantined and parked ones
tour plans and their stops    together with the body of the plan's message
personal data of an order     PERSONAL_DATA_RETENTION_DAYS after the order's end
changes of the feed           INBOX_RETENTION_DAYS after the change, but for each order's newest one
refused credentials           after 30 days; unused secrets after 90

An end that was before we knew of the order counts from when we did: otherwise a late report, or one
by a courier's wrong clock, would be dropped before anybody could see it. An order without an end
counts as ended once its polling was given up. The status, the timeline and the row of every message
stay: rebuild uses the stored events of a message without a body.

Nothing here waits for a lock: rows that another transaction holds are left for the next time.
"""

import time
from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Integer, TextClause, bindparam, func, select, text
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
from receiver.orders.erasure import drop_bodies, erase_from_orders, select_messages_of
from receiver.settings import Settings

# Rows per transaction: a few milliseconds of locks.
BODIES = 500
STOPS = 1000
ORDERS = 50
CHANGES = 2000
# All at once: there is one row a day for each account and reason.
REFUSALS = 10_000
# Polling gives up an order that was silent for so long (Schedule.give_up).
SILENT_FOR = timedelta(days=30)

# The reason of a discarded message may quote its body.
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

# By ctid, which is stable while the rows are locked: so PostgreSQL reads only these rows, whatever
# it estimates. Only once the plan's body is gone, because a rebuild would bring them back.
_DROP_PLANNED = """
    DELETE FROM {table} WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM {table}
        WHERE received_at < :before
              AND (SELECT body IS NULL FROM messages WHERE id = message_id)
        ORDER BY received_at LIMIT :most FOR UPDATE SKIP LOCKED))
    RETURNING message_id
"""
DROP_STOPS = text(_DROP_PLANNED.format(table="tour_stops"))
DROP_TOURS = text(_DROP_PLANNED.format(table="tours"))

ENDED_ORDERS = text(f"""
    SELECT id FROM orders
    WHERE erased_at IS NULL AND status IN {TERMINAL_SQL} AND {ENDED_SINCE_SQL} < :before
    ORDER BY {ENDED_SINCE_SQL} LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608 (names of statuses)
SILENT_ORDERS = text(f"""
    SELECT id FROM orders
    WHERE erased_at IS NULL AND status NOT IN {TERMINAL_SQL} AND created_at < :before
          AND (last_heard_at IS NULL OR last_heard_at < :before)
          AND NOT EXISTS (SELECT FROM polls WHERE order_id = orders.id AND due_at IS NOT NULL)
    ORDER BY created_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608 (names of statuses)

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


@dataclass
class Retention:
    """Drops what these settings allow. position: up to which change the feed has been searched."""

    settings: Settings
    position: int = 0

    def drop_due(
        self, sessions: sessionmaker[Session], now: datetime, seconds: float
    ) -> Counter[str]:
        """Drop what is due for up to so many seconds; return how many rows of each kind."""
        deadline = time.monotonic() + seconds
        dropped: Counter[str] = Counter()
        for name, drop, limit in (
            ("orders", self.erase_orders, ORDERS),
            ("bodies", self.drop_bodies, BODIES),
            ("tours", self.drop_tours, STOPS),
            ("changes", self.drop_changes, CHANGES),
            ("refusals", self.drop_refusals, REFUSALS),
        ):
            while time.monotonic() < deadline:
                with sessions.begin() as session:
                    count = drop(session, now)
                dropped[name] += count
                if count < limit:
                    break
        return +dropped

    def erase_orders(self, session: Session, now: datetime) -> int:
        """Erase the personal data of orders that ended, or became silent, long ago."""
        before = now - timedelta(days=self.settings.personal_data_retention_days)
        ids = _ids(session, ENDED_ORDERS, before, ORDERS)
        ids += _ids(session, SILENT_ORDERS, before - SILENT_FOR, ORDERS - len(ids))
        if not ids:
            return 0
        orders = session.scalars(select(Order).where(id_in(Order.id, ids)).order_by(Order.id)).all()
        read = select_messages_of(orders, Message.outcome.in_((APPLIED, DISCARDED)))
        message_ids = session.scalars(read).all()
        # A worker that folds a message has locked it and waits for its order, which is locked here:
        # so this must not wait for a message.
        unlocked = select(Message.id).where(id_in(Message.id, message_ids))
        locked = session.scalars(unlocked.with_for_update(skip_locked=True)).all()
        if len(locked) < len(message_ids):
            return 0
        drop_bodies(session, locked)
        feed.record_changes(session, erase_from_orders(session, orders, now), now)
        return len(ids)

    def drop_bodies(self, session: Session, now: datetime) -> int:
        """Drop the bodies of messages that were processed long ago."""
        return len(_ids(session, DROP_BODIES, self._kept_since(now), BODIES))

    def drop_tours(self, session: Session, now: datetime) -> int:
        """Drop tour plans, and the stops in them, whose message has no body any more."""
        before = self._kept_since(now)
        _ids(session, DROP_TOURS, before, STOPS)
        return len(_ids(session, DROP_STOPS, before, STOPS))

    def drop_changes(self, session: Session, now: datetime) -> int:
        """Search the next part of the feed, and drop old changes that a newer one has replaced.

        A reader that starts at the beginning of the feed still sees every order.
        """
        part = select(Change.seq).where(Change.seq > self.position).order_by(Change.seq)
        upto = session.scalar(select(func.max(part.limit(CHANGES).subquery().c.seq)))
        if upto is None:
            self.position = 0
            return 0
        values: dict[str, Any] = {"after": self.position, "upto": upto}
        dropped = session.execute(DROP_CHANGES, {**values, "before": self._kept_since(now)}).all()
        self.position = upto
        return len(dropped)

    def drop_refusals(self, session: Session, now: datetime) -> int:
        """Drop old refusals, and secrets that were last used long ago: few rows in small tables."""
        before = {"day": (now - REFUSED_FOR).date(), "used": now - SECRETS_FOR}
        session.execute(DROP_SECRETS, before)
        return len(session.execute(DROP_REFUSALS, before).all())

    def _kept_since(self, now: datetime) -> datetime:
        return now - timedelta(days=self.settings.inbox_retention_days)


def _ids(session: Session, statement: TextClause, before: datetime, most: int) -> list[int]:
    # A literal limit: the plan for an unknown number of rows would read the whole table.
    limited = statement.bindparams(bindparam("most", type_=Integer, literal_execute=True))
    return list(session.scalars(limited, {"before": before, "most": most}))
