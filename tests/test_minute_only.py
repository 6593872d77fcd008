"""A fact told to the minute, and the same told to the second: one fact, whichever came first."""

import random
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from receiver import statuses
from receiver.couriers.snapshot import Event
from receiver.orders.fold import KNOWN_TO_THE_SECOND, REPEATED_OBSERVATION, fold_events, fold_order
from tests.bodies import START, after
from tests.folding import COARSE, WORDS, answered, coarse, in_any_order, precise


@pytest.mark.parametrize("seconds", [1, 30, 59, 59.999999])
def test_the_same_word_told_to_the_second_in_that_minute_is_what_counts(seconds: float) -> None:
    exact = precise("D", 10 + seconds / 60)
    folded = in_any_order(coarse("D", 10), exact)
    assert (folded.status, folded.status_at, folded.set_by) == ("delivered", exact.occurred_at, 1)
    assert folded.milestones == {"delivered": exact.occurred_at}
    assert folded.verdicts[0].why_not == KNOWN_TO_THE_SECOND
    assert folded.verdicts[1].applied


@pytest.mark.parametrize("minutes", [10 - 1 / 60, 11, 11.5])
def test_the_same_word_of_another_minute_is_another_fact(minutes: float) -> None:
    folded = in_any_order(coarse("E", 10), precise("E", minutes))
    assert all(verdict.applied for verdict in folded.verdicts)
    assert folded.milestones == {"in_transit": after(min(10, minutes))}


def test_another_word_in_that_minute_is_another_fact() -> None:
    folded = in_any_order(coarse("E", 10), precise("I", 10.5))
    assert folded.status_at == after(10.5)
    assert folded.milestones == {"in_transit": after(10), "exception": after(10.5)}


def test_two_that_are_told_to_the_minute_are_no_better_than_each_other() -> None:
    folded = in_any_order(coarse("D", 10), coarse("D", 10, "P1"))
    assert (folded.status, folded.status_at) == ("delivered", after(10))
    assert folded.verdicts[1].applied


def test_an_observation_in_that_minute_is_no_better() -> None:
    seen = Event("in_transit", "E", after(10.5), flags=frozenset({"time_inferred"}))
    folded = in_any_order(coarse("E", 10), seen)
    assert [verdict.why_not for verdict in folded.verdicts] == [None, REPEATED_OBSERVATION]


def test_a_word_that_nobody_maps_is_shown_with_its_seconds_too() -> None:
    folded = in_any_order(coarse("?", 10), precise("?", 10.5))
    assert (folded.status, folded.status_at, folded.set_by) == ("unknown", after(10.5), 1)
    assert folded.verdicts[0].why_not == KNOWN_TO_THE_SECOND


def test_what_is_told_better_settles_no_conflict_and_raises_none() -> None:
    folded = in_any_order(precise("D", 0), precise("X", 10.5), coarse("X", 10))
    assert [conflict.occurred_at for conflict in folded.conflicts] == [after(10.5)]


def test_the_last_parcels_delivery_to_the_minute_gives_way_to_the_orders_to_the_second() -> None:
    folded = in_any_order(
        precise("E", 0), precise("D", 10.5), coarse("D", 10), coarse("D", 10, "P1")
    )
    assert (folded.status, folded.status_at, folded.set_by) == ("delivered", after(10.5), 1)
    # The order's delivery counts for the parcel too.
    assert [verdict.applied for verdict in folded.verdicts] == [True, True, False, False]


def test_the_orders_delivery_to_the_minute_gives_way_to_the_last_parcels_to_the_second() -> None:
    folded = in_any_order(coarse("D", 10), precise("D", 10.5, "P1"))
    assert (folded.status, folded.status_at, folded.set_by) == ("delivered", after(10.5), 1)


# What the courier answers when it is polled.


def test_an_answer_covers_the_webhooks_of_its_minute_and_is_shown_at_its_start() -> None:
    folded = in_any_order(precise("I", 10.3), answered("D", 10, 70))
    assert (folded.status, folded.status_at) == ("delivered", after(10))
    assert folded.conflicts == ()


def test_an_answer_is_older_than_a_webhook_of_its_minute_that_comes_after_we_asked() -> None:
    assert in_any_order(answered("N", 10, 10.5), precise("E", 10.7)).status == "in_transit"
    assert in_any_order(answered("E", 10, 11), precise("N", 11)).status == "info_received"


def test_two_answers_of_a_minute_are_both_known_to_the_second() -> None:
    answers = answered("E", 10, 70), answered("E", 10, 70, "P1")
    folded = in_any_order(precise("E", 10.2), *answers)
    assert [verdict.why_not for verdict in folded.verdicts[1:]] == [KNOWN_TO_THE_SECOND] * 2


def test_the_same_state_again_at_the_end_of_the_minute_is_another_fact() -> None:
    folded = in_any_order(precise("D", 10), precise("I", 10.3), answered("D", 10, 70))
    assert folded.status == "delivered"
    assert all(conflict.settled_at for conflict in folded.conflicts)


