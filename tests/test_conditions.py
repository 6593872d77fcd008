"""The conditions of receiver/alerts, family by family: when each holds and when it does not.

Rows are put where they would stand; the incidents of tests/test_incidents.py are the whole thing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from receiver.accounts.refused_credentials import fingerprint_secret
from receiver.alerts import CATALOGUE, Alert, AlertContext, SystemState, backlog, find_alerts
from receiver.alerts.backlog import BacklogMeter
from receiver.alerts.condition import FindAlerts
from receiver.alerts.context import Rows
from receiver.alerts.inbox_alerts import select_unprocessed_messages
from receiver.alerts.order_alerts import select_late_orders, select_stuck_orders
from receiver.db.models import (
    AccountState,
    Heartbeat,
    Message,
    Order,
    Poll,
    Refusal,
    SecretUse,
    Tally,
    UnmappedWord,
)
from receiver.db.revision import newest_revision
from receiver.inbox.pending import read_progress
from receiver.queue.liveness import SWEEP
from receiver.settings import Settings
from receiver.stats.answers import AnswerCounts
from receiver.stats.history import start_of_step
from receiver.stats.totals import PROCESSED, add_totals
from receiver.web.metric_families import PARTS
from tests.bodies import START

Sessions = sessionmaker[Session]
NOW = START
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FINE = SystemState(True, 2, NOW - DAY, disk_free=2**40, disk_size=2**41)


@dataclass
class Watch:
    """A service on which all is well but for what a test puts into it."""

    sessions: Sessions
    settings: Settings

    def put(self, *rows: Any) -> None:
        with self.sessions.begin() as session:
            session.add_all(rows)

    def see(self, system: SystemState = FINE, now: datetime = NOW) -> list[Alert]:
        with self.sessions() as session:
            return find_alerts(AlertContext(session, self.settings, now, system))

    def names(self, system: SystemState = FINE, now: datetime = NOW) -> list[str]:
        return [alert.condition for alert in self.see(system, now)]

    def only(self, system: SystemState = FINE, now: datetime = NOW) -> Alert:
        [alert] = self.see(system, now)
        return alert


@pytest.fixture
def watch(sessions: Sessions, settings: Settings) -> Watch:
    watch = Watch(sessions, settings)
    watch.put(Heartbeat(name=SWEEP, at=NOW), AccountState(account="cottoncast", folded_at=NOW))
    assert watch.see() == []
    return watch


def unswept(watch: Watch, since: timedelta) -> None:
    with watch.sessions.begin() as session:
        session.get_one(Heartbeat, SWEEP).at = NOW - since


def unfolded(watch: Watch, since: timedelta) -> None:
    with watch.sessions.begin() as session:
        session.get_one(AccountState, "cottoncast").folded_at = NOW - since


NUMBERS = iter(range(1, 1_000_000))


def message(age: timedelta, outcome: str = "pending", **given: Any) -> Message:
    number = next(NUMBERS)
    return Message(
        **{
            "account": "tiramizoo",
            "topic": "orders",
            "kind": "webhook",
            "trust": "token",
            "body": b"{}",
            "body_sha256": number.to_bytes(32, "big"),
            "received_at": NOW - age,
            "last_seen_at": NOW - age,
            "outcome": outcome,
            **given,
        }
    )


def order(name: str, status: str, since: timedelta, **given: Any) -> Order:
    return Order(
        **{
            "account": "tiramizoo",
            "courier": "tiramizoo",
            "courier_order_id": name,
            "status": status,
            "status_at": NOW - since,
            "created_at": NOW - since,
            "updated_at": NOW - since,
            **given,
        }
    )


# --- each for itself ---


def fails(_context: AlertContext) -> Iterator[Alert]:
    raise KeyError("a word of a courier")


def takes_long(context: AlertContext) -> Iterator[Alert]:
    context.session.execute(text("SELECT pg_sleep(30)"))
    yield from ()


@pytest.mark.parametrize(
    ("find", "reason"), [(fails, r"KeyError at [\w/]+.py:\d+"), (takes_long, "timeout")]
)
def test_a_condition_that_cannot_be_computed_is_an_alert_and_hides_no_other(
    watch: Watch, monkeypatch: pytest.MonkeyPatch, find: FindAlerts, reason: str
) -> None:
    broken = replace(CATALOGUE["courier_silent"], find=find)
    monkeypatch.setitem(CATALOGUE, "courier_silent", broken)
    watch.put(message(DAY, "quarantined"), order("a", "delivered", HOUR, conflicts=[conflict()]))
    began = monotonic()
    with capture_logs() as logged:
        unknown, *others = watch.see()
        watch.see()
    assert monotonic() - began < 25
    assert (unknown.condition, unknown.severity) == ("conditions_not_computed", "critical")
    assert re.search(rf"courier_silent \({reason}\)", unknown.summary)
    assert [it.condition for it in others] == ["messages_quarantined", "orders_in_conflict"]
    assert [line["condition"] for line in logged if line["event"] == "condition_failed"] == [
        "courier_silent"
    ]
    monkeypatch.undo()
    assert len(watch.see()) == 2


def test_a_condition_that_cannot_be_computed_leaves_the_transaction_as_it_was(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = replace(CATALOGUE["courier_silent"], find=takes_long)
    monkeypatch.setitem(CATALOGUE, "courier_silent", broken)
    with watch.sessions() as session:
        before = session.scalar(text("SHOW statement_timeout"))
        find_alerts(AlertContext(session, watch.settings, NOW, FINE))
        assert session.scalar(text("SHOW statement_timeout")) == before


def test_depth_is_a_lower_bound_until_it_is_counted_and_exact_from_then_on(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "CHUNK", 10)
    monkeypatch.setattr(backlog, "LOOK_SECONDS", 0)
    meter = BacklogMeter()

    def measure() -> tuple[int, bool]:
        with watch.sessions() as session:
            found = meter.measure(session)
        return found.depth, found.is_exact

    watch.put(*(message(HOUR) for _ in range(35)), message(HOUR, retried_at=NOW))
    assert [measure() for _ in range(5)] == [
        *((11, False), (21, False), (31, False), (36, True), (36, True))
    ]
    with watch.sessions.begin() as session:
        session.execute(text("UPDATE messages SET outcome = 'applied' WHERE id <= 14"))
    watch.put(message(HOUR))
    assert measure() == (23, True)
    with watch.sessions.begin() as session:
        session.execute(text("UPDATE messages SET outcome = 'applied'"))
    assert measure() == (0, True)


def test_a_backlog_tells_its_pace_and_the_time_left(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "RATE_LEAST", 0)
    meter = BacklogMeter()
    watch.put(*(message(HOUR) for _ in range(40)))
    with watch.sessions() as session:
        assert meter.measure(session).left is None
    with watch.sessions.begin() as session:
        session.execute(text("UPDATE messages SET outcome = 'applied' WHERE id <= 20"))
        add_totals(session, {(PROCESSED, "tiramizoo", "applied"): 20})
    with watch.sessions() as session:
        context = AlertContext(session, watch.settings, NOW, FINE, meter)
        [found] = find_alerts(context)
    assert found.condition == "backlog"
    assert re.search(r"20 messages are waiting, .* a second are processed", found.summary)
    assert "at this pace none is left in" in found.summary


# --- the platform ---


def test_missing_workers_are_an_alert_and_hide_what_follows_from_it(watch: Watch) -> None:
    watch.put(message(HOUR))
    unfolded(watch, HOUR)
    unswept(watch, HOUR)
    found = watch.only(replace(FINE, workers=0))
    assert (found.condition, found.severity, found.account) == ("no_workers", "critical", None)
    assert found.runbook.endswith("/ops/runbook#no-workers")


def test_an_unreachable_redis_is_an_alert_and_hides_what_follows_from_it(watch: Watch) -> None:
    watch.put(message(HOUR))
    unswept(watch, HOUR)
    assert watch.names(SystemState(redis_reachable=False, workers=None, clock_since=None)) == [
        "redis_away"
    ]


def test_a_read_only_postgresql_is_an_alert_and_hides_what_follows_from_it(watch: Watch) -> None:
    watch.put(message(HOUR))
    unfolded(watch, HOUR)
    unswept(watch, HOUR)
    assert watch.names(replace(FINE, database="read-only")) == ["database_read_only"]


def test_a_clock_that_does_not_tick_is_an_alert(watch: Watch) -> None:
    assert watch.only(replace(FINE, clock_since=None)).condition == "no_clock"


@pytest.mark.parametrize(("minutes", "expected"), [(2, []), (4, ["no_progress"])])
def test_workers_that_never_sweep_are_an_alert_and_no_missing_clock(
    watch: Watch, minutes: int, expected: list[str]
) -> None:
    unfolded(watch, HOUR)
    unswept(watch, timedelta(minutes=minutes))
    assert watch.names() == expected


def test_workers_that_are_busy_folding_may_sweep_later(watch: Watch) -> None:
    unswept(watch, HOUR)
    assert watch.names() == []


def test_before_the_first_sweep_all_is_well(watch: Watch) -> None:
    unfolded(watch, HOUR)
    with watch.sessions.begin() as session:
        session.execute(text("DELETE FROM heartbeats"))
    assert watch.names(replace(FINE, clock_since=NOW - timedelta(minutes=2))) == []
    assert watch.names(replace(FINE, clock_since=NOW - timedelta(minutes=4))) == ["no_progress"]


def test_a_release_step_that_was_forgotten_is_named(watch: Watch) -> None:
    try:
        with watch.sessions.begin() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '0012'"))
        found = watch.only(replace(FINE, job_failures={"retain": 3}))
        assert (found.condition, found.severity) == ("tables_outdated", "critical")
        assert f"at revision 0012, and this version needs {newest_revision()}" in found.summary
        with watch.sessions.begin() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert watch.names() == []
    finally:
        with watch.sessions.begin() as session:
            newest = {"newest": newest_revision()}
            session.execute(text("UPDATE alembic_version SET version_num = :newest"), newest)


GIB = 2**30


@pytest.mark.parametrize(
    ("free", "size", "expected"),
    [
        (30 * GIB, 1000 * GIB, []),
        (15 * GIB, 100 * GIB, []),
        (9 * GIB, 100 * GIB, [("disk_low", "warning")]),
        (GIB // 2, 100 * GIB, [("disk_low", "critical")]),
    ],
)
def test_a_disk_that_fills_up_is_an_alert(
    watch: Watch, free: int, size: int, expected: list[tuple[str, str]]
) -> None:
    system = replace(FINE, disk_free=free, disk_size=size)
    assert [(alert.condition, alert.severity) for alert in watch.see(system)] == expected


# --- the inbox ---


@pytest.mark.parametrize(("seconds", "expected"), [(50, []), (70, ["backlog"])])
def test_messages_that_wait_while_others_are_folded_are_a_backlog(
    watch: Watch, seconds: int, expected: list[str]
) -> None:
    watch.put(message(timedelta(seconds=seconds)), message(timedelta(seconds=5)))
    assert watch.names() == expected


def test_a_backlog_names_its_oldest_message_and_account(watch: Watch) -> None:
    watch.put(message(2 * HOUR, account="shipmentapi"), message(HOUR))
    found = watch.only()
    assert (found.count, found.example, found.since) == (2, "1", NOW - 2 * HOUR)
    assert "shipmentapi" in found.summary


def test_messages_that_wait_while_nothing_is_folded_are_no_progress(watch: Watch) -> None:
    watch.put(message(HOUR))
    unfolded(watch, HOUR)
    assert (watch.only().condition, watch.only().severity) == ("no_progress", "critical")


def test_messages_that_were_sent_back_may_wait_while_others_are_folded(watch: Watch) -> None:
    watch.put(message(DAY, retried_at=NOW - HOUR))
    assert watch.names() == []
    unfolded(watch, HOUR)
    assert watch.names() == ["no_progress"]


def test_quarantined_messages_are_one_alert(watch: Watch) -> None:
    watch.put(message(DAY, "quarantined"), message(HOUR, "quarantined"), message(DAY, "discarded"))
    found = watch.only()
    assert (found.condition, found.count, found.example) == ("messages_quarantined", 2, "2")
    assert (found.account, found.since) == ("tiramizoo", NOW - DAY)


@pytest.mark.parametrize(("hours", "expected"), [(23, []), (25, ["messages_parked"])])
def test_messages_that_are_parked_for_long_are_an_alert(
    watch: Watch, hours: int, expected: list[str]
) -> None:
    watch.put(message(hours * HOUR, "parked"))
    assert watch.names() == expected


def word(text: str, age: timedelta, account: str = "tiramizoo") -> UnmappedWord:
    return UnmappedWord(
        account=account, word=text, first_at=NOW - age, last_at=NOW - age, times=1, order_id=1
    )


def test_an_unmapped_word_is_an_alert_with_the_word_and_its_order(watch: Watch) -> None:
    watch.put(order("order 1", "unknown", HOUR), word("teleported", HOUR))
    found = watch.only()
    assert (found.condition, found.example) == ("word_unmapped", "order 1")
    assert "'teleported'" in found.summary


@pytest.mark.parametrize(
    "gone",
    [
        word("delivered", HOUR),
        word("teleported", 15 * DAY),
        word("In Transit", HOUR, "shipmentapi"),
    ],
    ids=["mapped by now", "not used for long", "mapped however it is written"],
)
def test_a_word_that_is_mapped_or_no_longer_used_is_no_alert(
    watch: Watch, gone: UnmappedWord
) -> None:
    watch.put(word(gone.word, NOW - gone.last_at, gone.account))
    assert watch.names() == []


# --- webhooks ---


def refusal(times: int, minutes: float, **given: Any) -> Refusal:
    """Refusals that began two hours ago, the latest so many minutes ago."""
    return Refusal(
        **{
            "account": "tiramizoo",
            "day": NOW.date(),
            "reason": "wrong",
            "likely": "not_examined",
            "count": times,
            "first_at": NOW - 2 * HOUR,
            "last_at": NOW - timedelta(minutes=minutes),
            **given,
        }
    )


@pytest.mark.parametrize(
    ("times", "minutes", "reason", "expected"),
    [
        (2, 1, "wrong", []),
        (3, 1, "wrong", ["credentials_refused"]),
        (3, 16, "wrong", ["credentials_refused"]),
        (900, 1, "unknown_topic", []),
    ],
)
def test_repeatedly_refused_credentials_are_an_alert(
    watch: Watch, times: int, minutes: float, reason: str, expected: list[str]
) -> None:
    watch.put(refusal(times, minutes, reason=reason))
    assert watch.names() == expected


def test_refused_credentials_are_over_once_a_right_one_came_since(watch: Watch) -> None:
    watch.put(
        refusal(3, 16),
        AccountState(account="tiramizoo", last_hook_at=NOW - timedelta(minutes=15), folded_at=NOW),
    )
    assert watch.names() == []


def test_many_refusals_in_a_row_are_critical_however_lately_one_was_accepted(watch: Watch) -> None:
    watch.put(
        refusal(40, 0),
        AccountState(account="tiramizoo", last_hook_at=NOW - timedelta(minutes=1), folded_at=NOW),
    )
    assert watch.only().severity == "warning"
    in_a_row = {"tiramizoo": AnswerCounts(total=40, failed=0, slow=0, refused=40)}
    assert watch.only(replace(FINE, answers=in_a_row)).severity == "critical"


def test_strangers_guesses_beside_right_webhooks_are_a_warning_however_many(watch: Watch) -> None:
    """They add up over a day, and a quiet courier's last webhook may be hours old."""
    watch.put(
        refusal(40, 1),
        AccountState(account="tiramizoo", last_hook_at=NOW - 3 * HOUR, folded_at=NOW - 3 * HOUR),
    )
    in_a_row = {"tiramizoo": AnswerCounts(total=1, failed=0, slow=0, refused=1)}
    assert watch.only(replace(FINE, answers=in_a_row)).severity == "warning"


