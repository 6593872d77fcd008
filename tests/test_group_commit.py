"""A batcher: each item gets its own result, and a failure fails its batch and leaves nothing."""

import gc
import threading
import weakref
from collections.abc import Sequence

import pytest

from receiver.db.group_commit import Batcher
from tests.service import at_once


class Item:
    """Something whose end can be observed."""


class BatchFailed(Exception):
    """Raised by a batch."""


def fail(_: Sequence[object]) -> list[object]:
    raise BatchFailed


def submit(batcher: Batcher[Item, object]) -> "weakref.ref[Item]":
    item = Item()
    with pytest.raises(BatchFailed) as caught:
        batcher.submit(item, 5)
    del caught
    return weakref.ref(item)


def test_each_item_gets_its_own_result() -> None:
    batcher = Batcher[int, int]("test", lambda numbers: [-number for number in numbers])
    results = at_once(*[lambda number=number: batcher.submit(number, 5) for number in range(50)])
    assert results == [-number for number in range(50)]


def test_a_failure_fails_its_batch_alone_and_keeps_no_item() -> None:
    """A refused body is freed at once, not by the next garbage collection."""
    batcher = Batcher[Item, object]("test", fail)
    gc.collect()
    gc.disable()
    try:
        item = submit(batcher)
        # The thread frees a batch when it takes the next one.
        submit(batcher)
        assert item() is None
    finally:
        gc.enable()
    batcher._process = list
    kept = Item()
    assert batcher.submit(kept, 5) is kept


def test_a_wrong_number_of_results_fails_the_batch_and_not_the_thread() -> None:
    batcher = Batcher[int, int]("test", lambda _: [1, 2])
    with pytest.raises(ValueError, match="zip"):
        batcher.submit(1, 5)
    batcher._process = list
    assert batcher.submit(3, 5) == 3


def test_an_item_that_times_out_is_withdrawn() -> None:
    go = threading.Event()

    def slow(numbers: Sequence[int]) -> list[int]:
        go.wait(5)
        return list(numbers)

    batcher = Batcher[int, int]("test", slow)
    for number in range(3):
        with pytest.raises(TimeoutError):
            batcher.submit(number, 0.05)
    assert len(batcher) == 0
    go.set()
    assert batcher.submit(7, 5) == 7
