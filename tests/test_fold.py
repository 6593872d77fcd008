"""The fold: DESIGN.md's table of what follows what, and the properties that follow from a set."""

import itertools
import random
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from receiver import statuses
from receiver.couriers.snapshot import Event
from receiver.orders.fold import REPEATED_OBSERVATION, fold_events, fold_order, sort_position
from receiver.orders.timeline import TimelineEntry, merge_entries
from receiver.statuses import VOCABULARY
from tests.bodies import START, after
from tests.folding import WORDS, answered, coarse, fold_arrival, in_any_order, precise

APPLIES, CONFLICTS, REFUSED, CONTRADICTS = "applies", "conflicts", "refused", "contradicts"

# DESIGN.md, "Fold": what may follow a terminal status, one minute later. What is not named here is
# refused. `conflicts` applies and raises a conflict, `contradicts` raises one and does not apply.
AFTER_TERMINAL = {
    "delivered": {
        "returning": APPLIES,
        "returned": APPLIES,
        "exception": CONFLICTS,
        "delivery_failed": CONFLICTS,
        "cancelled": CONTRADICTS,
        "lost": CONTRADICTS,
    },
    "cancelled": {
        "picked_up": CONFLICTS,
        "in_transit": CONFLICTS,
        "out_for_delivery": CONFLICTS,
        "delivery_failed": CONFLICTS,
        "exception": CONFLICTS,
        "returning": CONFLICTS,
        "returned": CONFLICTS,
        "delivered": CONFLICTS,
        "info_received": CONFLICTS,
        "awaiting_pickup": CONFLICTS,
    },
    "returned": {"delivered": CONFLICTS},
}

MAPPED = [name for name in VOCABULARY if name != statuses.UNKNOWN]
UNDERWAY = [name for name in MAPPED if not VOCABULARY[name].terminal]
TERMINAL = [name for name in MAPPED if VOCABULARY[name].terminal]


def what_follows(standing: str, following: str) -> str:
    if following == statuses.UNKNOWN:
        return REFUSED
    if standing in AFTER_TERMINAL:
        return AFTER_TERMINAL[standing].get(following, REFUSED)
    return APPLIES


def reported(
    status: str, at: datetime | None = None, word: str | None = None, step: int = 0, **fields: Any
) -> Event:
    """An event that the courier stamped; its word is the status itself by default."""
    at = START if at is None else at
    return Event(status, word or f"their {status}", at, reported_at=at, step=step, **fields)


def seen(status: str, at: datetime, word: str | None = None, reason: str | None = None) -> Event:
    """An observation: the courier gave no time."""
    flags = frozenset({"time_inferred"})
    return Event(status, word or f"their {status}", at, reason=reason, flags=flags)


# Nothing, and one


def test_no_events_is_pending() -> None:
    folded = fold_events([])
    assert (folded.status, folded.courier_status, folded.status_at) == ("pending", None, None)
    assert (folded.set_by, folded.milestones, folded.verdicts) == (None, {}, ())


@pytest.mark.parametrize("status", MAPPED)
def test_first_event_applies_whatever_it_is(status: str) -> None:
    folded = fold_events([reported(status, reason="because")])
    assert (folded.status, folded.reason, folded.status_at) == (status, "because", START)
    assert folded.courier_status == f"their {status}"
    assert folded.milestones == {status: START}
    assert folded.verdicts[0].applied


# The table


@pytest.mark.parametrize("standing", MAPPED)
def test_what_may_follow_a_status(standing: str) -> None:
    for following in VOCABULARY:
        assert_follows(standing, following)


def assert_follows(standing: str, following: str) -> None:
    first, second = reported(standing, after(0)), reported(following, after(1), word="their next")
    folded = in_any_order(first, second)
    expected = what_follows(standing, following)
    verdict = folded.verdicts[1]

    applies = expected in {APPLIES, CONFLICTS}
    assert verdict.applied == applies, following
    assert folded.status == (following if applies else standing)
    assert folded.status_at == after(1 if applies else 0)
    assert folded.milestones.get(following, after(0)) == after(
        1 if applies and following != standing else 0
    )
    assert bool(verdict.why_not) == (not applies)

    kinds = [conflict.kind for conflict in folded.conflicts]
    raises = expected in {CONFLICTS, CONTRADICTS}
    assert kinds == ([f"{following}_after_{standing}"] if raises else []), following
    assert [conflict.event_key for conflict in folded.conflicts] == [second.key] * raises


