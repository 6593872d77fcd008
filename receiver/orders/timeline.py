"""An order's timeline: its stored events, each with the message that reported it first."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from receiver.couriers.snapshot import MINUTE_ONLY, Event, Proof, Snapshot
from receiver.db.bulk import row_class
from receiver.db.models import Event as EventRow
from receiver.orders.fold import Verdict
from receiver.statuses import find_status
from receiver.times import rfc3339, sortable_time

# A row of `events`, to read and to compare.
StoredEvent = row_class(EventRow.__table__.columns)

# How many proofs are kept of an event: the first in their order, whatever came first.
MOST_PROOFS = 20
# Where the reason of an event comes from: its snapshot's recency (as sortable_time() has it), how
# many times that has, for the newer one counts; and its message.
ReasonSource = tuple[str, int, int]

# What is stored of an event and not shown.
INTERNAL = ("asked_at", "reason_source")

# How far a message can be trusted, the least first: an open URL, our own request, a signature.
TRUST = ("token", "fetched", "signed")


def strongest_trust(trusts: Iterable[str]) -> str:
    """Return the best of the trusts of messages that report one fact."""
    return max(trusts, key=TRUST.index)


# Not frozen for the reason that Event gives; never changed either.
@dataclass(slots=True)
class TimelineEntry:
    """An event with the message that reported it first; trust is the best of all that did."""

    event: Event
    received_at: datetime
    message_id: int
    kind: str
    trust: str
    reason_source: ReasonSource | None = None

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
    without and with a pickup time) the further status counts; of two reasons that of the newer
    snapshot; of a second's fractions the first.
    """
    if one is None:
        return other
    first = min(one, other, key=lambda entry: (entry.received_at, entry.message_id))
    trust = strongest_trust((one.trust, other.trust)) if one.trust != other.trust else first.trust
    if one.event == other.event:
        # The usual case: a snapshot repeats its order's whole life.
        source = first.reason_source
        if one.reason_source != other.reason_source:
            source = _newest_reason(one, other).reason_source
        is_same = (trust, source) == (first.trust, first.reason_source)
        return first if is_same else replace(first, trust=trust, reason_source=source)
    events = (one.event, other.event)
    further = max(events, key=lambda event: (find_status(event.status).rank, event.step))
    reason_giver = _newest_reason(one, other)
    latest = max if MINUTE_ONLY in further.flags else min
    event = replace(
        further,
        occurred_at=latest(event.occurred_at for event in events),
        reported_at=min((event.reported_at for event in events if event.reported_at), default=None),
        reason=reason_giver.event.reason,
        flags=one.event.flags | other.event.flags,
        proofs=one.event.proofs | other.event.proofs,
        asked_at=max((event.asked_at for event in events if event.asked_at), default=None),
    )
    return replace(first, event=event, trust=trust, reason_source=reason_giver.reason_source)


def _newest_reason(one: TimelineEntry, other: TimelineEntry) -> TimelineEntry:
    """Return the entry whose reason counts; with equal recency and times the first text does."""
    if not (one.event.reason and other.event.reason):
        return one if one.event.reason else other
    newest = [(entry.reason_source or ("", 0))[:2] for entry in (one, other)]
    if newest[0] != newest[1]:
        return one if newest[0] > newest[1] else other
    return min(one, other, key=lambda entry: (entry.event.reason, entry.reason_source or ()))


def make_entry(message: Any, snapshot: Snapshot, event: Event) -> TimelineEntry:
    """Return the entry of an event in a message's snapshot."""
    source = None
    if event.reason:
        source = (sortable_time(snapshot.recency), snapshot.time_count, message.id)
    origin = (message.received_at, message.id, message.kind, message.trust)
    return TimelineEntry(event, *origin, source)


def entries_from_rows(rows: Iterable[EventRow]) -> dict[str, TimelineEntry]:
    """Return the entries of rows of `events` by the events' keys.

    A row that an older version stored may have another key; two of them may be one event now.
    """
    entries: dict[str, TimelineEntry] = {}
    for row in rows:
        entry = entry_from_row(row)
        entries[entry.event.key] = merge_entries(entries.get(entry.event.key), entry)
    return entries


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
        asked_at=row.asked_at,
    )
    source = tuple(row.reason_source) if row.reason_source else None
    return TimelineEntry(event, row.received_at, row.message_id, row.kind, row.trust, source)


def shown_at(row: Any) -> datetime:
    """Return when the event of a row of `events` is shown to have happened."""
    occurred_at: datetime = row.occurred_at
    return min(row.told_at, occurred_at) if MINUTE_ONLY in row.flags else occurred_at


def is_shown_change(stored: EventRow | None, values: Mapping[str, Any]) -> bool:
    """Return whether the values of a row differ from the stored ones in what is shown."""
    if stored is None:
        return True
    return any(getattr(stored, name) != values[name] for name in values if name not in INTERNAL)


def event_values(order_id: int, entry: TimelineEntry, verdict: Verdict) -> dict[str, Any]:
    """Return the values of an entry's row of `events`, in the order of its columns."""
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
        "asked_at": event.asked_at,
        "reason_source": list(entry.reason_source) if entry.reason_source else None,
        "applied": verdict.applied,
        "not_applied_why": verdict.why_not,
    }
