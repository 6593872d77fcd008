"""Retention: what is due goes, all else stays, and a rebuild gives the same."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import Connection, Engine, select, text, update
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import TERMINAL_SQL, Change, Message, Order, Poll, Tour, TourStop
from receiver.retention.expired import measure_lag
from receiver.settings import Settings
from receiver.statuses import VOCABULARY
from tests import everything
from tests.bodies import after, cottoncast_status, life, raw, tiramizoo_order, tour_plan
from tests.service import at_once
from tests.shop import deliver
from tests.test_personal_data import PEOPLE, UUID, hook
from tests.test_personal_data import everything as all_rows
from tests.test_rebuild import rebuild, rows
from workers.folding.drain import drain_batch
from workers.upkeep import retention as retention_module
from workers.upkeep.order_removal import LOCK_CLOSED, OLDEST_CLOSED
from workers.upkeep.retention import (
    DROP_BODIES,
    DROP_MESSAGES,
    DROP_STOPS,
    DROP_TOURS,
    ENDED_ORDERS,
    SILENT_ORDERS,
    Retention,
)

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

DAY = timedelta(days=1)
ORDER = f"/v1/orders/tiramizoo/{UUID}"


def drop(sessions: Sessions, settings: Settings, days: float = 0, **changed: Any) -> dict[str, int]:
    """Drop all that is due so many days from now."""
    now = datetime.now(UTC) + days * DAY
    return dict(Retention(replace(settings, **changed)).drop_due(sessions, now, 60))


def bodies(sessions: Sessions) -> dict[int, bool]:
    """Which messages have their body, by id."""
    with sessions() as session:
        found = session.execute(select(Message.id, Message.body.is_not(None)).order_by(Message.id))
        return {row.id: row[1] for row in found}


def test_a_body_goes_so_many_days_after_it_was_processed_and_not_before(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    deliver(shop, tiramizoo_order("u-1", {"created": after(0)}))
    drain()
    assert drop(sessions, settings, 89.9) == {}
    assert bodies(sessions) == {1: True}
    assert drop(sessions, settings, 90.1)["bodies"] == 1
    assert bodies(sessions) == {1: False}
    assert shop.get("/v1/messages/1").get_json()["body"] is None
    assert shop.get("/v1/orders/tiramizoo/u-1").get_json()["status"] == "info_received"


def test_the_days_are_those_of_the_settings(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    deliver(shop, tiramizoo_order("u-1", {"created": after(0)}))
    drain()
    assert drop(sessions, settings, 6, inbox_retention_days=7) == {}
    assert drop(sessions, settings, 8, inbox_retention_days=7)["bodies"] == 1


def test_what_is_stuck_stays_however_old(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    deliver(shop, {"uuid": "half-an-order"})
    deliver(shop, {"status": {"code": "N"}, "orderID": "1"}, account="cottoncast-parking")
    drain()
    deliver(shop, tiramizoo_order("u-1", {"created": after(0)}))
    outcomes = [it["outcome"] for it in shop.get("/v1/messages").get_json()["messages"]]
    assert sorted(outcomes) == ["parked", "pending", "quarantined"]
    assert drop(sessions, settings, 4000) == {}
    assert all(bodies(sessions).values())


def test_a_discarded_message_goes_with_what_its_reason_quotes_of_it(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    deliver(shop, {"uuid": "u-1", "state": ["Alice Icealay"]})
    drain()
    word = {"by": "Ada", "note": "a test of theirs"}
    assert shop.post("/v1/messages/1/discard", json=word).status_code == 200
    assert "schema" in shop.get("/v1/messages/1").get_json()["reason"]
    assert drop(sessions, settings, 91)["bodies"] == 1
    told = shop.get("/v1/messages/1").get_json()["reason"]
    assert told == "discarded by Ada: a test of theirs (was quarantined)"


def test_rebuild_gives_the_same_rows_when_every_body_is_gone(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings, environ: dict[str, str]
) -> None:
    everything.put_in(shop, sessions, drain)
    far = 3650
    dropped = drop(sessions, settings, far, personal_data_retention_days=2 * far)
    assert dropped["bodies"] > 20
    before = rows(sessions)
    code, output = rebuild({**environ, **everything.ENVIRON})
    assert (code, "0 changed" in output) == (0, True), output
    assert rows(sessions) == before


@pytest.mark.parametrize("dropped", ["first", "second"])
def test_rebuild_keeps_what_a_dropped_body_added_to_an_event(
    shop: FlaskClient, drain: Drain, sessions: Sessions, environ: dict[str, str], dropped: str
) -> None:
    hook(shop, "created", "delivered")
    deliver(shop, tiramizoo_order(UUID, {"created": after(0), "delivered": after(30)}, eta=None))
    drain()
    # As if the courier, asked, had confirmed the first, and one of the two were gone.
    with sessions.begin() as session:
        session.execute(text("UPDATE events SET trust = 'fetched'"))
        session.execute(
            update(Order).values(source=text("""jsonb_set(source, '{trust}', '"fetched"')"""))
        )
        session.execute(
            update(Message).where(Message.id == (1 if dropped == "first" else 2)).values(body=None)
        )
    before = rows(sessions)
    assert rebuild(environ)[0] == 0
    assert rows(sessions) == before


def test_people_are_forgotten_so_many_days_after_the_orders_end(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    new = {"account": "tiramizoo", "courier_order_id": UUID, "metadata": {"buyer": "Bob Obbay"}}
    shop.post("/v1/orders", json=new)
    hook(shop, "created", "delivered")
    drain()
    assert all(name in all_rows(sessions) for name in PEOPLE)
    order = shop.get(ORDER).get_json()
    ended = datetime.fromisoformat(order["status_at"])
    with sessions.begin() as session:
        # The shop put it on record before it came to its end, as shops do.
        session.execute(update(Order).values(created_at=ended - DAY))
    here = (sessions, 3650)
    early = Retention(replace(settings, inbox_retention_days=here[1]))
    assert early.drop_due(sessions, ended + 89.9 * DAY, 60) == {}
    assert early.drop_due(sessions, ended + 90.1 * DAY, 60) == {"personal_data": 1}
    assert [name for name in PEOPLE if name in all_rows(sessions)] == []
    left = shop.get(ORDER).get_json()
    changing = {"metadata", "version", "updated_at", "created_at"}
    assert all(left[name] == order[name] for name in order.keys() - changing)
    assert (left["version"], left["metadata"]) == (order["version"] + 1, {})
    changed = shop.get("/v1/changes").get_json()["changes"][-1]
    assert changed["changed"] == ["metadata", "events"]
    # Once is enough.
    assert early.drop_due(sessions, ended + 91 * DAY, 60) == {}


def test_an_end_that_is_older_than_the_order_counts_from_when_we_knew_of_it(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    """A sample of 2021, a backlog, or a courier whose clock is decades behind."""
    new = {"account": "cottoncast", "courier_order_id": "41", "metadata": {"buyer": "Bob Obbay"}}
    shop.post("/v1/orders", json=new)
    deliver(
        shop,
        cottoncast_status("D", datetime(1975, 1, 2, tzinfo=UTC), order_id="41"),
        account="cottoncast",
    )
    drain()
    order = shop.get("/v1/orders/cottoncast/41").get_json()
    assert (order["status"], order["status_at"][:4]) == ("delivered", "1975")
    assert drop(sessions, settings, days=89.9, inbox_retention_days=3650) == {}
    assert bodies(sessions) == {1: True}
    assert shop.get("/v1/orders/cottoncast/41").get_json()["metadata"] == new["metadata"]
    assert drop(sessions, settings, days=90.1, inbox_retention_days=3650) == {"personal_data": 1}
    assert bodies(sessions) == {1: False}


def test_rebuild_gives_the_same_rows_after_people_were_forgotten(
    shop: FlaskClient,
    drain: Drain,
    sessions: Sessions,
    settings: Settings,
    environ: Mapping[str, str],
) -> None:
    hook(shop, "created", "delivered")
    drain()
    drop(sessions, settings, 200)
    before = rows(sessions)
    assert rebuild(dict(environ))[0] == 0
    assert rows(sessions) == before


def test_an_order_on_its_way_keeps_its_people_until_it_was_given_up_long_ago(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    hook(shop, "created", "dispatched")
    drain()
    keep = {"inbox_retention_days": 3650}
    assert drop(sessions, settings, 119, **keep) == {}
    with sessions.begin() as session:
        order_id = session.scalars(select(Order.id)).one()
        due = Poll(
            order_id=order_id, account="tiramizoo", placed_at=after(0), due_at=datetime.now(UTC)
        )
        session.add(due)
    assert drop(sessions, settings, 121, **keep) == {}, "it is still asked about"
    with sessions.begin() as session:
        session.execute(update(Poll).values(due_at=None))
    assert drop(sessions, settings, 121, **keep) == {"personal_data": 1}
    assert [name for name in PEOPLE if name in all_rows(sessions)] == []


def test_an_order_whose_message_somebody_holds_waits_for_the_next_time(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    hook(shop, "created", "delivered")
    drain()
    with sessions.begin() as other:
        other.execute(select(Message.id).with_for_update())
        assert drop(sessions, settings, 91) == {}
    assert drop(sessions, settings, 91)["personal_data"] == 1
    assert [name for name in PEOPLE if name in all_rows(sessions)] == []


def test_tour_plans_go_with_their_bodies(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings, environ: dict[str, str]
) -> None:
    deliver(shop, tiramizoo_order("u-1", {"created": after(0)}))
    drain()
    for minutes in (120, 130):
        plan = raw(tour_plan({"u-1": after(minutes)}, "tour-1"))
        path = "/webhooks/tiramizoo/tours/tiramizoo-token"
        assert shop.post(path, data=plan).status_code == 200
        drain()
    eta = shop.get("/v1/orders/tiramizoo/u-1").get_json()["eta"]
    # The plans' own time of arrival is long ago, their bodies are not due yet.
    with sessions.begin() as session:
        for table in (Tour, TourStop):
            session.execute(update(table).values(received_at=table.received_at - 200 * DAY))
    assert drop(sessions, settings) == {}
    dropped = drop(sessions, settings, 91)
    assert (dropped["bodies"], dropped["changes"]) == (3, 2)
    with sessions() as session:
        assert not [*session.scalars(select(Tour)), *session.scalars(select(TourStop))]
    assert shop.get("/v1/tours/tiramizoo/tour-1").status_code == 404
    assert shop.get("/v1/orders/tiramizoo/u-1").get_json()["eta"] == eta
    assert rebuild(environ)[0] == 0
    assert shop.get("/v1/orders/tiramizoo/u-1").get_json()["eta"] == eta


def test_of_the_feed_each_orders_newest_change_stays(
    shop: FlaskClient,
    drain: Drain,
    sessions: Sessions,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention_module, "CHANGES", 3)
    everything.put_in(shop, sessions, drain)
    with sessions() as session:
        newest = set(
            session.scalars(
                text("SELECT max(seq) FROM changes GROUP BY order_id ORDER BY max(seq)")
            )
        )
        every = set(session.scalars(select(Change.seq)))
    assert newest < every
    before = {order.id: order.version for order in _orders(sessions)}
    going_round = Retention(replace(settings, personal_data_retention_days=36500))
    assert going_round.drop_due(sessions, datetime.now(UTC) + 89 * DAY, 60) == {}
    dropped = going_round.drop_due(sessions, datetime.now(UTC) + 91 * DAY, 60)["changes"]
    assert dropped == len(every) - len(newest)
    with sessions() as session:
        assert set(session.scalars(select(Change.seq))) == newest
    assert {order.id: order.version for order in _orders(sessions)} == before
    told = shop.get("/v1/changes?limit=200").get_json()["changes"]
    assert len({(it["account"], it["courier_order_id"]) for it in told}) == len(before)


def test_a_change_stays_so_long_after_it_was_replaced(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    deliver(shop, tiramizoo_order("u-1", {"created": after(0)}))
    drain()
    with sessions.begin() as session:
        session.execute(update(Change).values(changed_at=Change.changed_at - 60 * DAY))
    deliver(shop, tiramizoo_order("u-1", {"created": after(0), "dispatched": after(30)}))
    drain()
    assert drop(sessions, settings, 89, inbox_retention_days=90) == {}
    assert drop(sessions, settings, 91)["changes"] == 1


def test_the_search_of_the_feed_goes_on_in_another_process(
    shop: FlaskClient,
    drain: Drain,
    sessions: Sessions,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention_module, "CHANGES", 2)
    for state in ("created", "dispatched", "picked_up", "delivered"):
        for order_id in ("u-1", "u-2", "u-3"):
            deliver(shop, tiramizoo_order(order_id, life("created", state)))
        drain()
    later, removed = datetime.now(UTC) + 91 * DAY, 0
    for _ in range(6):
        # Of each kind one batch.
        removed += Retention(settings).drop_due(sessions, later, 0)["changes"]
    assert removed == 9


def test_no_kind_waits_for_another(sessions: Sessions, settings: Settings) -> None:
    with sessions.begin() as session:
        session.execute(text(FILL))
        session.execute(text("UPDATE orders SET updated_at = status_at"))
    limits = replace(settings, order_retention_days=90)
    dropped = Retention(limits).drop_due(sessions, datetime.now(UTC) + 91 * DAY, 0)
    batch = {"bodies": 500, "tours": 1000, "tour_stops": 1000, "messages": 1000}
    assert dropped == {"personal_data": 50, "orders": 50, **batch}


def test_a_kind_that_fails_stops_no_other(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sessions.begin() as session:
        session.execute(text(FILL))
    monkeypatch.setattr(retention_module, "DROP_BODIES", text("SELECT 1 / 0"))
    with pytest.raises(DataError):
        drop(sessions, settings, 91)
    with sessions() as session:
        assert session.scalars(text("SELECT count(*) FROM tours")).one() == 0
        assert session.scalars(text("SELECT count(body) FROM messages")).one() == 20_000


def test_the_lag_is_that_of_the_oldest_row_past_its_term(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    everything.put_in(shop, sessions, drain)
    limits = replace(settings, order_retention_days=400)
    now = datetime.now(UTC)

    def lags(days: float) -> dict[str, int]:
        with sessions() as session:
            found = measure_lag(session, limits, now + days * DAY)
        return {kind: round(lag / DAY) for kind, lag in found.items()}

    assert set(lags(29.5).values()) == {0}
    behind = lags(423)
    inbox = {"bodies": 333, "tour_stops": 0, "tours": 0, "changes": 333}
    assert behind == {"personal_data": 333, **inbox, "refusals": 0, "orders": 23, "messages": 0} | {
        "audit_entries": 23
    }
    Retention(limits).drop_due(sessions, now + 399 * DAY, 60)
    behind = lags(423)
    assert {kind for kind, lag in behind.items() if lag} == {"orders", "messages", "audit_entries"}
    Retention(limits).drop_due(sessions, now + 423 * DAY, 60)
    assert set(lags(423).values()) == {0}


def _orders(sessions: Sessions) -> list[Order]:
    with sessions() as session:
        return list(session.scalars(select(Order)))


def test_it_goes_on_beside_folding_and_nothing_is_lost_or_kept(
    shop: FlaskClient, sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two that fold, and two that drop everything at once, over the same orders and messages."""
    for name in ("BODIES", "ORDERS"):
        monkeypatch.setattr(retention_module, name, 3)
    ids = [f"u-{number}" for number in range(30)]
    for states in ({"created": after(0)}, {"created": after(0), "delivered": after(30)}):
        for order_id in ids:
            deliver(shop, tiramizoo_order(order_id, states, external_id=f"T-{order_id}"))
    later = datetime.now(UTC) + 200 * DAY

    def fold() -> None:
        while drain_batch(sessions, settings, datetime.now(UTC)):
            pass

    def forget() -> None:
        keeper = Retention(settings)
        while not all(order.erased_at for order in _orders(sessions)) or not _orders(sessions):
            keeper.drop_due(sessions, later, 60)

    at_once(fold, fold, forget, forget)
    drop(sessions, settings, 200)
    assert {order.status for order in _orders(sessions)} == {"delivered"}
    assert len(_orders(sessions)) == len(ids)
    assert set(bodies(sessions).values()) == {False}
    with sessions() as session:
        assert set(session.scalars(select(Message.outcome))) == {"applied"}


