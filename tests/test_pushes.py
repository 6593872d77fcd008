"""Alerts are pushed once on opening and once on closing, as a real HTTP receiver sees it."""

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from receiver.alerts import CATALOGUE, Alert, AlertContext
from receiver.db.models import Message, Notice, Push, Tally
from receiver.queue.liveness import record_sweep
from receiver.settings import BadSettings, Settings
from tests.bodies import START
from workers.alerting import CALM, MOST_ATTEMPTS, RESTLESS, AlertWatch

Sessions = sessionmaker[Session]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class Pager(ThreadingHTTPServer):
    """Takes in what is pushed to it, or answers 500 while it is out of order."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.asked = 0
        self.works = True
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server_port}/"


class Handler(BaseHTTPRequestHandler):
    server: Pager

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked += 1
        if self.server.works:
            self.server.got.append(json.loads(body))
        self.send_response(200 if self.server.works else 500)
        self.end_headers()

    def log_message(self, *arguments: Any) -> None:
        """Not on the terminal."""


@pytest.fixture
def pager() -> Iterator[Pager]:
    with Pager() as pager:
        threading.Thread(target=pager.serve_forever, daemon=True).start()
        yield pager
        pager.shutdown()


class Watch:
    """An alert watch by a clock that the test moves."""

    def __init__(
        self, environ: dict[str, str], sessions: Sessions, redis: Redis, *urls: str
    ) -> None:
        self.settings = Settings.from_env({**environ, "ALERT_URLS": ",".join(urls)})
        self.sessions, self.redis, self.now = sessions, redis, START
        self.restart()

    def restart(self) -> None:
        self.alert_watch = AlertWatch(self.settings, self.sessions, self.redis)

    def look(self, after: timedelta = 15 * SECOND) -> None:
        self.now += after
        with self.sessions.begin() as session:
            record_sweep(session, self.now)
        self.alert_watch.check(self.now)

    def break_something(self, account: str = "tiramizoo") -> None:
        with self.sessions.begin() as session:
            number = session.scalar(select(func.count()).select_from(Message)) or 0
            session.add(
                Message(
                    account=account,
                    topic="orders",
                    kind="webhook",
                    trust="token",
                    body=b"Alice Icealay lives at Im Dol 1",
                    body_sha256=number.to_bytes(32, "big"),
                    received_at=self.now,
                    last_seen_at=self.now,
                    outcome="quarantined",
                    reason="name: Alice Icealay",
                )
            )

    def mend(self) -> None:
        with self.sessions.begin() as session:
            for message in session.scalars(select(Message)):
                message.outcome = "discarded"

    def notices(self) -> list[Notice]:
        with self.sessions() as session:
            found = session.scalars(select(Notice).order_by(Notice.id))
            return [it for it in found if it.condition == "messages_quarantined"]


@pytest.fixture
def watch(environ: dict[str, str], sessions: Sessions, redis: Redis, pager: Pager) -> Watch:
    """One on a service without workers: that alert is open before a test begins."""
    watch = Watch(environ, sessions, redis, pager.url)
    watch.look()
    assert "no_workers" in pager.got.pop()["message"]
    return watch


def test_an_alert_is_pushed_once_on_opening_and_once_on_closing(watch: Watch, pager: Pager) -> None:
    watch.break_something()
    for _ in range(5):
        watch.look()
    [opened] = pager.got
    assert opened["title"] == "Ordertrail: messages_quarantined of tiramizoo opened"
    for part in ("warning", "1 message could not be read", "such as 1", "#messages-quarantined"):
        assert part in opened["message"]
    watch.mend()
    for _ in range(3):
        watch.look(CALM)
    [_, closed] = pager.got
    assert closed["title"] == "Ordertrail: messages_quarantined of tiramizoo closed"
    assert "it was open for 0:06:00" in closed["message"]


def test_an_alert_does_not_close_while_its_condition_cannot_be_computed(
    watch: Watch, pager: Pager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_context: AlertContext) -> Iterator[Alert]:
        raise KeyError

    watch.break_something()
    watch.look()
    condition = CATALOGUE["messages_quarantined"]
    monkeypatch.setitem(CATALOGUE, condition.name, replace(condition, find=fails))
    for _ in range(3):
        watch.look(CALM)
    assert watch.notices()[-1].closed_at is None
    titles = [got["title"].split()[1] for got in pager.got]
    assert titles == ["messages_quarantined", "conditions_not_computed"]


def test_openings_and_closings_are_logged(watch: Watch) -> None:
    with capture_logs() as logged:
        watch.break_something()
        watch.look()
        watch.look()
        watch.mend()
        watch.look()
        watch.look(CALM)
    changes = [(line["event"], line["condition"], line["account"]) for line in logged]
    assert changes == [
        (event, "messages_quarantined", "tiramizoo") for event in ("alert_opened", "alert_closed")
    ]


def test_what_opens_together_is_one_message_without_personal_data(
    watch: Watch, pager: Pager
) -> None:
    watch.break_something("tiramizoo")
    watch.break_something("shipmentapi")
    watch.look()
    [message] = pager.got
    assert message["title"] == "Ordertrail: 2 opened"
    assert "tiramizoo" in message["message"]
    assert "shipmentapi" in message["message"]
    assert "Alice" not in json.dumps(message)
    assert "Im Dol" not in json.dumps(message)


def test_a_restart_neither_repeats_nor_loses_a_push(watch: Watch, pager: Pager) -> None:
    watch.break_something()
    watch.look()
    watch.restart()
    watch.look()
    assert len(pager.got) == 1
    watch.mend()
    watch.look()
    watch.restart()
    watch.look(CALM)
    assert [got["title"].split()[-1] for got in pager.got] == ["opened", "closed"]


def test_what_could_not_be_pushed_is_tried_again_ever_more_seldom(
    watch: Watch, pager: Pager
) -> None:
    pager.works = False
    watch.break_something()
    for _ in range(24):
        watch.look()
    # In six minutes: at once, and after half a minute, one and two more.
    assert pager.asked - 1 == 4
    watch.restart()
    pager.works = True
    watch.look(30 * MINUTE)
    [late] = pager.got
    assert "messages_quarantined" in late["message"]


def test_a_push_is_given_up_in_the_end(watch: Watch, pager: Pager) -> None:
    pager.works = False
    watch.break_something()
    watch.look()
    with watch.sessions.begin() as session:
        for push in session.scalars(select(Push).where(Push.sent_at.is_(None))):
            push.attempts = MOST_ATTEMPTS - 1
    watch.look(MINUTE)
    asked = pager.asked
    watch.look(60 * MINUTE)
    assert pager.asked == asked
    with watch.sessions() as session:
        given_up = select(func.count()).select_from(Push).where(Push.given_up_at.is_not(None))
        assert session.scalar(given_up) == 1


def test_each_address_gets_its_own_pushes(
    environ: dict[str, str], sessions: Sessions, redis: Redis, pager: Pager
) -> None:
    with Pager() as broken:
        broken.works = False
        threading.Thread(target=broken.serve_forever, daemon=True).start()
        watch = Watch(environ, sessions, redis, pager.url, broken.url)
        for _ in range(4):
            watch.look(MINUTE)
        broken.shutdown()
    assert len(pager.got) == 1
    assert broken.asked > 1


def test_a_condition_that_comes_and_goes_is_no_storm(watch: Watch, pager: Pager) -> None:
    for _ in range(5):
        watch.break_something()
        watch.look(MINUTE)
        watch.mend()
        watch.look(MINUTE)
    assert len(pager.got) == 1
    # Also one that stays away for a while each time: after the first pair it is to stay for long.
    for _ in range(2):
        watch.look(CALM)
        watch.look(CALM)
        watch.break_something()
        watch.look(MINUTE)
        watch.mend()
        watch.look(MINUTE)
    assert [got["title"].split()[-1] for got in pager.got] == ["opened", "closed", "opened"]
    watch.look(RESTLESS)
    assert len(watch.notices()) == 2
    assert watch.notices()[-1].closed_at is not None


def test_a_wrong_address_is_named_by_its_place(environ: dict[str, str]) -> None:
    with pytest.raises(BadSettings, match=r"ALERT_URLS.*no\. 2") as bad:
        Settings.from_env({**environ, "ALERT_URLS": "json://localhost,nonsense://secret@here"})
    assert "secret" not in str(bad.value)


def test_the_alert_watch_deletes_old_tallies(watch: Watch) -> None:
    with watch.sessions.begin() as session:
        session.add(Tally(account="tiramizoo", at=START - timedelta(weeks=6), hooks=1))
    watch.look(timedelta(hours=1))
    with watch.sessions() as session:
        assert session.scalar(select(func.count()).select_from(Tally)) == 0
