"""Orders, tours and accounts on the command line: the same as over HTTP, and as people read it."""

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.db.models import AccountState, Message, Order, Poll
from receiver.queue.doorbell import DRAIN_JOB
from receiver.queue.job_queue import waiting_key
from tests.bodies import (
    after,
    cottoncast_status,
    life,
    package,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tour_plan,
)
from tests.command import api_json, command_json, run_command
from tests.shop import deliver, fill, get

Sessions = sessionmaker[Session]
Drain = Callable[[], int]
TIMES = life("created", "dispatched", "picked_up", "delivery_failed")


@pytest.fixture
def known(client: FlaskClient, drain: Drain) -> None:
    """Order u-1 of reference 41, in trouble, and u-2, which is on its way."""
    deliver(
        client,
        tiramizoo_order(
            "u-1", TIMES, packages=[package("P1")], external_id="41", identifier="ZVW8GV"
        ),
        tiramizoo_order("u-2", life("created")),
    )
    drain()


# One order


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("order", "tiramizoo", "ZVW8GV"), "/orders/tiramizoo/u-1"),
        (("events", "tiramizoo", "u-1"), "/orders/tiramizoo/u-1/events"),
        (("explain", "tiramizoo", "u-1"), "/orders/tiramizoo/u-1/explain"),
        (("orders",), "/orders"),
        (("orders", "--needs-attention"), "/orders?needs_attention=true"),
        (("orders", "--no-needs-attention"), "/orders?needs_attention=false"),
        (("orders", "--reference", "41"), "/orders?reference=41"),
        (("orders", "--status", "info_received"), "/orders?status=info_received"),
        (("orders", "--status-group", "exception"), "/orders?status_group=exception"),
        (("orders", "--account", "cottoncast"), "/orders?account=cottoncast"),
        (
            ("orders", "--updated-since", "2026-01-01T00:00:00Z"),
            "/orders?updated_since=2026-01-01T00:00:00Z",
        ),
        (("orders", "--limit", "1"), "/orders?limit=1"),
        (("conflicts",), "/conflicts"),
        (("statuses",), "/statuses"),
        (("changes",), "/changes"),
        (("messages",), "/messages"),
        (("messages", "show", "1"), "/messages/1"),
    ],
    ids=lambda it: " ".join(it) if isinstance(it, tuple) else "",
)
def test_json_is_what_the_api_answers(
    environ: dict[str, str], shop: FlaskClient, arguments: tuple[str, ...], path: str
) -> None:
    assert command_json(environ, *arguments) == api_json(shop, path)


@pytest.mark.usefixtures("known")
def test_an_order_is_told_line_by_line(environ: dict[str, str]) -> None:
    shown = run_command(environ, "order", "tiramizoo", "ZVW8GV").stdout.splitlines()
    assert shown[0] == "Order u-1 of tiramizoo"
    facts = [" ".join(line.split()) for line in shown]
    assert facts[1] == "status delivery_failed ! since 2026-04-16T08:30:00Z"
    assert facts[2].endswith("ordertrail explain tiramizoo u-1")
    assert "reference 41" in facts
    assert "identifier ZVW8GV" in facts
    assert "milestones 2026-04-16T07:00:00Z info_received" in facts


def test_a_label_is_saved_as_the_file_it_is(
    environ: dict[str, str], client: FlaskClient, drain: Drain, tmp_path: Path
) -> None:
    label, file = b"%PDF-1.4 \x80", tmp_path / "label.pdf"
    text = base64.b64encode(label).decode()
    deliver(client, shipmentapi_order(label=text), shipmentapi_order("bare"), account="shipmentapi")
    drain()
    shown = run_command(environ, "order", "shipmentapi", "SA-2001").stdout
    assert "ordertrail order shipmentapi SA-2001 --save-label FILE" in " ".join(shown.split())
    saved = run_command(environ, "order", "shipmentapi", "SA-2001", "--save-label", str(file))
    assert (saved.exit_code, saved.stdout, file.read_bytes()) == (0, "", label)
    bare = run_command(environ, "order", "shipmentapi", "bare", "--save-label", str(tmp_path / "b"))
    assert (bare.exit_code, (tmp_path / "b").exists()) == (1, False)
    assert "has no label" in bare.stderr