def test_a_job_that_fails_at_every_run_is_named(watch: Watch) -> None:
    assert watch.names(replace(FINE, job_failures={"retain": 2})) == []
    found = watch.only(replace(FINE, job_failures={"retain": 3}))
    assert (found.condition, found.severity) == ("jobs_failing", "critical")
    assert "retain (3 times)" in found.summary


def test_a_drain_that_fails_at_every_run_is_no_worker_that_hangs(watch: Watch) -> None:
    watch.put(message(HOUR))
    unfolded(watch, HOUR)
    assert watch.only(replace(FINE, job_failures={"drain": 3})).condition == "jobs_failing"


@pytest.mark.parametrize(
    ("system", "hours", "expected"),
    [
        (FINE, 23, []),
        (FINE, 25, ["retention_behind"]),
        # Nothing is told twice.
        (replace(FINE, job_failures={"retain": 3}), 25, ["jobs_failing"]),
        (replace(FINE, workers=0), 25, ["no_workers"]),
        (replace(FINE, clock_since=None), 25, ["no_clock"]),
    ],
)
def test_rows_that_stay_a_day_too_long_are_an_alert(
    watch: Watch, system: SystemState, hours: int, expected: list[str]
) -> None:
    watch.put(message(91 * DAY, "applied", processed_at=NOW - 90 * DAY - hours * HOUR))
    watch.put(message(999 * DAY, "applied", processed_at=NOW - 999 * DAY, body=None))
    found = watch.see(system)
    assert [alert.condition for alert in found] == expected
    assert [alert.causes for alert in found if alert.condition == "retention_behind"] == [
        ("bodies",) for name in expected if name == "retention_behind"
    ]


