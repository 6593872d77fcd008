"""The fold: an order's state from the set of its events. Pure: no clock, no tables, no I/O.

The result depends only on the set of events, so the order of arrival, repetitions and batches
cannot matter. Events are walked in the order of the courier's clock. Each one is applied, or not
applied because of a rule; the status is that of the last applied event.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from receiver import statuses
from receiver.couriers import snapshot
from receiver.couriers.snapshot import Event
from receiver.statuses import find_status

# A courier corrects a delivery within a day, or not at all.
CORRECTION_WINDOW = timedelta(hours=24)

ZERO, ONE_MINUTE = timedelta(0), timedelta(minutes=1)

# Why an event is not applied, as the timeline shows it.
REPEATED_OBSERVATION = "the same observation as the event before"
KNOWN_TO_THE_SECOND = "another event has the same state with its time to the second"
KNOWN_WITH_TIME = "another event has the same state with the courier's own time"

# What an event does after a terminal status. An override is applied and raises a conflict, a
# correction is one within CORRECTION_WINDOW, and a contradiction only raises a conflict.
APPLIES, OVERRIDES, CORRECTS, CONTRADICTS = "applies", "overrides", "corrects", "contradicts"

OF_A_PARCEL_ON_ITS_WAY = (
    *(statuses.PICKED_UP, statuses.IN_TRANSIT, statuses.OUT_FOR_DELIVERY, statuses.DELIVERED),
    *(statuses.DELIVERY_FAILED, statuses.EXCEPTION, statuses.RETURNING, statuses.RETURNED),
)
OF_A_NEW_BOOKING = (statuses.INFO_RECEIVED, statuses.AWAITING_PICKUP)

# The fold table of deploy/docs/architecture.md: after a terminal status, the effect of each event
# that has one. After a status that is not here (`lost` included) every mapped event applies; an
# unmapped word never does.
TERMINAL_RULES: dict[str, dict[str, str]] = {
    statuses.DELIVERED: {
        statuses.RETURNING: APPLIES,
        statuses.RETURNED: APPLIES,
        statuses.EXCEPTION: CORRECTS,
        statuses.DELIVERY_FAILED: CORRECTS,
        statuses.CANCELLED: CONTRADICTS,
        statuses.LOST: CONTRADICTS,
    },
    statuses.CANCELLED: dict.fromkeys((*OF_A_PARCEL_ON_ITS_WAY, *OF_A_NEW_BOOKING), OVERRIDES),
    statuses.RETURNED: {statuses.DELIVERED: OVERRIDES},
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The fold's decision about one event; why_not is set where it is not applied."""

    applied: bool
    why_not: str | None = None
    conflict: bool = False


APPLIED = Verdict(applied=True)
APPLIED_WITH_CONFLICT = Verdict(applied=True, conflict=True)


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


def sort_position(event: Any) -> tuple[datetime, bool, int, int, str]:
    """Return the sort key that gives an event, a driver's or a stored one, its place in the walk.

    Time comes first, because rank alone breaks repeated attempts and returns. Rank is next, because
    couriers give several states the same second; then the courier's own order of words. When we
    received an event says nothing about what happened. A state that disagrees with its snapshot
    is what the courier says last, so at equal time it comes last.
    """
    return (
        event.occurred_at,
        snapshot.STATE_DISAGREES in event.flags,
        find_status(event.status).rank,
        event.step,
        event.key,
    )


def fold_order(events: Sequence[Event]) -> tuple[FoldResult, dict[str, str]]:
    """Fold an order's events; return its state and the status of each parcel that has events.

    Where the courier reports parcels one by one, the order is delivered when all parcels that are
    not cancelled are. So a `delivered` of the whole order does not apply while a parcel is still on
    its way, and the delivery of the last parcel is the delivery of the order.
    """
    parcel_indexes: dict[str, list[int]] = {}
    for index, event in enumerate(events):
        parcel_indexes.setdefault(event.parcel, []).append(index)
    order_indexes = parcel_indexes.pop("", [])
    if not parcel_indexes:
        return fold_events(events), {}

    verdicts: list[Verdict] = [APPLIED] * len(events)
    parcels: dict[str, FoldResult] = {}
    for parcel, indexes in parcel_indexes.items():
        parcels[parcel] = fold_events([events[index] for index in indexes])
        for index, verdict in zip(indexes, parcels[parcel].verdicts, strict=True):
            verdicts[index] = verdict

    last_delivery, why_not_yet = _delivery_of_parcels(events, parcel_indexes, parcels)
    if last_delivery is not None:
        order_indexes.append(last_delivery)
    if why_not_yet is not None:
        early = [i for i in order_indexes if events[i].status == statuses.DELIVERED]
        order_indexes = [index for index in order_indexes if index not in early]
        for index in early:
            verdicts[index] = Verdict(False, why_not_yet)

    order = fold_events([events[index] for index in order_indexes])
    for index, verdict in zip(order_indexes, order.verdicts, strict=True):
        if not events[index].parcel:
            verdicts[index] = verdict
    set_by = order_indexes[order.set_by] if order.set_by is not None else None
    order = replace(order, set_by=set_by, verdicts=tuple(verdicts))
    return order, {parcel: result.status for parcel, result in parcels.items()}


