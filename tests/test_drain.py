"""The drain on a real PostgreSQL: what stands in the inbox becomes orders, events and tours."""

import itertools
import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, select, text, update
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session, sessionmaker
from structlog.testing import capture_logs

from receiver.db.engine import create_engine_for
from receiver.db.engine import session_factory as open_sessions
from receiver.db.models import (
    PENDING,
    Base,
    Change,
    Event,
    Identifier,
    Message,
    Order,
    Tour,
    TourStop,
)
from receiver.db.order_state import OrderState
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.settings import Settings
from tests.bodies import (
    after,
    cottoncast_shipment,
    cottoncast_status,
    history_entry,
    life,
    package,
    raw,
    shipmentapi_order,
    tiramizoo_order,
    tiramizoo_snapshots,
    tour_plan,
)
from tests.service import wait_until
from tests.shop import record_order
from workers.folding.drain import BATCH, drain_batch, drain_inbox
from workers.folding.order_store import insert_orders
from workers.folding.poison import CrashGuard

Sessions = sessionmaker[Session]
Row = dict[str, Any]

# Long after everything that the couriers tell of has happened.
ARRIVAL = after(60 * 24 * 100)
NOW = after(60 * 24 * 200)

UUID = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11"

# What two runs over the same messages may differ in.
STAMPS = {"id", "order_id", "version", "created_at", "updated_at"}
# What moreover depends on when, and by which message, something reached us.


def put(
    sessions: Sessions,
    *bodies: Any,
    account: str = "tiramizoo",
    topic: str = "orders",
    at: datetime = ARRIVAL,
) -> list[int]:
    """Keep bodies as the door does, a second apart; their ids in the inbox."""
    incoming = [
        IncomingMessage(
            account=account,
            topic=topic,
            kind="webhook",
            trust="token",
            body=body if isinstance(body, bytes) else raw(body),
            received_at=at + number * timedelta(seconds=1),
        )
        for number, body in enumerate(bodies)
    ]
    with sessions.begin() as session:
        # One at a time, so that the first has the lowest id.
        return [store_messages(session, [one])[0].message_id for one in incoming]


def work(sessions: Sessions, settings: Settings, now: datetime = NOW) -> int:
    """Drain until the inbox is empty; how many messages there were."""
    folded = 0
    while size := drain_batch(sessions, settings, now):
        folded += size
    return folded


def rows_of(sessions: Sessions, table: type[Base], without: Iterable[str] = ()) -> list[Row]:
    """A table's rows, less some columns, in the order of their keys."""
    hidden = set(without)
    statement = select(table.__table__)
    if table in (Event, Identifier):
        statement = select(Order.account, Order.courier_order_id, table.__table__).join_from(
            Order, table, Order.id == table.order_id
        )
    with sessions() as session:
        found = [
            {name: it for name, it in row.items() if name not in hidden}
            for row in session.execute(statement).mappings()
        ]
    return sorted(found, key=repr)


def order_of(sessions: Sessions, order_id: str, account: str = "tiramizoo") -> Order:
    with sessions() as session:
        return session.scalars(
            select(Order).where(Order.account == account, Order.courier_order_id == order_id)
        ).one()


def outcomes(sessions: Sessions) -> dict[int, str]:
    with sessions() as session:
        return {it.id: it.outcome for it in session.scalars(select(Message))}


def reason_of(sessions: Sessions, message_id: int) -> str:
    with sessions() as session:
        return session.get_one(Message, message_id).reason or ""


def count(sessions: Sessions, table: type[Base]) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(table)) or 0