@pytest.mark.parametrize(
    ("heard_before", "severity"), [(HOUR, "critical"), (timedelta(minutes=5), "warning")]
)
def test_refused_credentials_are_critical_where_no_right_one_comes(
    watch: Watch, heard_before: timedelta, severity: str
) -> None:
    watch.put(
        refusal(500, 1),
        refusal(6, 2, likely="old_secret"),
        AccountState(account="tiramizoo", last_hook_at=NOW - heard_before, folded_at=NOW),
    )
    found = watch.only()
    assert (found.severity, found.count, found.since) == (severity, 506, NOW - 2 * HOUR)
    assert "retired" in found.summary


@pytest.mark.parametrize(
    ("place", "hours", "expected"), [(0, 1, []), (1, 23, ["old_secret_used"]), (1, 25, [])]
)
def test_an_old_secret_in_use_is_an_alert(
    watch: Watch, place: int, hours: int, expected: list[str]
) -> None:
    secret = watch.settings.accounts["tiramizoo"].secrets[place]
    at = NOW - hours * HOUR
    name = fingerprint_secret("tiramizoo", secret)
    watch.put(SecretUse(account="tiramizoo", fingerprint=name, count=1, first_at=at, last_at=at))
    assert watch.names() == expected


def tallied(days: float, hooks: int) -> Tally:
    return Tally(account="tiramizoo", at=start_of_step(NOW - days * DAY), hooks=hooks)