def _delivery_of_parcels(
    events: Sequence[Event],
    parcel_indexes: Mapping[str, Sequence[int]],
    parcels: Mapping[str, FoldResult],
) -> tuple[int | None, str | None]:
    """Return the index of the event that delivered the last parcel, or why the order is not yet
    delivered. Neither where all parcels are cancelled.
    """
    expected = [parcel for parcel in parcels if parcels[parcel].status != statuses.CANCELLED]
    delivered = [parcel for parcel in expected if parcels[parcel].status == statuses.DELIVERED]
    if len(delivered) < len(expected):
        return None, f"{len(delivered)} of {len(expected)} parcels are delivered"
    deliveries = (parcel_indexes[parcel][parcels[parcel].set_by or 0] for parcel in delivered)
    return max(deliveries, key=lambda index: sort_position(events[index]), default=None), None


def fold_events(events: Sequence[Event]) -> FoldResult:
    """Walk the events of one order, or of one parcel, and return the state they lead to."""
    status, status_at, set_by = statuses.PENDING, None, None
    exact = _group_exact_events(events)
    verdicts = [_verdict_beside(exact.get(event.courier_status, ()), event) for event in events]
    milestones: dict[str, datetime] = {}
    conflicts: list[Conflict] = []
    previous: Event | None = None

    walk = [index for index, verdict in enumerate(verdicts) if verdict is APPLIED]
    walk.sort(key=lambda index: sort_position(events[index]))
    for index in walk:
        event = events[index]
        verdict = verdicts[index] = _verdict_in_walk(event, previous, status, status_at)
        previous = event
        if verdict.conflict:
            kind = f"{event.status}_after_{status}"
            conflicts.append(Conflict(kind, event.occurred_at, event.key))
        elif find_status(event.status).terminal and (verdict.applied or event.status == status):
            conflicts = [
                conflict if conflict.settled_at else replace(conflict, settled_at=event.occurred_at)
                for conflict in conflicts
            ]
        if verdict.applied:
            status, status_at, set_by = event.status, event.occurred_at, index
            milestones.setdefault(status, event.occurred_at)

    if set_by is None and walk:
        # No word of the order is mapped: the newest unmapped one is shown.
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


def _verdict_in_walk(
    event: Event, previous: Event | None, status: str, status_at: datetime | None
) -> Verdict:
    """Decide about an event by the status that the walk has reached."""
    if event.status == statuses.UNKNOWN:
        return Verdict(False, f"the courier's word {event.courier_status!r} is not in our map")
    if previous is not None and _is_observation(event):
        observed = (event.status, event.courier_status, event.reason)
        if observed == (previous.status, previous.courier_status, previous.reason):
            return Verdict(False, REPEATED_OBSERVATION)
    rule = TERMINAL_RULES.get(status)
    if rule is None or status_at is None:
        return APPLIED
    if event.status == status:
        return Verdict(False, f"already {status}")
    effect = rule.get(event.status)
    if effect == APPLIES:
        return APPLIED
    in_time = event.occurred_at - status_at <= CORRECTION_WINDOW
    if effect == OVERRIDES or (effect == CORRECTS and in_time):
        return APPLIED_WITH_CONFLICT
    if effect == CORRECTS:
        return Verdict(False, f"{event.status} comes more than 24 hours after {status}")
    contradicts = effect == CONTRADICTS
    return Verdict(False, f"{event.status} cannot follow {status}", conflict=contradicts)


def _is_observation(event: Event) -> bool:
    return event.reported_at is None and snapshot.TIME_INFERRED in event.flags


def _group_exact_events(events: Sequence[Event]) -> dict[str, list[Event]]:
    """Group by word the events that have the courier's own time to the second."""
    exact: dict[str, list[Event]] = {}
    for event in events:
        if event.reported_at is not None and snapshot.MINUTE_ONLY not in event.flags:
            exact.setdefault(event.courier_status, []).append(event)
    return exact


def _verdict_beside(exact: Sequence[Event], event: Event) -> Verdict:
    """Decide whether one of the exact events of the same word makes this event redundant.

    An event whose time is known to the minute is redundant where an exact one is in that minute. An
    observation is redundant where an exact event has a slightly later time: a response is no older
    than our request, and the courier's clock may be wrong. Which of the two arrived first does not
    matter.
    """
    if event.reported_at is None:
        is_known = _is_observation(event) and any(_is_seen_by(event, other) for other in exact)
        return Verdict(False, KNOWN_WITH_TIME) if is_known else APPLIED
    if snapshot.MINUTE_ONLY in event.flags:
        for other in exact:
            if other.reported_at and ZERO <= other.reported_at - event.reported_at < ONE_MINUTE:
                return Verdict(False, KNOWN_TO_THE_SECOND)
    return APPLIED


def _is_seen_by(observation: Event, other: Event) -> bool:
    """Return whether an observation saw what the other event reports, and says nothing more."""
    return (
        ZERO <= other.occurred_at - observation.occurred_at <= snapshot.CLOCK_TOLERANCE
        and observation.status == other.status
        and observation.reason in {None, other.reason}
    )
