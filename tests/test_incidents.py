"""Incidents that others had behind green dashboards, staged on a clock that a test moves.

Each asserts which alert opened, that it did so in time, and that no other did. Webhooks go through
the inbox and the drain, and refused ones through the web application; only a courier's past is
written into the tables directly.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import AlertContext, SystemState, find_alerts
from receiver.db.models import AccountState, Refusal, Tally
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.queue.liveness import record_sweep
from receiver.settings import Settings
from tests.bodies import raw, tiramizoo_order
from tests.polling import MakeWorld, World
from tests.sandbox import evenly
from tests.service import wait_until
from workers.folding.drain import drain_batch

Sessions = sessionmaker[Session]
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
STEP = timedelta(minutes=5)
BERLIN = ZoneInfo("Europe/Berlin")
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
FINE = SystemState(True, 2, LONG_AGO, disk_free=2**40, disk_size=2**41)

TUESDAY = datetime(2026, 6, 16, 10, tzinfo=BERLIN)
SATURDAY_EVENING = datetime(2026, 6, 20, 18, tzinfo=BERLIN)
A_HOOK_EVERY = timedelta(minutes=2.5)


def works(at: datetime) -> bool:
    """The courier's hours: from 8 to 18 by its own clock, and not on Sundays."""
    local = at.astimezone(BERLIN)
    return local.weekday() < 6 and 8 <= local.hour < 18


