"""Messages that end the very process that reads them, or never let it go, in real workers."""

import signal
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import Engine, event, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import PENDING, Message, Order
from receiver.inbox.retry import retry_message
from receiver.queue.doorbell import DRAIN_JOB, Bells, ring_doorbell
from receiver.queue.job_queue import mark_job_started
from receiver.settings import Settings
from tests.bodies import after, tiramizoo_order
from tests.poison import ACCOUNT
from tests.service import running, wait_until
from tests.test_drain import NOW, put
from workers.folding.drain import drain_batch, lock_batch
from workers.folding.poison import MAX_TRIES, CrashGuard, find_suspects

Sessions = sessionmaker[Session]

WORKER = ("-m", "tests.poison")
GOOD = 12
NO_BELLS = Bells(doorbell=lambda: None, feed=lambda: None)


class Workers:
    """One worker at a time, started anew when it dies, as any supervisor does."""

    def __init__(self, environ: Mapping[str, str], redis: Redis, log: Path) -> None:
        self.environ, self.redis, self.log = environ, redis, log
        self.deaths: list[int] = []

    def work(self, until: Callable[[], object]) -> None:
        """Work until it is so."""
        while True:
            with ExitStack() as stack:
                process = stack.enter_context(running(WORKER, self.environ, self.log))

                def done(process: Any = process) -> object:
                    # The clock's part: whatever rang was lost with the worker that died.
                    mark_job_started(self.redis, DRAIN_JOB)
                    ring_doorbell(self.redis)
                    return process.poll() is not None or until()

                wait_until(done)
                if process.poll() is None:
                    return
                self.deaths.append(process.returncode)
                assert len(self.deaths) < 10, self.log.read_text()


@pytest.fixture
def workers(
    environ: Mapping[str, str], redis: Redis, sessions: Sessions, tmp_path: Path
) -> Workers:
    return Workers({**environ, **ACCOUNT}, redis, tmp_path / "worker.log")


def good(*names: str) -> list[dict[str, Any]]:
    return [tiramizoo_order(name, {"created": after(0)}) for name in names]


def pending(sessions: Sessions) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).where(Message.outcome == PENDING)) or 0


def message(sessions: Sessions, message_id: int) -> Message:
    with sessions() as session:
        return session.scalars(select(Message).where(Message.id == message_id)).one()


def orders(sessions: Sessions) -> set[str]:
    with sessions() as session:
        return set(session.scalars(select(Order.courier_order_id)))


def test_messages_that_end_the_process_are_quarantined_and_all_others_are_folded(
    workers: Workers, sessions: Sessions
) -> None:
    fine = good(*(f"u-{number}" for number in range(3 * GOOD)))
    put(sessions, *fine[:GOOD], account="poison")
    killing = put(sessions, {"poison": "kill"}, *fine[GOOD : 2 * GOOD], account="poison")[0]
    hanging = put(sessions, {"poison": "hang"}, *fine[2 * GOOD :], account="poison")[0]
    workers.work(until=lambda: not pending(sessions))
    for poison in (message(sessions, killing), message(sessions, hanging)):
        assert (poison.outcome, poison.tries, poison.tried_by) == ("quarantined", 0, None)
        assert "workers crashed while they processed" in (poison.reason or "")
    assert orders(sessions) == {it["uuid"] for it in fine}
    # Once in company, which one of the two ends, and each of the two alone.
    assert len(workers.deaths) == 1 + 2 * (MAX_TRIES - 1), workers.log.read_text()
    assert set(workers.deaths) == {-signal.SIGKILL, -signal.SIGPROF}


def test_messages_that_take_all_there_is_are_quarantined_and_the_process_lives(
    workers: Workers, sessions: Sessions
) -> None:
    looping, hungry, *_ = put(
        sessions, {"poison": "loop"}, {"poison": "memory"}, *good("a", "b"), account="poison"
    )
    workers.work(until=lambda: not pending(sessions))
    assert "more than 0.5 seconds of CPU time" in (message(sessions, looping).reason or "")
    assert "MemoryError" in (message(sessions, hungry).reason or "")
    assert {message(sessions, it).outcome for it in (looping, hungry)} == {"quarantined"}
    assert orders(sessions) == {"a", "b"}
    assert workers.deaths == []


def test_a_retry_starts_from_none(sessions: Sessions, settings: Settings) -> None:
    """What ended processes and is sent back after a fix is a message like any other."""
    (message_id,) = put(sessions, *good("a"))
    with sessions.begin() as session:
        session.execute(update(Message).values(tries=MAX_TRIES, tried_by="dead"))
    assert drain_batch(sessions, settings, NOW) == 1
    assert message(sessions, message_id).outcome == "quarantined"
    assert retry_message(sessions, NO_BELLS, str(message_id), NOW) == 1
    assert drain_batch(sessions, settings, NOW) == 1
    assert message(sessions, message_id).outcome == "applied"


def test_a_process_that_lives_is_not_counted_twice(sessions: Sessions, settings: Settings) -> None:
    """One that PostgreSQL failed comes back to the same messages and has not died of them."""
    (message_id,) = put(sessions, *good("a"))
    care = CrashGuard()
    with sessions.begin() as session:
        session.execute(update(Message).values(tries=MAX_TRIES, tried_by=care.name))
    assert drain_batch(sessions, settings, NOW, care) == 1
    assert message(sessions, message_id).outcome == "applied"


def test_a_process_that_has_just_started_leaves_word_of_what_it_reads(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, *good("a", "b"))
    with sessions.begin() as session:
        session.execute(update(Message).values(tries=1, tried_by="dead"))
    # It died. The next one finds what was left, tries it, and is careful no more.
    with sessions() as session:
        assert find_suspects(session, ()) == [1, 2]
        assert lock_batch(session) == []
    care = CrashGuard()
    assert drain_batch(sessions, settings, NOW, care) == 2
    assert care.batches > 0
    assert drain_batch(sessions, settings, NOW, care) == 0
    assert care.batches == 0
    assert orders(sessions) == {"a", "b"}


@pytest.mark.parametrize("batches", [0, 1])
def test_only_a_process_that_has_just_started_writes_before_it_reads(
    engine: Engine, sessions: Sessions, settings: Settings, batches: int
) -> None:
    put(sessions, *good("a"))
    assert writes_before_it_reads(engine, sessions, settings, batches) is bool(batches)


def test_whoever_reads_what_was_sent_back_writes_before(
    engine: Engine, sessions: Sessions, settings: Settings
) -> None:
    """It comes behind all new messages, so whoever follows a dead process may be long past its
    start when it meets what killed that one.
    """
    put(sessions, *good("a"))
    with sessions.begin() as session:
        session.execute(update(Message).values(retried_at=NOW))
    assert writes_before_it_reads(engine, sessions, settings, batches=0)
    assert orders(sessions) == {"a"}


def writes_before_it_reads(
    engine: Engine, sessions: Sessions, settings: Settings, batches: int
) -> bool:
    """Whether a process that is careful for so many batches left word before it folded one."""
    sent: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        assert drain_batch(sessions, settings, NOW, CrashGuard(batches=batches)) == 1
    finally:
        event.remove(engine, "before_cursor_execute", note)
    return any("tries + " in it for it in sent)
