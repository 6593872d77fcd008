"""The rules of the fold: what an event does after a status, and which events say nothing new."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from receiver import statuses
from receiver.couriers import snapshot
from receiver.couriers.snapshot import Event
from receiver.statuses import find_status

# A courier corrects a delivery within a day, or not at all.
CORRECTION_WINDOW = timedelta(hours=24)

ZERO, ONE_MINUTE = timedelta(0), timedelta(minutes=1)
PICKUP_RANK = find_status(statuses.AWAITING_PICKUP).rank

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


def judge_event(
    event: Event,
    previous: Event | None,
    setter: Event | None,
    status: str,
    counts_at: datetime | None,
    rank_before: int,
) -> Verdict:
    """Decide about an event by the status that the walk has reached.

    previous     the event before it in the walk
    setter       the event that set the status
    counts_at    since when the status counts, None where no event has set it
    rank_before  the rank of the last status that needed no attention
    """
    if event.status == statuses.UNKNOWN:
        return Verdict(False, f"the courier's word {event.courier_status!r} is not in our map")
    if event.reported_at is None:
        if previous is not None and _observes_the_same(event, previous):
            return Verdict(False, REPEATED_OBSERVATION)
        if _moves_back(event, setter, status, rank_before):
            verdict = _judge_after_end(event, status, counts_at)
            return (
                Verdict(False, f"an observation takes no order back from {status}")
                if (verdict.applied)
                else verdict
            )
    return _judge_after_end(event, status, counts_at)


def _observes_the_same(event: Event, previous: Event) -> bool:
    observed = (event.status, event.courier_status, event.reason)
    return observed == (previous.status, previous.courier_status, previous.reason)


def _moves_back(observation: Event, setter: Event | None, status: str, rank_before: int) -> bool:
    """Return whether an observation leads to a lower rank than it may, or to an earlier word.

    The courier's answer about the order itself may. Any other ends a status that needs attention,
    but a shipment's, which may be old news, leads to no less than was reached before it.
    """
    if snapshot.ANSWERED in observation.flags:
        return False
    current = find_status(status)
    lowest = current.rank
    if current.attention:
        is_of_shipment = snapshot.OF_SHIPMENT in observation.flags
        lowest = max(rank_before, PICKUP_RANK) if is_of_shipment else 0
    is_earlier_word = setter is not None and observation.step < setter.step
    rank = find_status(observation.status).rank
    return rank < lowest or (observation.status == status and is_earlier_word)


def _judge_after_end(event: Event, status: str, counts_at: datetime | None) -> Verdict:
    rule = TERMINAL_RULES.get(status)
    if rule is None or counts_at is None:
        return APPLIED
    if event.status == status:
        return Verdict(False, f"already {status}")
    effect = rule.get(event.status)
    if effect == APPLIES:
        return APPLIED
    in_time = event.occurred_at - counts_at <= CORRECTION_WINDOW
    if effect == OVERRIDES or (effect == CORRECTS and in_time):
        return APPLIED_WITH_CONFLICT
    if effect == CORRECTS:
        return Verdict(False, f"{event.status} comes more than 24 hours after {status}")
    contradicts = effect == CONTRADICTS
    return Verdict(False, f"{event.status} cannot follow {status}", conflict=contradicts)


def judge_beside(events: Sequence[Event]) -> list[Verdict]:
    """Decide which events are redundant beside the others, wherever the walk has come to."""
    if not any(event.flags for event in events):
        return [APPLIED] * len(events)
    exact = _group_exact_events(events)
    return [_verdict_beside(exact.get(event.courier_status, ()), event) for event in events]


def _group_exact_events(events: Sequence[Event]) -> Mapping[str, list[Event]]:
    """Group by word the events that have the courier's own time to the second."""
    exact: dict[str, list[Event]] = {}
    for event in events:
        if _is_exact(event):
            exact.setdefault(event.courier_status, []).append(event)
    return exact


def _is_exact(event: Event) -> bool:
    inexact = (snapshot.MINUTE_ONLY, snapshot.STATE_DISAGREES)
    return event.reported_at is not None and event.flags.isdisjoint(inexact)


def _verdict_beside(exact: Sequence[Event], event: Event) -> Verdict:
    """Decide whether one of the exact events of the same word makes this event redundant.

    An observation is redundant where an exact event has a slightly later time: a response is no
    older than our request, and the courier's clock may be wrong. So is a state that disagreed with
    its snapshot, once the courier gives it a later time of its own. Which of the two arrived first
    does not matter.
    """
    disagrees = snapshot.STATE_DISAGREES in event.flags
    if not exact or (event.reported_at is not None and not disagrees):
        return APPLIED
    for other in exact:
        later = other.occurred_at - event.occurred_at
        says_no_more = event.status == other.status and event.reason in {None, other.reason}
        if says_no_more and ZERO <= later <= snapshot.CLOCK_TOLERANCE and (later or not disagrees):
            return Verdict(False, KNOWN_WITH_TIME)
    return APPLIED


def is_known_to_the_second(event: Event, before: Iterable[Event], later: Iterable[Event]) -> bool:
    """Return whether an exact event makes one whose time is known to the minute redundant.

    before, later: the other events of the walk, those before it from the nearest on. An exact event
    of the same word and minute does, unless another state comes between it and the end of the
    minute: the courier's answer says that the order had this state then.
    """
    if any(_has_same_minute(other, event) for other in later):
        return True
    for other in before:
        if _has_same_minute(other, event):
            return True
        if other.courier_status != event.courier_status and other.status != statuses.UNKNOWN:
            return False
    return False


def _has_same_minute(exact: Event, event: Event) -> bool:
    if exact.courier_status != event.courier_status or not _is_exact(exact):
        return False
    if exact.reported_at is None or event.reported_at is None:
        return False
    return ZERO <= exact.reported_at - event.reported_at < ONE_MINUTE
