"""store_messages and Inbox: an accepted message is in PostgreSQL, once, and every wait ends."""

import gc
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.engine import create_engine_for
from receiver.db.engine import session_factory as open_sessions
from receiver.db.models import APPLIED, PENDING, QUARANTINED, Message
from receiver.errors import StorageUnavailable
from receiver.inbox import accept as module
from receiver.inbox.accept import Accepted, Inbox, IncomingMessage, store_messages
from tests.service import at_once, wait_until, waiting_for

Sessions = sessionmaker[Session]

NOW = datetime(2026, 4, 16, 7, 0, tzinfo=UTC)


def incoming(body: bytes = b"{}", **changed: Any) -> IncomingMessage:
    """An incoming message."""
    return replace(IncomingMessage("tiramizoo", "orders", "webhook", "token", body, NOW), **changed)


def keep_now(sessions: Sessions, *batch: IncomingMessage) -> list[Accepted]:
    """Store a batch in a transaction of its own."""
    with sessions.begin() as session:
        return store_messages(session, batch)


def messages(sessions: Sessions) -> list[Message]:
    """The whole inbox, oldest first."""
    with sessions() as session:
        return list(session.scalars(select(Message).order_by(Message.id)))


def bodies(sessions: Sessions) -> list[bytes]:
    return sorted(message.body or b"" for message in messages(sessions))


def test_a_body_is_not_shown_where_a_message_is() -> None:
    assert "Jane" not in repr(incoming(b"Jane"))


# Keeping a batch


def test_a_batch_is_stored_and_answered_in_its_own_order(sessions: Sessions) -> None:
    batch = [incoming(b"%d" % number) for number in (3, 1, 4, 2, 5)]
    answers = keep_now(sessions, *batch)
    assert [answer.repeated for answer in answers] == [False] * 5
    kept = {message.id: message.body for message in messages(sessions)}
    assert [kept[answer.message_id] for answer in answers] == [row.body for row in batch]


def test_a_message_is_stored_with_everything_that_came_with_it(sessions: Sessions) -> None:
    unread = {"outcome": QUARANTINED, "reason": "the body is empty"}
    poll = {"account": "shipmentapi", "kind": "poll", "trust": "fetched"}
    keep_now(sessions, incoming(b"\x00\xff"), incoming(b"", **unread), incoming(b"p", **poll))
    kept = {message.body: message for message in messages(sessions)}
    waiting, unreadable, asked = kept[b"\x00\xff"], kept[b""], kept[b"p"]
    assert (waiting.account, waiting.topic) == ("tiramizoo", "orders")
    assert (waiting.kind, waiting.trust, waiting.outcome) == ("webhook", "token", PENDING)
    assert (waiting.received_at, waiting.last_seen_at) == (NOW, NOW)
    assert (waiting.processed_at, waiting.reason, waiting.repetitions) == (None, None, 0)
    assert (unreadable.outcome, unreadable.reason) == (QUARANTINED, "the body is empty")
    assert unreadable.processed_at == NOW
    assert (asked.account, asked.kind, asked.trust) == ("shipmentapi", "poll", "fetched")


def test_equal_bodies_of_one_batch_are_one_message(sessions: Sessions) -> None:
    answers = keep_now(sessions, incoming(b"a"), incoming(b"b"), incoming(b"a"), incoming(b"a"))
    assert [answer.repeated for answer in answers] == [False, False, True, True]
    assert answers[0].message_id == answers[2].message_id == answers[3].message_id
    assert {row.body: row.repetitions for row in messages(sessions)} == {b"a": 2, b"b": 0}


def test_repetitions_add_up_over_batches(sessions: Sessions) -> None:
    [first] = keep_now(sessions, incoming(b"a"))
    again = keep_now(sessions, incoming(b"a"), incoming(b"a"), incoming(b"new"))
    assert [answer.repeated for answer in again] == [True, True, False]
    assert again[0].message_id == first.message_id
    assert {row.body: row.repetitions for row in messages(sessions)} == {b"a": 2, b"new": 0}


def test_a_repetition_moves_only_when_the_body_was_last_seen(sessions: Sessions) -> None:
    minute = timedelta(minutes=1)
    keep_now(sessions, incoming(outcome=QUARANTINED, reason="why"))
    keep_now(sessions, incoming(received_at=NOW + minute, trust="signed"))
    keep_now(sessions, incoming(received_at=NOW - minute))
    [kept] = messages(sessions)
    assert (kept.received_at, kept.last_seen_at) == (NOW, NOW + minute)
    assert (kept.kind, kept.trust) == ("webhook", "token")
    assert (kept.outcome, kept.reason, kept.processed_at) == (QUARANTINED, "why", NOW)