@pytest.mark.parametrize(
    ("busiest", "now", "expected"),
    [(400, 1300, ["hooks_flooding"]), (600, 1300, []), (10, 900, [])],
)
def test_far_more_webhooks_than_ever_are_an_alert(
    watch: Watch, busiest: int, now: int, expected: list[str]
) -> None:
    watch.put(tallied(20, busiest), tallied(8, 5), tallied(0, now))
    assert watch.names() == expected


def test_a_new_account_may_send_as_it_likes(watch: Watch) -> None:
    watch.put(tallied(2, 10), tallied(0, 100_000))
    assert watch.names() == []


# --- orders ---


@pytest.mark.parametrize(
    ("status", "hours", "expected"),
    [
        ("picked_up", 17, []),
        ("picked_up", 19, ["orders_stuck"]),
        ("info_received", 71, []),
        ("info_received", 73, ["orders_stuck"]),
        ("delivered", 800, []),
        ("picked_up", 36 * 24, []),
    ],
)
def test_an_order_that_stands_still_for_longer_than_its_courier_takes_is_stuck(
    watch: Watch, status: str, hours: int, expected: list[str]
) -> None:
    watch.put(order("order 1", status, hours * HOUR))
    assert watch.names() == expected


def test_stuck_orders_are_one_alert_with_the_one_that_is_late_the_longest(watch: Watch) -> None:
    watch.put(order("a", "picked_up", 30 * HOUR), order("b", "info_received", 90 * HOUR))
    found = watch.only()
    assert (found.count, found.example, found.since) == (2, "b", NOW - 18 * HOUR)
    assert "1 order in picked_up for more than 18 hours" in found.summary


