"""What a look saw, and what the courier tells with its time: one fact, if a moment apart.

An answer counts when we asked: a state that was reached while we waited for it was seen, it seems,
before it happened.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.couriers.snapshot import CLOCK_TOLERANCE, TIME_INFERRED, Event
from receiver.orders.fold import KNOWN_WITH_TIME, REPEATED_OBSERVATION, fold_events
from tests.test_minute_only import WORDS, in_any_order, precise

TOLERANCE = CLOCK_TOLERANCE.total_seconds() / 60


def seen(word: str, minutes: float, parcel: str = "", reason: str | None = None) -> Event:
    told = precise(word, minutes, parcel)
    return replace(told, reported_at=None, reason=reason, flags=frozenset({TIME_INFERRED}))


@pytest.mark.parametrize("early", [0, 0.01, 1, TOLERANCE])
def test_what_was_seen_just_before_it_is_told_is_told_once(early: float) -> None:
    folded = in_any_order(
        precise("N", 0), seen("E", 20 - early), precise("E", 20), precise("D", 30)
    )
    assert folded.verdicts[1].why_not == KNOWN_WITH_TIME
    assert [verdict.applied for verdict in folded.verdicts] == [True, False, True, True]
    assert folded.milestones["in_transit"] == precise("E", 20).occurred_at


def test_what_was_seen_after_it_was_told_is_a_repetition() -> None:
    folded = in_any_order(precise("E", 20), seen("E", 20.1))
    assert folded.verdicts[1].why_not == REPEATED_OBSERVATION


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(seen("E", 20 - TOLERANCE - 0.1), id="long before"),
        pytest.param(seen("I", 19), id="another state"),
        pytest.param(seen("E", 19, reason="at the border"), id="and more is seen than told"),
    ],
)
def test_what_else_was_seen_before_is_a_fact_of_its_own(look: Event) -> None:
    folded = in_any_order(precise("N", 0), look, precise("E", 20))
    assert [verdict.applied for verdict in folded.verdicts] == [True, True, True]


def test_what_is_seen_of_one_parcel_says_nothing_of_the_other() -> None:
    folded = in_any_order(seen("E", 19, "P1"), precise("E", 20, "P2"))
    assert [verdict.applied for verdict in folded.verdicts] == [True, True]


TOLD = st.builds(precise, st.sampled_from(sorted(WORDS)), st.integers(0, 3000))


@given(
    events=st.lists(TOLD, min_size=1, max_size=8, unique_by=lambda event: event.key),
    early=st.floats(0, TOLERANCE),
    data=st.data(),
)
def test_a_look_at_what_is_told_a_moment_later_changes_nothing(
    events: list[Event], early: float, data: st.DataObject
) -> None:
    told = data.draw(st.sampled_from(events))
    minutes = (told.occurred_at - precise("N", 0).occurred_at).total_seconds() / 60
    look = seen(told.courier_status, minutes - early)
    without, with_it = fold_events(events), fold_events([*events, look])
    assert with_it.verdicts[-1].why_not == KNOWN_WITH_TIME
    assert replace(with_it, verdicts=with_it.verdicts[:-1]) == without
