"""The tables. Times are timestamptz: an aware UTC datetime goes in and comes out.

messages is the source of truth: orders, identifiers and events are derived and can be rebuilt.
"""

from receiver.db.models.accounts import (
    AccountState,
    Count,
    EndedSession,
    Heartbeat,
    LeftOutField,
    Notice,
    Poll,
    Push,
    Refusal,
    SecretUse,
    Tally,
    UnmappedWord,
)
from receiver.db.models.audit import AuditEntry
from receiver.db.models.inbox import (
    APPLIED,
    DISCARDED,
    OUTCOMES,
    PARKED,
    PENDING,
    QUARANTINED,
    UNOWNED_SQL,
    Base,
    Message,
)
from receiver.db.models.orders import (
    CLOSED_SINCE_SQL,
    CLOSED_SQL,
    ENDED_SINCE_SQL,
    NAME,
    REFERENCE,
    SAMPLE_SPELLING,
    TERMINAL_SQL,
    TOUR,
    UNWATCHED_SQL,
    Change,
    Cursor,
    Event,
    FeedPush,
    Identifier,
    Order,
    OrderLabel,
    Tour,
    TourStop,
    account_and_status,
    eta_end,
    in_status_since,
    is_open,
    is_watched,
    spelling,
)
from receiver.db.models.performance import DailyPerformance, OrderPerformance