def test_a_delivery_that_the_courier_repeats_when_asked_ends_an_exception_in_between() -> None:
    exception = precise("I", 30)
    delivered = precise("D", 10.5)
    assert in_any_order(delivered, exception, answered("D", 10, 20)).status == "exception"
    folded = in_any_order(delivered, exception, answered("D", 10, 70))
    assert folded.status == "delivered"
    assert all(conflict.settled_at for conflict in folded.conflicts)
    lost = in_any_order(delivered, precise("X", 30), answered("D", 10, 70))
    assert [conflict.kind for conflict in lost.conflicts] == ["lost_after_delivered"]


def test_a_delivery_that_is_answered_once_counts_once() -> None:
    folded = in_any_order(precise("E", 5), answered("D", 10, 70))
    assert all(verdict.applied for verdict in folded.verdicts)


def test_what_disagrees_with_its_snapshot_is_newer_than_an_answer_of_the_same_moment() -> None:
    trouble = replace(precise("I", 20), flags=frozenset({"state_disagrees"}))
    folded = in_any_order(precise("D", 10.5), trouble, answered("D", 10, 20))
    assert folded.status == "exception"


# Properties

moments = st.sampled_from([0, 0.25, 0.5, 1, 1.5, 60, 23 * 60, 25 * 60])
parcels = st.sampled_from(["", "", "P1", "P2"])
words = st.sampled_from(list(WORDS))
events_to_the_second = st.builds(precise, words, moments, parcels)
events_to_the_minute = st.builds(coarse, words, st.sampled_from([0, 1, 60, 61]), parcels)
randoms = st.randoms(use_true_random=False)


def facts(*of: st.SearchStrategy[Event]) -> st.SearchStrategy[list[Event]]:
    return st.lists(st.one_of(*of), max_size=8, unique_by=lambda event: event.key)


def minute_of(event: Event) -> Event:
    """The same event as a look to the minute tells it."""
    at: datetime = (event.reported_at or START).replace(second=0, microsecond=0)
    return replace(event, occurred_at=at, reported_at=at, flags=COARSE)


@given(facts(events_to_the_second), randoms)
def test_a_look_to_the_minute_adds_nothing_to_what_is_known_to_the_second(
    events: list[Event], choose: random.Random
) -> None:
    looks = {minute_of(event).key: minute_of(event) for event in events if choose.random() < 0.5}
    # One of the full minute is that very event.
    new = [look for key, look in looks.items() if key not in {event.key for event in events}]
    before, after_looks = fold_events(events), fold_events([*events, *new])
    assert all(
        verdict.why_not == KNOWN_TO_THE_SECOND for verdict in after_looks.verdicts[len(events) :]
    )
    assert after_looks.verdicts[: len(events)] == before.verdicts
    assert replace(after_looks, verdicts=before.verdicts) == before


@given(facts(events_to_the_minute))
def test_without_seconds_from_anybody_the_minute_is_a_time_like_any_other(
    events: list[Event],
) -> None:
    assume(events)
    plain = [replace(event, flags=frozenset()) for event in events]
    (folded, of_parcels), (again, of_parcels_again) = fold_order(events), fold_order(plain)
    assert (folded.status, folded.status_at) == (again.status, again.status_at)
    assert folded.milestones == again.milestones
    assert (folded.verdicts, of_parcels) == (again.verdicts, of_parcels_again)


def test_a_minute_has_sixty_seconds() -> None:
    last = precise("E", 10).occurred_at + timedelta(minutes=1) - timedelta(microseconds=1)
    exact = replace(precise("E", 10), occurred_at=last, reported_at=last)
    assert in_any_order(coarse("E", 10), exact).status_at == last


def at_its_end(word: str, minutes: int) -> Event:
    """A state of an answer, which counts at the end of the minute that the courier tells."""
    told = coarse(word, minutes)
    return replace(told, occurred_at=told.occurred_at + timedelta(seconds=59.999999))


def test_what_was_told_to_the_second_within_the_minute_makes_its_end_redundant() -> None:
    folded = in_any_order(precise("E", 10.5), at_its_end("E", 10))
    assert folded.verdicts[1].why_not == KNOWN_TO_THE_SECOND
    assert folded.milestones == {"in_transit": after(10.5)}
    # What we do not map, or another event of the same word, is no other state in between.
    for between in (precise("?", 10.7), replace(precise("E", 10.7), reason="rain")):
        folded = in_any_order(precise("E", 10.5), at_its_end("E", 10), between)
        assert folded.verdicts[1].why_not == KNOWN_TO_THE_SECOND


def test_another_state_within_the_minute_makes_its_end_a_fact_of_its_own() -> None:
    folded = in_any_order(precise("E", 10.2), precise("I", 10.5), at_its_end("E", 10))
    assert [verdict.applied for verdict in folded.verdicts] == [True, True, True]
    assert folded.status == statuses.IN_TRANSIT
