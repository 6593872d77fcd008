"""The change feed over HTTP: what is told of which message, where a reader goes on, what is bad."""

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import delete, event, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.changes import feed
from receiver.changes.feed import CHANNEL
from receiver.changes.order_version import OrderChange
from receiver.cli.main import main
from receiver.db.models import Change, Order
from receiver.db.pagination import CHANGES, write_cursor
from receiver.times import rfc3339
from tests.bodies import (
    after,
    cottoncast_signature,
    cottoncast_status,
    history_entry,
    life,
    raw,
    tiramizoo_order,
    tiramizoo_snapshots,
    tour_plan,
)
from tests.conftest import API_TOKEN
from tests.service import wait_until, waiting_for
from tests.shop import put_many
from workers.folding.refold import refold_orders as genuine

Drain = Callable[[], int]
Sessions = sessionmaker[Session]
Told = dict[str, Any]

UUID = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11"


def ask(shop: FlaskClient, **parameters: Any) -> Told:
    answer = shop.get("/v1/changes", query_string=parameters)
    assert answer.status_code == 200, answer.data
    assert answer.headers["Cache-Control"] == "no-store"
    return dict(answer.get_json())


def new(shop: FlaskClient, drain: Drain, body: Any = None, path: str = "orders") -> list[Told]:
    """What is told anew once a Tiramizoo message was folded; without one, since the last call."""
    if body is not None:
        sent = shop.post(f"/webhooks/tiramizoo/{path}/tiramizoo-token", data=raw(body))
        assert sent.status_code == 200
        drain()
    return [*read_all(shop, shop.environ_base.get("test.after"))]


def read_all(shop: FlaskClient, since: str | None) -> list[Told]:
    page = ask(shop, **({} if since is None else {"after": since}), limit=1000)
    shop.environ_base["test.after"] = page["next_cursor"]
    return list(page["changes"])


# What is told of which message


def test_a_change_has_the_shape_of_the_contract(shop: FlaskClient, drain: Drain) -> None:
    (change,) = new(shop, drain, tiramizoo_order(external_id="T-1"))
    cursor = change.pop("cursor")
    changed = change.pop("changed")
    assert change.pop("changed_at").endswith("Z")
    assert change == {
        "id": "1",
        "account": "tiramizoo",
        "courier_order_id": UUID,
        "reference": "T-1",
        "version": 1,
        "status": "info_received",
        "status_group": "pre_transit",
        "status_at": rfc3339(life("created")["created"]),
    }
    assert ask(shop)["next_cursor"] == cursor
    assert changed[0] == "created"
    assert {"reference", "status", "status_at", "events"} < set(changed)


def test_a_new_order_with_nothing_in_it_is_told_as_created(shop: FlaskClient, drain: Drain) -> None:
    shop.post("/v1/orders", json={"account": "tiramizoo", "courier_order_id": "u-1"})
    (change,) = new(shop, drain)
    assert (change["changed"], change["version"], change["status"]) == (["created"], 1, "pending")


def test_a_step_tells_the_fields_that_it_changed(shop: FlaskClient, drain: Drain) -> None:
    first, second = tiramizoo_snapshots(UUID, life("created", "picked_up"))
    new(shop, drain, first)
    (change,) = new(shop, drain, second)
    assert change["changed"] == [
        "status", "courier_status", "status_at", "source", "milestones", "events",
    ]  # fmt: skip
    assert (change["version"], change["status"]) == (2, "picked_up")


def test_what_is_known_already_is_no_change(shop: FlaskClient, drain: Drain) -> None:
    order = tiramizoo_order(times=life("created", "picked_up"))
    new(shop, drain, order)
    assert new(shop, drain, order) == []
    # Another body, and so another message, that tells the same.
    assert new(shop, drain, {**order, "city_identifier": "berlin"}) == []
    # An older snapshot, whose one event the newer told as well.
    assert new(shop, drain, tiramizoo_order(times=life("created"))) == []
    assert shop.get(f"/v1/orders/tiramizoo/{UUID}").get_json()["version"] == 1