def eta_of(sessions: Sessions, order_id: str = UUID, account: str = "tiramizoo") -> str | None:
    eta = order_of(sessions, order_id, account).eta
    return eta["to"] if eta else None


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Failures are logged with their traceback, which takes a terminal seconds to draw."""
    with capture_logs():
        yield


# One message


def test_snapshot_becomes_an_order_and_its_timeline(sessions: Sessions, settings: Settings) -> None:
    times = life("created", "dispatched", "picked_up")
    entry = history_entry("pick_up", times["picked_up"], "picked_up")
    (message_id,) = put(
        sessions,
        tiramizoo_order(
            UUID,
            times,
            history=[entry],
            external_id="41",
            identifier="ZVW8GV",
            packages=[package("P1", "pending")],
        ),
    )
    assert work(sessions, settings) == 1
    order = order_of(sessions, UUID)
    assert (order.status, order.courier_status, order.status_at) == (
        "picked_up",
        "picked_up",
        times["picked_up"],
    )
    assert order.milestones == {
        "info_received": "2026-04-16T07:00:00Z",
        "awaiting_pickup": "2026-04-16T07:30:00Z",
        "picked_up": "2026-04-16T08:00:00Z",
    }
    assert (order.reference, order.identifiers) == ("41", {"identifier": "ZVW8GV"})
    assert [parcel["status"] for parcel in order.parcels] == ["picked_up"]
    assert (order.version, order.created_at, order.updated_at) == (1, NOW, NOW)
    assert order.last_heard_at == ARRIVAL
    assert order.source == {
        "kind": "webhook",
        "trust": "token",
        "message_id": str(message_id),
        "received_at": "2026-07-25T07:00:00Z",
    }
    assert [row["courier_status"] for row in rows_of(sessions, Event)] == list(times)
    with sessions() as session:
        message = session.get_one(Message, message_id)
    assert (message.outcome, message.processed_at) == ("applied", NOW)
    assert message.courier_order_id == UUID


def test_empty_inbox_is_no_work(sessions: Sessions, settings: Settings) -> None:
    assert drain_batch(sessions, settings, NOW) == 0


def test_a_drain_goes_on_while_messages_keep_coming(sessions: Sessions, settings: Settings) -> None:
    """It ends once it has found none after a pause, or its time is over."""

    class Pause(threading.Event):
        """A pause in which another message comes, twice."""

        left = 2
        count = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.count += 1
            if self.left:
                self.left -= 1
                put(sessions, tiramizoo_order(f"later {self.left}"))
            return False

    pause, rings = Pause(), Counter[str]()
    guard = CrashGuard(batches=0)
    put(sessions, tiramizoo_order("first"))
    left = drain_inbox(sessions, settings, guard, 60.0, lambda: rings.update("f"), pause)
    assert (left, pause.count, rings["f"]) == (False, 3, 3)
    assert len(rows_of(sessions, Order)) == 3

    pause.left = 100
    put(sessions, tiramizoo_order("fourth"))
    assert drain_inbox(sessions, settings, guard, 0.0, lambda: None, pause)
    assert len(rows_of(sessions, Order)) == 4


def test_more_than_a_batch_takes_several(sessions: Sessions, settings: Settings) -> None:
    put(
        sessions,
        *[cottoncast_status(order_id=number) for number in range(BATCH + 1)],
        account="cottoncast",
    )
    sizes = [drain_batch(sessions, settings, NOW) for _ in range(3)]
    assert sizes == [BATCH, 1, 0]
    assert count(sessions, Order) == BATCH + 1


def test_accounts_of_one_courier_keep_their_orders_apart(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, cottoncast_status("E"), account="cottoncast")
    with sessions.begin() as session:
        record_order(session, PARKING, "cottoncast", "3AF7", NOW)
    put(sessions, cottoncast_status("D"), account=PARKING)
    work(sessions, settings)
    assert order_of(sessions, "3AF7", "cottoncast").status == "in_transit"
    assert order_of(sessions, "3AF7", PARKING).status == "delivered"


def test_message_that_was_dealt_with_is_left_alone(sessions: Sessions, settings: Settings) -> None:
    put(sessions, tiramizoo_order(UUID))
    work(sessions, settings)
    with sessions.begin() as session:
        session.execute(update(Message).values(outcome="discarded"))
    assert work(sessions, settings) == 0


@pytest.mark.parametrize("year", [1971, 9999])
def test_times_from_the_ends_of_the_calendar_are_kept(
    sessions: Sessions, settings: Settings, year: int
) -> None:
    at = f"{year:04}-06-01T12:00:00+00:00"
    (message_id,) = put(sessions, tiramizoo_order(UUID, {"created": at}))
    work(sessions, settings)
    assert outcomes(sessions) == {message_id: "applied"}
    (event,) = rows_of(sessions, Event)
    assert event["told_at"].year == year
    assert (event["occurred_at"] == ARRIVAL) == (event["flags"] == ["clock_skew"])


# Messages again, and in another order


def test_message_folded_again_changes_nothing(sessions: Sessions, settings: Settings) -> None:
    put(sessions, *tiramizoo_snapshots(UUID, life("created", "dispatched", "delivered")))
    put(sessions, tour_plan({UUID: after(60)}), topic="tours")
    work(sessions, settings)
    before = [rows_of(sessions, table) for table in (Order, Event, Identifier, Tour, TourStop)]
    with sessions.begin() as session:
        session.execute(update(Message).values(outcome=PENDING))
    assert work(sessions, settings, NOW + timedelta(days=1)) == 4
    again = [rows_of(sessions, table) for table in (Order, Event, Identifier, Tour, TourStop)]
    assert again == before


def test_event_told_by_several_messages_stays_with_the_first(
    sessions: Sessions, settings: Settings
) -> None:
    times = life("created", "dispatched")
    later, earlier = tiramizoo_order(UUID, times), tiramizoo_order(UUID, life("created"))
    (late,) = put(sessions, later, at=ARRIVAL + timedelta(hours=1))
    work(sessions, settings)
    (early,) = put(sessions, earlier, at=ARRIVAL)
    work(sessions, settings)
    told_by = {row["courier_status"]: row["message_id"] for row in rows_of(sessions, Event)}
    assert told_by == {"created": early, "dispatched": late}


# What fails


def spoil(sessions: Sessions, message_id: int, **values: Any) -> None:
    with sessions.begin() as session:
        session.execute(update(Message).where(Message.id == message_id).values(**values))


def test_events_of_an_older_version_that_are_one_now_become_one(
    sessions: Sessions, settings: Settings
) -> None:
    """It had an event for each fraction of a second, with the fraction in its key."""
    put(sessions, tiramizoo_order(times={"created": "2026-04-16T07:00:00Z"}))
    work(sessions, settings)
    older = text("""
        INSERT INTO events SELECT (json_populate_record(events, json_build_object(
            'key', 'created|2026-04-16T07:00:00.412000+00:00|',
            'occurred_at', '2026-04-16T07:00:00.412Z', 'told_at', '2026-04-16T07:00:00.412Z'
        ))).* FROM events
    """)
    with sessions.begin() as session:
        session.execute(older)
    put(sessions, tiramizoo_order(times=life("created", "dispatched")))
    work(sessions, settings)
    keys = [row["key"] for row in rows_of(sessions, Event)]
    assert keys == ["created|2026-04-16T07:00:00+00:00|", "dispatched|2026-04-16T07:30:00+00:00|"]


@pytest.mark.parametrize(
    ("spoilt", "why"),
    [
        # What a courier can send.
        ({"body": b'{"state":"created"}'}, "uuid"),
        ({"body": b'["uuid"]'}, "not an object"),
        # What only an installation that changed under its messages leaves behind.
        ({"body": b"not JSON"}, ""),
        ({"body": None}, ""),
        ({"topic": "gone"}, ""),
        ({"account": "gone"}, "account 'gone' is off"),
    ],
)
def test_message_that_fails_quarantines_itself_and_nobody_else(
    sessions: Sessions, settings: Settings, spoilt: dict[str, Any], why: str
) -> None:
    ids = put(sessions, *[tiramizoo_order(f"order {number}") for number in range(5)])
    spoil(sessions, ids[2], **spoilt)
    assert drain_batch(sessions, settings, NOW) == 5
    told = outcomes(sessions)
    assert told.pop(ids[2]) == "quarantined"
    assert set(told.values()) == {"applied"}
    assert why in reason_of(sessions, ids[2])
    assert reason_of(sessions, ids[2])
    with sessions() as session:
        known = set(session.scalars(select(Order.courier_order_id)))
    assert known == {f"order {number}" for number in (0, 1, 3, 4)}


def test_message_that_fails_does_not_keep_the_good_ones_of_its_order_from_it(
    sessions: Sessions, settings: Settings
) -> None:
    snapshots = tiramizoo_snapshots(UUID, life("created", "dispatched", "delivered"))
    good, bad, last = put(sessions, *snapshots)
    spoil(sessions, bad, topic="gone")
    work(sessions, settings)
    assert outcomes(sessions) == {good: "applied", bad: "quarantined", last: "applied"}
    assert order_of(sessions, UUID).status == "delivered"


@contextmanager
def trigger(engine: Engine, table: str, when: str, body: str) -> Iterator[None]:
    """A trigger on a table, for as long as the block lasts."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION test_trigger() RETURNS trigger LANGUAGE plpgsql"
                f" AS $$ BEGIN {body}; RETURN NEW; END $$"
            )
        )
        connection.execute(
            text(
                f"CREATE TRIGGER test_trigger BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW"
                f" WHEN ({when}) EXECUTE FUNCTION test_trigger()"
            )
        )
    try:
        yield
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP FUNCTION test_trigger CASCADE"))