def test_a_repetition_of_a_folded_message_does_not_fold_it_again(sessions: Sessions) -> None:
    keep_now(sessions, incoming())
    with sessions.begin() as session:
        session.execute(text("UPDATE messages SET outcome = 'applied'"))
    keep_now(sessions, incoming())
    assert [message.outcome for message in messages(sessions)] == [APPLIED]


def test_the_same_body_on_two_topics_or_accounts_is_two_messages(sessions: Sessions) -> None:
    answers = keep_now(
        sessions,
        incoming(),
        incoming(topic="tours"),
        incoming(account="tiramizoo-munich"),
        incoming(),
    )
    assert [answer.repeated for answer in answers] == [False, False, False, True]
    assert len(messages(sessions)) == 3
    assert [answer.repeated for answer in keep_now(sessions, incoming(topic="tours"))] == [True]


def test_overlapping_batches_at_once_do_not_deadlock_and_count_exactly(sessions: Sessions) -> None:
    workers, rounds, size = 4, 40, 60

    def keep_shuffled(seed: int) -> None:
        choose = random.Random(seed)
        for number in range(rounds):
            batch = [incoming(b"%d %d" % (number, index)) for index in range(size)]
            choose.shuffle(batch)
            keep_now(sessions, *batch, batch[0])

    at_once(*[lambda seed=seed: keep_shuffled(seed) for seed in range(workers)])
    kept = messages(sessions)
    assert len(kept) == rounds * size
    # Whoever came first left a message, and each of the others a repetition of it.
    assert sum(row.repetitions for row in kept) == rounds * (workers * (size + 1) - size)
    assert min(row.repetitions for row in kept) == workers - 1


def test_batches_in_opposite_orders_do_not_deadlock(new_database: Callable[[str], str]) -> None:
    database_url = new_database("slow")
    with psycopg.connect(database_url) as connection:
        # So slow that each is in the middle of its batch when the other begins.
        connection.execute(
            "CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN PERFORM pg_sleep(0.02); RETURN new; END $$"
        )
        connection.execute(
            "CREATE TRIGGER slowly BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION slowly()"
        )
    engine = create_engine_for(database_url)
    try:
        sessions = open_sessions(engine)
        batch = [incoming(b"%d" % number) for number in range(10)]
        at_once(lambda: keep_now(sessions, *batch), lambda: keep_now(sessions, *reversed(batch)))
        assert [row.repetitions for row in messages(sessions)] == [1] * 10
    finally:
        engine.dispose()


# Group commit


@pytest.fixture
def rings() -> list[int]:
    return []


@pytest.fixture
def inbox(engine: Engine, sessions: Sessions, rings: list[int]) -> Iterator[Inbox]:
    """An inbox; each ring notes how many messages another session could see."""

    def ring() -> None:
        rings.append(len(messages(sessions)))

    inbox = Inbox(engine, ring)
    yield inbox
    inbox._pool.close()


