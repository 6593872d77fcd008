"""Promises 2 and 3: the order of arrival does not matter, and a later fact is never undone.

HYPOTHESIS_PROFILE=long tries 5,000 lives a property.
"""

import random
from datetime import timedelta

from hypothesis import assume, given
from hypothesis import strategies as st

from receiver import statuses
from receiver.couriers.snapshot import Event
from receiver.orders.fold import fold_events, fold_order, sort_position
from receiver.orders.timeline import TimelineEntry
from receiver.statuses import VOCABULARY
from tests.lives import Life, all_lives, cut, folded, messages, timed_lives, without_arrival
from workers.folding.refold import merge_snapshots

randoms = st.randoms(use_true_random=False)


@given(all_lives, randoms)
def test_any_permutation_repetition_and_batching_gives_the_same_order(
    life: Life, choose: random.Random
) -> None:
    received = messages(life)
    again = received * 2
    choose.shuffle(again)
    assert folded([*cut(again, choose), []]) == folded([received])


@given(timed_lives, randoms)
def test_when_a_message_arrives_does_not_matter(life: Life, choose: random.Random) -> None:
    in_order = folded([messages(life)])
    last = max(sent.at for sent in life.sent)
    late = [last + timedelta(minutes=choose.randrange(60 * 24 * 25)) for _ in life.sent]
    assert without_arrival(folded([messages(life, late)])) == without_arrival(in_order)


@given(timed_lives, randoms)
def test_an_earlier_event_never_undoes_a_later_one(life: Life, choose: random.Random) -> None:
    """Unless the earlier one ended the order: then the table says what may still follow.

    With its time, too, which events that are not of a whole life may change.
    """
    events = timeline(life)
    kept = [event for event in events if choose.random() < 0.6]
    assume(kept)
    before, _ = fold_order(kept)
    assume(before.set_by is not None)
    setter = kept[before.set_by or 0]
    earlier = [
        event
        for event in events
        if event not in kept
        and sort_position(event) < sort_position(setter)
        and not VOCABULARY[event.status].terminal
    ]
    # An event of a parcel may hold back the delivery of the whole.
    assume(not any(event.parcel for event in events))
    after, _ = fold_order([*earlier, *kept])
    assert (after.status, after.status_at) == (before.status, before.status_at)


def timeline(life: Life) -> list[Event]:
    entries: dict[str, TimelineEntry] = {}
    merge_snapshots(entries, {}, messages(life))
    return [entry.event for entry in entries.values()]


MAY_FOLLOW_DELIVERED = {
    statuses.RETURNING,
    statuses.RETURNED,
    statuses.EXCEPTION,
    statuses.DELIVERY_FAILED,
}


@given(timed_lives)
def test_delivered_holds_unless_something_later_may_follow_it(life: Life) -> None:
    events = [event for event in timeline(life) if not event.parcel]
    ends = {statuses.DELIVERED, statuses.CANCELLED, statuses.RETURNED}
    terminal = [event for event in events if event.status in ends]
    assume(terminal)
    first = min(terminal, key=sort_position)
    assume(first.status == statuses.DELIVERED)
    later = [event for event in events if sort_position(event) > sort_position(first)]
    assume(not any(event.status in MAY_FOLLOW_DELIVERED for event in later))
    state = fold_events(events)
    assert (state.status, state.status_at) == (statuses.DELIVERED, first.occurred_at)