def test_an_order_whose_pickup_lies_ahead_is_not_stuck(watch: Watch) -> None:
    watch.put(order("a", "awaiting_pickup", 10 * DAY, pickup_at=NOW + HOUR))
    assert watch.names() == []


def test_a_status_that_a_courier_never_reports_is_not_waited_for(watch: Watch) -> None:
    own = {"account": "shipmentapi", "courier": "shipmentapi"}
    watch.put(
        order("a", "awaiting_pickup", 10 * DAY, **own), order("b", "picked_up", 9 * DAY, **own)
    )
    assert watch.names() == []


def eta(at: datetime) -> dict[str, Any]:
    shown = at.isoformat().replace("+00:00", "Z")
    return {"from": shown, "to": shown, "source": "order", "updated_at": shown}


@pytest.mark.parametrize(
    ("status", "past", "expected"),
    [
        ("picked_up", HOUR, []),
        ("picked_up", 3 * HOUR, ["eta_slipped"]),
        ("picked_up", 4 * DAY, []),
        ("delivered", 3 * HOUR, []),
        ("delivery_failed", 3 * HOUR, []),
    ],
)
def test_an_order_on_its_way_past_its_eta_is_an_alert(
    watch: Watch, status: str, past: timedelta, expected: list[str]
) -> None:
    watch.put(order("a", status, HOUR, eta=eta(NOW - past)))
    assert watch.names() == expected


