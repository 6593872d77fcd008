"""The background thread works when woken, survives failures and ends when closed."""

import threading

import pytest
import structlog

from receiver.background_thread import BackgroundThread
from tests.service import wait_until


@pytest.fixture
def runs() -> list[int]:
    return []


def test_it_works_once_for_each_wake_up_it_has_time_for(runs: list[int]) -> None:
    go = threading.Event()

    def work() -> None:
        runs.append(1)
        go.wait(5)

    thread = BackgroundThread("work", work)
    thread.wake()
    wait_until(lambda: len(runs) == 1)
    for _ in range(5):
        thread.wake()
    go.set()
    wait_until(lambda: len(runs) == 2)
    thread.close(5)


def test_it_runs_again_by_itself_where_the_work_says_when(runs: list[int]) -> None:
    def work() -> float | None:
        runs.append(1)
        return 0.01 if len(runs) < 3 else None

    thread = BackgroundThread("work", work)
    thread.wake()
    wait_until(lambda: len(runs) == 3)
    thread.close(5)


def test_it_survives_failures_and_logs_the_first_of_them_and_the_recovery(runs: list[int]) -> None:
    def work() -> None:
        runs.append(1)
        if len(runs) < 3:
            raise OSError

    with structlog.testing.capture_logs() as logs:
        thread = BackgroundThread("work", work, retry_seconds=0.01)
        thread.wake()
        wait_until(lambda: len(logs) == 2)
        thread.close(5)
    assert [entry["event"] for entry in logs] == ["work_failed", "work_recovered"]
    assert logs[0]["error"] == "OSError"


def test_closing_does_what_was_left_to_do_and_ends_the_thread(runs: list[int]) -> None:
    thread = BackgroundThread("work", lambda: runs.append(1), delay=60)
    thread.wake()
    thread.close(5)
    assert runs == [1]
    assert "work" not in [other.name for other in threading.enumerate()]


def test_closing_what_never_worked_does_nothing(runs: list[int]) -> None:
    BackgroundThread("work", lambda: runs.append(1)).close(5)
    assert runs == []