def test_a_late_event_that_changes_nothing_else_tells_of_the_timeline_alone(
    shop: FlaskClient, drain: Drain
) -> None:
    times = life("created", "picked_up", "delivered")
    new(shop, drain, tiramizoo_order(times=times))
    late = history_entry("recipient_was_not_at_home", after(45), "picked_up")
    (change,) = new(shop, drain, tiramizoo_order(times=life("created"), history=[late]))
    assert (change["changed"], change["version"]) == (["events"], 2)
    assert change["status"] == "delivered"


def test_a_tour_plan_tells_the_eta(shop: FlaskClient, drain: Drain) -> None:
    new(shop, drain, tiramizoo_order())
    (change,) = new(shop, drain, tour_plan({UUID: after(90)}), path="tours")
    assert change["changed"] == ["eta"]
    assert new(shop, drain, {**tour_plan({UUID: after(90)}), "again": 1}, path="tours") == []


def test_a_registration_tells_what_it_changed_and_a_second_one_nothing(
    shop: FlaskClient, drain: Drain
) -> None:
    new(shop, drain, tiramizoo_order(external_id="theirs"))
    ours = {
        "account": "tiramizoo",
        "courier_order_id": UUID,
        "reference": "ours",
        "metadata": {"shelf": "7"},
    }
    assert shop.post("/v1/orders", json=ours).status_code == 200
    (change,) = new(shop, drain)
    assert (change["changed"], change["version"]) == (["reference", "metadata"], 2)
    assert change["reference"] == "ours"
    shop.post("/v1/orders", json=ours)
    assert new(shop, drain) == []
    shop.post("/v1/orders", json={**ours, "courier_order_id": "u-2"})
    (change,) = new(shop, drain)
    assert (change["changed"], change["version"]) == (["created", "reference", "metadata"], 1)


def test_a_registration_of_the_reference_that_is_shown_already_is_no_change(
    shop: FlaskClient, drain: Drain
) -> None:
    new(shop, drain, tiramizoo_order(external_id="T-1"))
    ours = {"account": "tiramizoo", "courier_order_id": UUID, "reference": "T-1"}
    shop.post("/v1/orders", json=ours)
    assert new(shop, drain) == []
    # It counts all the same, once the courier says otherwise.
    times = life("created", "picked_up")
    (change,) = new(shop, drain, tiramizoo_order(times=times, external_id="T-2"))
    assert "reference" not in change["changed"]
    assert change["reference"] == "T-1"


def test_a_closed_conflict_is_a_change(shop: FlaskClient, drain: Drain) -> None:
    times = life("created", "cancelled", "picked_up")
    (change,) = new(shop, drain, tiramizoo_order(times=times))
    assert {"conflicts", "needs_attention"} < set(change["changed"])
    path = f"/v1/orders/tiramizoo/{UUID}"
    (conflict,) = shop.get(f"{path}/explain").get_json()["conflicts"]
    shop.post(f"{path}/conflicts/{conflict['id']}/close", json={"by": "Ada"})
    (change,) = new(shop, drain)
    assert (change["changed"], change["version"]) == (["needs_attention", "conflicts"], 2)


def test_a_rebuild_tells_what_comes_out_differently_and_a_dry_run_nothing(
    shop: FlaskClient, drain: Drain, sessions: Sessions, environ: dict[str, str]
) -> None:
    new(shop, drain, tiramizoo_order())
    with sessions.begin() as session:
        session.execute(update(Order).values(status="lost"))
    for arguments, told in ((["--dry-run"], []), ([], [["status"]]), ([], [])):
        done = CliRunner(env=environ).invoke(main, ["rebuild", *arguments], catch_exceptions=False)
        assert done.exit_code == (1 if told or arguments else 0)
        assert [change["changed"] for change in new(shop, drain)] == told
    # What differs only in how it is kept is mended, and no news.
    with sessions.begin() as session:
        session.execute(update(Order).values(details={}))
    CliRunner(env=environ).invoke(main, ["rebuild"], catch_exceptions=False)
    assert new(shop, drain) == []


