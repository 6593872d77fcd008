"""Alerts are pushed once on opening and once on closing, as a real HTTP receiver sees it."""

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import psycopg
import pytest
import requests
from redis import Redis
from rq import SimpleWorker
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from receiver.alerts import CATALOGUE, Alert, AlertContext
from receiver.alerts.history import acknowledge_alert
from receiver.db.models import Message, Notice, Push, Tally
from receiver.inbox.storage_check import SLOW
from receiver.queue.job_queue import get_queue
from receiver.queue.liveness import record_clock_tick, record_sweep
from receiver.settings import BadSettings, Settings
from tests.bodies import START
from workers.alerting import AlertWatch, notices
from workers.alerting.notices import CALM, RESTLESS, WORSE_EVERY
from workers.alerting.pushes import CLOSED, OPENED, WORSE, Target, write_push
from workers.alerting.watch import MOST_ATTEMPTS

Sessions = sessionmaker[Session]
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class Pager(ThreadingHTTPServer):
    """Takes in what is pushed to it, or answers 500 while it is out of order."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.asked = self.beats = 0
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

    def do_GET(self) -> None:
        self.server.beats += 1
        self.send_response(200)
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


def kinds(pager: Pager) -> list[str]:
    """What the pushes say first: OPENED, WORSE, STILL or CLOSED."""
    return [re.split(r"\W", got["message"])[0] for got in pager.got]


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Push without a grace time."""
    for severity in notices.GRACE:
        monkeypatch.setitem(notices.GRACE, severity, timedelta(0))


@pytest.fixture
def watch(
    environ: dict[str, str], sessions: Sessions, redis: Redis, pager: Pager, at_once: None
) -> Watch:
    """One on a service without workers: that alert is open before a test begins."""
    watch = Watch(environ, sessions, redis, pager.url)
    watch.look()
    assert "no_workers" in pager.got.pop()["title"]
    return watch


def test_an_alert_is_pushed_once_on_opening_and_once_on_closing(watch: Watch, pager: Pager) -> None:
    watch.break_something()
    for _ in range(5):
        watch.look()
    [opened] = pager.got
    assert opened["title"] == "Ordertrail 127.0.0.1:8000: messages_quarantined of tiramizoo"
    for part in (
        "OPENED (warning)",
        "1 message could not be read",
        "such as 1",
        "#messages-quarantined",
    ):
        assert part in opened["message"]
    watch.mend()
    for _ in range(3):
        watch.look(CALM)
    [_, closed] = pager.got
    assert kinds(pager) == ["OPENED", "CLOSED"]
    assert "it was open for 0:06:00" in closed["message"]
    assert "http://127.0.0.1:8000/ops" in closed["message"]
    assert [got["state"] for got in pager.got] == ["alerting", "ok"]
    for name in ("title", "alert_uid"):
        assert opened[name] == closed[name]


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
    titles = [got["title"].split()[2] for got in pager.got]
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


def test_pushes_hold_no_personal_data(watch: Watch, pager: Pager) -> None:
    watch.break_something("tiramizoo")
    watch.break_something("shipmentapi")
    watch.look()
    assert {got["title"].split()[-1] for got in pager.got} == {"tiramizoo", "shipmentapi"}
    assert "Alice" not in json.dumps(pager.got)
    assert "Im Dol" not in json.dumps(pager.got)


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
    assert kinds(pager) == ["OPENED", "CLOSED"]


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
    assert "messages_quarantined" in late["title"]


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
    assert kinds(pager) == ["OPENED", "CLOSED", "OPENED"]
    watch.look(RESTLESS)
    assert len(watch.notices()) == 2
    assert watch.notices()[-1].closed_at is not None


# Grace times, worsening, reminders


@pytest.fixture
def patient(environ: dict[str, str], sessions: Sessions, redis: Redis, pager: Pager) -> Watch:
    """A watch with its grace times, on a service where only workers are missing."""
    return Watch(environ, sessions, redis, pager.url)


def work(redis: Redis) -> None:
    """A worker and a clock are alive."""
    record_clock_tick(redis, START)
    worker = SimpleWorker([get_queue(redis)], connection=redis)
    worker.register_birth()  # type: ignore[no-untyped-call] # RQ's