@pytest.mark.parametrize(
    "sqlstate",
    [
        "22003",  # a number out of range
        "23514",  # a check that fails
        "54000",  # a row too large for its index
    ],
)
def test_message_that_postgresql_refuses_quarantines_itself_and_nobody_else(
    sessions: Sessions, settings: Settings, engine: Engine, sqlstate: str
) -> None:
    """No body that gets through a driver is known to do this; PostgreSQL is told to refuse one."""
    ids = put(sessions, *[tiramizoo_order(f"order {number}") for number in range(3)])
    refusal = f"RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}'"
    with trigger(engine, "orders", "NEW.courier_order_id = 'order 1'", refusal):
        assert drain_batch(sessions, settings, NOW) == 3
    assert outcomes(sessions) == {ids[0]: "applied", ids[1]: "quarantined", ids[2]: "applied"}
    assert "could not be processed" in reason_of(sessions, ids[1])


@pytest.mark.parametrize(
    ("needed", "outcome"), [("9999", "pending"), ("0001", "quarantined")], ids=["old", "new"]
)
def test_where_the_release_was_forgotten_messages_wait_for_it(
    sessions: Sessions,
    settings: Settings,
    engine: Engine,
    monkeypatch: pytest.MonkeyPatch,
    needed: str,
    outcome: str,
) -> None:
    """A column that is missing where it should be there is a fault of ours, as ever."""
    monkeypatch.setattr("workers.folding.drain.newest_revision", lambda: needed)
    ids = put(sessions, tiramizoo_order("a"), tiramizoo_order("b"))
    missing = "RAISE EXCEPTION 'no such column' USING ERRCODE = '42703'"
    with trigger(engine, "orders", "true", missing), suppress(ProgrammingError):
        drain_batch(sessions, settings, NOW)
    assert outcomes(sessions) == dict.fromkeys(ids, outcome)


