"""`ordertrail check`: what it prints, and the code that a monitor goes by."""

import json
import re
import socket
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import Result
from redis import Redis
from rq import SimpleWorker
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import AccountState, Notice
from receiver.queue.job_queue import get_queue
from tests.command import command_json, process, run_command
from workers import clock

Sessions = sessionmaker[Session]
NOW = datetime.now(UTC)
# Whose disk it is nobody knows.
DISK = "disk_low"


@pytest.fixture
def running(redis: Redis, sessions: Sessions) -> Iterator[Redis]:
    """A worker that RQ knows of, and a clock that has just ticked."""
    worker = SimpleWorker([get_queue(redis)], connection=redis)
    worker.register_birth()  # type: ignore[no-untyped-call] # RQ's
    clock.queue_due_jobs(redis)
    with sessions.begin() as session:
        session.add(AccountState(account="tiramizoo"))
    yield redis
    worker.register_death()  # type: ignore[no-untyped-call] # RQ's


def pause(sessions: Sessions, reason: str) -> None:
    with sessions.begin() as session:
        state = session.get_one(AccountState, "tiramizoo")
        state.paused_at, state.failures = NOW - timedelta(hours=1), 7
        state.paused_until, state.pause_reason = NOW + timedelta(hours=1), reason


def lines(done: Result) -> list[str]:
    return [line for line in done.stdout.splitlines() if DISK not in line]


def skip_a_full_disk(done: Result) -> None:
    if DISK in done.stdout:
        pytest.skip("this machine's disk is nearly full: free some of it")


@pytest.mark.usefixtures("running")
def test_all_is_well(environ: Mapping[str, str]) -> None:
    done = run_command(environ, "check")
    skip_a_full_disk(done)
    assert (done.exit_code, done.stdout) == (0, "ok\n")
    assert json.loads(run_command(environ, "check", "--json").stdout) == {"alerts": []}


@pytest.mark.usefixtures("running")
def test_a_warning_ends_with_one_and_is_one_line(
    environ: Mapping[str, str], sessions: Sessions
) -> None:
    pause(sessions, "failing")
    done = run_command(environ, "check")
    skip_a_full_disk(done)
    assert done.exit_code == 1
    [line] = lines(done)
    assert line.startswith("warning   poll_failing  The courier's API failed 7 requests in a row")
    assert line.endswith(
        f"(account tiramizoo; since {NOW - timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ})"
    )


@pytest.mark.usefixtures("running")
def test_a_critical_condition_ends_with_two_and_json_says_the_same(
    environ: Mapping[str, str], sessions: Sessions
) -> None:
    pause(sessions, "refused")
    done = run_command(environ, "check")
    assert done.exit_code == 2
    [line] = lines(done)
    assert line.startswith("critical  poll_refused  ")
    done = run_command(environ, "check", "--json")
    assert done.exit_code == 2
    found = [it for it in json.loads(done.stdout)["alerts"] if it["condition"] != DISK]
    assert [(it["condition"], it["severity"], it["account"]) for it in found] == [
        ("poll_refused", "critical", "tiramizoo")
    ]


def test_each_condition_has_its_line_the_critical_ones_first(
    environ: Mapping[str, str], running: Redis, sessions: Sessions
) -> None:
    pause(sessions, "failing")
    running.flushdb()
    done = run_command(environ, "check")
    assert done.exit_code == 2
    assert [line.split()[:2] for line in lines(done)] == [
        ["critical", "no_workers"],
        ["warning", "poll_failing"],
    ]


def test_without_postgresql_it_says_so_as_a_process_and_ends_with_two(
    environ: Mapping[str, str],
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"postgresql://nobody@127.0.0.1:{closed.getsockname()[1]}/nothing"
        checking = process({**environ, "DATABASE_URL": url}, "check")
        out, _ = checking.communicate(timeout=60)
    assert checking.returncode == 2
    lines = [line for line in out.splitlines() if DISK not in line]
    assert [line.split()[:2] for line in lines] == [
        ["critical", "database_away"],
        ["critical", "no_workers"],
    ]


@pytest.mark.usefixtures("running")
def test_alerts_are_listed_acknowledged_and_snoozed(
    environ: Mapping[str, str], sessions: Sessions
) -> None:
    pause(sessions, "refused")
    with sessions.begin() as session:
        notice = Notice(condition="poll_refused", account="tiramizoo", opened_at=NOW, count=1)
        notice.severity, notice.summary, notice.what_to_do = "critical", "refused", ""
        session.add(notice)
        session.flush()
        number = str(notice.id)
    done = run_command(environ, "alerts", "acknowledge", number, "--by", "Ada", "--note", "mine")
    assert done.stdout.startswith(f"Alert {number} (poll_refused) is not pushed before ")
    listed = run_command(environ, "alerts", "--history")
    assert listed.exit_code == 0
    assert len(re.findall("by Ada until .*: mine", listed.stdout)) == 2
    command = ("alerts", "snooze", number, "--hours", "4", "--by", "Bob")
    snoozed = command_json(environ, *command)
    assert snoozed["acknowledged_by"] == "Bob"
    assert snoozed["acknowledged_until"] < (NOW + timedelta(hours=5)).isoformat()
    [alert] = [it for it in command_json(environ, "alerts")["alerts"] if it["condition"] != DISK]
    assert alert["acknowledged_by"] == "Bob"
    assert run_command(environ, "alerts", "acknowledge", "999", "--by", "Ada").exit_code == 1
    assert run_command(environ, *command[:5], "--by", "").exit_code == 2