def conflict(**given: Any) -> dict[str, Any]:
    return {"id": "x", "kind": "k", "settled_at": None, "closed_at": None, **given}


def test_an_open_conflict_is_an_alert_and_a_closed_one_is_not(watch: Watch) -> None:
    watch.put(order("a", "delivered", HOUR, conflicts=[conflict(closed_at="2026-04-16T07:00:00Z")]))
    assert watch.names() == []
    watch.put(order("b", "delivered", HOUR, conflicts=[conflict()]))
    assert (watch.only().condition, watch.only().example) == ("orders_in_conflict", "b")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {"courier_silent", "orders_stuck", "eta_slipped", "orders_in_conflict"}),
        ({"tracking_stopped_at": NOW}, set()),
        ({"courier_order_id": "ORDERTRAIL-SAMPLE-1"}, set()),
    ],
    ids=["tracked", "stopped", "sample"],
)
def test_an_order_that_is_not_tracked_raises_no_alert(
    watch: Watch, given: dict[str, Any], expected: set[str]
) -> None:
    late = {"eta": eta(NOW - 3 * HOUR), "conflicts": [conflict()]}
    watch.put(order("a", "picked_up", 5 * DAY, **{**late, **given}))
    assert {*watch.names()} == expected


def test_noise_is_no_news_of_orders(watch: Watch) -> None:
    watch.put(
        AccountState(
            account="tiramizoo", last_hook_at=NOW - 5 * DAY, discarded=9, last_discarded_at=NOW
        ),
        order("a", "picked_up", HOUR),
    )
    alert = watch.only()
    assert alert.condition == "courier_silent"
    assert "no webhook that reports anything" in alert.summary


