"""Retention: removes what is past its term, a little at a time beside live traffic.

What is kept for how long stands in receiver/retention/expired.py. Each kind is removed in batches
of its own; the kind that has used the least time is next, and each has at least one batch in a run,
so that no backlog of one kind keeps another waiting, and a kind that fails stops no other. The
status, the timeline and the row of every message stay as long as their order: rebuild uses the
stored events of a message without a body.

One process at a time removes, whichever comes first, and what it has to know is in PostgreSQL, so
the pace does not depend on the number of workers. Nothing here waits for a lock: rows that another
transaction holds are left for the next time.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import TextClause, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.db.bulk import id_in
from receiver.db.locks import RETENTION_LOCK, try_lock
from receiver.db.models import APPLIED, DISCARDED, Change, Cursor, Message, Order
from receiver.logs import exception_fields
from receiver.orders.erasure import drop_bodies, erase_from_orders, select_messages_of
from receiver.retention import expired
from receiver.retention.expired import limited
from receiver.settings import Settings
from workers.upkeep.order_removal import remove_orders

log = structlog.get_logger(__name__)

# Rows per transaction: a few milliseconds of locks.
BODIES = 500
ROWS = 1000
ORDERS = 50
CHANGES = 2000

# How many rows a batch has removed, and whether more may be due.
Removed = tuple[int, bool]

# The reason of a discarded message may quote its body.
DROP_BODIES = limited(rf"""
    UPDATE messages
    SET body = NULL,
        request = NULL,
        reason = CASE WHEN outcome = 'discarded'
                 THEN regexp_replace(reason, ' \(was (quarantined|parked): .*$', ' (was \1)')
                 ELSE reason END
    WHERE id = ANY (ARRAY({expired.EXPIRED_BODIES.select_batch()}))
    RETURNING id
""")  # noqa: S608 (names of our own tables)


def _delete(rows: expired.ExpiredRows) -> TextClause:
    return limited(f"""
        DELETE FROM {rows.table} WHERE {rows.key} = ANY (ARRAY({rows.select_batch()})) RETURNING 1
    """)  # noqa: S608 (names of our own tables)


ENDED_ORDERS = limited(expired.ENDED_ORDERS.select_batch("NO KEY UPDATE"))
SILENT_ORDERS = limited(expired.SILENT_ORDERS.select_batch("NO KEY UPDATE"))
DROP_TOURS = _delete(expired.EXPIRED_TOURS)
DROP_STOPS = _delete(expired.EXPIRED_STOPS)
DROP_MESSAGES = _delete(expired.UNOWNED_MESSAGES)
DROP_AUDIT_ENTRIES = _delete(expired.AUDIT_ROWS)

# Those that a change within (:after, :upto] replaced; changes are numbered in the order of time.
DROP_CHANGES = text("""
    DELETE FROM changes WHERE seq = ANY (ARRAY(
        SELECT replaced.seq
        FROM changes AS replaced
        JOIN (SELECT order_id, max(version) AS version FROM changes
              WHERE seq > :after AND seq <= :upto GROUP BY order_id) AS newer USING (order_id)
        WHERE replaced.version < newer.version FOR UPDATE OF replaced SKIP LOCKED))
    RETURNING seq