def test_the_ends_are_those_of_the_vocabulary() -> None:
    terminal = sorted(name for name, status in VOCABULARY.items() if status.terminal)
    assert sorted(TERMINAL_SQL.strip("()").replace("'", "").split(", ")) == terminal


FILL = """
    INSERT INTO messages (account, topic, kind, trust, body, body_sha256, received_at,
                          last_seen_at, outcome, processed_at)
    SELECT 'tiramizoo', 'orders', 'webhook', 'token', '{}', int4send(n), now(), now(),
           'applied', now() - n * interval '1 second'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO orders (account, courier, courier_order_id, status, status_at, created_at,
                        updated_at, last_heard_at)
    SELECT 'tiramizoo', 'tiramizoo', n::text, (ARRAY['delivered', 'in_transit'])[n % 2 + 1],
           now() - n * interval '1 second', now() - n * interval '1 second', now(), now()
    FROM generate_series(1, 20000) AS n;
    INSERT INTO messages (account, topic, kind, trust, body_sha256, received_at, last_seen_at,
                          outcome, processed_at)
    SELECT 'tiramizoo', 'tours', 'webhook', 'token', int4send(n), now(), now(), 'applied',
           now() - n * interval '1 second'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO orders (account, courier, courier_order_id, status, status_at, created_at,
                        updated_at, erased_at)
    SELECT 'tiramizoo', 'tiramizoo', 'e' || n, 'delivered', now() - n * interval '1 second',
           now() - n * interval '1 second', now(), now()
    FROM generate_series(1, 20000) AS n;
    INSERT INTO tours (account, tour_id, stops, received_at, message_id)
    SELECT 'tiramizoo', n::text, '[]', now() - n * interval '1 second', 20000 + n
    FROM generate_series(1, 20000) AS n;
    INSERT INTO tour_stops (account, order_key, message_id, tour_id, eta, received_at)
    SELECT 'tiramizoo', n::text, 20000 + n, n::text, now(), now() - n * interval '1 second'
    FROM generate_series(1, 20000) AS n;
    ANALYZE messages, orders, tours, tour_stops
"""