def test_why_an_event_does_not_apply_names_both_statuses() -> None:
    folded = fold_events([reported("delivered", after(0)), reported("picked_up", after(1))])
    assert folded.verdicts[1].why_not == "picked_up cannot follow delivered"


@pytest.mark.parametrize("status", TERMINAL)
def test_terminal_status_told_again_is_refused_and_keeps_its_first_time(status: str) -> None:
    folded = in_any_order(reported(status, after(0)), reported(status, after(60)))
    assert folded.status_at == after(0)
    assert folded.verdicts[1].why_not == f"already {status}"


@pytest.mark.parametrize("status", UNDERWAY)
def test_other_status_told_again_counts_from_its_last_time(status: str) -> None:
    folded = in_any_order(reported(status, after(0)), reported(status, after(60)))
    assert folded.status_at == after(60)
    assert folded.milestones == {status: after(0)}


def test_lost_and_found_again() -> None:
    folded = in_any_order(
        reported("in_transit", after(0)),
        reported("lost", after(10)),
        reported("in_transit", after(20)),
    )
    assert (folded.status, folded.conflicts) == ("in_transit", ())


def test_second_attempt_after_a_failed_delivery() -> None:
    folded = in_any_order(
        reported("delivery_failed", after(0)),
        reported("picked_up", after(10)),
        reported("delivered", after(20)),
    )
    assert (folded.status, folded.conflicts) == ("delivered", ())


def test_status_before_delivered_that_arrives_later_does_not_undo_it() -> None:
    folded = in_any_order(
        reported("delivered", after(30)),
        reported("out_for_delivery", after(20)),
        reported("picked_up", after(10)),
    )
    assert folded.status == "delivered"
    assert all(verdict.applied for verdict in folded.verdicts)


def test_delivered_stamped_before_out_for_delivery_holds() -> None:
    folded = in_any_order(reported("delivered", after(10)), reported("out_for_delivery", after(20)))
    assert folded.status == "delivered"


# Corrections


@pytest.mark.parametrize("status", ["exception", "delivery_failed"])
def test_delivery_is_taken_back_within_a_day(status: str) -> None:
    delivered = reported("delivered", after(0))
    day = timedelta(hours=24)
    assert in_any_order(delivered, reported(status, START + day)).status == status
    late = in_any_order(delivered, reported(status, START + day + timedelta(microseconds=1)))
    assert late.status == "delivered"
    assert late.conflicts == ()
    assert "24 hours" in (late.verdicts[1].why_not or "")


def test_delivery_told_again_does_not_make_the_day_longer() -> None:
    folded = in_any_order(
        reported("delivered", after(0)),
        reported("delivered", after(23 * 60)),
        reported("exception", after(25 * 60)),
    )
    assert folded.status == "delivered"


def test_delivery_after_a_correction_starts_a_day_of_its_own() -> None:
    folded = in_any_order(
        reported("delivered", after(0)),
        reported("delivery_failed", after(23 * 60), word="first"),
        reported("delivered", after(24 * 60)),
        reported("delivery_failed", after(47 * 60), word="second"),
    )
    assert folded.status == "delivery_failed"
    assert len(folded.conflicts) == 2


@pytest.mark.parametrize("hours", [1, 24, 24 * 30])
def test_return_after_delivery_applies_at_any_time(hours: int) -> None:
    folded = in_any_order(reported("delivered", after(0)), reported("returned", after(hours * 60)))
    assert (folded.status, folded.conflicts) == ("returned", ())


# Conflicts


def test_conflict_says_what_followed_what_and_when() -> None:
    cancelled, picked_up = reported("cancelled", after(0)), reported("picked_up", after(5))
    (conflict,) = in_any_order(cancelled, picked_up).conflicts
    assert conflict.kind == "picked_up_after_cancelled"
    assert (conflict.occurred_at, conflict.event_key) == (after(5), picked_up.key)
    assert conflict.settled_at is None


def test_each_contradiction_is_a_conflict_of_its_own() -> None:
    folded = in_any_order(
        reported("delivered", after(0)), reported("lost", after(5)), reported("cancelled", after(9))
    )
    assert folded.status == "delivered"
    assert [conflict.kind for conflict in folded.conflicts] == [
        "lost_after_delivered",
        "cancelled_after_delivered",
    ]