# --- polling ---


@pytest.fixture
def asked(environ: dict[str, str], watch: Watch) -> Watch:
    """The same, where Tiramizoo can be asked."""
    watch.settings = Settings.from_env({**environ, "COURIER_TIRAMIZOO_API_TOKEN": "t"})
    watch.put(order("a", "picked_up", HOUR))
    return watch


@pytest.mark.parametrize(("hours", "expected"), [(1, []), (3, ["polls_late"])])
def test_overdue_polls_are_an_alert(asked: Watch, hours: int, expected: list[str]) -> None:
    due = NOW - hours * HOUR
    asked.put(Poll(order_id=1, account="tiramizoo", placed_at=due, due_at=due))
    assert asked.names() == expected
    # Where there is a pause it is the news.
    asked.put(AccountState(account="tiramizoo", paused_at=NOW - DAY, pause_reason="refused"))
    assert asked.names() == ["poll_refused"]


@pytest.mark.parametrize(
    ("minutes", "expected"), [(5, ["polls_late"]), (59, ["polls_late"]), (61, ["poll_limited"])]
)
def test_orders_stay_an_alert_behind_pauses_that_come_again_and_again(
    asked: Watch, minutes: int, expected: list[str]
) -> None:
    """A courier that allows a request now and then ends each pause, and is never `poll_limited`."""
    due = NOW - 9 * HOUR
    asked.put(Poll(order_id=1, account="tiramizoo", placed_at=due, due_at=due))
    paused_at = NOW - timedelta(minutes=minutes)
    asked.put(AccountState(account="tiramizoo", paused_at=paused_at, pause_reason="busy"))
    assert asked.names() == expected


def test_the_indexes_for_what_does_not_move_on_are_used(watch: Watch) -> None:
    """With many orders, nearly all of them at their end."""
    with watch.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO orders (account, courier, courier_order_id, status, status_at,"
                " created_at, updated_at) SELECT 'tiramizoo', 'tiramizoo', n, CASE WHEN n % 100 = 0"
                " THEN 'picked_up' ELSE 'delivered' END, now(), now(), now()"
                " FROM generate_series(1, 20000) AS n"
            )
        )
        session.execute(
            text(
                "INSERT INTO messages (account, topic, kind, trust, body, body_sha256, outcome,"
                " processed_at, received_at, last_seen_at) SELECT 'tiramizoo', 'orders', 'webhook',"
                " 'token', '{}', int8send(n), 'applied', now(), now(), now()"
                " FROM generate_series(1, 20000) AS n"
            )
        )
        session.execute(text("ANALYZE orders, messages"))
        context = AlertContext(session, watch.settings, NOW, FINE)
        for rows, index in (
            (select_stuck_orders(context), "orders_standing_idx"),
            (select_late_orders(context), "orders_eta_idx"),
            (select_unprocessed_messages(context, "quarantined"), "messages_listed_idx"),
        ):
            plan = _plan(session, rows)
            assert plan.count(f"using {index}") == 2, plan
            assert "Seq Scan" not in plan, plan