@dataclass
class Stage:
    """An account, a clock, and whatever alerts open."""

    sessions: Sessions
    settings: Settings
    now: datetime
    opened: dict[str, datetime] = field(default_factory=dict)
    number: int = 0

    def set(self) -> None:
        """Five weeks of webhooks at the courier's hours, and orders that are open just now."""
        first = self.now - timedelta(weeks=5)
        buckets = [first + number * STEP for number in range((self.now - first) // STEP)]
        rows = [{"account": "tiramizoo", "at": at, "hooks": 2} for at in buckets if works(at)]
        with self.sessions.begin() as session:
            session.execute(insert(Tally), rows)
            session.add(AccountState(account="tiramizoo", last_hook_at=self.now))
        self.webhooks(30)
        self.look()
        assert self.opened == {}

    def webhooks(self, count: int) -> None:
        """Webhooks of new orders come in."""
        numbers = range(self.number, self.number + count)
        self.number += count
        bodies = [raw(tiramizoo_order(f"order {it}", {"created": self.now})) for it in numbers]
        with self.sessions.begin() as session:
            for at in range(0, count, 200):
                store_messages(session, [self.webhook(body) for body in bodies[at : at + 200]])

    def webhook(self, body: bytes) -> IncomingMessage:
        return IncomingMessage("tiramizoo", "orders", "webhook", "token", body, self.now)

    def look(self, drains: bool = True) -> None:
        """Drain, sweep, and record the alerts that are open."""
        while drains and drain_batch(self.sessions, self.settings, self.now):
            pass
        with self.sessions.begin() as session:
            record_sweep(session, self.now)
            for alert in find_alerts(AlertContext(session, self.settings, self.now, FINE)):
                self.opened.setdefault(alert.condition, self.now)

    def live(
        self,
        long: timedelta,
        each: Callable[[], None] = lambda: None,
        drains: bool = True,
        step: timedelta = MINUTE,
    ) -> dict[str, timedelta]:
        """Let time pass, and return which alerts opened, and after how long."""
        began = self.now
        while self.now < began + long:
            self.now += step
            each()
            self.look(drains)
        return {name: at - began for name, at in self.opened.items()}


@pytest.fixture
def stage(sessions: Sessions, settings: Settings) -> Callable[[datetime], Stage]:
    def make(now: datetime) -> Stage:
        made = Stage(sessions, settings, now.astimezone(UTC))
        made.set()
        return made

    return make


@pytest.fixture
def door(client: FlaskClient, app: Flask) -> Callable[[Stage], Callable[[], None]]:
    """A courier with a wrong secret that sends webhooks, by the stage's clock."""
    ledger = app.extensions["ordertrail"].credential_recorder

    def at(stage: Stage) -> Callable[[], None]:
        ledger.clock = lambda: stage.now

        def written() -> int:
            ledger.flush()
            with stage.sessions() as session:
                return session.scalar(select(func.sum(Refusal.count))) or 0

        def call() -> None:
            before = written()
            body = raw(tiramizoo_order(f"refused {before}", {"created": stage.now}))
            answer = client.post("/webhooks/tiramizoo/orders/a-secret-of-another-shop", data=body)
            assert answer.status_code == 401
            wait_until(lambda: written() == before + 1)

        return call

    return at


def assert_opened(opened: dict[str, timedelta], **limits: timedelta) -> None:
    """Just these alerts opened, each within its limit."""
    assert opened.keys() == limits.keys()
    assert {name: at for name, at in opened.items() if at > limits[name]} == {}


def test_seven_and_a_half_hours_of_401(
    stage: Callable[[datetime], Stage], door: Callable[[Stage], Callable[[], None]]
) -> None:
    on = stage(TUESDAY)
    call = door(on)
    assert_opened(on.live(5 * MINUTE, call), credentials_refused=5 * MINUTE)
    on.live(7.5 * HOUR, call, step=30 * MINUTE)
    assert list(on.opened) == ["credentials_refused"]
    with on.sessions() as session:
        assert {row.reason for row in session.scalars(select(Refusal))} == {"wrong"}


def test_a_courier_that_falls_silent_on_a_working_day(stage: Callable[[datetime], Stage]) -> None:
    assert_opened(stage(TUESDAY).live(30 * MINUTE, step=STEP), courier_silent=30 * MINUTE)


def test_the_same_silence_on_a_sunday_and_its_night(stage: Callable[[datetime], Stage]) -> None:
    on = stage(SATURDAY_EVENING)
    assert on.live(38 * HOUR, step=2 * HOUR) == {}
    # It goes on into Monday morning, when the courier has always begun to call.
    assert_opened(on.live(30 * MINUTE, step=STEP), courier_silent=30 * MINUTE)


def test_a_working_day_on_which_all_is_well(stage: Callable[[datetime], Stage]) -> None:
    on = stage(TUESDAY)
    assert on.live(4 * HOUR, lambda: on.webhooks(2), step=15 * MINUTE) == {}


def test_a_drain_that_stops_while_the_processes_live(stage: Callable[[datetime], Stage]) -> None:
    on = stage(TUESDAY)
    opened = on.live(5 * MINUTE, lambda: on.webhooks(1), drains=False)
    assert_opened(opened, no_progress=5 * MINUTE)


def test_a_flood(stage: Callable[[datetime], Stage]) -> None:
    """134,000 events a day from one customer: Hook0's, about which no alert opened."""
    on = stage(TUESDAY)
    opened = on.live(12 * MINUTE, lambda: on.webhooks(360), step=3 * MINUTE)
    assert_opened(opened, hooks_flooding=12 * MINUTE)


def test_a_flood_that_is_more_than_can_be_folded(
    stage: Callable[[datetime], Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    on = stage(TUESDAY)
    # A third of what comes: a worker that is slow, however large its batches are.
    monkeypatch.setattr("workers.folding.drain.BATCH", 200)

    def more_than_a_batch() -> None:
        on.webhooks(600)
        drain_batch(on.sessions, on.settings, on.now)

    # Webhooks are tallied as they are folded, so the backlog comes first.
    opened = on.live(5 * MINUTE, more_than_a_batch, drains=False)
    assert_opened(opened, backlog=4 * MINUTE, hooks_flooding=5 * MINUTE)


@pytest.fixture
def world(new_world: MakeWorld) -> World:
    """A courier's stand-in with eight orders under way, which can be asked about them."""
    world = new_world(start=TUESDAY.astimezone(UTC))
    for number in range(8):
        start = world.clock() + number * MINUTE
        life = evenly("created", "dispatched", "picked_up", start=start, apart=30 * MINUTE)
        world.place(life)
    return world


def test_a_dead_tunnel_with_orders_open_and_a_courier_that_can_be_asked(world: World) -> None:
    """The courier believes that all its webhooks arrive; what it answers tells that they do not."""
    stage = Stage(world.sessions, world.settings, world.clock())
    began, opened = world.clock(), stage.opened
    while world.clock() < began + HOUR:
        world.clock.move(STEP)
        stage.now = world.clock()
        world.poll_due()
        stage.look()
    after = {name: at - began for name, at in opened.items()}
    assert_opened(after, courier_silent=30 * MINUTE)