DUE = (
    ("messages_body_kept_idx", DROP_BODIES),
    ("orders_ended_since_idx", ENDED_ORDERS),
    ("orders_not_ended_idx", SILENT_ORDERS),
    ("tours_received_at_idx", DROP_TOURS),
    ("tour_stops_received_at_idx", DROP_STOPS),
    ("messages_unowned_idx", DROP_MESSAGES),
    ("orders_closed_idx", LOCK_CLOSED),
    ("orders_closed_idx", OLDEST_CLOSED),
)


def test_it_looks_only_at_what_is_due(engine: Engine, sessions: Sessions) -> None:
    """A plan for these values, and the one that PostgreSQL makes of what it sees often."""
    before = datetime.now(UTC) - timedelta(seconds=19_990)
    with engine.connect() as connection:
        connection.execute(text(FILL))
        plans = [
            (index, _plan(connection, mode, str(statement.text), before))
            for mode in ("force_generic_plan", "force_custom_plan")
            for index, statement in DUE
        ]
        connection.rollback()
    for index, plan in plans:
        assert_reads_only_what_is_due(index, plan)


def _plan(connection: Connection, mode: str, statement: str, before: datetime) -> Any:
    """Run a statement without leaving a trace, and return what it did."""
    run = connection.exec_driver_sql
    values = {":before": "$1", ":most": "100", ":busy": "'{}'"}
    prepared = re.sub(r":(before|most|busy)", lambda found: values[found[0]], statement)
    with connection.begin_nested() as trace:
        run(f"SET LOCAL plan_cache_mode = {mode}")
        run(f"PREPARE due (timestamptz) AS {prepared}")
        analyze = f"EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE due ('{before.isoformat()}')"
        explained = run(analyze).scalar_one()
        run("DEALLOCATE due")
        trace.rollback()
    return explained[0]["Plan"]


def assert_reads_only_what_is_due(index: str, plan: Any) -> None:
    nodes = list(_nodes(plan))
    assert index in {node.get("Index Name") for node in nodes}
    scanned = {node.get("Relation Name") for node in nodes if node["Node Type"] == "Seq Scan"}
    assert scanned <= {"polls"}, "the one table that is empty here"
    read = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        for node in nodes
    )
    assert read < 500, f"{index}: {read} rows read for at most 20 that are due"


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _nodes(part)
