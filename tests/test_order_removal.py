"""ORDER_RETENTION_DAYS: closed orders go with all that is of them, archived first where set."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import text, update
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Message, Order, Poll
from receiver.settings import Settings
from tests.bodies import after, life, tiramizoo_order
from tests.shop import deliver, get
from tests.test_personal_data import PEOPLE, UUID, hook
from tests.test_rebuild import rebuild, rows
from workers.folding import order_store
from workers.upkeep import retention as retention_module
from workers.upkeep.retention import Retention

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

DAY = timedelta(days=1)
KEPT = 400
OF_AN_ORDER = ("orders", "events", "identifiers", "polls", "changes", "messages")


def remove(
    sessions: Sessions, settings: Settings, days: float, archive: Path | None = None
) -> dict[str, int]:
    """Run retention so many days from now; what it removed of orders and messages."""
    limits = replace(settings, order_retention_days=KEPT, archive_dir=archive)
    # In steps, because personal data is erased earlier, and an order only afterwards.
    dropped = Retention(limits).drop_due(sessions, datetime.now(UTC) + days * DAY, 60)
    dropped += Retention(limits).drop_due(sessions, datetime.now(UTC) + days * DAY, 60)
    return {kind: dropped[kind] for kind in ("orders", "messages") if dropped[kind]}


def counts(sessions: Sessions) -> dict[str, int]:
    with sessions() as session:
        return {
            table: session.scalars(text(f"SELECT count(*) FROM {table}")).one()  # noqa: S608
            for table in OF_AN_ORDER
        }


def archived(directory: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in sorted(directory.iterdir())
        for line in file.read_bytes().splitlines()
    ]


@pytest.fixture
def closed(shop: FlaskClient, drain: Drain, sessions: Sessions) -> None:
    """An order that was registered, reported twice, and delivered."""
    new = {"account": "tiramizoo", "courier_order_id": UUID, "metadata": {"buyer": "Bob Obbay"}}
    assert shop.post("/v1/orders", json=new).status_code == 201
    hook(shop, "created")
    hook(shop, "created", "delivered")
    drain()
    with sessions.begin() as session:
        order_id = session.scalars(text("SELECT id FROM orders")).one()
        poll = Poll(
            order_id=order_id, account="tiramizoo", placed_at=after(0), finished_at=after(1)
        )
        session.add(poll)


def test_an_order_goes_with_all_that_is_of_it_so_many_days_after_its_end(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings, closed: None
) -> None:
    assert remove(sessions, settings, KEPT - 0.1) == {}
    assert all(counts(sessions).values())
    assert remove(sessions, settings, KEPT + 0.1) == {"orders": 1}
    assert counts(sessions) == dict.fromkeys(OF_AN_ORDER, 0)
    assert shop.get(f"/v1/orders/tiramizoo/{UUID}").status_code == 404


def test_orders_are_kept_for_good_by_default(
    shop: FlaskClient, sessions: Sessions, settings: Settings, closed: None
) -> None:
    dropped = Retention(settings).drop_due(sessions, datetime.now(UTC) + 4000 * DAY, 60)
    assert dropped["orders"] == 0
    assert get(shop, f"/orders/tiramizoo/{UUID}")["status"] == "delivered"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE orders SET status = 'lost'",
        "UPDATE orders SET needs_attention = true",
        "UPDATE orders SET last_heard_at = last_heard_at + interval '2 days'",
        "UPDATE orders SET updated_at = updated_at + interval '400 days'",
        "UPDATE polls SET due_at = now() + interval '2 days'",
        "UPDATE messages SET outcome = 'parked' WHERE id = 1",
    ],
    ids=["open", "in conflict", "heard since", "changed since", "to be polled", "parked"],
)
def test_an_order_that_is_not_closed_stays(
    sessions: Sessions, settings: Settings, closed: None, statement: str
) -> None:
    # Its personal data was erased in time.
    Retention(settings).drop_due(sessions, datetime.now(UTC) + 91 * DAY, 60)
    with sessions.begin() as session:
        session.execute(text(statement))
    before = counts(sessions)
    assert remove(sessions, settings, KEPT + 1) == {}
    assert counts(sessions)["orders"] == before["orders"] == 1


def test_messages_of_no_order_go_as_well(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings
) -> None:
    deliver(shop, {"uuid": "half-an-order"}, {"uuid": "another half"})
    drain()
    word = {"by": "Ada", "note": "a test of theirs"}
    assert shop.post("/v1/messages/1/discard", json=word).status_code == 200
    assert remove(sessions, settings, KEPT + 1) == {"messages": 1}
    assert [message["id"] for message in get(shop, "/messages")["messages"]] == ["2"]


def test_a_late_webhook_of_a_removed_order_makes_a_new_one(
    shop: FlaskClient, drain: Drain, sessions: Sessions, settings: Settings, closed: None
) -> None:
    before = get(shop, "/changes")
    remove(sessions, settings, KEPT + 1)
    # A reader behind the removal goes on where it was, and one that starts again misses nothing
    # that there is.
    start = get(shop, "/changes", after=before["changes"][0]["cursor"])
    assert start["changes"] == []
    hook(shop, "created", "delivered")
    assert drain() == 1
    order = get(shop, f"/orders/tiramizoo/{UUID}")
    assert (order["status"], order["version"], order["metadata"]) == ("delivered", 1, {})
    for cursor in (before["next_cursor"], start["next_cursor"]):
        [change] = get(shop, "/changes", after=cursor)["changes"]
        assert (change["changed"][0], change["status"]) == ("created", "delivered")


def test_a_message_whose_order_is_removed_while_it_is_folded_is_not_lost(
    shop: FlaskClient,
    drain: Drain,
    sessions: Sessions,
    settings: Settings,
    closed: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook(shop, "created", "dispatched", "delivered")
    lock_orders = order_store.lock_orders
    removed: list[dict[str, int]] = []

    def lock_late(*args: Any, **options: Any) -> Any:
        if not removed:
            removed.append(remove(sessions, settings, KEPT + 1))
        return lock_orders(*args, **options)

    monkeypatch.setattr(order_store, "lock_orders", lock_late)
    drain()
    assert removed == [{"orders": 1}]
    assert get(shop, f"/orders/tiramizoo/{UUID}")["status"] == "delivered"


def test_an_order_that_is_registered_again_meanwhile_waits_for_the_next_time(
    sessions: Sessions, settings: Settings, closed: None
) -> None:
    from receiver.orders.names import lock_names  # noqa: PLC0415

    with sessions.begin() as registration:
        lock_names(registration, ["tiramizoo"], registering=True)
        assert remove(sessions, settings, KEPT + 1) == {}
    assert remove(sessions, settings, KEPT + 1) == {"orders": 1}


def test_rebuild_gives_the_same_rows_afterwards(
    shop: FlaskClient,
    drain: Drain,
    sessions: Sessions,
    settings: Settings,
    environ: dict[str, str],
    closed: None,
) -> None:
    deliver(shop, tiramizoo_order("u-2", life("created", "dispatched")))
    drain()
    remove(sessions, settings, KEPT + 1)
    before = rows(sessions)
    assert rebuild(environ)[0] == 0
    assert rows(sessions) == before
    assert counts(sessions)["orders"] == 1


# The archive


def test_a_removed_order_is_archived_whole_and_without_people(
    shop: FlaskClient, sessions: Sessions, settings: Settings, closed: None, tmp_path: Path
) -> None:
    Retention(settings).drop_due(sessions, datetime.now(UTC) + 91 * DAY, 60)
    order = get(shop, f"/orders/tiramizoo/{UUID}")
    timeline = get(shop, f"/orders/tiramizoo/{UUID}/events")["events"]
    assert remove(sessions, settings, KEPT + 1, tmp_path) == {"orders": 1}
    [line] = archived(tmp_path)
    conflicts = line["order"].pop("conflicts")
    assert (line["order"], line["events"], conflicts) == (order, timeline, [])
    assert {"name": UUID, "kind": "name"} in line["names"]
    assert [message["id"] for message in line["messages"]] == ["1", "2"]
    assert all(message["processed_at"].endswith("Z") for message in line["messages"])
    assert [name for name in PEOPLE if name in json.dumps(line)] == []


def test_nothing_is_removed_that_cannot_be_archived(
    sessions: Sessions, settings: Settings, closed: None, tmp_path: Path
) -> None:
    missing = tmp_path / "not mounted"
    with pytest.raises(FileNotFoundError):
        remove(sessions, settings, KEPT + 1, missing)
    assert counts(sessions)["orders"] == 1
    # What else was due is gone all the same.
    with sessions() as session:
        assert session.scalars(text("SELECT count(body) FROM messages")).one() == 0
    missing.mkdir()
    assert remove(sessions, settings, KEPT + 1, missing) == {"orders": 1}
    assert len(archived(missing)) == 1


def test_a_crash_between_archive_and_removal_loses_nothing(
    sessions: Sessions,
    settings: Settings,
    closed: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("workers.upkeep.order_removal.delete_orders", dies)
        with pytest.raises(KeyboardInterrupt):
            remove(sessions, settings, KEPT + 1, tmp_path)
    assert counts(sessions)["orders"] == 1
    [file] = tmp_path.iterdir()
    # Another crash while a line was written: longer than what is read at once.
    with file.open("ab") as torn:
        torn.write(b'{"order": "' + b"x" * 150_000)
    assert remove(sessions, settings, KEPT + 1, tmp_path) == {"orders": 1}
    assert [line["order"]["courier_order_id"] for line in archived(tmp_path)] == [UUID, UUID]


def test_many_orders_go_batch_by_batch_and_are_archived_once(
    shop: FlaskClient,
    drain: Drain,
    sessions: Sessions,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retention_module, "ORDERS", 3)
    names = [f"u-{number}" for number in range(10)]
    deliver(shop, *(tiramizoo_order(name, life("created", "delivered")) for name in names))
    drain()
    with sessions.begin() as session:
        session.execute(update(Order).values(erased_at=Order.updated_at))
        session.execute(update(Message).values(body=None))
    assert remove(sessions, settings, KEPT + 1, tmp_path) == {"orders": 10}
    assert sorted(line["order"]["courier_order_id"] for line in archived(tmp_path)) == names
