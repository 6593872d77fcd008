"""Events for the tests of the fold, and what they come to in every order of arrival."""

import itertools
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from receiver import statuses
from receiver.couriers.snapshot import Event
from receiver.orders.fold import FoldResult, fold_order
from tests.bodies import after

WORDS = {
    "N": statuses.INFO_RECEIVED,
    "E": statuses.IN_TRANSIT,
    "I": statuses.EXCEPTION,
    "D": statuses.DELIVERED,
    "X": statuses.LOST,
    "Z": statuses.CANCELLED,
    "?": statuses.UNKNOWN,
}
COARSE = frozenset({"minute_only", "zone_assumed"})


def precise(word: str, minutes: float, parcel: str = "") -> Event:
    """An event whose time the courier gives to the second."""
    at = after(minutes)
    return Event(WORDS[word], word, at, reported_at=at, parcel=parcel)


def coarse(word: str, minutes: int, parcel: str = "") -> Event:
    """An event whose time the courier gives to the minute."""
    return replace(precise(word, minutes, parcel), flags=COARSE)


def answered(word: str, minutes: int, asked: float, parcel: str = "") -> Event:
    """A state of a poll's answer: it counts at the end of its minute, or when we polled."""
    end = min(after(minutes) + timedelta(seconds=59.999999), after(asked))
    return replace(coarse(word, minutes, parcel), occurred_at=end, asked_at=after(asked))


def fold_arrival(
    events: Sequence[Event], arrival: Sequence[int]
) -> tuple[FoldResult, dict[str, str]]:
    """Fold events that arrive in another order; the result as if they had come as they stand.

    arrival: the events' places, in the order in which they arrive.
    """
    folded, parcels = fold_order([events[place] for place in arrival])
    verdicts = [folded.verdicts[arrival.index(place)] for place in range(len(events))]
    set_by = None if folded.set_by is None else arrival[folded.set_by]
    return replace(folded, verdicts=tuple(verdicts), set_by=set_by), parcels


def in_any_order(*events: Event) -> FoldResult:
    """What the events come to; asserts that it is the same in every order of arrival."""
    folded = fold_order(events)
    for arrival in itertools.permutations(range(len(events))):
        assert fold_arrival(events, arrival) == folded
    return folded[0]