def test_only_what_is_stored_shows_that_postgresql_stores(
    inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To find that a body is there already waits for no flush, however slow the disk is."""
    stored: list[float] = []
    monkeypatch.setattr(inbox.storage, "note_success", stored.append)
    inbox.accept(incoming())
    assert len(stored) == 1
    inbox.accept(incoming())
    assert len(stored) == 2


@contextmanager
def table_locked(sessions: Sessions) -> Iterator[None]:
    """Lock the table of messages inside."""
    with sessions() as locker:
        locker.execute(text("LOCK TABLE messages IN ACCESS EXCLUSIVE MODE"))
        yield
        locker.rollback()


def in_one_batch(
    inbox: Inbox, sessions: Sessions, *batch: IncomingMessage
) -> list[Accepted | BaseException]:
    """Let messages wait together behind one that is being written; return the answers."""

    def accept(row: IncomingMessage) -> Accepted | BaseException:
        try:
            return inbox.accept(row)
        except Exception as failure:  # noqa: BLE001 (an answer like any other)
            return failure

    with ThreadPoolExecutor(len(batch) + 1) as pool:
        with table_locked(sessions):
            first = pool.submit(accept, incoming(b"first"))
            wait_until(lambda: waiting_for(sessions, "messages"))
            answers = [pool.submit(accept, row) for row in batch]
            wait_until(lambda: len(inbox._new) == len(batch))
        assert isinstance(first.result(), Accepted)
        return [answer.result() for answer in answers]


def test_an_accepted_message_is_committed_before_the_answer(
    inbox: Inbox, sessions: Sessions
) -> None:
    answer = inbox.accept(incoming(b"a"))
    assert [(row.id, row.body) for row in messages(sessions)] == [(answer.message_id, b"a")]


def test_messages_that_wait_together_share_one_commit(inbox: Inbox, sessions: Sessions) -> None:
    batch = [incoming(b"%d" % number) for number in range(50)]
    answers = in_one_batch(inbox, sessions, *batch, incoming(b"0"))
    assert [isinstance(answer, Accepted) for answer in answers] == [True] * 51
    with sessions() as session:
        # xmin is the transaction that wrote a row.
        by_commit = session.execute(
            text("SELECT count(*) FROM messages GROUP BY xmin::text ORDER BY count(*)")
        )
        # The repetition of body 0 is counted before the row is written.
        assert list(by_commit.scalars()) == [1, 50]
    repeated = [answer.repeated for answer in answers if isinstance(answer, Accepted)]
    assert repeated == [False] * 50 + [True]


def test_a_commit_holds_no_more_than_two_hundred(inbox: Inbox, sessions: Sessions) -> None:
    in_one_batch(inbox, sessions, *[incoming(b"%d" % number) for number in range(250)])
    with sessions() as session:
        by_commit = session.execute(
            text("SELECT count(*) FROM messages GROUP BY xmin::text ORDER BY count(*)")
        )
        assert list(by_commit.scalars()) == [1, 50, 200]


def test_the_doorbell_is_rung_once_a_commit_and_after_it(
    inbox: Inbox, sessions: Sessions, rings: list[int]
) -> None:
    in_one_batch(inbox, sessions, *[incoming(b"%d" % number) for number in range(5)])
    wait_until(lambda: len(rings) == 2)
    assert rings == [1, 6]


def test_a_repetition_does_not_ring(inbox: Inbox, sessions: Sessions, rings: list[int]) -> None:
    for body in (b"a", b"a", b"a", b"b"):
        inbox.accept(incoming(body))
    wait_until(lambda: len(rings) == 2)
    assert rings == [1, 2]


def test_a_new_message_beside_a_repetition_rings(
    inbox: Inbox, sessions: Sessions, rings: list[int]
) -> None:
    inbox.accept(incoming(b"known"))
    wait_until(lambda: rings == [1])
    in_one_batch(inbox, sessions, incoming(b"known"), incoming(b"new"))
    wait_until(lambda: rings == [1, 2, 3])


def test_a_failed_batch_fails_only_its_own_messages(inbox: Inbox, sessions: Sessions) -> None:
    # PostgreSQL takes no U+0000 in text: the whole statement fails.
    spoilt = incoming(b"spoilt", account="tiramizoo\x00")
    answers = in_one_batch(inbox, sessions, incoming(b"beside it"), spoilt)
    assert [type(answer) for answer in answers] == [StorageUnavailable, StorageUnavailable]
    assert isinstance(inbox.accept(incoming(b"later")), Accepted)
    assert bodies(sessions) == [b"first", b"later"]


def test_a_bug_in_a_batch_is_raised_as_it_is_and_the_next_batch_works(
    inbox: Inbox, sessions: Sessions
) -> None:
    broken: Any = incoming()
    object.__setattr__(broken, "body", None)
    with pytest.raises(TypeError):
        inbox.accept(broken)
    assert isinstance(inbox.accept(incoming(b"later")), Accepted)
    assert bodies(sessions) == [b"later"]


def test_a_message_that_a_worker_has_locked_delays_only_its_own_repetition(
    inbox: Inbox, sessions: Sessions
) -> None:
    first = inbox.accept(incoming(b"held"))
    with sessions() as worker, ThreadPoolExecutor(1) as pool:
        worker.execute(text("SELECT FROM messages FOR UPDATE"))
        again = pool.submit(inbox.accept, incoming(b"held"))
        wait_until(lambda: row_is_waited_for(sessions))
        new = [inbox.accept(incoming(b"%d" % number)) for number in range(3)]
        assert [answer.repeated for answer in new] == [False] * 3
        assert not again.done()
        worker.rollback()
        assert again.result() == replace(first, repeated=True)
    assert [row.repetitions for row in messages(sessions)] == [1, 0, 0, 0]


def test_a_repetition_is_refused_in_time_while_its_message_is_locked(
    inbox: Inbox, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox.accept(incoming(b"held"))
    monkeypatch.setattr(module, "ACCEPT_SECONDS", 0.5)
    with sessions() as worker:
        worker.execute(text("SELECT FROM messages FOR UPDATE"))
        started_at = time.monotonic()
        with pytest.raises(StorageUnavailable):
            inbox.accept(incoming(b"held"))
        # PostgreSQL itself would end the wait after ten seconds.
        assert time.monotonic() - started_at < 8


def row_is_waited_for(sessions: Sessions) -> bool:
    """Whether a session waits for the end of a transaction, as for a row that it locked."""
    with sessions() as session:
        return bool(
            session.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND wait_event = 'transactionid'"
                )
            )
        )


def test_a_sender_is_refused_in_time_while_postgresql_is_locked(
    inbox: Inbox, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACCEPT_SECONDS", 0.2)
    with table_locked(sessions):
        with pytest.raises(StorageUnavailable):
            inbox.accept(incoming(b"being written"))
        # The statement with the first one is under way; these never come to a statement.
        for number in range(3):
            with pytest.raises(StorageUnavailable):
                inbox.accept(incoming(b"%d" % number))
    monkeypatch.setattr(module, "ACCEPT_SECONDS", 10)
    assert isinstance(inbox.accept(incoming(b"later")), Accepted)
    # What was under way may be kept, since its sender comes again; what was refused before, not.
    assert set(bodies(sessions)) - {b"being written"} == {b"later"}


@contextmanager
def frozen(database_url: str) -> Iterator[None]:
    """Stop the server process of every connection to the database inside."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        pids = [pid for (pid,) in found]
    assert pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_a_sender_is_refused_in_time_while_postgresql_is_frozen(
    new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACCEPT_SECONDS", 0.2)
    database_url = new_database("frozen")
    engine = create_engine_for(database_url)
    sessions = open_sessions(engine)
    try:
        inbox = Inbox(engine, lambda: None)
        inbox.accept(incoming(b"before"))
        with frozen(database_url):
            for body in (b"being written", b"refused"):
                with pytest.raises(StorageUnavailable):
                    inbox.accept(incoming(body))
        monkeypatch.setattr(module, "ACCEPT_SECONDS", 10)
        inbox.accept(incoming(b"later"))
        assert set(bodies(sessions)) - {b"being written"} == {b"before", b"later"}
    finally:
        engine.dispose()


def incoming_in_memory() -> int:
    gc.collect()
    return sum(type(thing) is IncomingMessage for thing in gc.get_objects())


def test_a_message_whose_sender_was_refused_is_not_held_in_memory(
    inbox: Inbox, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An hour without PostgreSQL must not cost the memory of all that was refused in it.
    monkeypatch.setattr(module, "ACCEPT_SECONDS", 0.05)
    before = incoming_in_memory()
    with table_locked(sessions):
        for number in range(20):
            with pytest.raises(StorageUnavailable):
                inbox.accept(incoming(b"%d" % number))
        assert incoming_in_memory() - before <= 2


# Durability


def synchronous_commit(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SHOW synchronous_commit")))


def test_commits_are_flushed_before_they_return(engine: Engine) -> None:
    assert synchronous_commit(engine) == "on"


@pytest.mark.parametrize("value", ["off", "local"])
def test_commits_are_flushed_also_where_the_database_says_otherwise(
    value: str, new_database: Callable[[str], str]
) -> None:
    url = new_database("careless")
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = {value}")
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW synchronous_commit").fetchone() == (value,)
    engine = create_engine_for(url)
    try:
        assert synchronous_commit(engine) == "on"
    finally:
        engine.dispose()


def test_commits_are_flushed_also_where_the_url_says_otherwise(environ: dict[str, str]) -> None:
    engine = create_engine_for(environ["DATABASE_URL"] + "&options=-c%20synchronous_commit%3Doff")
    try:
        assert synchronous_commit(engine) == "on"
    finally:
        engine.dispose()