@pytest.mark.parametrize("end", TERMINAL)
def test_later_fact_that_ends_the_order_settles_its_conflicts(end: str) -> None:
    folded = in_any_order(
        reported("cancelled", after(0)),
        reported("picked_up", after(5)),
        reported(end, after(10), word="end"),
    )
    assert [conflict.settled_at for conflict in folded.conflicts] == [after(10)]


@pytest.mark.parametrize(
    "reports",
    [
        pytest.param(["cancelled", "picked_up", "in_transit"], id="no end"),
        pytest.param(["cancelled", "returned", "cancelled"], id="an end that does not apply"),
    ],
)
def test_what_does_not_end_the_order_settles_nothing(reports: list[str]) -> None:
    folded = in_any_order(*(reported(it, after(5 * n)) for n, it in enumerate(reports)))
    assert [conflict.settled_at for conflict in folded.conflicts] == [None]


def test_end_that_is_reported_once_more_settles_the_conflicts() -> None:
    folded = in_any_order(
        reported("cancelled", after(0)),
        reported("delivered", after(5)),
        reported("delivered", after(10)),
    )
    assert [conflict.settled_at for conflict in folded.conflicts] == [after(10)]


def test_end_that_raises_a_conflict_itself_settles_nothing() -> None:
    folded = in_any_order(reported("cancelled", after(0)), reported("delivered", after(5)))
    assert [conflict.settled_at for conflict in folded.conflicts] == [None]


# Ties


def test_of_two_statuses_in_one_second_the_higher_rank_counts() -> None:
    for one, other in itertools.combinations(MAPPED, 2):
        folded = in_any_order(reported(one), reported(other))
        assert folded.status == max(one, other, key=lambda status: VOCABULARY[status].rank)
        assert all(verdict.applied for verdict in folded.verdicts)


def test_time_outweighs_rank() -> None:
    later = reported("picked_up", START + timedelta(microseconds=1))
    assert in_any_order(reported("lost", START), later).status == "picked_up"


def test_of_two_words_of_one_status_in_one_second_the_couriers_order_counts() -> None:
    first = reported("info_received", word="zeta", step=0)
    second = reported("info_received", word="alpha", step=1)
    assert in_any_order(first, second).courier_status == "alpha"


def test_of_equals_in_everything_the_same_one_counts_whichever_came_first() -> None:
    one, other = reported("in_transit", word="one"), reported("in_transit", word="other")
    assert in_any_order(one, other).courier_status == "other"


def test_state_that_its_snapshot_contradicts_stands_last_in_its_second() -> None:
    believed = reported("picked_up", flags=frozenset({"state_disagrees", "time_inferred"}))
    assert in_any_order(reported("delivery_failed"), believed).status == "picked_up"


# Observations


def test_run_of_equal_observations_is_one_event() -> None:
    folded = in_any_order(*[seen("in_transit", after(minute)) for minute in range(5)])
    assert folded.status_at == after(0)
    assert [verdict.applied for verdict in folded.verdicts] == [True, False, False, False, False]
    assert {verdict.why_not for verdict in folded.verdicts[1:]} == {REPEATED_OBSERVATION}


def test_observation_after_another_starts_a_new_run() -> None:
    folded = in_any_order(
        seen("in_transit", after(0)), seen("exception", after(1)), seen("in_transit", after(2))
    )
    assert folded.status_at == after(2)
    assert all(verdict.applied for verdict in folded.verdicts)


def test_observation_after_a_told_event_starts_a_new_run() -> None:
    folded = in_any_order(
        seen("in_transit", after(0)), reported("exception", after(1)), seen("in_transit", after(2))
    )
    assert folded.status == "in_transit"
    assert all(verdict.applied for verdict in folded.verdicts)


def test_observation_with_another_reason_is_another() -> None:
    folded = in_any_order(
        seen("exception", after(0), reason="rain"), seen("exception", after(1), reason="snow")
    )
    assert (folded.reason, folded.status_at) == ("snow", after(1))


def test_observation_of_the_same_word_with_another_status_is_another() -> None:
    """ShipmentAPI's `accepted` means more once a pickup time is known."""
    folded = in_any_order(
        seen("info_received", after(0), word="accepted"),
        seen("awaiting_pickup", after(1), word="accepted"),
        seen("awaiting_pickup", after(2), word="accepted"),
    )
    assert (folded.status, folded.status_at) == ("awaiting_pickup", after(1))