@pytest.mark.parametrize("command", ["order", "events", "explain", "refresh"])
@pytest.mark.usefixtures("known")
def test_an_order_that_is_not_there_ends_with_1_and_says_what_may_be_meant(
    environ: dict[str, str], command: str
) -> None:
    absent = run_command(environ, command, "tiramizoo", "nobody")
    assert (absent.exit_code, absent.stdout) == (1, "")
    assert "'nobody'" in absent.stderr
    slip = run_command(environ, command, "tiramzoo", "u-1")
    assert slip.exit_code == 1
    assert {"'tiramzoo'", "cottoncast", "tiramizoo"} <= set(re.split(r"[\s,]+", slip.stderr))
    reference = run_command(environ, command, "tiramizoo", "41")
    assert reference.exit_code == 1
    assert "ordertrail orders --reference 41" in reference.stderr


@pytest.mark.usefixtures("known")
def test_a_timeline_is_a_table_oldest_first(environ: dict[str, str]) -> None:
    lines = run_command(environ, "events", "tiramizoo", "u-1").stdout.splitlines()
    assert lines[0].split()[:2] == ["occurred", "status"]
    assert [line.split()[1] for line in lines[1:]] == [
        "info_received",
        "awaiting_pickup",
        "picked_up",
        "delivery_failed",
    ]


def test_a_timeline_says_what_does_not_count(
    environ: dict[str, str], client: FlaskClient, drain: Drain
) -> None:
    deliver(client, cottoncast_status("D", after(0)), account="cottoncast")
    deliver(client, cottoncast_status("X", after(30)), account="cottoncast")
    drain()
    shown = run_command(environ, "events", "cottoncast", "3AF7").stdout
    [line] = [line for line in shown.splitlines() if " lost " in line]
    assert "not applied" in line
    assert "delivered" in line


# Lists


def test_pages_are_one_list_with_all(environ: dict[str, str], sessions: Sessions) -> None:
    fill(sessions, *({} for _ in range(450)))
    page = command_json(environ, "orders")
    assert len(page["orders"]) == 50
    assert page["next_cursor"]
    every = command_json(environ, "orders", "--all")
    assert len({order["courier_order_id"] for order in every["orders"]}) == 450
    assert every["next_cursor"] is None
    assert every["orders"][:50] == page["orders"]
    following = command_json(environ, "orders", "--cursor", page["next_cursor"], "--limit", "200")
    assert following["orders"] == every["orders"][50:250]
    assert len(run_command(environ, "orders", "--all").stdout.splitlines()) == 451


def test_a_list_that_goes_on_says_how_to(environ: dict[str, str], sessions: Sessions) -> None:
    fill(sessions, {}, {}, {})
    shown = run_command(environ, "orders", "--limit", "2")
    assert len(shown.stdout.splitlines()) == 3
    cursor = command_json(environ, "orders", "--limit", "2")["next_cursor"]
    assert f"--cursor {cursor}" in shown.stderr


def test_an_empty_list_is_no_failure_but_an_account_that_is_not_there_is(
    environ: dict[str, str], sessions: Sessions
) -> None:
    for how in ([], ["--json"]):
        empty = run_command(environ, "orders", "--account", "tiramizoo", *how)
        assert empty.exit_code == 0
        slip = run_command(environ, "orders", "--account", "tiramzoo", *how)
        assert slip.exit_code == 1
        assert "configured accounts: cottoncast" in slip.stderr
    assert json.loads(run_command(environ, "orders", "--json").stdout)["orders"] == []