def test_a_restart_of_the_only_worker_pushes_nothing_and_a_real_loss_does(
    patient: Watch, pager: Pager, redis: Redis
) -> None:
    for _ in range(3):
        redis.flushdb()
        patient.look(5 * SECOND)
        work(redis)
        for _ in range(5):
            patient.look(15 * SECOND)
    assert pager.got == []
    redis.flushdb()
    patient.look(15 * SECOND)
    patient.look(MINUTE)
    assert [got["title"].split()[2] for got in pager.got] == ["no_workers"]


def test_a_warning_has_more_time_and_one_that_flickers_is_pushed(
    patient: Watch, pager: Pager
) -> None:
    for _ in range(8):
        patient.break_something()
        patient.look(30 * SECOND)
        patient.mend()
        patient.look(30 * SECOND)
    found = [got["title"].split()[2] for got in pager.got]
    assert sorted(found) == ["messages_quarantined", "no_workers"]


def test_an_alert_is_pushed_again_when_it_gets_worse_and_once_a_day(
    watch: Watch, pager: Pager
) -> None:
    watch.break_something()
    watch.look()
    watch.break_something()
    watch.look(WORSE_EVERY)
    assert kinds(pager) == ["OPENED"]
    for _ in range(8):
        watch.break_something()
    watch.look()
    assert kinds(pager) == ["OPENED", "WORSE"]
    with watch.sessions.begin() as session:
        newest = session.scalars(select(Message).order_by(Message.id.desc())).first()
        assert newest is not None
        newest.reason = "another cause"
    watch.look(WORSE_EVERY)
    watch.look(WORSE_EVERY)
    assert kinds(pager) == ["OPENED", "WORSE", "WORSE"]
    assert len({got["alert_uid"] for got in pager.got}) == 1
    watch.look(timedelta(hours=25))
    assert [got["message"].split()[0] for got in pager.got].count("STILL") == 2  # and no_workers


def test_an_acknowledged_alert_is_not_pushed_again(watch: Watch, pager: Pager) -> None:
    watch.break_something()
    watch.look()
    with watch.sessions.begin() as session:
        for notice in session.scalars(select(Notice)):
            notice.acknowledged_until = watch.now + timedelta(days=3)
    for _ in range(20):
        watch.break_something()
    watch.look(timedelta(hours=25))
    assert kinds(pager) == ["OPENED"]
    watch.mend()
    watch.look()
    watch.look(CALM)
    assert kinds(pager) == ["OPENED", "CLOSED"]


def test_a_snoozed_alert_is_pushed_again_at_the_end(watch: Watch, pager: Pager) -> None:
    watch.break_something()
    watch.look()
    acknowledge(watch, timedelta(hours=4))
    watch.look(timedelta(hours=3))
    assert kinds(pager) == ["OPENED"]
    watch.look(timedelta(hours=2))
    watch.look()
    assert kinds(pager) == ["OPENED", "STILL"]


