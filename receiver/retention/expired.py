"""The rows that are past their term, by kind: how long each is kept, and how to find the oldest.

kind            kept for
personal_data   PERSONAL_DATA_RETENTION_DAYS after the order's end, or after it was given up;
                ORDER_RETENTION_DAYS where that is shorter
bodies          INBOX_RETENTION_DAYS after the message was processed
tours           as long as the body of the plan's message
tour_stops      likewise
changes         INBOX_RETENTION_DAYS after a newer change of the order replaced it
refusals        30 days; unused secrets 90
orders          ORDER_RETENTION_DAYS after the order's end and the last that was heard or changed
audit_entries   ORDER_RETENTION_DAYS after the action
messages        ORDER_RETENTION_DAYS after processing; only the rows without a body that belong to
                no single order, because an order's go with it

An end that was before we knew of the order counts from when we did: otherwise a late report, or one
by a courier's wrong clock, would be dropped before anybody could see it. An order without an end
counts as ended once its polling was given up; its row stays.

For each kind there is an index that begins with the rows due next, so that finding them costs the
same at any size of the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Integer, TextClause, bindparam, text
from sqlalchemy.orm import Session

from receiver.db.models import CLOSED_SINCE_SQL, CLOSED_SQL, ENDED_SINCE_SQL, TERMINAL_SQL
from receiver.db.models import UNOWNED_SQL as UNOWNED
from receiver.settings import Settings

PERSONAL_DATA = "personal_data"
BODIES = "bodies"
TOURS = "tours"
TOUR_STOPS = "tour_stops"
CHANGES = "changes"
REFUSALS = "refusals"
ORDERS = "orders"
MESSAGES = "messages"
AUDIT_ENTRIES = "audit_entries"

# Polling gives up an order that was silent for so long (Schedule.give_up).
SILENT_FOR = timedelta(days=30)
REFUSED_FOR = timedelta(days=30)
SECRETS_FOR = timedelta(days=90)

# How many of the oldest rows are searched for one that could be removed; the job searches all.
MOST_SEARCHED = 1000


@dataclass(frozen=True, slots=True)
class ExpiredRows:
    """The rows of a table that are past their term.

    key: the column that identifies a row.
    since: when a row's term began: the expression of the index.
    indexed: the condition that the index answers. :before is a term before now.
    further: what else a row must meet; what fails it is little.
    """

    table: str
    key: str
    since: str
    indexed: str
    further: str = "true"

    def select_batch(self, lock: str = "UPDATE", condition: str = "true") -> str:
        """Return SQL that selects and locks the :most oldest rows, without those that are locked.

        condition: a further one.
        """
        return f"""
            SELECT {self.key} FROM {self.table}
            WHERE {self.indexed} AND ({self.further}) AND {condition}
            ORDER BY {self.since} LIMIT :most FOR {lock} SKIP LOCKED
        """  # noqa: S608 (names of our own tables)

    def select_oldest(self, before: str = "before") -> str:
        """Return SQL that selects when the oldest row's term began, of the first MOST_SEARCHED.

        before: what the parameter is called.
        """
        return f"""
            SELECT {self.since} AS since FROM (
                SELECT * FROM {self.table} WHERE {self.indexed}
                ORDER BY {self.since} LIMIT {MOST_SEARCHED}
            ) AS {self.table}
            WHERE {self.further} ORDER BY 1 LIMIT 1
        """.replace(":before", f":{before}")  # noqa: S608 (names of our own tables)


def limited(statement: str) -> TextClause:
    """Return a statement whose :most is a literal: a plan for any number reads the whole table."""
    return text(statement).bindparams(bindparam("most", type_=Integer, literal_execute=True))


EXPIRED_BODIES = ExpiredRows(
    table="messages",
    key="id",
    since="processed_at",
    indexed=("body IS NOT NULL AND outcome IN ('applied', 'discarded') AND processed_at < :before"),
)
# Only once the body of the plan's message is gone, because a rebuild would bring them back. By
# ctid, which is stable while the rows are locked: so PostgreSQL reads only these rows.
_PLANNED = (
    "received_at < :before",
    "COALESCE((SELECT body IS NULL FROM messages WHERE id = message_id), true)",
)
EXPIRED_TOURS = ExpiredRows("tours", "ctid", "received_at", *_PLANNED)
EXPIRED_STOPS = ExpiredRows("tour_stops", "ctid", "received_at", *_PLANNED)
ENDED_ORDERS = ExpiredRows(
    table="orders",
    key="id",
    since=ENDED_SINCE_SQL,
    indexed=f"erased_at IS NULL AND status IN {TERMINAL_SQL} AND {ENDED_SINCE_SQL} < :before",
)
SILENT_ORDERS = ExpiredRows(
    table="orders",
    key="id",
    since="created_at",
    indexed=f"erased_at IS NULL AND status NOT IN {TERMINAL_SQL} AND created_at < :before",
    further="""
        (last_heard_at IS NULL OR last_heard_at < :before)
        AND NOT EXISTS (SELECT FROM polls WHERE order_id = orders.id AND due_at IS NOT NULL)
    """,
)
# A poll that is overdue for the whole term will never be made: its account was switched off.
CLOSED_ORDERS = ExpiredRows(
    table="orders",
    key="id",
    since=CLOSED_SINCE_SQL,
    indexed=f"{CLOSED_SQL} AND {CLOSED_SINCE_SQL} < :before",
    further="""
        NOT EXISTS (SELECT FROM polls WHERE order_id = orders.id AND due_at >= :before)
        AND NOT EXISTS (
            SELECT FROM messages
            WHERE messages.account = orders.account
                  AND messages.courier_order_id = orders.courier_order_id
                  AND outcome NOT IN ('applied', 'discarded'))
    """,
)
UNOWNED_MESSAGES = ExpiredRows(
    table="messages",
    key="id",
    since="processed_at",
    indexed=f"{UNOWNED} AND processed_at < :before",
)
AUDIT_ROWS = ExpiredRows("audit_entries", "id", "at", "at < :before")
# Up to which change the feed has been searched for changes that newer ones replaced.
CHANGES_CURSOR = "changes_retention"
_NEXT_CHANGE = f"""
    SELECT changed_at AS since FROM changes
    WHERE seq > COALESCE((SELECT position FROM cursors WHERE name = '{CHANGES_CURSOR}'), 0)
    ORDER BY seq LIMIT 1