def test_orders_of_an_account_that_was_switched_off_are_still_listed(
    environ: dict[str, str], sessions: Sessions
) -> None:
    fill(sessions, {"account": "gone"})
    assert run_command(environ, "orders", "--account", "gone").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("orders", "--limit", "0"), "--limit"),
        (("orders", "--limit", "1000000000"), "--limit"),
        (("orders", "--limit", "x"), "--limit"),
        (("orders", "--limit", "5", "--all"), "--limit and --all"),
        (("orders", "--status", "nonsense"), "--status"),
        (("orders", "--updated-since", "2026-01-01T00:00:00"), "--updated-since: must have"),
        (("orders", "--reference", "x" * 256), "--reference"),
        (("orders", "--cursor", "nonsense"), "cursor"),
        (("order", "tiramizoo"), "ORDER_ID"),
        (("conflicts", "--limit", "0"), "--limit"),
        (("conflicts", "close", "tiramizoo", "u-1", "x"), "--by"),
        (("register", "tiramizoo", "x" * 256), "COURIER_ORDER_ID"),
        (("register", "tiramizoo", "u-1", "--metadata", "x"), "KEY=VALUE"),
        (("register", "tiramizoo", "u-1", "--metadata", "a=1", "--metadata", "a=2"), "twice"),
        (("register", "tiramizoo", "u-1", "--metadata", "=1"), "--metadata"),
    ],
    ids=lambda it: " ".join(it)[:60] if isinstance(it, tuple) else "",
)
def test_wrong_usage_ends_with_2_and_names_what_is_wrong(
    environ: dict[str, str], arguments: tuple[str, ...], said: str
) -> None:
    done = run_command(environ, *arguments)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


# What is done to an order


def test_an_order_is_registered_and_what_waited_for_it_goes_back(
    environ: dict[str, str],
    client: FlaskClient,
    shop: FlaskClient,
    drain: Drain,
    sessions: Sessions,
) -> None:
    deliver(client, cottoncast_status("E", order_id="p-1"), account="cottoncast-parking")
    drain()
    new = ("register", "cottoncast-parking", "p-1", "--reference", "R-1", "--metadata", "shelf=7=b")
    first = command_json(environ, *new)
    assert first == get(shop, "/orders/cottoncast-parking/p-1")
    assert first["reference"] == "R-1"
    assert first["metadata"] == {"shelf": "7=b"}
    with sessions() as session:
        assert session.scalars(select(Message.outcome)).all() == ["pending"]
    again = run_command(environ, "register", "cottoncast-parking", "p-1")
    assert again.exit_code == 0
    assert "Already registered" in again.stderr
    drain()
    order = command_json(environ, "order", "cottoncast-parking", "p-1")
    assert (order["status"], order["reference"], order["metadata"]) == (
        "in_transit",
        "R-1",
        {"shelf": "7=b"},
    )


@pytest.mark.usefixtures("sessions")
def test_registration_wakes_the_workers_and_the_readers(
    environ: dict[str, str], redis: Redis
) -> None:
    # pubsub() is not typed.
    listening: Any = redis.pubsub()  # type: ignore[no-untyped-call]
    listening.subscribe(feed.CHANNEL)
    assert listening.get_message(timeout=60)["type"] == "subscribe"
    assert run_command(environ, "register", "tiramizoo", "u-1").exit_code == 0
    assert listening.get_message(timeout=60)["type"] == "message"
    assert redis.exists(waiting_key(DRAIN_JOB))
    listening.close()


@pytest.mark.usefixtures("sessions")
def test_registration_for_an_unknown_account_ends_with_1(environ: dict[str, str]) -> None:
    done = run_command(environ, "register", "nowhere", "u-1")
    assert done.exit_code == 1
    assert "account 'nowhere' is not configured" in done.stderr


POLLED = {"COURIER_TIRAMIZOO_API_TOKEN": "t", "COURIER_TIRAMIZOO_API_URL": "http://127.0.0.1:1"}


@pytest.mark.usefixtures("known")
def test_refresh_makes_an_order_due(environ: dict[str, str], sessions: Sessions) -> None:
    before = datetime.now(UTC)
    done = run_command(environ, "refresh", "tiramizoo", "ZVW8GV", "--json", **POLLED)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["courier_order_id"] == "u-1"
    with sessions() as session:
        due_at = session.scalars(select(Poll.due_at)).one()
    assert due_at is not None
    assert before <= due_at <= datetime.now(UTC)
    shown = run_command(environ, "refresh", "tiramizoo", "u-1", **POLLED).stdout
    assert shown.startswith("Order u-1 of tiramizoo will be polled at ")


