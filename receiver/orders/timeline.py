"""An order's events as they are stored: each with the message that told it first."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from receiver.couriers.snapshot import Event, Proof
from receiver.db.engine import bare
from receiver.db.models import Event as Row
from receiver.orders.fold import Verdict
from receiver.statuses import VOCABULARY
from receiver.times import rfc3339

# An event's row, to read and to compare.
StoredEvent = bare(Row.__table__.columns)

# How far what was told can be trusted: an open URL, our own asking, a signature.
TRUST = ("token", "fetched", "signed")


def strongest_trust(trusts: Iterable[str]) -> str:
    """The best that speaks for a fact."""
    return max(trusts, key=TRUST.index)


@dataclass(frozen=True, slots=True)
class TimelineEntry:
    """An event, and which message told it."""

    event: Event
    received_at: datetime
    message_id: int
    kind: str
    trust: str

    def source(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "trust": self.trust,
            "message_id": str(self.message_id),
            "received_at": rfc3339(self.received_at),
        }


def merge_entries(known: TimelineEntry | None, told: TimelineEntry) -> TimelineEntry:
    """The same event told twice: who told it first, and all that either says.

    What an unsigned hook told is confirmed once the courier, asked, tells the same.
    Whichever of the two comes first, the result is the same. Where a word was read as two statuses
    (an `accepted` without and with a pickup time) the further one counts.
    """
    if known is None:
        return told
    first = min(known, told, key=lambda entry: (entry.received_at, entry.message_id))
    if known.event == told.event:
        # Most: a snapshot tells its order's whole life again.
        trust = (
            first.trust if known.trust == told.trust else strongest_trust((known.trust, told.trust))
        )
        return first if first.trust == trust else replace(first, trust=trust)
    reasons = [entry.event.reason for entry in (known, told) if entry.event.reason]
    further = max(
        (known.event, told.event),
        key=lambda event: (VOCABULARY[event.status].rank, event.step),
    )
    event = replace(
        further,
        occurred_at=min(known.event.occurred_at, told.event.occurred_at),
        reason=max(reasons, default=None),
        flags=known.event.flags | told.event.flags,
        proofs=known.event.proofs | told.event.proofs,
    )
    return replace(first, event=event, trust=strongest_trust((known.trust, told.trust)))


def entry_from_row(row: Row) -> TimelineEntry:
    """The entry that a row holds."""
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
    """The values of an entry's row."""
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
        "proofs": [asdict(proof) for proof in sorted(event.proofs)] if event.proofs else [],
        "message_id": entry.message_id,
        "kind": entry.kind,
        "trust": entry.trust,
        "applied": verdict.applied,
        "not_applied_why": verdict.why_not,
    }
