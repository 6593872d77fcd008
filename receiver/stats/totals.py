"""Totals: what the workers have counted, in PostgreSQL, where it adds up over processes and hosts.

A total is written in the transaction that does what it counts; every web process shows it at
/metrics.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from receiver.db.bulk import insert_rows
from receiver.db.models import Count

# (name, account, label); the account is empty in totals of the whole service.
TotalKey = tuple[str, str, str]

PROCESSED = "processed"
BATCHES = "batches"
EVENTS = "events"
POLLS = "polls"
JOB_FAILURES = "job_failures"
PUSH_FAILURES = "push_failures"
FEED_PUSHES = "feed_pushes"
# What was lost and recovered: wake-ups for messages, next polls, leases of dead workers.
MENDED = "mended"
RINGS, NEXT_POLLS, LEASES = "rings", "next_polls", "leases"

# The results of a request to a courier's API.
ANSWERED, UNREADABLE, UNKNOWN, NONSENSE = "answered", "unreadable", "unknown", "nonsense"
BUSY, REFUSED, UNAVAILABLE = "busy", "refused", "unavailable"
POLL_RESULTS = (ANSWERED, UNREADABLE, UNKNOWN, NONSENSE, BUSY, REFUSED, UNAVAILABLE)

# The results of a request to the shop's PUSH_URL.
ACCEPTED, REJECTED, REDIRECTED = "accepted", "rejected", "redirected"
TIMED_OUT, UNREACHABLE, BROKEN = "timed_out", "unreachable", "broken"
PUSH_RESULTS = (ACCEPTED, REJECTED, REDIRECTED, TIMED_OUT, UNREACHABLE, BROKEN)

# The label of values above the last bound.
INFINITE = "+Inf"


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram, stored as two totals: the values in each bucket, and their sum.

    bounds: the upper bounds of the buckets.
    """

    name: str
    bounds: tuple[float, ...]

    @property
    def sum(self) -> str:
        return f"{self.name}_sum"

    def observe(self, counted: "Counter[TotalKey]", account: str, value: float) -> None:
        bucket = bisect_left(self.bounds, value)
        label = f"{self.bounds[bucket]:g}" if bucket < len(self.bounds) else INFINITE
        counted[self.name, account, label] += 1
        # A Counter's values are typed as integers, but may be floats.
        counted[self.sum, account, ""] += value  # type: ignore[assignment]


WAIT = Histogram("wait", (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600))
LAG = Histogram("lag", (1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400))
SIZE = Histogram("size", (1, 5, 20, 50, 100, 200, 300))


def add_totals(session: Session, counted: Mapping[TotalKey, float]) -> None:
    """Add to the totals; near the end of a transaction, because every worker locks their rows."""
    rows = [
        {"name": name, "account": account, "label": label, "value": value}
        for (name, account, label), value in sorted(counted.items())
    ]
    on_conflict = "(name, account, label) DO UPDATE SET value = known.value + excluded.value"
    insert_rows(session, Count, rows, on_conflict)


def read_totals(session: Session) -> dict[TotalKey, float]:
    """Return all totals."""
    return {(row.name, row.account, row.label): row.value for row in session.scalars(select(Count))}