def test_a_poisonous_message_leaves_no_change_and_the_others_theirs(
    shop: FlaskClient, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refold(session: Session, assigned: Any, *rest: Any) -> Any:
        done = genuine(session, assigned, *rest)
        if ("tiramizoo", "bad") in assigned.by_order:
            raise ValueError
        return done

    monkeypatch.setattr("workers.folding.message_folding.refold_orders", refold)
    for uuid in ("u-1", "bad", "u-2"):
        shop.post(
            "/webhooks/tiramizoo/orders/tiramizoo-token", data=raw(tiramizoo_order(uuid=uuid))
        )
    drain()
    assert [change["courier_order_id"] for change in new(shop, drain)] == ["u-1", "u-2"]


# Where a reader goes on


def test_an_empty_feed_gives_a_cursor_to_go_on_from(shop: FlaskClient, drain: Drain) -> None:
    page = ask(shop)
    assert page["changes"] == []
    assert ask(shop, after="now") == page
    assert ask(shop, after=page["next_cursor"]) == page
    new(shop, drain, tiramizoo_order())
    assert len(ask(shop, after=page["next_cursor"])["changes"]) == 1


def test_pages_follow_one_another_without_a_gap(shop: FlaskClient, drain: Drain) -> None:
    for number in range(5):
        new(shop, drain, tiramizoo_order(uuid=f"u-{number}"))
    cursor, seen = None, []
    while True:
        page = ask(shop, limit=2, **({} if cursor is None else {"after": cursor}))
        if not page["changes"]:
            assert page["next_cursor"] == cursor
            break
        seen += page["changes"]
        cursor = page["next_cursor"]
        assert cursor == page["changes"][-1]["cursor"]
    assert [change["courier_order_id"] for change in seen] == [f"u-{n}" for n in range(5)]
    assert ask(shop, after=seen[1]["cursor"])["changes"] == seen[2:]


def test_now_leaves_out_what_was_told_so_far(shop: FlaskClient, drain: Drain) -> None:
    new(shop, drain, tiramizoo_order(uuid="u-1"))
    page = ask(shop, after="now")
    assert page["changes"] == []
    new(shop, drain, tiramizoo_order(uuid="u-2"))
    (change,) = ask(shop, after=page["next_cursor"])["changes"]
    assert change["courier_order_id"] == "u-2"


def test_a_cursor_stays_good_when_the_changes_before_it_are_dropped(
    shop: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    new(shop, drain, tiramizoo_order(uuid="u-1"))
    cursor = ask(shop)["next_cursor"]
    with sessions.begin() as session:
        session.execute(delete(Change))
    assert ask(shop, after=cursor) == {"changes": [], "next_cursor": cursor}
    new(shop, drain, tiramizoo_order(uuid="u-2"))
    assert len(ask(shop, after=cursor)["changes"]) == 1


def test_without_a_token_nobody_follows(client: FlaskClient) -> None:
    assert client.get("/v1/changes", headers={"Authorization": "Bearer x"}).status_code == 401


# Filters


def test_a_filter_leaves_out_other_changes_and_the_cursor_passes_them(
    shop: FlaskClient, drain: Drain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "CHUNK", 2)
    new(shop, drain, tiramizoo_order(uuid="u-1"))
    new(shop, drain, tiramizoo_order(uuid="u-1", times=life("created", "picked_up")))
    body = raw(cottoncast_status("N", order_id="C-1", ref=1))
    shop.post("/webhooks/cottoncast/orders", data=body, headers=cottoncast_signature(body))
    drain()
    end = ask(shop)["next_cursor"]
    versions = {
        ("account", "tiramizoo"): [1, 2],
        ("account", "cottoncast"): [1],
        ("account", "shipmentapi"): [],
        ("status_group", "in_transit"): [2],
        ("status_group", " pre_transit , in_transit"): [1, 2, 1],
        ("changed", "created"): [1, 1],
        ("changed", "milestones,eta"): [1, 2, 1],
    }
    for (name, value), expected in versions.items():
        page = ask(shop, **{name: value})
        assert [change["version"] for change in page["changes"]] == expected, (name, value)
        assert page["next_cursor"] == end
    both = {"account": "tiramizoo", "status_group": "in_transit"}
    (change,) = ask(shop, **both, limit=1)["changes"]
    assert change["cursor"] != end
    assert ask(shop, **both, after=change["cursor"]) == {"changes": [], "next_cursor": end}


def test_an_entry_shows_the_order_as_it_was_after_the_change(
    shop: FlaskClient, drain: Drain
) -> None:
    (first,) = new(shop, drain, tiramizoo_order(external_id=None))
    registered = {"account": "tiramizoo", "courier_order_id": UUID, "reference": "41"}
    shop.post("/v1/orders", json=registered)
    new(shop, drain, tiramizoo_order(times=life("created", "picked_up"), external_id=None))
    entries = ask(shop)["changes"]
    assert [entry["reference"] for entry in entries] == [None, "41", "41"]
    groups = [entry["status_group"] for entry in entries]
    assert groups == ["pre_transit", "pre_transit", "in_transit"]
    times = [rfc3339(at) for at in life("created", "picked_up").values()]
    assert [entry["status_at"] for entry in entries] == [times[0], times[0], times[1]]
    assert [int(entry["id"]) for entry in entries] == sorted(int(each["id"]) for each in entries)
    assert first["changed_at"] <= entries[-1]["changed_at"]


def test_a_change_of_an_older_release_shows_the_present_reference(
    shop: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    new(shop, drain, tiramizoo_order(external_id="41"))
    with sessions.begin() as session:
        session.execute(update(Change).values(reference=None, status_at=None))
    (change,) = ask(shop)["changes"]
    assert (change["reference"], change["status_at"]) == ("41", None)


def test_changes_of_an_unknown_account_are_404(shop: FlaskClient) -> None:
    answer = shop.get("/v1/changes", query_string={"account": "tiramizo"})
    assert answer.status_code == 404
    assert "'tiramizo'" in answer.get_json()["detail"]


def test_a_waiting_reader_goes_on_waiting_while_others_change(
    app: Flask, shop: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[int] = []
    read_page = feed.read_page

    def counting(session: Session, after: int, *rest: Any) -> feed.ChangePage:
        reads.append(after)
        return read_page(session, after, *rest)

    monkeypatch.setattr(feed, "read_page", counting)
    found: list[tuple[Told, float]] = []
    reader = app.test_client()
    reader.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    wanted = {"account": "cottoncast", "wait": 20}
    thread = threading.Thread(target=lambda: found.append(timed(reader, **wanted)))
    thread.start()
    wait_until(lambda: app.extensions["ordertrail"].feed_waiters._active)
    for account in ("tiramizoo", "tiramizoo", "cottoncast"):
        new_order = {"account": account, "courier_order_id": f"u-{len(reads)}"}
        shop.post("/v1/orders", json=new_order)
        wait_until(lambda: found or len(reads) > 1)
    thread.join()
    page, seconds = found[0]
    assert [change["account"] for change in page["changes"]] == ["cottoncast"]
    assert seconds < 19
    # It does not read again and again what it has passed over.
    assert len(reads) <= 5
    assert sorted(reads)[1:] == sorted(set(reads))


# Bad input


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"since": "now"}, "since"),
        ({"cursor": "YzA"}, "cursor"),
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"limit": 10**9}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"wait": 31}, "wait"),
        ({"wait": -1}, "wait"),
        ({"wait": "abc"}, "wait"),
        ({"wait": "1.5"}, "wait"),
        ({"wait": "nan"}, "wait"),
        ({"wait": ""}, "wait"),
        ({"after": "\x00"}, "after"),
        ({"status_group": ""}, "status_group"),
        ({"status_group": "in_transit,"}, "status_group"),
        ({"status_group": "in_transit,flying"}, "status_group"),
        ({"changed": "colour"}, "changed"),
        ({"account": ""}, "account"),
        ({"after": "x" * 201}, "after"),
        ({"after": ""}, None),
        ({"after": "NOW"}, None),
        ({"after": "nonsense"}, None),
        ({"after": "é"}, None),
        ({"after": "'; DROP TABLE changes; --"}, None),
        ({"after": write_cursor(7)}, None),
        ({"after": write_cursor(10**18 - 1, kind=CHANGES)}, None),
        ({"after": write_cursor(10**40, kind=CHANGES)}, None),
        ({"after": write_cursor(1, kind=CHANGES), "wait": 30}, None),
    ],
)
def test_bad_input_is_a_problem(shop: FlaskClient, asked: Told, field: str | None) -> None:
    answer = shop.get("/v1/changes", query_string=asked)
    assert answer.status_code == 422
    assert answer.mimetype == "application/problem+json"
    problem = answer.get_json()
    if field is None:
        assert problem["detail"].startswith("after ")
    else:
        assert set(problem["errors"]["query"]) == {field}