@pytest.mark.parametrize("table", ["orders", "events", "identifiers", "messages"])
def test_transaction_that_dies_leaves_nothing_half_done(
    sessions: Sessions, settings: Settings, engine: Engine, table: str
) -> None:
    ids = put(
        sessions, *[tiramizoo_order(f"order {number}", identifier=f"{number}") for number in (1, 2)]
    )
    die = "PERFORM pg_terminate_backend(pg_backend_pid())"
    with trigger(engine, table, "true", die), pytest.raises(OperationalError):
        drain_batch(sessions, settings, NOW)
    assert [count(sessions, it) for it in (Order, Event, Identifier)] == [0, 0, 0]
    assert outcomes(sessions) == dict.fromkeys(ids, "pending")

    assert work(sessions, settings) == 2
    assert outcomes(sessions) == dict.fromkeys(ids, "applied")
    assert [count(sessions, it) for it in (Order, Event, Identifier)] == [2, 2, 4]


def test_database_without_our_tables_is_no_empty_inbox(
    servers: dict[str, str], settings: Settings
) -> None:
    engine = create_engine_for(servers["admin"], pool_size=1)
    try:
        with pytest.raises(ProgrammingError, match="messages"):
            drain_batch(open_sessions(engine), settings, NOW)
    finally:
        engine.dispose()


# Several workers


def drain_with_four_workers(sessions: Sessions, settings: Settings) -> int:
    """Four workers at once, each until it finds nothing; how many messages they took in all."""
    with ThreadPoolExecutor(4) as pool:
        workers = [pool.submit(work, sessions, settings) for _ in range(4)]
    return sum(worker.result() for worker in workers)


def forget(sessions: Sessions) -> None:
    """Everything but the messages, which all wait again."""
    with sessions.begin() as session:
        for table in (Event, Identifier, Order, Tour, TourStop):
            session.execute(delete(table))
        session.execute(update(Message).values(outcome=PENDING, reason=None, processed_at=None))


ORDERS = 12


def a_day_of_messages(sessions: Sessions, choose: random.Random, plans: int = 8) -> int:
    """Lives of many orders, shuffled into one another, with the plans that name them."""
    bodies: list[tuple[str, str, Any]] = []
    for number in range(ORDERS):
        times = life("created", "dispatched", "picked_up", "delivery_failed", "returned")
        snapshots = tiramizoo_snapshots(
            f"order {number}", times, identifier=f"I{number}", external_id=f"{number}"
        )
        bodies += [("tiramizoo", "orders", snapshot) for snapshot in snapshots]
        bodies += [
            ("cottoncast", "orders", cottoncast_status(code, after(place), f"C{number}"))
            for place, code in enumerate("NRCED")
        ]
    for number in range(plans):
        etas = {f"I{choose.randrange(ORDERS)}": after(60 + number) for _ in range(4)}
        bodies.append(("tiramizoo", "tours", tour_plan(etas, tour_id=f"T{number % 3}")))
    choose.shuffle(bodies)
    for place, (account, topic, body) in enumerate(bodies):
        at = ARRIVAL + timedelta(seconds=place)
        put(sessions, body, account=account, topic=topic, at=at)
    return len(bodies)


TABLES = (Order, Event, Identifier, Tour, TourStop)


