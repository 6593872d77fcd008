"""What a look saw, and what the courier tells with its time: one fact, if a moment apart.

An answer counts when we asked: a state that was reached while we waited for it was seen, it seems,
before it happened.
"""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from receiver.couriers.snapshot import (
    ANSWERED,
    CLOCK_TOLERANCE,
    OF_SHIPMENT,
    STATE_DISAGREES,
    TIME_INFERRED,
    Event,
)
from receiver.orders.fold import KNOWN_WITH_TIME, REPEATED_OBSERVATION, fold_events
from tests.folding import WORDS, in_any_order, precise

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


def of_shipment(word: str, minutes: float) -> Event:
    look = seen(word, minutes)
    return replace(look, flags=look.flags | {OF_SHIPMENT})


def answered(word: str, minutes: float) -> Event:
    look = seen(word, minutes)
    return replace(look, flags=look.flags | {ANSWERED})


def test_a_delivery_that_was_corrected_does_not_hold_a_shipment_at_its_rank() -> None:
    corrected = [precise("E", 0), precise("D", 10), precise("I", 20)]
    assert in_any_order(*corrected, of_shipment("E", 30)).status == "in_transit"


def test_an_observation_ends_an_exception_with_a_word_that_comes_before_it() -> None:
    trouble = replace(precise("I", 20), step=5)
    assert in_any_order(trouble, replace(seen("E", 30), step=3)).status == "in_transit"


@pytest.mark.parametrize("look", [seen("N", 30), of_shipment("N", 30)])
def test_an_observation_takes_no_order_back(look: Event) -> None:
    folded = in_any_order(precise("E", 20), look)
    assert (folded.status, folded.status_at) == ("in_transit", precise("E", 20).occurred_at)
    assert folded.verdicts[1].why_not == "an observation takes no order back from in_transit"


def test_an_observation_takes_no_order_back_to_an_earlier_word_of_its_status() -> None:
    # Both are info_received: document 002 lists New before Label created.
    label = replace(precise("N", 20), courier_status="L", step=1)
    assert in_any_order(label, of_shipment("N", 30)).courier_status == "L"
    assert in_any_order(label, answered("N", 30)).courier_status == "N"


def test_an_observation_takes_no_delivered_order_back() -> None:
    folded = in_any_order(precise("D", 20), seen("I", 30))
    assert (folded.status, folded.conflicts) == ("delivered", ())


def test_an_answer_about_the_order_itself_takes_it_back() -> None:
    assert in_any_order(precise("E", 20), answered("N", 30)).status == "info_received"


def test_an_observation_ends_what_needs_attention() -> None:
    assert in_any_order(precise("I", 20), seen("N", 30)).status == "info_received"


def test_a_shipment_ends_it_with_no_less_than_was_reached_before() -> None:
    before = (precise("E", 10), precise("I", 20))
    assert in_any_order(*before, of_shipment("E", 30)).status == "in_transit"
    assert in_any_order(*before, of_shipment("N", 30)).status == "exception"
    assert in_any_order(precise("I", 20), of_shipment("N", 30)).status == "exception"


def test_a_state_that_disagreed_is_known_once_it_has_a_time_of_its_own() -> None:
    late = precise("E", 12)
    early = replace(precise("E", 10), flags=frozenset({STATE_DISAGREES, TIME_INFERRED}))
    folded = in_any_order(precise("N", 10), early, late)
    assert [verdict.applied for verdict in folded.verdicts] == [True, False, True]


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


def test_the_same_word_read_as_another_status_is_another_fact() -> None:
    told = replace(precise("E", 20), status="out_for_delivery")
    folded = in_any_order(seen("E", 19), told)
    assert [verdict.applied for verdict in folded.verdicts] == [True, True]
