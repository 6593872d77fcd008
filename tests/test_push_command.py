"""`ordertrail push` in the hands of a person, the alert, the metrics, and what doctor says."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy.orm import Session, sessionmaker

from receiver.alerts import Alert, AlertContext, SystemState
from receiver.alerts.push_alerts import LATE_AFTER, find_push_failing
from receiver.changes.feed_push import move_feed_push, read_push_progress
from receiver.db.models import FeedPush
from receiver.settings import Settings
from receiver.stats import totals
from tests.bodies import life, tiramizoo_order
from tests.command import command_json, run_command
from tests.push_shop import OLD_SECRET, SECRET, PushShop, open_shop
from tests.shop import deliver, get
from tests.test_metrics import of, scrape
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding
from workers.cli.doctor.pushing import check_push_url
from workers.pushing.batches import Batch, claim_batch, record_answer
from workers.pushing.shop_client import ShopAnswer

Sessions = sessionmaker[Session]
FINE = SystemState(True, 2, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def taking() -> Iterator[PushShop]:
    with open_shop() as opened:
        yield opened


@pytest.fixture
def three_changes(shop: FlaskClient, drain: Callable[[], int], sessions: Sessions) -> None:
    """A feed of three changes, of which the shop has none."""
    move_feed_push(sessions, "beginning", datetime.now(UTC))
    for count in (1, 2, 3):
        states = ("created", "dispatched", "picked_up")[:count]
        deliver(shop, tiramizoo_order("a", life(*states)))
        drain()


def attempt(sessions: Sessions, answer: ShopAnswer, now: datetime) -> None:
    """Have an attempt end so."""
    with sessions.begin() as session:
        batch = claim_batch(session, now)
        assert isinstance(batch, Batch)
        record_answer(session, batch, answer, now)


REFUSED = ShopAnswer("rejected", "answered 500", 0.2)


# The command


def test_it_shows_the_place_the_failures_and_the_next_attempt(
    environ: Mapping[str, str], sessions: Sessions, three_changes: None
) -> None:
    here = {**environ, "PUSH_URL": "https://shop.example/hooks?key=1", "PUSH_SECRET": SECRET}
    now = datetime.now(UTC)
    attempt(sessions, REFUSED, now)
    shown = run_command(here, "push").stdout
    assert "https://shop.example/hooks\n" in shown
    assert "3 changes, the oldest for" in shown
    assert "answered 500" in shown
    assert "1 attempt in a row" in shown
    told = command_json(here, "push")
    assert told["waiting"] == 3
    assert told["result"] == "rejected"
    assert told["failures"] == 1
    assert told["batch_cursor"] in shown
    assert told["lag_seconds"] > 0
    assert told["next_attempt_at"] > told["attempted_at"]
    assert command_json(here, "push", "--retry")["next_attempt_at"] is None
    attempt(sessions, ShopAnswer("accepted", "answered 204", 0.1), datetime.now(UTC))
    told = command_json(here, "push")
    assert (told["waiting"], told["lag_seconds"], told["failing_since"]) == (0, 0.0, None)
    assert "the shop has all changes" in run_command(here, "push").stdout


def test_without_an_address_it_says_so(environ: Mapping[str, str], sessions: Sessions) -> None:
    done = run_command(environ, "push")
    assert done.exit_code == 0
    assert "PUSH_URL is not set" in done.stderr
    assert "No push was made yet" in done.stdout
    assert run_command(environ, "push", "--check").exit_code == 1


def test_the_place_is_moved_by_it(
    shop: FlaskClient, environ: Mapping[str, str], three_changes: None
) -> None:
    cursors = [change["cursor"] for change in get(shop, "/changes")["changes"]]
    for where, waiting in (("now", 0), ("beginning", 3), (cursors[1], 1)):
        assert command_json(environ, "push", "--from", where)["waiting"] == waiting
    assert command_json(environ, "push")["cursor"] == cursors[1]


@pytest.mark.parametrize("where", ["", "x", "bzQx", "YzQxx", "Yzk5OTk5OTk5", "yesterday"])
def test_what_is_no_cursor_moves_nothing(
    environ: Mapping[str, str], sessions: Sessions, three_changes: None, where: str
) -> None:
    done = run_command(environ, "push", "--from", where)
    assert done.exit_code == 2
    assert "from is" in done.stderr
    with sessions() as session:
        progress = read_push_progress(session, datetime.now(UTC))
    assert progress
    assert progress.waiting == 3


def test_a_signed_test_is_sent_and_its_answer_is_shown(
    environ: Mapping[str, str], taking: PushShop
) -> None:
    here = {**environ, **taking.environ}
    done = run_command(here, "push", "--check")
    assert done.exit_code == 0
    assert done.stdout.startswith(f"accepted: {taking.url} answered 204 (")
    [push] = taking.seen
    assert (push.content["type"], push.content["data"]) == ("ordertrail.test", {})
    for changed, expected in (
        ({"PUSH_SECRET": OLD_SECRET}, "answered 401"),
        ({"PUSH_URL": "http://127.0.0.1:9/"}, "cannot be reached"),
    ):
        done = run_command({**here, **changed}, "push", "--check")
        assert done.exit_code == 1
        assert done.stdout.startswith("not accepted: ")
        assert expected in done.stdout
        told = json.loads(run_command({**here, **changed}, "push", "--check", "--json").stdout)
        assert expected in told["detail"]
    # What was signed with another secret was refused.
    assert (len(taking.seen), taking.refused) == (1, 2)


def test_only_one_thing_is_done_at_a_time(environ: Mapping[str, str]) -> None:
    for options in (("--check", "--retry"), ("--retry", "--from", "now")):
        assert run_command(environ, "push", *options).exit_code == 2


# The alert and the metrics


def alerts(
    sessions: Sessions, environ: Mapping[str, str], now: datetime, **given: str
) -> list[Alert]:
    settings = Settings.from_env({**environ, "PUSH_SECRET": SECRET, **given})
    with sessions() as session:
        return list(find_push_failing(AlertContext(session, settings, now, FINE)))


def test_a_shop_that_accepts_nothing_for_an_hour_is_an_alert_until_it_does(
    environ: Mapping[str, str], sessions: Sessions, three_changes: None
) -> None:
    here: dict[str, Any] = {"PUSH_URL": "https://shop.example/"}
    began = datetime.now(UTC)
    late = began + LATE_AFTER + timedelta(seconds=1)
    # No attempt at all is one, too: the clock may run without PUSH_URL.
    assert "no attempt was made" in alerts(sessions, environ, late, **here)[0].summary
    attempt(sessions, REFUSED, began)
    assert alerts(sessions, environ, began + LATE_AFTER / 2, **here) == []
    [alert] = alerts(sessions, environ, late, **here)
    assert "accepted no push for 60 minutes; 3 changes wait" in alert.summary
    assert "answered 500" in alert.summary
    assert (alert.count, alert.causes) == (3, ("rejected",))
    assert alerts(sessions, environ, late) == []
    attempt(sessions, ShopAnswer("accepted", "answered 200", 0.1), late)
    assert alerts(sessions, environ, late, **here) == []


def test_a_shop_that_catches_up_is_no_alert(
    environ: Mapping[str, str], sessions: Sessions, three_changes: None
) -> None:
    now = datetime.now(UTC) + timedelta(hours=5)
    with sessions.begin() as session:
        row = session.get(FeedPush, "shop")
        assert row
        row.accepted_at = now - timedelta(minutes=1)
    assert alerts(sessions, environ, now, PUSH_URL="https://shop.example/") == []
    # Nor is one whose place was just moved back.
    move_feed_push(sessions, "beginning", now)
    assert alerts(sessions, environ, now, PUSH_URL="https://shop.example/") == []


def test_the_metrics_show_attempts_and_lag(
    new_app: Callable[..., Any], sessions: Sessions, three_changes: None
) -> None:
    attempt(sessions, REFUSED, datetime.now(UTC))
    shop = new_app(PUSH_URL="https://shop.example/", PUSH_SECRET=SECRET).test_client()
    shop.environ_base["HTTP_AUTHORIZATION"] = "Bearer test-api-token-01"
    found = scrape(shop)
    assert of(found, "push_lag_changes") == 3
    assert (of(found, "push_lag_seconds") or 0) > 0
    assert of(found, "push_attempts_total", result="rejected") == 1
    for result in set(totals.PUSH_RESULTS) - {"rejected"}:
        assert of(found, "push_attempts_total", result=result) == 0


# Doctor


def examined(environ: Mapping[str, str], url: str) -> dict[str, Finding]:
    settings = Settings.from_env({**environ, "PUSH_URL": url, "PUSH_SECRET": SECRET})
    return {finding.check: finding for finding in check_push_url(settings)}


def test_doctor_connects_to_the_shop_and_names_a_private_address(
    environ: Mapping[str, str], taking: PushShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = examined(environ, taking.url)
    levels = {check: finding.level for check, finding in found.items()}
    # To this machine itself no network leads.
    assert levels == {"PUSH_URL": OK, "address": NOTE}
    assert taking.seen == []
    monkeypatch.setattr(socket.socket, "getpeername", lambda _: ("10.1.2.3", 80))
    found = examined(environ, taking.url)
    assert found["TLS"].level == WARNING
    assert "10.1.2.3" in found["address"].seen


def test_doctor_says_why_the_shop_cannot_be_reached(environ: Mapping[str, str]) -> None:
    for url in ("http://127.0.0.1:9/hooks", f"https://{'a' * 70}.example/"):
        found = examined(environ, url)
        assert {check: finding.level for check, finding in found.items()} == {"PUSH_URL": BROKEN}
    settings = Settings.from_env(environ)
    assert list(check_push_url(settings)) == []