def test_told_event_is_never_a_repetition() -> None:
    folded = in_any_order(reported("in_transit", after(0)), reported("in_transit", after(1)))
    assert all(verdict.applied for verdict in folded.verdicts)


# Unknown words


@pytest.mark.parametrize("status", MAPPED)
def test_unknown_word_never_displaces_a_mapped_status(status: str) -> None:
    folded = in_any_order(
        reported(status, after(0)), reported("unknown", after(1), word="abducted")
    )
    assert folded.status == status
    assert folded.verdicts[1].why_not == "the courier's word 'abducted' is not in our map"


def test_unknown_words_alone_show_the_newest() -> None:
    folded = in_any_order(
        reported("unknown", after(1), word="abducted"), reported("unknown", after(0), word="probed")
    )
    assert (folded.status, folded.courier_status) == ("unknown", "abducted")
    assert folded.status_at == after(1)
    assert folded.milestones == {}
    assert not any(verdict.applied for verdict in folded.verdicts)


def test_unknown_is_left_as_soon_as_anything_mapped_is_known() -> None:
    folded = in_any_order(
        reported("unknown", after(9), word="abducted"), reported("info_received", after(0))
    )
    assert folded.status == "info_received"


# Milestones


def test_milestone_is_when_a_status_was_first_reached() -> None:
    folded = in_any_order(
        reported("picked_up", after(0)),
        reported("delivery_failed", after(1)),
        reported("picked_up", after(2)),
    )
    assert folded.milestones == {"picked_up": after(0), "delivery_failed": after(1)}


def test_what_does_not_apply_is_no_milestone() -> None:
    folded = in_any_order(reported("delivered", after(0)), reported("lost", after(1)))
    assert folded.milestones == {"delivered": after(0)}


# Properties. Few times and few words, so that ties, runs and the 24 hours are hit often.

minutes = st.sampled_from([0, 0, 1, 2, 60, 23 * 60, 24 * 60, 24 * 60 + 1, 25 * 60, 48 * 60])


@st.composite
def events_of(draw: st.DrawFn, allowed: Sequence[str] = tuple(VOCABULARY)) -> Event:
    status = draw(st.sampled_from(allowed))
    at = after(draw(minutes))
    step = draw(st.integers(0, 2))
    word = f"{status} {step}"
    reason = draw(st.sampled_from([None, None, "rain"]))
    if draw(st.integers(0, 3)) == 0:
        return Event(status, word, at, step=step, reason=reason, flags=frozenset({"time_inferred"}))
    disagrees = frozenset({"state_disagrees", "time_inferred"})
    flags = draw(st.sampled_from([frozenset[str](), frozenset[str](), disagrees]))
    return Event(status, word, at, reported_at=at, step=step, reason=reason, flags=flags)


def timelines(allowed: Sequence[str] = tuple(VOCABULARY)) -> st.SearchStrategy[list[Event]]:
    """Sets of events: an event told twice is one."""
    return st.lists(events_of(allowed), max_size=9, unique_by=lambda event: event.key)


randoms = st.randoms(use_true_random=False)

# Beside those: events of parcels, and such as the courier tells to the minute or when polled.
words, parcels = st.sampled_from(list(WORDS)), st.sampled_from(["", "", "P1", "P2"])
moments = st.sampled_from([0, 0.25, 0.5, 1, 1.5, 60, 23 * 60, 25 * 60])
events_of_every_kind = st.lists(
    st.one_of(
        events_of(),
        st.builds(precise, words, moments, parcels),
        st.builds(coarse, words, st.sampled_from([0, 1, 60, 61]), parcels),
        st.builds(answered, words, st.sampled_from([0, 1, 60]), moments, parcels),
    ),
    max_size=9,
    unique_by=lambda event: event.key,
)


@given(events_of_every_kind, randoms)
def test_order_of_arrival_does_not_matter(events: list[Event], choose: random.Random) -> None:
    arrival = choose.sample(range(len(events)), len(events))
    assert fold_arrival(events, arrival) == fold_order(events)


@given(events_of_every_kind)
def test_each_event_applies_or_says_why_not(events: list[Event]) -> None:
    folded, _ = fold_order(events)
    assert len(folded.verdicts) == len(events)
    for event, verdict in zip(events, folded.verdicts, strict=True):
        assert verdict.applied == (verdict.why_not is None)
        assert not (verdict.applied and event.status == statuses.UNKNOWN)


