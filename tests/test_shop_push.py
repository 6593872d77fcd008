"""The push of the change feed: in order, signed, at least once, whatever the shop does.

The shop is a real HTTP server; the whole service beside a shop that fails is in
tests/system/test_push.py.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker
from standardwebhooks import Webhook

from receiver.changes import feed
from receiver.changes.feed_push import (
    BEGINNING,
    move_feed_push,
    read_push_progress,
    retry_feed_push,
)
from receiver.db.models import FeedPush
from receiver.stats import totals
from tests.bodies import cottoncast_status, life, tiramizoo_order
from tests.push_shop import HANGS, OLD_SECRET, SECRET, PushShop, open_shop
from tests.service import at_once, wait_until
from tests.shop import deliver, get
from workers.pushing import FeedSender, batches, sender, shop_client
from workers.pushing.batches import LEASE, Batch, NothingDue, claim_batch, retry_pause
from workers.pushing.shop_client import ShopAnswer, ShopClient

Sessions = sessionmaker[Session]
Change = Callable[[str], None]
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
STATES = ("created", "dispatched", "picked_up", "delivered")


@pytest.fixture
def receiver_shop() -> Iterator[PushShop]:
    with open_shop() as opened:
        yield opened


@pytest.fixture
def new_sender(sessions: Sessions, redis: Redis) -> Iterator[Callable[..., FeedSender]]:
    """Make a sender that pushes to a shop when the test says so."""
    with ExitStack() as stack:

        def make(url: str, *secrets: str) -> FeedSender:
            made = FeedSender(url, secrets or (SECRET,), sessions, redis)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def change(shop: FlaskClient, drain: Callable[[], int]) -> Change:
    """Make an order go through all of STATES, a change each."""

    def make(name: str) -> None:
        for count in range(1, len(STATES) + 1):
            deliver(shop, tiramizoo_order(name, life(*STATES[:count])))
            drain()

    return make


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sender that does not wait for changes."""
    monkeypatch.setattr(sender, "IDLE_SECONDS", 0.0)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests that are given up soon."""
    for name in ("CONNECT_SECONDS", "READ_SECONDS", "BODY_SECONDS"):
        monkeypatch.setattr(shop_client, name, 0.5)
    monkeypatch.setattr(shop_client, "WHOLE_SECONDS", 1.0)


def start(sessions: Sessions) -> None:
    """Have the shop get all that is in the feed from now on."""
    move_feed_push(sessions, BEGINNING, NOW)


def counted(sessions: Sessions) -> dict[str, float]:
    with sessions() as session:
        found = totals.read_totals(session)
    return {label: value for (name, _, label), value in found.items() if name == totals.FEED_PUSHES}


# What is sent


def test_changes_come_as_the_feed_shows_them_in_its_order(
    shop: FlaskClient,
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    brief: None,
) -> None:
    start(sessions)
    change("a")
    change("b")
    new_sender(receiver_shop.url).push_next()
    [push] = receiver_shop.accepted()
    page = get(shop, "/changes")
    assert push.content == {
        "type": "orders.changed",
        "timestamp": push.content["timestamp"],
        "data": page,
    }
    assert [entry["version"] for entry in page["changes"]] == [1, 2, 3, 4, 1, 2, 3, 4]
    with sessions() as session:
        newest = feed.read_changes(session, 0, 100)[-1]["changed_at"]
    assert datetime.fromisoformat(push.content["timestamp"]) == newest
    assert receiver_shop.refused == 0
    assert counted(sessions) == {"accepted": 1}


def test_a_batch_has_a_hundred_changes_and_the_next_one_goes_on_behind_it(
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    brief: None,
) -> None:
    monkeypatch.setattr(batches, "MOST_CHANGES", 3)
    start(sessions)
    change("a")
    pushing = new_sender(receiver_shop.url)
    for _ in range(3):
        pushing.push_next()
    versions = [[entry["version"] for entry in push.changes] for push in receiver_shop.accepted()]
    assert versions == [[1, 2, 3], [4]]


def test_while_secrets_are_rotated_each_of_them_signs(
    new_sender: Callable[..., FeedSender], change: Change, sessions: Sessions, brief: None
) -> None:
    start(sessions)
    change("a")
    with open_shop(secret=OLD_SECRET) as old_shop:
        new_sender(old_shop.url, SECRET, OLD_SECRET).push_next()
        assert len(old_shop.accepted()) == 1


def test_samples_and_the_orders_of_test_accounts_are_left_out(
    shop: FlaskClient,
    receiver_shop: PushShop,
    change: Change,
    drain: Callable[[], int],
    sessions: Sessions,
    redis: Redis,
    brief: None,
) -> None:
    start(sessions)
    deliver(shop, tiramizoo_order("ORDERTRAIL-SAMPLE-1", life("created")))
    deliver(shop, tiramizoo_order("ordertrail-sample2", life("created")))
    deliver(shop, tiramizoo_order("parked?", life("created")), account="tiramizoo-parking")
    deliver(shop, cottoncast_status("N"), account="cottoncast")
    drain()
    made = FeedSender(receiver_shop.url, [SECRET], sessions, redis, {"cottoncast"})
    made.push_next()
    # All that there is, is left out: the shop is not asked to take it, and nothing waits.
    assert receiver_shop.seen == []
    with sessions() as session:
        progress = read_push_progress(session, NOW)
    assert progress
    assert progress.waiting == 0
    change("real")
    deliver(shop, tiramizoo_order("ORDERTRAIL-SAMPLE-1", life("created", "dispatched")))
    drain()
    change("also real")
    made.push_next()
    made.push_next()
    made.close()
    [push] = receiver_shop.accepted()
    assert [entry["courier_order_id"] for entry in push.changes] == ["real"] * 4 + ["also real"] * 4


# Where it begins


def test_the_first_push_begins_with_what_changes_from_now_on(
    receiver_shop: PushShop, new_sender: Callable[..., FeedSender], change: Change, brief: None
) -> None:
    change("before")
    pushing = new_sender(receiver_shop.url)
    pushing.push_next()
    assert receiver_shop.seen == []
    change("after")
    pushing.push_next()
    assert {entry["courier_order_id"] for entry in receiver_shop.changes()} == {"after"}


def test_the_place_can_be_moved_to_a_cursor_the_beginning_and_now(
    shop: FlaskClient,
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    brief: None,
) -> None:
    change("a")
    pushing = new_sender(receiver_shop.url)
    second = get(shop, "/changes")["changes"][1]["cursor"]
    for where, expected in ((second, [3, 4]), (BEGINNING, [1, 2, 3, 4]), (feed.NOW, [])):
        before = len(receiver_shop.changes())
        assert move_feed_push(sessions, where, NOW).waiting == len(expected)
        pushing.push_next()
        sent = receiver_shop.changes()[before:]
        assert [entry["version"] for entry in sent] == expected


# A shop that does not take it


def test_what_was_not_accepted_is_sent_again_as_the_same_batch(
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    brief: None,
) -> None:
    start(sessions)
    change("a")
    pushing = new_sender(receiver_shop.url)
    for status in (500, 410, 302):
        receiver_shop.does = status
        pushing.push_next()
        # What changes meanwhile is for the next batch.
        change(f"during {status}")
        retry_feed_push(sessions, NOW)
    receiver_shop.does = 204
    pushing.push_next()
    first, *again = receiver_shop.seen
    assert len(again) == 3
    assert {(push.id, push.body) for push in again} == {(first.id, first.body)}
    pushing.push_next()
    assert receiver_shop.seen[-1].id != first.id
    assert [entry["version"] for entry in receiver_shop.changes()] == [1, 2, 3, 4] * 4
    assert counted(sessions) == {"rejected": 2, "redirected": 1, "accepted": 2}


def test_failures_pause_longer_and_longer_until_one_is_accepted(
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    brief: None,
) -> None:
    start(sessions)
    change("a")
    pushing = new_sender(receiver_shop.url)
    receiver_shop.does = 500
    pushing.push_next()
    # It is not due yet.
    assert 0 < pushing.push_next() <= sender.PAUSE_SECONDS
    assert len(receiver_shop.seen) == 1
    retry_feed_push(sessions, NOW)
    pushing.push_next()
    now = datetime.now(UTC)
    with sessions() as session:
        progress = read_push_progress(session, now)
    assert progress
    assert (progress.failures, progress.detail, progress.waiting) == (2, "answered 500", 4)
    assert progress.next_attempt_at
    assert 5 < (progress.next_attempt_at - now).total_seconds() <= 12.5
    retry_feed_push(sessions, NOW)
    receiver_shop.does = 204
    pushing.push_next()
    with sessions() as session:
        progress = read_push_progress(session, now)
    assert progress
    assert (progress.failures, progress.failing_since, progress.waiting) == (0, None, 0)


def test_pauses_are_between_five_seconds_and_fifteen_minutes() -> None:
    pauses = [retry_pause(failures).total_seconds() for failures in range(200)]
    assert 5 <= pauses[0] < 7
    assert 10 <= pauses[1] < 13
    assert all(720 <= pause <= 900 for pause in pauses[8:])
    assert len(set(pauses)) == len(pauses)


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", "accepted"),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 9\r\n\r\ncut off", "accepted"),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:9/\r\n\r\n", "redirected"),
        (b"HTTP/1.1 308 Moved\r\nLocation: /elsewhere\r\n\r\n", "redirected"),
        (b"HTTP/1.1 410 Gone\r\n\r\n", "rejected"),
        (b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", "rejected"),
        (b"HTTP/1.1 999 Oh\r\nContent-Length: 0\r\n\r\n", "rejected"),
        (b"SMTP ready\r\n\r\n", "broken"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "broken"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "broken"),
        (b"", "broken"),
        (b"HTTP/1.1 200", "broken"),
    ],
)
def test_whatever_a_shop_answers_has_a_result(answer: bytes, result: str) -> None:
    with listening(lambda connection: connection.sendall(answer)) as url:
        assert post(url).result == result


@pytest.mark.parametrize(
    ("asked", "lowest", "highest"),
    [("60", 60, 60), ("1", 5, 7), ("864000", 900, 900), ("-5", 5, 7), ("9" * 400, 900, 900)],
)
def test_a_shop_may_ask_for_a_longer_pause_of_at_most_fifteen_minutes(
    asked: str, lowest: float, highest: float, change: Change, sessions: Sessions
) -> None:
    start(sessions)
    change("a")
    head = f"HTTP/1.1 503 x\r\nRetry-After: {asked}\r\nContent-Length: 0\r\n\r\n".encode()
    with listening(lambda connection: connection.sendall(head)) as url:
        answer = post(url)
    with sessions.begin() as session:
        batch = claim_batch(session, NOW)
        assert isinstance(batch, Batch)
        batches.record_answer(session, batch, answer, NOW)
        row = session.get(FeedPush, "shop")
        assert row
        assert row.next_attempt_at
        assert lowest <= (row.next_attempt_at - NOW).total_seconds() <= highest


def test_a_shop_that_never_answers_is_given_up(impatient: None) -> None:
    stop = threading.Event()
    with listening(lambda _: stop.wait(10)) as url:
        began = time.monotonic()
        assert post(url).result == "timed_out"
        stop.set()
        assert time.monotonic() - began < 5


@pytest.mark.parametrize(("status", "result"), [(200, "accepted"), (503, "rejected")])
def test_a_body_without_an_end_does_not_hide_the_status(status: int, result: str) -> None:
    def flood(connection: socket.socket) -> None:
        connection.sendall(f"HTTP/1.1 {status} x\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        with suppress(OSError):
            while True:
                connection.sendall(b"1000\r\n" + bytes(4096) + b"\r\n")

    with listening(flood) as url:
        assert post(url).result == result


def test_headers_without_an_end_are_given_up(impatient: None) -> None:
    def drip(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                connection.sendall(b"X-A: b\r\n")
                time.sleep(0.1)

    with listening(drip) as url:
        assert post(url).result in {"timed_out", "broken"}


def test_a_shop_that_is_not_there_cannot_be_reached(impatient: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    for url in (
        f"http://127.0.0.1:{port}/",
        "https://name.invalid/hooks",
        f"http://{'a' * 70}.example/",
    ):
        answer = post(url)
        # Without a resolver the lookup may end by its time.
        assert answer.result in {"unreachable", "timed_out"}, url


def test_a_shop_without_tls_is_not_pushed_to_over_https(receiver_shop: PushShop) -> None:
    answer = post(receiver_shop.url.replace("http:", "https:"))
    assert (answer.result, receiver_shop.seen) == ("unreachable", [])


def listening(play: Callable[[socket.socket], object]) -> Any:
    """A server that reads a request and then does what it is given; its URL."""
    stack = ExitStack()
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    def serve() -> None:
        with suppress(OSError):
            connection, _ = server.accept()
            with connection:
                connection.settimeout(10)
                connection.recv(65_536)
                play(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    stack.callback(thread.join)
    return _Url(stack, f"http://127.0.0.1:{server.getsockname()[1]}/hooks")


class _Url:
    def __init__(self, stack: ExitStack, url: str) -> None:
        self._stack, self._url = stack, url

    def __enter__(self) -> str:
        return self._url

    def __exit__(self, *_: object) -> None:
        self._stack.close()


def post(url: str) -> ShopAnswer:
    """How a small push ends."""
    client = ShopClient(url, [SECRET])
    try:
        return client.post("msg_1", "orders.changed", NOW, {"changes": []}, datetime.now(UTC))
    finally:
        client.close()


# One at a time, and after a crash


def test_of_several_senders_one_sends_at_a_time_and_nothing_twice(
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    brief: None,
) -> None:
    monkeypatch.setattr(batches, "MOST_CHANGES", 2)
    start(sessions)
    change("a")
    change("b")
    with open_shop(seconds=0.1) as slow_shop:
        senders = [new_sender(slow_shop.url) for _ in range(4)]

        def push_all(pushing: FeedSender) -> None:
            while len(slow_shop.changes()) < 8:
                pushing.push_next()
                time.sleep(0.01)

        at_once(*(lambda one=one: push_all(one) for one in senders))
        assert slow_shop.most_at_once == 1
        assert [entry["version"] for entry in slow_shop.changes()] == [1, 2, 3, 4, 1, 2, 3, 4]
        assert len(slow_shop.seen) == 4


@pytest.mark.parametrize("minutes", [-2, 2])
def test_senders_whose_clocks_differ_send_one_at_a_time(
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    minutes: int,
) -> None:
    class OtherClock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(tz) + timedelta(minutes=minutes)

    start(sessions)
    change("a")
    monkeypatch.setattr(shop_client, "READ_SECONDS", 3.0)
    receiver_shop.does = HANGS
    thread = threading.Thread(target=new_sender(receiver_shop.url).push_next)
    thread.start()
    wait_until(lambda: receiver_shop.seen)
    monkeypatch.setattr(sender, "datetime", OtherClock)
    assert new_sender(receiver_shop.url).push_next() > 1
    assert len(receiver_shop.seen) == 1
    thread.join()


def test_a_sender_that_dies_is_followed_by_another_with_the_same_batch(
    change: Change, sessions: Sessions
) -> None:
    start(sessions)
    change("a")
    with sessions.begin() as session:
        first = claim_batch(session, NOW)
    assert isinstance(first, Batch)
    change("b")
    with sessions.begin() as session:
        assert claim_batch(session, NOW + LEASE / 2) == NothingDue(LEASE / 2)
    with sessions.begin() as session:
        again = claim_batch(session, NOW + LEASE)
    assert isinstance(again, Batch)
    assert (again.id, again.data, again.end) == (first.id, first.data, first.end)


def test_no_transaction_is_open_while_the_shop_is_waited_for(
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start(sessions)
    change("a")
    monkeypatch.setattr(shop_client, "READ_SECONDS", 3.0)
    receiver_shop.does = HANGS
    pushing = new_sender(receiver_shop.url)
    thread = threading.Thread(target=pushing.push_next)
    thread.start()
    wait_until(lambda: receiver_shop.seen)
    with sessions() as session:
        others = text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state LIKE 'idle in transaction%' AND pid <> pg_backend_pid()"
        )
        assert session.scalar(others) == 0
    thread.join()
    assert counted(sessions) == {"timed_out": 1}


def test_an_answer_that_could_not_be_recorded_is_recorded_later_and_not_sent_again(
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    monkeypatch: pytest.MonkeyPatch,
    brief: None,
) -> None:
    start(sessions)
    change("a")
    pushing = new_sender(receiver_shop.url)

    def fail(*_: object) -> None:
        raise OSError

    with monkeypatch.context() as broken:
        broken.setattr(sender, "record_answer", fail)
        with pytest.raises(OSError):  # noqa: PT011 (ours)
            pushing.push_next()
    pushing.push_next()
    assert len(receiver_shop.seen) == 1
    with sessions() as session:
        progress = read_push_progress(session, NOW)
    assert progress
    assert progress.waiting == 0


def test_a_place_that_is_moved_during_a_push_is_not_moved_back_by_its_answer(
    change: Change, sessions: Sessions
) -> None:
    start(sessions)
    change("a")
    with sessions.begin() as session:
        batch = claim_batch(session, NOW)
    assert isinstance(batch, Batch)
    move_feed_push(sessions, BEGINNING, NOW)
    # The shop has one request at a time all the same.
    with sessions.begin() as session:
        assert isinstance(claim_batch(session, NOW), NothingDue)
    with sessions.begin() as session:
        batches.record_answer(session, batch, ShopAnswer("accepted", "answered 200", 0.1), NOW)
    with sessions.begin() as session:
        again = claim_batch(session, NOW)
    assert isinstance(again, Batch)
    assert again.id != batch.id
    assert again.data == batch.data


@pytest.mark.parametrize("column", ["leased_until", "next_attempt_at"])
def test_a_time_that_a_wrong_clock_wrote_stops_nothing_for_good(
    column: str, change: Change, sessions: Sessions
) -> None:
    start(sessions)
    change("a")
    with sessions.begin() as session:
        row = session.get(FeedPush, "shop")
        setattr(row, column, NOW + timedelta(days=400))
    with sessions.begin() as session:
        assert isinstance(claim_batch(session, NOW), Batch)


# At work


def test_a_change_is_pushed_within_a_moment(
    receiver_shop: PushShop,
    new_sender: Callable[..., FeedSender],
    change: Change,
    sessions: Sessions,
    redis: Redis,
) -> None:
    start(sessions)
    pushing = new_sender(receiver_shop.url)
    pushing.start()
    time.sleep(0.3)
    change("a")
    wait_until(lambda: len(receiver_shop.changes()) == 4, 10)
    with sessions() as session:
        happened = feed.read_changes(session, 0, 100)[0]["changed_at"].timestamp()
    # A check every second, even where no announcement arrives.
    assert receiver_shop.accepted()[0].at - happened < 5


def test_the_signature_covers_id_time_and_body(receiver_shop: PushShop) -> None:
    sign = Webhook(SECRET).sign
    assert sign("msg_1", NOW, "{}") != sign("msg_2", NOW, "{}")
    post(receiver_shop.url)
    assert (receiver_shop.refused, len(receiver_shop.seen)) == (0, 1)