@pytest.mark.usefixtures("known")
def test_refresh_of_an_account_that_cannot_be_asked_ends_with_1(environ: dict[str, str]) -> None:
    done = run_command(environ, "refresh", "tiramizoo", "u-1")
    assert done.exit_code == 1
    assert "cannot be polled" in done.stderr


def test_a_conflict_is_closed_and_shown_as_the_api_does(
    environ: dict[str, str], client: FlaskClient, drain: Drain
) -> None:
    deliver(client, tiramizoo_order("u-1", life("created", "cancelled", "picked_up")))
    drain()
    (conflict,) = command_json(environ, "conflicts")["conflicts"]
    close = ("conflicts", "close", "tiramizoo", "u-1", conflict["id"], "--by", "Ada")
    closed = command_json(environ, *close, "--note", "asked them")
    assert (closed["closed_by"], closed["note"]) == ("Ada", "asked them")
    assert command_json(environ, "conflicts")["conflicts"] == []
    assert run_command(environ, "conflicts", "--account", "nowhere").exit_code == 1


# Tours, accounts, statuses


def test_a_tour_is_shown(
    environ: dict[str, str], client: FlaskClient, shop: FlaskClient, drain: Drain
) -> None:
    body = raw(tour_plan({"u-1": after(60), "u-2": after(90)}))
    client.post("/webhooks/tiramizoo/tours/tiramizoo-token", data=body)
    drain()
    tour = ("tour", "tiramizoo", "EDFIL1-1")
    assert command_json(environ, *tour) == get(shop, "/tours/tiramizoo/EDFIL1-1")
    shown = run_command(environ, *tour).stdout.splitlines()
    assert shown[0] == "Tour EDFIL1-1 of tiramizoo"
    assert ["u-2", "2026-04-16T08:30:00Z"] in [line.split()[:2] for line in shown]


@pytest.mark.usefixtures("sessions")
def test_a_tour_that_is_not_there_ends_with_1(environ: dict[str, str]) -> None:
    assert run_command(environ, "tour", "tiramizoo", "nothing").exit_code == 1
    assert "account 'x' is not configured" in run_command(environ, "tour", "x", "nothing").stderr


@pytest.mark.usefixtures("known")
def test_accounts_are_shown_as_the_api_does(environ: dict[str, str], shop: FlaskClient) -> None:
    answer = get(shop, "/couriers")["couriers"]
    mine = command_json(environ, "couriers")["couriers"]
    assert mine == answer
    lines = run_command(environ, "couriers").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [it["account"] for it in answer]


@pytest.mark.usefixtures("known")
def test_a_pause_is_told_with_its_reason(environ: dict[str, str], sessions: Sessions) -> None:
    now = datetime.now(UTC)
    with sessions.begin() as session:
        session.execute(
            update(AccountState)
            .where(AccountState.account == "tiramizoo")
            .values(paused_at=now, paused_until=now + timedelta(hours=1), pause_reason="busy")
        )
    shown = run_command(environ, "couriers", **POLLED).stdout
    assert "paused until " in shown
    assert "(busy)" in shown
    assert "not configured" in shown


@pytest.mark.usefixtures("sessions")
def test_statuses_show_each_couriers_words(environ: dict[str, str]) -> None:
    heading = run_command(environ, "statuses").stdout.splitlines()[0].split()
    assert {"cottoncast", "shipmentapi", "tiramizoo"} <= set(heading)
    lines = run_command(environ, "statuses", "tiramizoo", "cottoncast").stdout.splitlines()
    assert lines[0].split()[-2:] == ["tiramizoo", "cottoncast"]
    (lost,) = [line.split() for line in lines if line.startswith("lost")]
    assert lost == ["lost", "!", "exception", "70", "X"]
    refused = run_command(environ, "statuses", "hermes")
    assert (refused.exit_code, "cottoncast" in refused.stderr) == (2, True)


@pytest.mark.usefixtures("known")
def test_the_table_of_orders_has_a_row_for_each(
    environ: dict[str, str], sessions: Sessions
) -> None:
    lines = run_command(environ, "orders").stdout.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["u-2", "u-1"]
    assert "delivery_failed !" in lines[2]
    with sessions() as session:
        assert len(session.scalars(select(Order)).all()) == 2