@given(timelines())
def test_status_is_that_of_the_last_event_that_applies(events: list[Event]) -> None:
    folded = fold_events(events)
    applied = [
        event for event, verdict in zip(events, folded.verdicts, strict=True) if verdict.applied
    ]
    if not applied:
        assert folded.status == ("unknown" if events else "pending")
        assert folded.milestones == {}
        return
    last = max(applied, key=sort_position)
    assert folded.set_by is not None
    assert events[folded.set_by] is last
    assert (folded.status, folded.courier_status) == (last.status, last.courier_status)
    assert (folded.status_at, folded.reason) == (last.occurred_at, last.reason)
    assert folded.milestones == {
        status: min(event.occurred_at for event in applied if event.status == status)
        for status in {event.status for event in applied}
    }


@given(timelines())
def test_what_does_not_apply_has_no_say(events: list[Event]) -> None:
    folded = fold_events(events)
    applied = [
        event for event, verdict in zip(events, folded.verdicts, strict=True) if verdict.applied
    ]
    assume(applied)
    assert fold_events(applied).status == folded.status


@given(timelines())
def test_conflicts_are_those_of_the_verdicts_and_settled_later_than_they_arose(
    events: list[Event],
) -> None:
    folded = fold_events(events)
    raised = [
        event.key
        for event, verdict in zip(events, folded.verdicts, strict=True)
        if verdict.conflict
    ]
    assert sorted(conflict.event_key for conflict in folded.conflicts) == sorted(raised)
    for conflict in folded.conflicts:
        assert conflict.settled_at is None or conflict.settled_at >= conflict.occurred_at


def part_of(events: list[Event], choose: random.Random) -> tuple[list[Event], Event | None]:
    """Some of the events, and the one among them that sets the status if it is a mapped one."""
    some = [event for event in events if choose.random() < 0.6]
    folded = fold_events(some)
    if folded.set_by is None or folded.status == statuses.UNKNOWN:
        return some, None
    return some, some[folded.set_by]


@given(timelines(), randoms)
def test_later_fact_is_never_undone_by_earlier_ones(
    events: list[Event], choose: random.Random
) -> None:
    """True as it stands for earlier facts that do not end the order.

    What is only observed counts from its first observation, so an earlier one moves its time.
    """
    some, setter = part_of(events, choose)
    assume(setter is not None and setter.reported_at is not None)
    assert setter is not None
    earlier = [
        event
        for event in events
        if event not in some
        and event.status not in TERMINAL
        and sort_position(event) < sort_position(setter)
    ]
    assert fold_events([*earlier, *some]).status == setter.status


@given(timelines(), randoms)
def test_later_fact_gives_way_only_to_an_end_that_stood_before_it(
    events: list[Event], choose: random.Random
) -> None:
    """An end holds against what may not follow it: couriers stamp delivered before its prelude.

    What is only observed may be old news (tests/test_observations.py).
    """
    some, setter = part_of(events, choose)
    assume(setter is not None and setter.reported_at is not None)
    assert setter is not None
    earlier = [
        event
        for event in events
        if event not in some and sort_position(event) < sort_position(setter)
    ]
    more = [*earlier, *some]
    folded = fold_events(more)
    assert folded.set_by is not None
    if folded.status != setter.status:
        assert folded.status in TERMINAL
        assert sort_position(more[folded.set_by]) < sort_position(setter)


@given(st.lists(events_of(UNDERWAY), max_size=8), events_of(MAPPED))
def test_newest_fact_counts_while_the_order_has_not_ended(
    events: list[Event], newest: Event
) -> None:
    # An observation may be old news: tests/test_observations.py says when it counts.
    assume(newest.reported_at is not None)
    earlier = [event for event in events if sort_position(event) < sort_position(newest)]
    assert fold_events([*earlier, newest]).status == newest.status


# Entries: the same event told by several messages


