"""Fold an order's events to what we know of it now. Pure: no clock, no tables, no I/O.

The result depends only on the set of events, so the order of arrival, repetitions and batches
cannot matter. Events are walked by the courier's clock, and each either applies or says why not.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

from receiver import statuses
from receiver.couriers.snapshot import (
    CLOCK_TOLERANCE,
    MINUTE_ONLY,
    STATE_DISAGREES,
    TIME_INFERRED,
    Event,
)
from receiver.statuses import VOCABULARY

# A courier takes back a delivery within a day, or not at all.
CORRECTION_WINDOW = timedelta(hours=24)

NO_TIME, A_MINUTE = timedelta(0), timedelta(minutes=1)

REPEATED_OBSERVATION = "the same observation as the event before"
KNOWN_TO_THE_SECOND = "the same is told to the second"
KNOWN_WITH_TIME = "the same is told with its own time"

PHYSICAL_EVIDENCE = frozenset(
    {
        statuses.PICKED_UP,
        statuses.IN_TRANSIT,
        statuses.OUT_FOR_DELIVERY,
        statuses.DELIVERY_FAILED,
        statuses.EXCEPTION,
        statuses.RETURNING,
        statuses.RETURNED,
        statuses.DELIVERED,
    }
)
REBOOKING = frozenset({statuses.INFO_RECEIVED, statuses.AWAITING_PICKUP})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one event: applied, or the reason why not."""

    applied: bool
    why_not: str | None = None
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two facts that do not go together. kind is `<new>_after_<old>`; event_key is the new one's.

    It is open until a person closes it, or until settled_at: when a later fact brought the order
    to an end that nothing contradicts.
    """

    kind: str
    occurred_at: datetime
    event_key: str
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FoldResult:
    """An order's state, and how each event fared (verdicts stand in the order of the input).

    set_by is the index of the event that set the status, None where there is no event.
    milestones: when each status was first reached.
    """

    status: str
    courier_status: str | None
    status_at: datetime | None
    reason: str | None
    set_by: int | None
    milestones: dict[str, datetime]
    conflicts: tuple[Conflict, ...]
    verdicts: tuple[Verdict, ...]


APPLIED = Verdict(applied=True)
TO_THE_MINUTE = Verdict(False, KNOWN_TO_THE_SECOND)
SEEN = Verdict(False, KNOWN_WITH_TIME)
IN_CONFLICT = Verdict(applied=True, conflict=True)


def after_delivered(event: Event, since: datetime) -> Verdict:
    if event.status in {statuses.RETURNING, statuses.RETURNED}:
        return APPLIED
    if event.status in {statuses.EXCEPTION, statuses.DELIVERY_FAILED}:
        if event.occurred_at - since <= CORRECTION_WINDOW:
            return IN_CONFLICT
        return Verdict(False, f"{event.status} comes more than 24 hours after delivered")
    contradicts = event.status in {statuses.CANCELLED, statuses.LOST}
    return Verdict(False, f"{event.status} cannot follow delivered", conflict=contradicts)


def after_cancelled(event: Event, since: datetime) -> Verdict:
    if event.status in PHYSICAL_EVIDENCE | REBOOKING:
        return IN_CONFLICT
    return Verdict(False, f"{event.status} cannot follow cancelled")


def after_returned(event: Event, since: datetime) -> Verdict:
    if event.status == statuses.DELIVERED:
        return IN_CONFLICT
    return Verdict(False, f"{event.status} cannot follow returned")


# What may follow a terminal status; anything mapped may follow the others.
AFTER_TERMINAL: dict[str, Callable[[Event, datetime], Verdict]] = {
    statuses.DELIVERED: after_delivered,
    statuses.CANCELLED: after_cancelled,
    statuses.RETURNED: after_returned,
}


class Positioned(Protocol):
    """What places an event in the walk: a driver's Event and a stored one both have it."""

    @property
    def occurred_at(self) -> datetime: ...
    @property
    def status(self) -> str: ...
    @property
    def step(self) -> int: ...
    @property
    def flags(self) -> Container[str]: ...
    @property
    def key(self) -> str: ...


def sort_position(event: Positioned) -> tuple[datetime, bool, int, int, str]:
    """Where an event stands in the walk.

    Time first, since rank alone breaks re-attempts and returns; rank next, since couriers stamp
    several states in one second; then the courier's own order of words. When we received it says
    nothing about what happened, so it takes no part. A state that its snapshot contradicts was
    told last, so at equal time it stands last.
    """
    return (
        event.occurred_at,
        STATE_DISAGREES in event.flags,
        VOCABULARY[event.status].rank,
        event.step,
        event.key,
    )


def fold_events(events: Sequence[Event]) -> FoldResult:
    """Walk the events of one order (or of one parcel) and return the state they lead to."""
    status, status_at, set_by = statuses.PENDING, None, None
    verdicts = _told_better(events)
    milestones: dict[str, datetime] = {}
    conflicts: list[Conflict] = []
    before: Event | None = None

    walk = sorted(
        (index for index, verdict in enumerate(verdicts) if verdict is APPLIED),
        key=lambda index: sort_position(events[index]),
    )
    for index in walk:
        event = events[index]
        verdict = _verdict(event, before, status, status_at)
        before = event
        verdicts[index] = verdict
        if verdict.conflict:
            kind = f"{event.status}_after_{status}"
            conflicts.append(Conflict(kind, event.occurred_at, event.key))
        elif VOCABULARY[event.status].terminal and (verdict.applied or event.status == status):
            conflicts = [_settled(conflict, event.occurred_at) for conflict in conflicts]
        if verdict.applied:
            status, status_at, set_by = event.status, event.occurred_at, index
            milestones.setdefault(status, event.occurred_at)

    if set_by is None and walk:
        # Nothing that we have a word for: show the newest of what we do not understand.
        set_by = walk[-1]
        status, status_at = statuses.UNKNOWN, events[set_by].occurred_at
    setter = events[set_by] if set_by is not None else None
    return FoldResult(
        status=status,
        courier_status=setter.courier_status if setter else None,
        status_at=status_at,
        reason=setter.reason if setter else None,
        set_by=set_by,
        milestones=milestones,
        conflicts=tuple(conflicts),
        verdicts=tuple(verdicts),
    )


