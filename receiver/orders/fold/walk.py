"""Walks the events of one order, or of one parcel, in the order of the courier's clock."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from receiver import statuses
from receiver.couriers.snapshot import MINUTE_ONLY, STATE_DISAGREES, Event
from receiver.orders.fold.rules import (
    APPLIED,
    CORRECTS,
    KNOWN_TO_THE_SECOND,
    TERMINAL_RULES,
    Verdict,
    is_known_to_the_second,
    judge_beside,
    judge_event,
)
from receiver.statuses import find_status

Position = tuple[datetime, bool, int, int, str]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two events that contradict each other: kind is `<new>_after_<old>`, event_key the new one's.

    It is open until a person closes it, or until settled_at, when a later event brought the order
    to an end that nothing contradicts.
    """

    kind: str
    occurred_at: datetime
    event_key: str
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class FoldResult:
    """The state that events lead to.

    set_by      index of the event that set the status, None where there is no event
    milestones  when each status was first reached
    verdicts    one for each event, in the order of the input
    """

    status: str
    courier_status: str | None
    status_at: datetime | None
    reason: str | None
    set_by: int | None
    milestones: dict[str, datetime]
    conflicts: tuple[Conflict, ...]
    verdicts: tuple[Verdict, ...]


def sort_position(event: Any) -> Position:
    """Return the sort key that gives an event, a driver's or a stored one, its place in the walk.

    Time comes first, because rank alone breaks repeated attempts and returns. A state that
    disagrees with its snapshot is what the courier says last, so at equal time it comes last. Rank
    is next, because couriers give several states the same second; then the courier's own order of
    words. When we received an event says nothing about what happened.
    """
    return (
        event.occurred_at,
        STATE_DISAGREES in event.flags,
        find_status(event.status).rank,
        event.step,
        event.key,
    )


def fold_events(events: Sequence[Event], parcel: str = "") -> FoldResult:
    """Walk the events of one order, or of one parcel, and return the state they lead to.

    parcel: whose events they are. Events of the whole order beside them count for the parcel too,
    where they are newer than its own, and until its own events bring it to an end.
    """
    walk = _Walk(events, parcel, judge_beside(events))
    for place in range(len(walk.places)):
        walk.visit(place)
    set_by, status, status_at = walk.set_by, walk.status, walk.status_at
    if set_by is None and walk.previous is not None:
        # No word of the order is mapped: the newest unmapped one is shown.
        set_by, status = walk.previous, statuses.UNKNOWN
        status_at = events[set_by].shown_at
    setter = events[set_by] if set_by is not None else None
    return FoldResult(
        status=status,
        courier_status=setter.courier_status if setter else None,
        status_at=status_at,
        reason=setter.reason if setter else None,
        set_by=set_by,
        milestones=walk.milestones,
        conflicts=tuple(walk.conflicts),
        verdicts=tuple(walk.verdicts),
    )


@dataclass(slots=True)
class _Walk:
    """Where a walk has come to.

    status_at    since when the status is shown; counts_at, since when it counts
    rank_before  the rank of the last status that needed no attention
    previous     index of the last event that was visited
    places       the events in the order of the walk: (position, index, whether it is restated)
    own_times    the times for which the courier reported the parcel's own state
    """

    events: Sequence[Event]
    parcel: str
    verdicts: list[Verdict]
    status: str = statuses.PENDING
    status_at: datetime | None = None
    counts_at: datetime | None = None
    set_by: int | None = None
    rank_before: int = 0
    previous: int | None = None
    milestones: dict[str, datetime] = field(default_factory=dict)
    conflicts: list[Conflict] = field(default_factory=list)
    places: list[tuple[Position, int, bool]] = field(init=False)
    own_times: set[datetime] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.places = []
        for index, event in enumerate(self.events):
            if self.verdicts[index] is not APPLIED:
                continue
            position = sort_position(event)
            self.places.append((position, index, False))
            # When the courier gives a `delivered` again because we ask, an exception that a webhook
            # reported in between is over.
            if event.asked_at is not None and event.status == statuses.DELIVERED:
                restated_at = max(event.asked_at, event.occurred_at)
                self.places.append(((restated_at, *position[1:]), index, True))
            if (
                self.parcel
                and event.parcel
                and event.reported_at
                and event.status != statuses.UNKNOWN
            ):
                self.own_times.add(event.occurred_at)
        self.places.sort()

    def visit(self, place: int) -> None:
        _, index, is_restated = self.places[place]
        event = self.events[index]
        if self.parcel and not event.parcel and self._parcel_knows_better(event):
            return
        if is_restated:
            if TERMINAL_RULES[event.status].get(self.status) == CORRECTS:
                self._take(event, index, APPLIED)
            return
        if MINUTE_ONLY in event.flags and self._is_known_to_the_second(event, place):
            self.verdicts[index] = Verdict(False, KNOWN_TO_THE_SECOND)
            return
        previous = None if self.previous is None else self.events[self.previous]
        setter = None if self.set_by is None else self.events[self.set_by]
        verdict = judge_event(
            event, previous, setter, self.status, self.counts_at, self.rank_before
        )
        self._take(event, index, verdict)

    def _take(self, event: Event, index: int, verdict: Verdict) -> None:
        self.verdicts[index], self.previous = verdict, index
        status = find_status(event.status)
        shown_at = event.shown_at
        if verdict.conflict:
            kind = f"{event.status}_after_{self.status}"
            self.conflicts.append(Conflict(kind, shown_at, event.key))
        elif self.conflicts and status.terminal and (verdict.applied or status.name == self.status):
            self.conflicts = [
                conflict
                if conflict.settled_at
                else replace(conflict, settled_at=max(shown_at, conflict.occurred_at))
                for conflict in self.conflicts
            ]
        if verdict.applied:
            self.status, self.status_at, self.set_by = event.status, shown_at, index
            self.counts_at = event.occurred_at
            self.milestones.setdefault(event.status, shown_at)
            if not (status.attention or status.terminal):
                self.rank_before = status.rank

    def _parcel_knows_better(self, event: Event) -> bool:
        """Return whether the parcel's own events say more than an event of the whole order."""
        if event.occurred_at in self.own_times:
            return True
        has_ended = self.set_by is not None and find_status(self.status).terminal
        return has_ended and bool(self.events[self.set_by or 0].parcel)

    def _is_known_to_the_second(self, event: Event, place: int) -> bool:
        before, later = reversed(self.places[:place]), self.places[place + 1 :]
        return is_known_to_the_second(
            event,
            (self.events[index] for _, index, _ in before),
            (self.events[index] for _, index, _ in later),
        )