def test_the_feed_describes_itself(shop: FlaskClient) -> None:
    described = shop.get("/v1/openapi.json").get_json()["paths"]["/v1/changes"]["get"]
    names = {"after", "limit", "wait", "account", "status_group", "changed", "test"}
    assert {each["name"] for each in described["parameters"]} == names
    assert {"200", "422", "503"} <= described["responses"].keys()


# How it is written


def tell_of(session: Session, *names: str) -> None:
    """Tell of a change of the one order, without any."""
    order = session.scalars(select(Order)).one()
    order.version += 1
    feed.record_changes(session, [OrderChange.of(order, names)], datetime.now(UTC))


@pytest.fixture
def order(shop: FlaskClient, drain: Drain) -> None:
    new(shop, drain, tiramizoo_order())


def numbers(sessions: Sessions) -> list[tuple[int, list[str]]]:
    with sessions() as session:
        rows = session.execute(select(Change.seq, Change.changed).order_by(Change.seq))
        return [(seq, changed) for seq, changed in rows]


@pytest.mark.usefixtures("order")
def test_a_second_writers_numbers_wait_for_the_firsts_commit(
    shop: FlaskClient, sessions: Sessions
) -> None:
    second_done = threading.Event()

    def second() -> None:
        with sessions.begin() as session:
            # Of another order: only the numbering has them wait for each other.
            session.execute(text("SET LOCAL lock_timeout = '20s'"))
            order = Order(
                account="tiramizoo", courier="tiramizoo", courier_order_id="u-2", status="pending",
                version=1, created_at=datetime.now(UTC), updated_at=datetime.now(UTC),
            )  # fmt: skip
            session.add(order)
            session.flush()
            feed.record_changes(session, [OrderChange.of(order, ("created",))], datetime.now(UTC))
        second_done.set()

    with sessions() as first:
        tell_of(first, "first")
        tell_of(first, "first again")
        thread = threading.Thread(target=second)
        thread.start()
        wait_until(lambda: waiting_for(sessions))
        assert len(ask(shop)["changes"]) == 1
        assert not second_done.is_set()
        first.commit()
    thread.join()
    told = [changed for _, changed in numbers(sessions)][1:]
    assert told == [["first"], ["first again"], ["created"]]