""")

DROP_REFUSALS = text("DELETE FROM refusals WHERE day < :day RETURNING day")
DROP_SECRETS = text("DELETE FROM secret_uses WHERE last_at < :used RETURNING last_at")


@dataclass(frozen=True)
class Retention:
    """Removes what these settings do not keep."""

    settings: Settings

    def drop_due(
        self, sessions: sessionmaker[Session], now: datetime, seconds: float
    ) -> Counter[str]:
        """Remove what is due for about so many seconds; return how many rows of each kind.

        Raises: the first error of a kind, once the other kinds have had their turn.
        """
        deadline = time.monotonic() + seconds
        dropped: Counter[str] = Counter()
        used = dict.fromkeys(self._kinds(), 0.0)
        errors: list[tuple[str, Exception]] = []
        while used:
            kind = min(used, key=lambda name: used[name])
            began = time.monotonic()
            if used[kind] and began >= deadline:
                break
            try:
                with sessions.begin() as session:
                    if not try_lock(session, RETENTION_LOCK):
                        break
                    count, more = self._kinds()[kind](session, now)
            except Exception as error:  # noqa: BLE001 (raised below)
                errors.append((kind, error))
                count, more = 0, False
            dropped[kind] += count
            used[kind] += time.monotonic() - began
            if not more:
                del used[kind]
        if +dropped:
            log.info("expired_data_dropped", **+dropped)
        # The first is logged as the job's failure.
        for failed, why in errors[1:]:
            log.error("retention_failed", kind=failed, **exception_fields(why))
        if errors:
            raise errors[0][1]
        return +dropped

    def _kinds(self) -> Mapping[str, Callable[[Session, datetime], Removed]]:
        kinds = {
            expired.PERSONAL_DATA: self.erase_orders,
            expired.BODIES: self.drop_bodies,
            expired.TOURS: self.drop_tours,
            expired.TOUR_STOPS: self.drop_stops,
            expired.CHANGES: self.drop_changes,
            expired.REFUSALS: self.drop_refusals,
            expired.ORDERS: self.remove_orders,
            expired.MESSAGES: self.drop_messages,
            expired.AUDIT_ENTRIES: self.drop_audit_entries,
        }
        return {kind: kinds[kind] for kind in expired.find_terms(self.settings)}

    def erase_orders(self, session: Session, now: datetime) -> Removed:
        """Erase the personal data of orders that ended, or became silent, long ago."""
        before = self._before(expired.PERSONAL_DATA, now)
        ids = _ids(session, ENDED_ORDERS, before, ORDERS)
        ids += _ids(session, SILENT_ORDERS, before - expired.SILENT_FOR, ORDERS - len(ids))
        if not ids:
            return 0, False
        orders = session.scalars(select(Order).where(id_in(Order.id, ids)).order_by(Order.id)).all()
        read = select_messages_of(orders, Message.outcome.in_((APPLIED, DISCARDED)))
        message_ids = session.scalars(read).all()
        # A worker that folds a message has locked it and waits for its order, which is locked here:
        # so this must not wait for a message.
        unlocked = select(Message.id).where(id_in(Message.id, message_ids))
        locked = session.scalars(unlocked.with_for_update(skip_locked=True)).all()
        if len(locked) < len(message_ids):
            return 0, False
        drop_bodies(session, locked)
        feed.record_changes(session, erase_from_orders(session, orders, now), now)
        return len(ids), len(ids) == ORDERS

    def drop_bodies(self, session: Session, now: datetime) -> Removed:
        """Drop the bodies of messages that were processed long ago."""
        return self._drop(session, DROP_BODIES, expired.BODIES, now, BODIES)

    def drop_tours(self, session: Session, now: datetime) -> Removed:
        """Drop tour plans whose message has no body any more."""
        return self._drop(session, DROP_TOURS, expired.TOURS, now, ROWS)

    def drop_stops(self, session: Session, now: datetime) -> Removed:
        """Drop the stops of tour plans whose message has no body any more."""
        return self._drop(session, DROP_STOPS, expired.TOUR_STOPS, now, ROWS)

    def drop_messages(self, session: Session, now: datetime) -> Removed:
        """Drop the rows of messages that belong to no single order."""
        return self._drop(session, DROP_MESSAGES, expired.MESSAGES, now, ROWS)

    def drop_audit_entries(self, session: Session, now: datetime) -> Removed:
        """Drop entries of the audit log."""
        return self._drop(session, DROP_AUDIT_ENTRIES, expired.AUDIT_ENTRIES, now, ROWS)

    def drop_changes(self, session: Session, now: datetime) -> Removed:
        """Search the next part of the feed, and drop the changes that those in it replaced.

        Each part is searched once, when its own changes are past their term. Each order's newest
        change stays, so that a reader that starts at the beginning of the feed sees every order.
        """
        cursor = session.get(Cursor, expired.CHANGES_CURSOR)
        if cursor is None:
            cursor = Cursor(name=expired.CHANGES_CURSOR, position=0)
            session.add(cursor)
        part = (
            select(Change.seq, Change.changed_at)
            .where(Change.seq > cursor.position)
            .order_by(Change.seq)
            .limit(CHANGES)
            .subquery()
        )
        due = part.c.changed_at < self._before(expired.CHANGES, now)
        searched, upto = session.execute(
            select(func.count(), func.max(part.c.seq)).where(due)
        ).one()
        if upto is None:
            return 0, False
        limits = {"after": cursor.position, "upto": upto}
        dropped = session.execute(DROP_CHANGES, limits).all()
        cursor.position = upto
        return len(dropped), searched == CHANGES

    def drop_refusals(self, session: Session, now: datetime) -> Removed:
        """Drop old refusals, and secrets that were last used long ago.

        All at once: there is one row a day for each account and reason.
        """
        day = self._before(expired.REFUSALS, now).date()
        dropped = session.execute(DROP_REFUSALS, {"day": day}).all()
        session.execute(DROP_SECRETS, {"used": now - expired.SECRETS_FOR})
        return len(dropped), False

    def remove_orders(self, session: Session, now: datetime) -> Removed:
        """Archive and delete orders that have been closed for long, with all that is of them."""
        before = self._before(expired.ORDERS, now)
        count = remove_orders(session, self.settings, before, now, ORDERS)
        return count, count == ORDERS

    def _before(self, kind: str, now: datetime) -> datetime:
        return now - expired.find_terms(self.settings)[kind]

    def _drop(
        self, session: Session, statement: TextClause, kind: str, now: datetime, most: int
    ) -> Removed:
        count = len(_ids(session, statement, self._before(kind, now), most))
        return count, count == most


def _ids(session: Session, statement: TextClause, before: datetime, most: int) -> list[int]:
    return list(session.scalars(statement, {"before": before, "most": most}))