def test_an_acknowledged_alert_that_becomes_critical_is_pushed(
    watch: Watch, pager: Pager, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.break_something()
    watch.look()
    acknowledge(watch, timedelta(hours=4))
    condition = CATALOGUE["messages_quarantined"]
    monkeypatch.setitem(CATALOGUE, condition.name, replace(condition, severity="critical"))
    watch.look()
    watch.look()
    assert kinds(pager) == ["OPENED", "WORSE"]
    # As a critical one it can be acknowledged again.
    acknowledge(watch, timedelta(hours=4))
    for _ in range(20):
        watch.break_something()
    watch.look(timedelta(hours=1))
    assert kinds(pager) == ["OPENED", "WORSE"]


def acknowledge(watch: Watch, duration: timedelta) -> None:
    """Snooze the alert about quarantined messages."""
    wanted = {"by": "Ann", "note": "", "until": watch.now + duration}
    with capture_logs() as lines:
        acknowledge_alert(watch.sessions, watch.notices()[-1].id, wanted, watch.now)
    assert [(it["event"], it["by"]) for it in lines] == [("alert_acknowledged", "Ann")]


# Without PostgreSQL


def read_only(environ: dict[str, str], is_on: bool) -> None:
    own = "-c default_transaction_read_only=off"
    with psycopg.connect(environ["DATABASE_URL"], options=own, autocommit=True) as connection:
        name = connection.info.dbname
        value = "SET default_transaction_read_only = on" if is_on else "RESET ALL"
        connection.execute(f"ALTER DATABASE {name} {value}")


def test_a_read_only_postgresql_is_pushed_all_the_same(
    environ: dict[str, str],
    sessions: Sessions,
    redis: Redis,
    pager: Pager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A connection of the pool is looked at before each use, not only after a second of rest.
    monkeypatch.setattr("receiver.db.engine.IDLE_SECONDS", 0)
    # The watch's clock goes faster than time: PostgreSQL is probed at each look.
    monkeypatch.setattr("receiver.inbox.storage_check.FRESH_SECONDS", 0)
    work(redis)
    watch = Watch(environ, sessions, redis, pager.url)
    try:
        read_only(environ, is_on=True)
        sessions.kw["bind"].dispose()
        watch.restart()
        with capture_logs() as lines:
            for _ in range(6):
                watch.now += 15 * SECOND
                watch.alert_watch.check(watch.now)
        assert [got["title"].split()[2] for got in pager.got] == ["database_read_only"]
    finally:
        read_only(environ, is_on=False)
        sessions.kw["bind"].dispose()
    with capture_logs() as later_lines:
        for _ in range(7):
            watch.look()
    assert kinds(pager) == ["OPENED", "CLOSED"]
    assert pager.got[0]["alert_uid"] == pager.got[1]["alert_uid"]
    # Each is logged once, and a failure names its place, not the way to it.
    logged = [(it["event"], it["condition"]) for it in [*lines, *later_lines] if "condition" in it]
    assert sorted(logged) == [
        ("alert_closed", "database_read_only"),
        ("alert_opened", "database_read_only"),
    ]
    failures = [it for it in lines if it["event"] == "alerts_not_recorded"]
    assert {it["sqlstate"] for it in failures} == {"25006"}
    assert not any("frames" in it for it in failures)


def test_a_slow_postgresql_is_pushed_without_a_write(
    environ: dict[str, str],
    sessions: Sessions,
    redis: Redis,
    pager: Pager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    work(redis)
    watch = Watch(environ, sessions, redis, pager.url)
    monkeypatch.setattr("receiver.inbox.storage_check.StorageCheck.check", lambda _: SLOW)
    for _ in range(4):
        watch.look()
    assert [got["title"].split()[2] for got in pager.got] == ["database_slow"]
    assert watch.notices() == []


# What other services make of it


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("pagerduty://AbcdefghijklmnopqrstuvwxyzAbcdef@abcdefghijklmnop", "dedup_key"),
        ("opsgenie://8b799edf-6f98-4d3a-9be7-2862fb4e5752", "alias"),
    ],
)
def test_what_is_opened_at_a_service_is_resolved_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str, key: str
) -> None:
    """By the requests that Apprise's plugins make."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def post(url: str, data: str = "", **_: Any) -> Any:
        asked.append((url, json.loads(data)))
        answer = requests.Response()
        answer.status_code = 202
        answer._content = b'{"requestId": "the-id", "result": "ok"}'
        return answer

    monkeypatch.setattr("requests.post", post)
    # Seconds that Apprise lets pass between two requests.
    monkeypatch.setattr("apprise.plugins.base.NotifyBase.request_rate_per_sec", 0)
    target = Target(url)
    alert = Alert(None, "No worker is running", severity="critical", condition="no_workers")
    for kind in (OPENED, WORSE, CLOSED):
        assert target.send(write_push(settings, kind, alert))
    keys = [payload.get(key) for _, payload in asked[:2]]
    assert keys == ["ordertrail/127.0.0.1:8000/no_workers/"] * 2
    closing_url, closing = asked[-1]
    if key == "dedup_key":
        assert (closing["event_action"], closing[key]) == ("resolve", keys[0])
    else:
        assert closing_url.endswith("/the-id/close")


def test_the_heartbeat_beats_while_all_is_well(
    environ: dict[str, str], sessions: Sessions, redis: Redis, pager: Pager
) -> None:
    beats = f"http://127.0.0.1:{pager.server_port}/beat"
    watch = Watch({**environ, "HEARTBEAT_URL": beats}, sessions, redis)
    for _ in range(3):
        watch.look(MINUTE)
    assert pager.beats == 0
    work(redis)
    for _ in range(4):
        watch.look(30 * SECOND)
    assert pager.beats == 2


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