@pytest.mark.usefixtures("order")
def test_a_rollback_leaves_a_hole_and_no_late_number(shop: FlaskClient, sessions: Sessions) -> None:
    with sessions() as session:
        tell_of(session, "undone")
        session.rollback()
    with sessions.begin() as session:
        tell_of(session, "done")
    assert numbers(sessions)[1:] == [(3, ["done"])]
    assert [change["changed"] for change in ask(shop)["changes"]][1:] == [["done"]]


def test_a_session_takes_no_numbers_in_advance(sessions: Sessions) -> None:
    # CACHE 2 would do it: whoever holds a number in reserve gives it after higher ones.
    with sessions() as session:
        cached = session.scalar(
            text("SELECT seqcache FROM pg_sequence WHERE seqrelid = 'changes_seq_seq'::regclass")
        )
    assert cached == 1


def test_one_batchs_changes_are_numbered_in_its_order(
    shop: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    for number in range(40):
        body = raw(cottoncast_status("N", order_id=f"C-{number}", ref=number))
        shop.post("/webhooks/cottoncast/orders", data=body, headers=cottoncast_signature(body))
    drain()
    with sessions() as session:
        by_change = session.scalars(select(Change.order_id).order_by(Change.seq)).all()
    assert by_change == sorted(by_change)
    assert len(by_change) == 40


def test_a_page_is_a_range_of_the_primary_key(sessions: Sessions) -> None:
    with sessions.begin() as session:
        put_many(session, 20_000)
        session.execute(
            text(
                "INSERT INTO changes (order_id, version, status, changed, changed_at)"
                " SELECT id, 1, 'pending', '{created}', now() FROM orders"
            )
        )
        session.execute(text("ANALYZE orders, changes"))
        asked: list[tuple[str, Any]] = []

        @event.listens_for(session.connection(), "before_cursor_execute")
        def listen(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
            asked.append((statement, values))

        def plan() -> str:
            statement, values = asked[-1]
            rows = session.connection().exec_driver_sql(f"EXPLAIN {statement}", values)
            return "\n".join(rows.scalars())

        for limit in (100, 1000):
            assert len(feed.read_changes(session, 9000, limit)) == limit
            told = plan()
            assert "Index Scan using changes_pkey" in told
            assert "Index Scan using orders_pkey" in told
            assert "Sort" not in told
        assert feed.latest_change(session) == 20_000
        assert "Index Only Scan Backward using changes_pkey" in plan()


# Waiting


def timed(shop: FlaskClient, **asked: Any) -> tuple[Told, float]:
    started = time.monotonic()
    page = ask(shop, **asked)
    return page, time.monotonic() - started


def test_without_news_the_wait_ends_in_time_with_nothing(shop: FlaskClient) -> None:
    page, seconds = timed(shop, wait=1)
    assert page["changes"] == []
    assert 0.9 < seconds < 30


@pytest.mark.usefixtures("order")
def test_where_there_is_news_nobody_waits(shop: FlaskClient) -> None:
    page, seconds = timed(shop, wait=30)
    assert len(page["changes"]) == 1
    assert seconds < 25


@pytest.mark.parametrize("after_now", [True, False])
def test_news_wakes_a_waiting_reader_at_once(
    app: Flask, shop: FlaskClient, monkeypatch: pytest.MonkeyPatch, after_now: bool
) -> None:
    # So that nothing but the announcement can wake it.
    monkeypatch.setattr("receiver.changes.feed_waiters.CHECK_SECONDS", 60)
    found: list[tuple[Told, float]] = []
    asked = {"after": "now"} if after_now else {}
    reader = app.test_client()
    reader.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {API_TOKEN}"
    thread = threading.Thread(target=lambda: found.append(timed(reader, wait=20, **asked)))
    thread.start()
    here = app.extensions["ordertrail"]
    wait_until(lambda: here.redis.pubsub_numsub(CHANNEL)[0][1])
    wait_until(lambda: not here.engine.pool.checkedout())
    shop.post("/v1/orders", json={"account": "tiramizoo", "courier_order_id": "u-1"})
    told = time.monotonic()
    thread.join()
    assert time.monotonic() - told < 15
    assert found[0][0]["changes"][0]["courier_order_id"] == "u-1"


def test_nothing_is_checked_or_subscribed_while_nobody_waits(app: Flask, shop: FlaskClient) -> None:
    here = app.extensions["ordertrail"]
    feed_waiters = here.feed_waiters
    ask(shop)
    assert not feed_waiters._active
    ask(shop, wait=1)
    wait_until(lambda: not feed_waiters._active)
    wait_until(lambda: not here.redis.pubsub_numsub(CHANNEL)[0][1])


def test_every_wait_ends_when_the_process_stops(app: Flask, shop: FlaskClient) -> None:
    feed_waiters = app.extensions["ordertrail"].feed_waiters
    threading.Timer(0.5, feed_waiters.close).start()
    page, seconds = timed(shop, wait=30)
    assert page["changes"] == []
    assert seconds < 25
    assert timed(shop, wait=30)[1] < 25


def test_a_reader_beyond_the_limit_is_told_to_retry_later(
    shop: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("receiver.changes.feed_waiters.MOST_WAITING", 0)
    answer = shop.get("/v1/changes?wait=30")
    assert answer.status_code == 503
    assert answer.mimetype == "application/problem+json"
    assert int(answer.headers["Retry-After"]) > 0
    assert shop.get("/v1/changes").status_code == 200
