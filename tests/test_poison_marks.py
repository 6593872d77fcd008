"""Only the mark of a dead process counts against a message, never that of a slow one."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rq.timeouts import BaseTimeoutException
from sqlalchemy import Engine, event, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.engine import create_engine_for, session_factory
from receiver.db.models import Message
from receiver.settings import Settings
from tests.bodies import after, tiramizoo_order
from tests.test_drain import NOW, put
from workers.folding import drain
from workers.folding.drain import drain_batch
from workers.folding.poison import MAX_TRIES, CrashGuard, Marks

Sessions = sessionmaker[Session]


def outcomes(sessions: Sessions) -> dict[str, int]:
    with sessions() as session:
        rows = session.execute(select(Message.outcome, func.count()).group_by(Message.outcome))
        return {outcome: count for outcome, count in rows}  # noqa: C416 (rows are no pairs to mypy)


def orders(number: int) -> list[dict[str, Any]]:
    return [tiramizoo_order(f"order {it}", {"created": after(0)}) for it in range(number)]


def test_a_message_that_a_living_process_reads_is_left_alone(
    sessions: Sessions, settings: Settings
) -> None:
    (message_id,) = put(sessions, *orders(1))
    with Marks(sessions, CrashGuard("slow")) as marks:
        with sessions.begin() as session:
            marks.add(session, [message_id])
        for number in range(MAX_TRIES + 1):
            assert drain_batch(sessions, settings, NOW, CrashGuard(f"other {number}")) == 0
    # It ended without having read it, and took its mark back.
    with sessions() as session:
        row = session.get_one(Message, message_id)
        assert (row.outcome, row.tries, row.tried_by) == ("pending", 0, None)
    assert drain_batch(sessions, settings, NOW, CrashGuard("next")) == 1
    assert outcomes(sessions) == {"applied": 1}


def test_the_mark_of_a_dead_process_counts(sessions: Sessions, settings: Settings) -> None:
    put(sessions, *orders(1))
    with sessions.begin() as session:
        session.execute(update(Message).values(tries=MAX_TRIES, tried_by="dead"))
    assert drain_batch(sessions, settings, NOW, CrashGuard("next")) == 1
    assert outcomes(sessions) == {"quarantined": 1}


def test_a_process_that_postgresql_fails_takes_its_marks_back(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(sessions, *orders(3))

    def fails(*_: Any) -> Any:
        raise BaseTimeoutException

    monkeypatch.setattr(drain, "fold_messages", fails)
    for number in range(MAX_TRIES + 1):
        with pytest.raises(BaseTimeoutException):
            drain_batch(sessions, settings, NOW, CrashGuard(f"process {number}"))
    monkeypatch.undo()
    with sessions() as session:
        assert set(session.scalars(select(Message.tries))) == {0}


def test_a_suspect_that_another_process_looks_at_is_no_crash(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (message_id,) = put(sessions, *orders(1))
    with sessions.begin() as session:
        session.execute(update(Message).values(tries=1, tried_by="dead"))
    lock_ids = drain._lock_ids
    calls: list[int] = []

    def held_by_another(session: Session, ids: list[int]) -> Any:
        calls.extend(ids)
        with sessions() as other:
            if len(calls) == 2:
                other.execute(select(Message.id).with_for_update())
            return lock_ids(session, ids)

    monkeypatch.setattr(drain, "_lock_ids", held_by_another)
    drain_batch(sessions, settings, NOW, CrashGuard("late"))
    assert calls == [message_id, message_id]
    with sessions() as session:
        assert session.get_one(Message, message_id).tries == 1
    assert drain_batch(sessions, settings, NOW, CrashGuard("next")) == 1
    assert outcomes(sessions) == {"applied": 1}


@pytest.fixture
def slow_engine(settings: Settings) -> Iterator[Engine]:
    """A PostgreSQL that takes ten milliseconds more for each statement."""
    engine = create_engine_for(settings.database_url, pool_size=30)

    def wait(*_: Any) -> None:
        time.sleep(0.01)

    event.listen(engine, "before_cursor_execute", wait)
    yield engine
    engine.dispose()


def test_many_fresh_processes_at_once_quarantine_nothing(
    sessions: Sessions, settings: Settings, slow_engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drain, "BATCH", 20)
    put(sessions, *orders(200))
    slow = session_factory(slow_engine)
    start = threading.Barrier(10)

    def work() -> None:
        guard = CrashGuard()
        start.wait()
        while drain_batch(slow, settings, NOW, guard):
            pass

    threads = [threading.Thread(target=work) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while drain_batch(sessions, settings, NOW):
        pass
    assert outcomes(sessions) == {"applied": 200}