"""  # noqa: S608
# A day is over with its last second.
_OLDEST_REFUSAL = "SELECT (min(day) + 1)::timestamp AT TIME ZONE 'UTC' AS since FROM refusals"
_SILENT = "silent"
# By kind, when the term of its oldest row began: all in one statement.
_OLDEST: Mapping[str, str] = {
    PERSONAL_DATA: ENDED_ORDERS.select_oldest(PERSONAL_DATA),
    _SILENT: SILENT_ORDERS.select_oldest(_SILENT),
    BODIES: EXPIRED_BODIES.select_oldest(BODIES),
    TOURS: EXPIRED_TOURS.select_oldest(TOURS),
    TOUR_STOPS: EXPIRED_STOPS.select_oldest(TOUR_STOPS),
    CHANGES: _NEXT_CHANGE,
    REFUSALS: _OLDEST_REFUSAL,
    ORDERS: CLOSED_ORDERS.select_oldest(ORDERS),
    MESSAGES: UNOWNED_MESSAGES.select_oldest(MESSAGES),
    AUDIT_ENTRIES: AUDIT_ROWS.select_oldest(AUDIT_ENTRIES),
}


def find_terms(settings: Settings) -> dict[str, timedelta]:
    """Return how long each kind is kept; a kind that is kept for good is not in it."""
    inbox = timedelta(days=settings.inbox_retention_days)
    terms = {
        PERSONAL_DATA: timedelta(days=settings.personal_data_retention_days),
        BODIES: inbox,
        TOURS: inbox,
        TOUR_STOPS: inbox,
        CHANGES: inbox,
        REFUSALS: REFUSED_FOR,
    }
    if settings.order_retention_days is not None:
        kept = timedelta(days=settings.order_retention_days)
        # An archive must not outlive the personal data in it.
        terms[PERSONAL_DATA] = min(terms[PERSONAL_DATA], kept)
        terms |= {ORDERS: kept, MESSAGES: kept, AUDIT_ENTRIES: kept}
    return terms


def measure_lag(session: Session, settings: Settings, now: datetime) -> dict[str, timedelta]:
    """Return by kind how long its oldest row is past its term; zero where none is."""
    before = {kind: now - term for kind, term in find_terms(settings).items()}
    lags = dict.fromkeys(before, timedelta(0))
    before[_SILENT] = before[PERSONAL_DATA] - SILENT_FOR
    parts = [f"(SELECT '{kind}', since FROM ({_OLDEST[kind]}) AS oldest)" for kind in before]  # noqa: S608
    for kind, since in session.execute(text(" UNION ALL ".join(parts)), before):
        if since is not None:
            shown = PERSONAL_DATA if kind == _SILENT else kind
            lags[shown] = max(lags[shown], before[kind] - since)
    return lags