@pytest.mark.parametrize("seed", [1, 2])
def test_four_workers_at_once_fold_each_message_once_and_as_one_would(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    # Small, so that the workers take turns often and meet at the same orders.
    monkeypatch.setattr("workers.folding.drain.BATCH", 7)
    messages = a_day_of_messages(sessions, random.Random(seed))
    assert drain_with_four_workers(sessions, settings) == messages
    assert set(outcomes(sessions).values()) == {"applied"}
    by_four = [rows_of(sessions, table, STAMPS) for table in TABLES]

    forget(sessions)
    assert work(sessions, settings) == messages
    by_one = [rows_of(sessions, table, STAMPS) for table in TABLES]
    assert by_four == by_one


@pytest.mark.parametrize("plans", [0, 8])
def test_four_workers_do_not_block_each_other_over_messages_that_fail(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch, plans: int
) -> None:
    """A batch with such a message is tried one by one, and still takes its orders in turn."""
    monkeypatch.setattr("workers.folding.drain.BATCH", 7)
    a_day_of_messages(sessions, random.Random(3), plans)
    with sessions.begin() as session:
        ids = list(session.scalars(select(Message.id).order_by(Message.id)))
        bad = ids[::12]
        session.execute(update(Message).where(Message.id.in_(bad)).values(topic="gone"))
    drain_with_four_workers(sessions, settings)
    told = outcomes(sessions)
    assert {told[message_id] for message_id in bad} == {"quarantined"}
    assert {told[message_id] for message_id in ids if message_id not in bad} == {"applied"}
    by_four = [rows_of(sessions, table, STAMPS) for table in TABLES]

    forget(sessions)
    work(sessions, settings)
    assert [rows_of(sessions, table, STAMPS) for table in TABLES] == by_four


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("careful", [0, 1])
def test_an_order_that_another_worker_put_on_record_first_is_folded_into_that_one(
    sessions: Sessions,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    alone: bool,
    careful: int,
) -> None:
    """Both met it as new: what the slower one made of it is thrown away, and made anew."""
    first, second = tiramizoo_snapshots(UUID, {"created": after(0), "dispatched": after(1)})
    (slow,) = put(sessions, second)
    if alone:
        put(sessions, {}, topic="gone")
    quick: list[int] = []

    def insert(session: Session, orders: Sequence[OrderState]) -> None:
        if not quick:
            quick.extend(put(sessions, first))
            work(sessions, settings)
        insert_orders(session, orders)

    monkeypatch.setattr("workers.folding.order_store.insert_orders", insert)
    assert drain_batch(sessions, settings, NOW, CrashGuard(batches=careful)) == 1 + alone
    with sessions() as session:
        order = session.scalars(select(Order)).one()
        messages = session.scalars(select(Message).where(Message.topic == "orders")).all()
        changes = session.scalars(select(Change.version).order_by(Change.seq)).all()
    assert (order.version, order.status, changes) == (2, "awaiting_pickup", [1, 2])
    assert {it.id: (it.outcome, it.tries) for it in messages} == dict.fromkeys(
        [slow, *quick], ("applied", 0)
    )


def test_batch_leaves_alone_what_another_worker_has_in_hand(
    sessions: Sessions, settings: Settings
) -> None:
    first, second = put(sessions, tiramizoo_order("order 1"), tiramizoo_order("order 2"))
    with sessions.begin() as other:
        other.scalars(select(Message).where(Message.id == first).with_for_update()).one()
        assert drain_batch(sessions, settings, NOW) == 1
        assert outcomes(sessions) == {first: "pending", second: "applied"}
    assert drain_batch(sessions, settings, NOW) == 1


# Orders that the shop has to register first


PARKING = "cottoncast-parking"


def register_order(sessions: Sessions, account: str, order_id: str, **given_by_shop: Any) -> None:
    driver = account.partition("-")[0]
    with sessions.begin() as session:
        record_order(session, account, driver, order_id, NOW, **given_by_shop)


def test_message_of_an_unregistered_order_is_parked(sessions: Sessions, settings: Settings) -> None:
    (message_id,) = put(sessions, cottoncast_status("D"), account=PARKING)
    work(sessions, settings)
    assert outcomes(sessions) == {message_id: "parked"}
    assert "registers" in reason_of(sessions, message_id)
    assert count(sessions, Order) == 0


def test_parked_messages_are_folded_once_their_order_is_registered(
    sessions: Sessions, settings: Settings
) -> None:
    bodies = [cottoncast_status(code, after(place)) for place, code in enumerate("NRCED")]
    other = cottoncast_status("N", order_id="another")
    *ids, waiting = put(sessions, *bodies[::-1], other, account=PARKING)
    work(sessions, settings)
    register_order(sessions, PARKING, "3AF7")
    assert outcomes(sessions) == {**dict.fromkeys(ids, "pending"), waiting: "parked"}
    work(sessions, settings)
    assert outcomes(sessions) == {**dict.fromkeys(ids, "applied"), waiting: "parked"}
    order = order_of(sessions, "3AF7", PARKING)
    assert (order.status, order.status_at) == ("delivered", after(4))
    assert sorted(row["courier_status"] for row in rows_of(sessions, Event)) == list("CDENR")


def test_message_of_a_registered_order_is_not_parked(
    sessions: Sessions, settings: Settings
) -> None:
    register_order(sessions, PARKING, "3AF7")
    put(sessions, cottoncast_status("E"), account=PARKING)
    work(sessions, settings)
    assert order_of(sessions, "3AF7", PARKING).status == "in_transit"


def test_parked_and_other_messages_of_one_batch_do_not_mix(
    sessions: Sessions, settings: Settings
) -> None:
    (parked,) = put(sessions, cottoncast_status("D"), account=PARKING)
    (applied,) = put(sessions, cottoncast_status("D"), account="cottoncast")
    work(sessions, settings)
    assert outcomes(sessions) == {parked: "parked", applied: "applied"}
    assert count(sessions, Order) == 1


@contextmanager
def paused(engine: Engine, when: str) -> Iterator[None]:
    """Inside, a worker that is about to say what became of such a message waits, in mid-commit."""
    with (
        trigger(engine, "messages", when, "PERFORM pg_advisory_xact_lock(4711)"),
        engine.connect() as holder,
    ):
        holder.execute(text("SELECT pg_advisory_lock(4711)"))
        holder.commit()
        try:
            yield
        finally:
            holder.execute(text("SELECT pg_advisory_unlock(4711)"))
            holder.commit()


def waits_for_a_lock(engine: Engine, many: int = 1) -> bool:
    """Whether so many connections to this database wait for a lock that another one holds."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    with engine.connect() as connection:
        return int(connection.scalar(waiting) or 0) >= many


def test_order_registered_while_its_message_is_being_parked_is_released(
    sessions: Sessions, settings: Settings, engine: Engine
) -> None:
    """The worker has looked for the order in vain, and has not yet said that the message waits."""
    (message_id,) = put(sessions, cottoncast_status("D"), account=PARKING)
    with ThreadPoolExecutor(2) as pool:
        with paused(engine, "NEW.outcome = 'parked'"):
            worker = pool.submit(drain_batch, sessions, settings, NOW)
            wait_until(lambda: waits_for_a_lock(engine))
            shop = pool.submit(register_order, sessions, PARKING, "3AF7")
            wait_until(lambda: shop.done() or waits_for_a_lock(engine, 2))
        worker.result()
        shop.result()
    work(sessions, settings)
    assert outcomes(sessions) == {message_id: "applied"}
    assert order_of(sessions, "3AF7", PARKING).status == "delivered"


def test_message_that_meets_the_registration_of_its_order_is_not_parked(
    sessions: Sessions, settings: Settings, engine: Engine
) -> None:
    """The shop has registered the order, and not yet said so when the worker looks for it."""
    (message_id,) = put(sessions, cottoncast_status("D"), account=PARKING)
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            record_order(session, PARKING, "cottoncast", "3AF7", NOW)
            worker = pool.submit(work, sessions, settings)
            wait_until(lambda: worker.done() or waits_for_a_lock(engine))
        worker.result()
    work(sessions, settings)
    assert outcomes(sessions) == {message_id: "applied"}


# Tour plans

NAMES: dict[str, Any] = {
    "uuid": UUID,
    "identifier": "ZVW8GV",
    "tracking_code": "ID4K7-EHQX-62RA",
    "external_id": "41",
}


@pytest.mark.parametrize("plan_first", [True, False])
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_plan_gives_its_order_an_eta_whichever_comes_first(
    sessions: Sessions, settings: Settings, name: str, plan_first: bool
) -> None:
    order = ("orders", tiramizoo_order(**NAMES))
    plan = ("tours", tour_plan({name: after(90), "another": after(120)}))
    for topic, body in [plan, order] if plan_first else [order, plan]:
        put(sessions, body, topic=topic, at=ARRIVAL)
        work(sessions, settings)
    known = order_of(sessions, UUID)
    assert known.eta == {
        "from": "2026-04-16T08:30:00Z",
        "to": "2026-04-16T08:30:00Z",
        "source": "tour_plan",
        "updated_at": "2026-07-25T07:00:00Z",
    }
    assert known.status == "info_received"


def test_plan_and_order_of_one_batch_find_each_other(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, tour_plan({"41": after(90)}), topic="tours")
    put(sessions, tiramizoo_order(UUID, external_id="41"))
    assert drain_batch(sessions, settings, NOW) == 2
    assert eta_of(sessions) == "2026-04-16T08:30:00Z"


def fold_in_turn(sessions: Sessions, settings: Settings, ids: Iterable[int]) -> None:
    """Fold one message after the other, in an order that is not theirs."""
    with sessions.begin() as session:
        session.execute(update(Message).values(outcome="discarded"))
    for message_id in ids:
        spoil(sessions, message_id, outcome=PENDING)
        work(sessions, settings)


@pytest.mark.parametrize("turn", list(itertools.permutations(range(3))))
def test_newer_plan_wins_in_whichever_order_they_are_folded(
    sessions: Sessions, settings: Settings, turn: tuple[int, ...]
) -> None:
    (order,) = put(sessions, tiramizoo_order(UUID))
    old, new = put(sessions, *[tour_plan({UUID: after(eta)}) for eta in (90, 60)], topic="tours")
    fold_in_turn(sessions, settings, [(order, old, new)[place] for place in turn])
    assert eta_of(sessions) == "2026-04-16T08:00:00Z"
    with sessions() as session:
        tour = session.get_one(Tour, ("tiramizoo", "EDFIL1-1"))
    assert tour.message_id == new
    assert [stop["eta"] for stop in tour.stops] == ["2026-04-16T08:00:00Z"]


def test_plans_of_one_microsecond_come_to_the_same_in_whichever_order_they_are_folded(
    sessions: Sessions, settings: Settings
) -> None:
    (order,) = put(sessions, tiramizoo_order(UUID))
    (one,) = put(sessions, tour_plan({UUID: after(90)}), topic="tours")
    (other,) = put(sessions, tour_plan({UUID: after(60)}), topic="tours")
    ends = []
    for turn in itertools.permutations([order, one, other]):
        forget(sessions)
        fold_in_turn(sessions, settings, turn)
        ends.append([rows_of(sessions, table, STAMPS) for table in (Order, Tour, TourStop)])
    assert all(end == ends[0] for end in ends)


def test_plan_without_an_eta_ends_the_one_of_the_plan_before(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, tiramizoo_order(UUID))
    put(sessions, tour_plan({UUID: after(90)}), topic="tours")
    work(sessions, settings)
    put(sessions, tour_plan({UUID: None}), topic="tours", at=NOW)
    work(sessions, settings)
    assert eta_of(sessions) is None


def test_plan_of_another_account_says_nothing_about_ours(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, tiramizoo_order(UUID))
    put(sessions, tour_plan({UUID: after(90)}), topic="tours", account="tiramizoo-parking")
    work(sessions, settings)
    assert eta_of(sessions) is None


def test_orders_of_one_name_in_two_accounts_each_get_their_own_eta(
    sessions: Sessions, settings: Settings
) -> None:
    register_order(sessions, "tiramizoo-parking", UUID)
    for account, eta in (("tiramizoo", after(60)), ("tiramizoo-parking", after(90))):
        put(sessions, tiramizoo_order(UUID), account=account)
        put(sessions, tour_plan({UUID: eta}), topic="tours", account=account)
    work(sessions, settings)
    assert eta_of(sessions, UUID, "tiramizoo") == "2026-04-16T08:00:00Z"
    assert eta_of(sessions, UUID, "tiramizoo-parking") == "2026-04-16T08:30:00Z"


@pytest.mark.parametrize("first", ["orders", "tours"])
def test_plan_and_order_that_are_folded_at_the_same_moment_find_each_other(
    sessions: Sessions, settings: Settings, engine: Engine, first: str
) -> None:
    """Neither worker sees yet what the other writes."""
    bodies = {"orders": tiramizoo_order(UUID), "tours": tour_plan({UUID: after(90)})}
    second = "tours" if first == "orders" else "orders"
    with ThreadPoolExecutor(2) as pool:
        with paused(engine, f"NEW.outcome = 'applied' AND NEW.topic = '{first}'"):
            put(sessions, bodies[first], topic=first)
            one = pool.submit(drain_batch, sessions, settings, NOW)
            wait_until(lambda: waits_for_a_lock(engine))
            put(sessions, bodies[second], topic=second)
            other = pool.submit(drain_batch, sessions, settings, NOW)
            wait_until(lambda: other.done() or waits_for_a_lock(engine, 2))
        assert (one.result(), other.result()) == (1, 1)
    assert eta_of(sessions) == "2026-04-16T08:30:00Z"


def test_plan_that_is_folded_while_its_order_is_being_registered_finds_it(
    sessions: Sessions, settings: Settings, engine: Engine
) -> None:
    put(sessions, tour_plan({UUID: after(90)}), topic="tours")
    with ThreadPoolExecutor(1) as pool:
        with sessions.begin() as session:
            record_order(session, "tiramizoo", "tiramizoo", UUID, NOW)
            worker = pool.submit(work, sessions, settings)
            wait_until(lambda: worker.done() or waits_for_a_lock(engine))
        assert worker.result() == 1
    assert eta_of(sessions) == "2026-04-16T08:30:00Z"


def test_order_that_is_registered_while_its_plan_is_being_folded_is_found(
    sessions: Sessions, settings: Settings, engine: Engine
) -> None:
    put(sessions, tour_plan({UUID: after(90)}), topic="tours")
    with ThreadPoolExecutor(2) as pool, paused(engine, "NEW.outcome = 'applied'"):
        pool.submit(work, sessions, settings)
        wait_until(lambda: waits_for_a_lock(engine))
        shop = pool.submit(register_order, sessions, "tiramizoo", UUID)
        wait_until(lambda: shop.done() or waits_for_a_lock(engine, 2))
    assert eta_of(sessions) == "2026-04-16T08:30:00Z"


def test_reference_that_several_orders_share_gives_each_the_eta(
    sessions: Sessions, settings: Settings
) -> None:
    """external_id need not be unique."""
    put(sessions, *[tiramizoo_order(f"order {number}", external_id="41") for number in (1, 2)])
    put(sessions, tour_plan({"41": after(90)}), topic="tours")
    work(sessions, settings)
    etas = {eta_of(sessions, f"order {number}") for number in (1, 2)}
    assert etas == {"2026-04-16T08:30:00Z"}


@pytest.mark.parametrize("plan_first", [True, False])
def test_plan_names_the_order_by_the_reference_that_the_shop_gave(
    sessions: Sessions, settings: Settings, plan_first: bool
) -> None:
    register_order(sessions, "tiramizoo", UUID, reference="the shop's")
    order = ("orders", tiramizoo_order(UUID))
    plan = ("tours", tour_plan({"the shop's": after(90)}))
    for topic, body in [plan, order] if plan_first else [order, plan]:
        put(sessions, body, topic=topic)
        work(sessions, settings)
    assert eta_of(sessions) == "2026-04-16T08:30:00Z"


@pytest.mark.parametrize("turn", list(itertools.permutations(["order", "plan", "shop"])))
def test_plan_names_the_order_by_the_couriers_reference_also_where_the_shop_has_its_own(
    sessions: Sessions, settings: Settings, turn: tuple[str, ...]
) -> None:
    for name in turn:
        if name == "order":
            put(sessions, tiramizoo_order(UUID, external_id="the courier's"))
        elif name == "plan":
            put(sessions, tour_plan({"the courier's": after(90)}), topic="tours")
        else:
            register_order(sessions, "tiramizoo", UUID, reference="the shop's")
        work(sessions, settings)
    assert order_of(sessions, UUID).reference == "the shop's"
    assert eta_of(sessions) == "2026-04-16T08:30:00Z"


def test_plan_changes_no_status_and_makes_no_order(sessions: Sessions, settings: Settings) -> None:
    (message_id,) = put(sessions, tour_plan({"ID1-0": after(90)}), topic="tours")
    work(sessions, settings)
    assert outcomes(sessions) == {message_id: "applied"}
    assert [count(sessions, table) for table in (Order, Event, Tour)] == [0, 0, 1]


# Versions


def versions(sessions: Sessions) -> dict[str, int]:
    with sessions() as session:
        return {it.courier_order_id: it.version for it in session.scalars(select(Order))}


def test_version_rises_with_each_batch_that_changes_the_order(
    sessions: Sessions, settings: Settings
) -> None:
    for number, snapshot in enumerate(
        tiramizoo_snapshots(UUID, life("created", "dispatched", "delivered")), 1
    ):
        put(sessions, snapshot, at=ARRIVAL + number * timedelta(hours=1))
        work(sessions, settings, NOW + number * timedelta(hours=1))
        assert versions(sessions) == {UUID: number}
        assert order_of(sessions, UUID).updated_at == NOW + number * timedelta(hours=1)
        assert order_of(sessions, UUID).created_at == NOW + timedelta(hours=1)


def test_version_stays_where_a_plan_names_an_order_but_has_nothing_new(
    sessions: Sessions, settings: Settings
) -> None:
    put(sessions, tiramizoo_order(UUID), tiramizoo_order("order 2"))
    put(sessions, tour_plan({UUID: after(90)}), topic="tours", at=NOW)
    work(sessions, settings)
    assert versions(sessions) == {UUID: 1, "order 2": 1}
    late = tour_plan({UUID: after(60), "order 2": after(60)}, courier="late")
    put(sessions, late, topic="tours", at=ARRIVAL)
    work(sessions, settings)
    assert eta_of(sessions) == "2026-04-16T08:30:00Z"
    assert versions(sessions) == {UUID: 1, "order 2": 1}


def test_version_of_other_orders_stays(sessions: Sessions, settings: Settings) -> None:
    put(sessions, tiramizoo_order("order 1"), tiramizoo_order("order 2"))
    work(sessions, settings)
    put(sessions, tiramizoo_order("order 1", life("created", "dispatched")), at=NOW)
    work(sessions, settings, NOW + timedelta(hours=1))
    assert versions(sessions) == {"order 1": 2, "order 2": 1}
    assert order_of(sessions, "order 2").updated_at == NOW


# What becomes of the words on the way


def test_conflict_asks_for_attention(sessions: Sessions, settings: Settings) -> None:
    put(sessions, tiramizoo_order(UUID, life("created", "cancelled", "picked_up")))
    work(sessions, settings)
    order = order_of(sessions, UUID)
    assert [conflict["kind"] for conflict in order.conflicts] == ["picked_up_after_cancelled"]
    assert order.needs_attention
    assert order.status == "picked_up"


def test_repetition_of_an_observation_is_kept_but_counts_once(
    sessions: Sessions, settings: Settings
) -> None:
    bodies = [shipmentapi_order(status="shipped", note=number) for number in range(3)]
    put(sessions, *bodies, account="shipmentapi")
    work(sessions, settings)
    assert [row["applied"] for row in rows_of(sessions, Event)].count(True) == 1
    assert order_of(sessions, "SA-2001", "shipmentapi").status_at == ARRIVAL


def test_parcels_of_the_order_carry_their_own_status(
    sessions: Sessions, settings: Settings
) -> None:
    shipments: Sequence[dict[str, Any]] = [
        cottoncast_shipment("P1", "D"),
        cottoncast_shipment("P2", "I"),
        cottoncast_shipment("P3"),
    ]
    put(sessions, cottoncast_status("E", shipments=shipments), account="cottoncast")
    work(sessions, settings)
    parcels = order_of(sessions, "3AF7", "cottoncast").parcels
    assert {parcel["tracking_number"]: parcel["status"] for parcel in parcels} == {
        "P1": "delivered",
        "P2": "exception",
        "P3": "in_transit",
    }
