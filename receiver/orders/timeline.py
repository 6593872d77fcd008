"""An order's timeline: its stored events, each with the message that reported it first."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from receiver.couriers.snapshot import Event, Proof
from receiver.db.bulk import row_class
from receiver.db.models import Event as EventRow
from receiver.orders.fold import Verdict
from receiver.statuses import find_status
from receiver.times import rfc3339

# A row of `events`, to read and to compare.
StoredEvent = row_class(EventRow.__table__.columns)

# How many proofs are kept of an event: the first in their order, whatever came first.
MOST_PROOFS = 20

# How far a message can be trusted, the least first: an open URL, our own request, a signature.
TRUST = ("token", "fetched", "signed")


def strongest_trust(trusts: Iterable[str]) -> str:
    """Return the best of the trusts of messages that report one fact."""
    return max(trusts, key=TRUST.index)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """An event with the message that reported it first; trust is the best of all that did."""

    event: Event
    received_at: datetime
    message_id: int
    kind: str
    trust: str

    def source(self) -> dict[str, Any]:
        """Return the `source` of an order whose status this event set."""
        return {
            "kind": self.kind,
            "trust": self.trust,
            "message_id": str(self.message_id),
            "received_at": rfc3339(self.received_at),
        }


def merge_entries(one: TimelineEntry | None, other: TimelineEntry) -> TimelineEntry:
    """Merge two reports of one event: the message of the earlier one, with all that either says.

    The result does not depend on their order. Where a word was read as two statuses (an `accepted`
    without and with a pickup time) the further status counts.
    """
    if one is None:
        return other
    first = min(one, other, key=lambda entry: (entry.received_at, entry.message_id))
    trust = strongest_trust((one.trust, other.trust)) if one.trust != other.trust else first.trust
    if one.event == other.event:
        # The usual case: a snapshot repeats its order's whole life.
        return first if first.trust == trust else replace(first, trust=trust)
    reasons = [entry.event.reason for entry in (one, other) if entry.event.reason]
    further = max(
        (one.event, other.event), key=lambda event: (find_status(event.status).rank, event.step)
    )
    event = replace(
        further,
        occurred_at=min(one.event.occurred_at, other.event.occurred_at),
        reason=max(reasons, default=None),
        flags=one.event.flags | other.event.flags,
        proofs=one.event.proofs | other.event.proofs,
    )
    return replace(first, event=event, trust=trust)


def entry_from_row(row: EventRow) -> TimelineEntry:
    """Return the entry of a row of `events`."""
    event = Event(
        status=row.status,
        courier_status=row.courier_status,
        occurred_at=row.occurred_at,
        reported_at=row.told_at,
        step=row.step,
        reason=row.reason,
        parcel=row.parcel,
        flags=frozenset(row.flags),
        proofs=frozenset(Proof(**proof) for proof in row.proofs) if row.proofs else frozenset(),
    )
    return TimelineEntry(event, row.received_at, row.message_id, row.kind, row.trust)


def event_values(order_id: int, entry: TimelineEntry, verdict: Verdict) -> dict[str, Any]:
    """Return the values of an entry's row of `events`."""
    event = entry.event
    return {
        "order_id": order_id,
        "key": event.key,
        "occurred_at": event.occurred_at,
        "told_at": event.reported_at,
        "received_at": entry.received_at,
        "status": event.status,
        "courier_status": event.courier_status,
        "step": event.step,
        "reason": event.reason,
        "parcel": event.parcel,
        "flags": sorted(event.flags),
        "proofs": [asdict(proof) for proof in sorted(event.proofs)[:MOST_PROOFS]],
        "message_id": entry.message_id,
        "kind": entry.kind,
        "trust": entry.trust,
        "applied": verdict.applied,
        "not_applied_why": verdict.why_not,
    }
