"""The tables. Times are timestamptz: an aware UTC datetime goes in and comes out.

messages        every body that was answered 200, unchanged: the source of truth
orders          the current state of each order: derived, can be rebuilt
identifiers     further names of orders: derived
events          the timelines of orders: derived
changes         which order changed and how, numbered without gaps, for readers of the change feed
polls           when each order's courier is polled next, and the results so far
accounts        each account's counters, and whether its courier may be polled now
tours           each tour's newest plan
tour_stops      the ETA of each order in each plan
tallies         each account's traffic and delays, in steps of five minutes
counts          the workers' counters for /metrics, by name, account and label
refusals        refused requests, by account, day, reason and likely cause
secret_uses     how often and when each secret of an account was used
unmapped_words  couriers' words that we map to no status
heartbeats      when each recurring task was last done
notices         alerts from their opening to their closing
pushes          notifications about notices, and whether they were sent
"""

from receiver.db.models.accounts import AccountState, Refusal, SecretUse
from receiver.db.models.alerts import Notice, Push
from receiver.db.models.base import Base
from receiver.db.models.changes import Change
from receiver.db.models.inbox import (
    APPLIED,
    DISCARDED,
    OUTCOMES,
    PARKED,
    PENDING,
    QUARANTINED,
    Message,
)
from receiver.db.models.orders import (
    ENDED_SINCE_SQL,
    TERMINAL_SQL,
    Event,
    Identifier,
    Order,
    account_and_status,
    eta_end,
    in_status_since,
    is_open,
)
from receiver.db.models.polling import Poll
from receiver.db.models.stats import Count, Heartbeat, Tally, UnmappedWord
from receiver.db.models.tours import Tour, TourStop

__all__ = [
    "APPLIED",
    "DISCARDED",
    "ENDED_SINCE_SQL",
    "OUTCOMES",
    "PARKED",
    "PENDING",
    "QUARANTINED",
    "TERMINAL_SQL",
    "AccountState",
    "Base",
    "Change",
    "Count",
    "Event",
    "Heartbeat",
    "Identifier",
    "Message",
    "Notice",
    "Order",
    "Poll",
    "Push",
    "Refusal",
    "SecretUse",
    "Tally",
    "Tour",
    "TourStop",
    "UnmappedWord",
    "account_and_status",
    "eta_end",
    "in_status_since",
    "is_open",
]