@st.composite
def entries_of(draw: st.DrawFn, first_id: int = 1) -> list[TimelineEntry]:
    """What several messages tell, often of the same event, with more or less to say about it."""
    entries = []
    for message_id in range(first_id, first_id + draw(st.integers(1, 6))):
        event = draw(events_of())
        reason = draw(st.sampled_from([None, "rain", "snow"]))
        received_at = after(draw(minutes) + 72 * 60)
        ahead = event.reported_at is not None and draw(st.booleans())
        entries.append(
            TimelineEntry(
                Event(
                    event.status,
                    event.courier_status,
                    # A time that lies ahead counts when it was heard.
                    received_at if ahead else event.occurred_at,
                    reported_at=event.reported_at,
                    step=event.step,
                    reason=reason,
                    flags=event.flags | ({"clock_skew"} if ahead else set()),
                ),
                received_at,
                message_id,
                draw(st.sampled_from(["webhook", "poll"])),
                "token",
            )
        )
    return entries


def combined(entries: Iterable[TimelineEntry]) -> dict[str, TimelineEntry]:
    known: dict[str, TimelineEntry] = {}
    for entry in entries:
        known[entry.event.key] = merge_entries(known.get(entry.event.key), entry)
    return known


@given(entries_of(), randoms)
def test_telling_an_event_again_and_in_any_order_gives_the_same_entry(
    entries: list[TimelineEntry], choose: random.Random
) -> None:
    again = entries + choose.choices(entries, k=3)
    choose.shuffle(again)
    assert combined(again) == combined(entries)


@given(entries_of(), entries_of(first_id=100))
def test_entries_that_are_combined_already_combine_with_more(
    first: list[TimelineEntry], second: list[TimelineEntry]
) -> None:
    """So it does not matter where one batch ends and the next begins."""
    whole = combined([*first, *second])
    assert combined([*combined(first).values(), *combined(second).values()]) == whole
    assert combined([*combined(second).values(), *combined(first).values()]) == whole


def test_event_told_twice_keeps_who_told_it_first_and_all_that_either_said() -> None:
    bare = TimelineEntry(reported("exception"), after(5), 7, "webhook", "token")
    full = TimelineEntry(
        reported("exception", reason="rain", flags=frozenset({"zone_assumed"})),
        after(9),
        8,
        "poll",
        "fetched",
    )
    for arrival in ([bare, full], [full, bare]):
        (entry,) = combined(arrival).values()
        assert (entry.message_id, entry.kind, entry.received_at) == (7, "webhook", after(5))
        assert (entry.event.reason, entry.event.flags) == ("rain", frozenset({"zone_assumed"}))


def test_same_word_and_time_read_as_two_statuses_comes_to_the_same_in_any_order() -> None:
    """ShipmentAPI's `accepted` of one time, told without and with a pickup time."""
    bare = TimelineEntry(
        reported("info_received", word="accepted"), after(1), 1, "webhook", "token"
    )
    more = TimelineEntry(
        reported("awaiting_pickup", word="accepted"), after(20), 2, "poll", "fetched"
    )
    for arrival in ([bare, more], [more, bare], [bare, more, bare], [more, bare, more]):
        events = [entry.event for entry in combined(arrival).values()]
        assert fold_events(events).status == "awaiting_pickup"


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [
        (("snow", "2026-04-16", 1), ("rain", "2026-04-17", 1), "rain"),
        (("rain", "2026-04-17", 1), ("snow", "2026-04-16", 9), "rain"),
        (("rain", "2026-04-16", 2), ("hail", "2026-04-16", 1), "rain"),
        (("snow", "2026-04-16", 1), ("rain", "2026-04-16", 1), "rain"),
        ((None, "2026-04-17", 9), ("rain", "2026-04-16", 1), "rain"),
    ],
)
def test_of_two_reasons_the_newer_snapshots_counts(one: Any, other: Any, reason: str) -> None:
    """Then that of the snapshot with more times, then the text that sorts first."""
    entries = [
        TimelineEntry(
            reported("exception", reason=text),
            after(message_id),
            message_id,
            "webhook",
            "token",
            (recency, times, message_id) if text else None,
        )
        for message_id, (text, recency, times) in enumerate([one, other], 1)
    ]
    for arrival in (entries, entries[::-1]):
        (entry,) = combined(arrival).values()
        assert entry.event.reason == reason


def test_a_fraction_of_a_second_makes_no_second_event() -> None:
    whole, fraction = (
        TimelineEntry(reported("picked_up", at), after(9), 1, "webhook", "token")
        for at in (START, START + timedelta(milliseconds=412))
    )
    for arrival in ([whole, fraction], [fraction, whole]):
        (entry,) = combined(arrival).values()
        assert entry.event.occurred_at == START
