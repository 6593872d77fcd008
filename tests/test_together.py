"""Many ask, one thread serves them: each his own answer, and of a failure nothing is left."""

import gc
import threading
import weakref
from collections.abc import Sequence

import pytest

from receiver.db.group_commit import Together
from tests.service import at_once


class Item:
    """Something that can be seen to go."""


class Grief(Exception):
    """What a batch comes to grief of."""


def fail(_: Sequence[object]) -> list[object]:
    raise Grief


def ask(together: Together[Item, object]) -> "weakref.ref[Item]":
    item = Item()
    with pytest.raises(Grief) as caught:
        together.ask(item, 5)
    del caught
    return weakref.ref(item)


def test_each_is_given_his_own_answer() -> None:
    together = Together[int, int](lambda numbers: [-number for number in numbers])
    answers = at_once(*[lambda it=it: together.ask(it, 5) for it in range(50)])
    assert answers == [-it for it in range(50)]


def test_a_failure_goes_to_its_batch_alone_and_holds_nothing() -> None:
    """A body that was refused is gone with its answer, not when the collector comes."""
    together = Together[Item, object](fail)
    gc.collect()
    gc.disable()
    try:
        item = ask(together)
        # The thread lets go of a batch once it has looked for the next.
        ask(together)
        assert item() is None
    finally:
        gc.enable()
    together._do = list
    kept = Item()
    assert together.ask(kept, 5) is kept


def test_answers_that_do_not_fit_fail_their_batch_and_not_the_thread() -> None:
    together = Together[int, int](lambda _: [1, 2])
    with pytest.raises(ValueError, match="zip"):
        together.ask(1, 5)
    together._do = list
    assert together.ask(3, 5) == 3


def test_who_is_not_answered_in_time_is_told_so_and_taken_back() -> None:
    go = threading.Event()

    def slow(numbers: Sequence[int]) -> list[int]:
        go.wait(5)
        return list(numbers)

    together = Together[int, int](slow)
    for number in range(3):
        with pytest.raises(TimeoutError):
            together.ask(number, 0.05)
    assert len(together) == 0
    go.set()
    assert together.ask(7, 5) == 7