@pytest.mark.parametrize("status", ["picked_up", "delivered"])
def test_no_statement_reads_all_orders_or_messages_whatever_the_statistics_say(
    engine: Engine, watch: Watch, status: str
) -> None:
    """With nearly all orders in one status, and nearly all messages waiting."""
    with watch.sessions.begin() as session:
        session.execute(
            text(
                "INSERT INTO orders (account, courier, courier_order_id, status, status_at,"
                " created_at, updated_at) SELECT 'tiramizoo', 'tiramizoo', n, :status, now(),"
                " now(), now() FROM generate_series(1, 20000) AS n"
            ),
            {"status": status},
        )
        session.execute(
            text(
                "INSERT INTO messages (account, topic, kind, trust, body, body_sha256,"
                " received_at, last_seen_at) SELECT 'tiramizoo', 'orders', 'webhook', 'token',"
                " '{}', int8send(n), now(), now() FROM generate_series(1, 20000) AS n"
            )
        )
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE orders, messages"))
    plans = []

    def explain(connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        if statement.lstrip().startswith(("SELECT", "WITH")) and "EXPLAIN" not in statement:
            rows = connection.connection.execute(f"EXPLAIN {statement}", values).fetchall()
            plans.append("\n".join(row[0] for row in rows))

    event.listen(engine, "before_cursor_execute", explain)
    try:
        with watch.sessions() as session:
            context = AlertContext(session, watch.settings, NOW, FINE)
            for measure in PARTS.values():
                list(measure(context))
            read_progress(session, NOW)
    finally:
        event.remove(engine, "before_cursor_execute", explain)
    assert len(plans) > 20
    for plan in plans:
        assert not re.search(r"Seq Scan on (orders|messages|events|polls)\b", plan), plan


def _plan(session: Session, rows: Rows) -> str:
    connection = session.connection()
    compiled = rows.compile(connection, compile_kwargs={"render_postcompile": True})
    plan = connection.exec_driver_sql(f"EXPLAIN {compiled}", dict(compiled.params))
    return "\n".join(plan.scalars())


@pytest.fixture
def statements(engine: Engine) -> Iterator[list[str]]:
    """What is asked of PostgreSQL."""
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith(("SAVEPOINT", "RELEASE", "SET LOCAL")):
            asked.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    yield asked
    event.remove(engine, "before_cursor_execute", note)


def test_more_accounts_cost_no_further_statements(
    environ: dict[str, str], watch: Watch, statements: list[str]
) -> None:
    """With something of everything wrong in each of them."""

    def ask(more: int) -> tuple[list[str], int]:
        slugs = [f"T{number}" for number in range(more)]
        of_all = {"TIRAMIZOO_API_TOKEN": "t"}
        for slug in slugs:
            own = {"DRIVER": "tiramizoo", "SECRETS": f"{slug}-a,{slug}-b", "API_TOKEN": "t"}
            of_all |= {f"{slug}_{name}": value for name, value in own.items()}
        given = {f"COURIER_{name}": value for name, value in of_all.items()}
        watch.settings = Settings.from_env({**environ, **given})
        for slug in map(str.lower, slugs) if more else ["tiramizoo"]:
            go_wrong(watch, slug)
        statements.clear()
        found = [f"{alert.condition} {alert.account}" for alert in watch.see()]
        return found, len(statements)

    alone, number = ask(0)
    assert len(alone) == 12, alone
    many, as_many = ask(20)
    assert len(many) == 20 * 11 + 12, many
    assert as_many == number <= 30


def go_wrong(watch: Watch, account: str) -> None:
    """Everything that can go wrong with an account that is asked."""
    own = {"account": account}
    stuck = order("stuck", "picked_up", DAY, **own, eta=eta(NOW - 3 * HOUR), conflicts=[conflict()])
    watch.put(stuck)
    secret = watch.settings.accounts[account].secrets[1]
    times = {"first_at": NOW - HOUR, "last_at": NOW}
    watch.put(
        message(HOUR, **own),
        message(HOUR, "quarantined", **own),
        message(2 * DAY, "parked", **own),
        word("teleported", HOUR, account),
        SecretUse(
            account=account, fingerprint=fingerprint_secret(account, secret), count=1, **times
        ),
        *(Tally(account=account, at=start_of_step(NOW - it * DAY), hooks=10) for it in (20, 8)),
        Tally(account=account, at=start_of_step(NOW), hooks=2000, missed=9),
        Poll(
            order_id=stuck.id,
            account=account,
            placed_at=NOW - DAY,
            due_at=NOW - DAY,
            unknown_since=NOW - DAY,
        ),
    )