def _told_better(events: Sequence[Event]) -> list[Verdict]:
    """What speaks against each event because another one tells the same better; APPLIED elsewhere.

    Told better is what is told to the minute only, and to the second by the other one. And what was
    seen by a look, and is told by the other one with a time that is a little later: we know of an
    answer only that it is no older than our question, and of a courier's clock that it may be
    wrong. Which of the two came first says nothing.
    """
    if all(event.reported_at is not None and MINUTE_ONLY not in event.flags for event in events):
        return [APPLIED] * len(events)
    told_at: dict[str, list[Event]] = {}
    for event in events:
        if event.reported_at is not None and MINUTE_ONLY not in event.flags:
            told_at.setdefault(event.courier_status, []).append(event)

    def verdict(event: Event) -> Verdict:
        others = told_at.get(event.courier_status, ())
        if event.reported_at is None:
            seen = TIME_INFERRED in event.flags and any(_sees(event, other) for other in others)
            return SEEN if seen else APPLIED
        if MINUTE_ONLY not in event.flags:
            return APPLIED
        minutes = ((other.reported_at or event.reported_at) - event.reported_at for other in others)
        return TO_THE_MINUTE if any(NO_TIME <= it < A_MINUTE for it in minutes) else APPLIED

    return [verdict(event) for event in events]


def _sees(look: Event, told: Event) -> bool:
    """Whether a look saw what is told of a moment later, and says nothing beyond it."""
    return (
        NO_TIME <= told.occurred_at - look.occurred_at <= CLOCK_TOLERANCE
        and look.status == told.status
        and look.reason in {None, told.reason}
    )


def _settled(conflict: Conflict, at: datetime) -> Conflict:
    return conflict if conflict.settled_at else replace(conflict, settled_at=at)


def fold_order(events: Sequence[Event]) -> tuple[FoldResult, dict[str, str]]:
    """Fold an order that may tell of its parcels one by one: its state, and each parcel's status.

    Where the courier tells per parcel, the order is delivered when all its parcels that were not
    cancelled are. So a delivered told of the whole order does not apply while a parcel is on its
    way, and the delivery of the last parcel is the delivery of the order.
    """
    of_parcel: dict[str, list[int]] = {}
    whole: list[int] = []
    for index, event in enumerate(events):
        (of_parcel.setdefault(event.parcel, []) if event.parcel else whole).append(index)
    if not of_parcel:
        return fold_events(events), {}

    verdicts: list[Verdict] = [APPLIED] * len(events)
    parcels: dict[str, FoldResult] = {}
    for parcel, indexes in of_parcel.items():
        parcels[parcel] = fold_events([events[index] for index in indexes])
        for index, verdict in zip(indexes, parcels[parcel].verdicts, strict=True):
            verdicts[index] = verdict

    awaited = {
        parcel: folded for parcel, folded in parcels.items() if folded.status != statuses.CANCELLED
    }
    delivered = [parcel for parcel in awaited if awaited[parcel].status == statuses.DELIVERED]
    if awaited and len(delivered) == len(awaited):
        last = max(delivered, key=lambda parcel: _end(events, of_parcel[parcel], parcels[parcel]))
        whole.append(of_parcel[last][parcels[last].set_by or 0])
    elif awaited:
        early = [index for index in whole if events[index].status == statuses.DELIVERED]
        whole = [index for index in whole if index not in early]
        why = f"{len(delivered)} of {len(awaited)} parcels are delivered"
        for index in early:
            verdicts[index] = Verdict(False, why)

    folded = fold_events([events[index] for index in whole])
    for index, verdict in zip(whole, folded.verdicts, strict=True):
        if not events[index].parcel:
            verdicts[index] = verdict
    set_by = whole[folded.set_by] if folded.set_by is not None else None
    told = {parcel: folded.status for parcel, folded in parcels.items()}
    return replace(folded, set_by=set_by, verdicts=tuple(verdicts)), told


def _end(
    events: Sequence[Event], indexes: Sequence[int], folded: FoldResult
) -> tuple[datetime, bool, int, int, str]:
    """Where the event that set a parcel's status stands in the walk."""
    return sort_position(events[indexes[folded.set_by or 0]])


def _verdict(event: Event, before: Event | None, status: str, since: datetime | None) -> Verdict:
    if event.status == statuses.UNKNOWN:
        return Verdict(False, f"the courier's word {event.courier_status!r} is not in our map")
    if before is not None and _repeats(event, before):
        return Verdict(False, REPEATED_OBSERVATION)
    rule = AFTER_TERMINAL.get(status)
    if rule is None or since is None:
        return APPLIED
    if event.status == status:
        return Verdict(False, f"already {status}")
    return rule(event, since)


def _repeats(event: Event, before: Event) -> bool:
    """A look that sees what stood there already: what was seen, not what happened."""
    return (
        TIME_INFERRED in event.flags
        and event.reported_at is None
        and (event.status, event.courier_status) == (before.status, before.courier_status)
        and event.reason == before.reason
    )
