"""An order that a shop put on record by another name than its courier's messages use."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Order
from receiver.orders.names import lock_names
from receiver.settings import Settings
from tests.bodies import life, raw, tiramizoo_order
from tests.service import wait_until, waiting_for
from workers.folding.drain import drain_batch

UUID = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11"
OTHER_UUID = UUID.replace("6", "7")
HOOK = "/webhooks/tiramizoo/orders/tiramizoo-token"
PARKING = "/webhooks/tiramizoo-parking/orders/parking-token"
NAMES: dict[str, Any] = {
    "identifier": "ZVW8GV",
    "tracking_code": "ID4K7-EHQX",
    "external_id": "T-1",
}


def orders(shop: FlaskClient) -> Any:
    listed: Any = shop.get("/v1/orders").json
    return listed["orders"]


def register(shop: FlaskClient, name: str, account: str = "tiramizoo") -> Any:
    answer = shop.post("/v1/orders", json={"account": account, "courier_order_id": name})
    assert answer.status_code in {200, 201}, answer.json
    return answer


def order(shop: FlaskClient, name: str, account: str = "tiramizoo") -> Any:
    answer = shop.get(f"/v1/orders/{account}/{name}")
    assert answer.status_code == 200
    return answer.json


@pytest.mark.parametrize("name", sorted(NAMES.values()))
def test_an_order_on_record_by_any_of_its_names_takes_in_its_hooks(
    shop: FlaskClient, drain: Callable[[], int], name: str
) -> None:
    register(shop, name)
    for times in (life("created"), life("created", "dispatched")):
        shop.post(HOOK, data=raw(tiramizoo_order(UUID, times, **NAMES)))
        drain()
    told = order(shop, name)
    assert (told["status"], told["courier_order_id"]) == ("awaiting_pickup", name)
    assert told["identifiers"]["id"] == UUID
    assert order(shop, UUID) == told
    assert len(orders(shop)) == 1


def test_both_hooks_of_one_batch_find_the_order_on_record(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    register(shop, "ZVW8GV")
    for times in (life("created"), life("created", "dispatched")):
        shop.post(HOOK, data=raw(tiramizoo_order(UUID, times, **NAMES)))
    drain()
    assert order(shop, "ZVW8GV")["status"] == "awaiting_pickup"
    assert len(orders(shop)) == 1


def test_an_order_on_record_is_known_where_unknown_ones_wait(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    register(shop, "ZVW8GV", "tiramizoo-parking")
    shop.post(PARKING, data=raw(tiramizoo_order(UUID, **NAMES)))
    drain()
    assert order(shop, UUID, "tiramizoo-parking")["status"] == "info_received"


def test_an_order_that_its_courier_told_of_is_known_when_registered_by_another_name(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, **NAMES)))
    drain()
    answer = register(shop, "ZVW8GV")
    assert (answer.status_code, answer.json["courier_order_id"]) == (200, UUID)


def test_an_order_that_was_heard_of_takes_in_no_other_by_a_shared_name(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    register(shop, "T-1")
    for uuid in (UUID, OTHER_UUID):
        shop.post(HOOK, data=raw(tiramizoo_order(uuid, external_id="T-1")))
        drain()
    ids = [one["courier_order_id"] for one in orders(shop)]
    assert ids == [OTHER_UUID, "T-1"]


@pytest.mark.parametrize("name", ["ZVW8GV", "T-1"])
def test_two_orders_of_one_batch_are_not_made_one_by_a_shared_name(
    shop: FlaskClient, drain: Callable[[], int], name: str
) -> None:
    """The first that was told of takes it, as if each message had come by itself."""
    register(shop, name)
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, life("created"), **NAMES)))
    shop.post(HOOK, data=raw(tiramizoo_order(OTHER_UUID, life("created", "dispatched"), **NAMES)))
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, life("created", "cancelled"), **NAMES)))
    assert drain() == 3
    told = {one["courier_order_id"]: one["status"] for one in orders(shop)}
    assert told == {name: "cancelled", OTHER_UUID: "awaiting_pickup"}
    assert order(shop, UUID)["courier_order_id"] == name


def test_an_order_told_of_by_the_name_it_is_on_record_by_takes_in_no_other(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    register(shop, "T-1")
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, external_id="T-1")))
    shop.post(HOOK, data=raw(tiramizoo_order("T-1", life("created", "dispatched"))))
    assert drain() == 2
    told = {one["courier_order_id"]: one["status"] for one in orders(shop)}
    assert told == {UUID: "info_received", "T-1": "awaiting_pickup"}


def test_two_workers_do_not_make_two_orders_one_by_a_shared_name(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    register(shop, "T-1")
    with sessions() as holder, ThreadPoolExecutor(2) as pool:
        # Reading goes on, locking a row does not.
        holder.execute(text("LOCK TABLE orders IN EXCLUSIVE MODE"))
        shop.post(HOOK, data=raw(tiramizoo_order(UUID, external_id="T-1")))
        drains = [pool.submit(drain)]
        wait_until(lambda: len(waiting_for(sessions, "orders")) == 1)
        shop.post(HOOK, data=raw(tiramizoo_order(OTHER_UUID, external_id="T-1")))
        drains.append(pool.submit(drain))
        wait_until(lambda: len(waiting_for(sessions, "orders")) == 2)
        holder.rollback()
        assert sum(it.result() for it in drains) == 2
    found = {name: order(shop, name)["courier_order_id"] for name in ("T-1", UUID, OTHER_UUID)}
    assert len(orders(shop)) == len({found[UUID], found[OTHER_UUID]}) == 2
    assert "T-1" in {found[UUID], found[OTHER_UUID]}


@pytest.mark.parametrize("name", sorted(NAMES.values()))
def test_an_order_registered_while_its_first_hook_is_folded_is_one(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session], name: str
) -> None:
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, **NAMES)))
    with sessions() as holder, ThreadPoolExecutor(2) as pool:
        # Its order is not committed until its events are written.
        holder.execute(text("LOCK TABLE events IN EXCLUSIVE MODE"))
        folding = pool.submit(drain)
        wait_until(lambda: waiting_for(sessions, "events"))
        registering = pool.submit(register, shop, name)
        wait_until(lambda: registering.done() or len(waiting_for(sessions)) == 2)
        holder.rollback()
        assert folding.result() == 1
        assert registering.result().json["courier_order_id"] == UUID
    assert len(orders(shop)) == 1


def test_a_first_hook_that_is_folded_while_its_order_is_registered_is_its(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session]
) -> None:
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, **NAMES)))
    with sessions() as holder, ThreadPoolExecutor(2) as pool:
        # A registration looks for messages to release last of all.
        holder.execute(text("LOCK TABLE changes IN EXCLUSIVE MODE"))
        registering = pool.submit(register, shop, "ZVW8GV")
        wait_until(lambda: waiting_for(sessions, "changes"))
        folding = pool.submit(drain)
        wait_until(lambda: len(waiting_for(sessions)) == 2)
        holder.rollback()
        assert registering.result().status_code == 201
        assert folding.result() == 1
    assert order(shop, UUID) == order(shop, "ZVW8GV")
    assert len(orders(shop)) == 1


@pytest.mark.parametrize("name", sorted(NAMES.values()))
def test_a_parked_message_is_released_by_any_name_of_its_order(
    shop: FlaskClient, drain: Callable[[], int], name: str
) -> None:
    last = life("created", "dispatched", "picked_up", "delivered")
    shop.post(PARKING, data=raw(tiramizoo_order(UUID, last, **NAMES)))
    shop.post(PARKING, data=raw(tiramizoo_order(OTHER_UUID, life("created"), identifier="ZZZ")))
    assert drain() == 2
    assert orders(shop) == []
    register(shop, name, "tiramizoo-parking")
    assert drain() == 1
    assert order(shop, UUID, "tiramizoo-parking")["status"] == "delivered"
    parked: Any = shop.get("/v1/messages?outcome=parked").json
    assert [it["courier_order_id"] for it in parked["messages"]] == [OTHER_UUID]


def test_the_shops_reference_alone_does_not_merge_orders(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    register(shop, "ZVW8GV")
    register(shop, "T-1")
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, **NAMES)))
    drain()
    statuses = {name: order(shop, name)["status"] for name in ("ZVW8GV", "T-1")}
    assert statuses == {"ZVW8GV": "info_received", "T-1": "pending"}


@pytest.mark.parametrize(
    ("heard_after", "registered"),
    [
        (0, (UUID, "ZVW8GV", "id4k7ehqx")),
        (1, ("ZVW8GV", "id4k7ehqx", UUID)),
        (2, ("id4k7ehqx", UUID, "ZVW8GV")),
        (3, ("ZVW8GV", UUID, "id4k7ehqx")),
    ],
)
def test_registrations_under_several_of_the_couriers_names_become_one(
    shop: FlaskClient, drain: Callable[[], int], heard_after: int, registered: tuple[str, ...]
) -> None:
    """A sparse webhook may come at any time; the full one comes last.

    tests/test_registrations.py tries any order of arrival.
    """
    for number, name in enumerate([*registered, None]):
        if number == heard_after:
            shop.post(HOOK, data=raw(tiramizoo_order(UUID, life("created"))))
            drain()
        if name is not None:
            given = {"reference": f"R{number}", "metadata": {name: "given", "last": name}}
            new = {"account": "tiramizoo", "courier_order_id": name, **given}
            assert shop.post("/v1/orders", json=new).status_code in {200, 201}
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, life("created", "dispatched"), **NAMES)))
    drain()
    (only,) = orders(shop)
    assert (only["courier_order_id"], only["status"]) == (UUID, "awaiting_pickup")
    assert only["metadata"].keys() == {*registered, "last"}
    for name in (*registered, UUID.upper(), "ID4K7-EHQX", "zvw8gv"):
        assert order(shop, name) == only
    assert (only["reference"], only["metadata"]["last"]) == ("R0", registered[-1])
    changes: Any = shop.get("/v1/changes").json
    merged = [change for change in changes["changes"] if "merged" in change["changed"]]
    assert [change["courier_order_id"] for change in merged] == [UUID]


def test_a_courier_whose_ids_may_look_like_the_shops_numbers_is_not_mixed_up(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    register(shop, "41", "shipmentapi")
    body = {"order_reference": "S-7", "client_reference": "41", "status": "accepted"}
    shop.post("/webhooks/shipmentapi/orders/shipmentapi-token", data=raw(body))
    drain()
    assert order(shop, "41", "shipmentapi")["status"] == "pending"
    assert order(shop, "S-7", "shipmentapi")["status"] == "info_received"


def test_an_order_that_its_courier_told_of_is_known_when_registered_by_the_shops_number(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, **NAMES)))
    drain()
    assert register(shop, "T-1").status_code == 200
    assert len(orders(shop)) == 1


def test_a_number_of_the_shops_is_no_name_where_the_courier_cannot_be_asked_by_it(
    shop: FlaskClient, drain: Callable[[], int]
) -> None:
    body = {"order_reference": "S-7", "client_reference": "41", "status": "accepted"}
    shop.post("/webhooks/shipmentapi/orders/shipmentapi-token", data=raw(body))
    drain()
    assert register(shop, "41", "shipmentapi").status_code == 201


def test_a_fold_and_a_batch_of_registrations_of_the_same_accounts_do_not_deadlock(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session], settings: Settings
) -> None:
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, life("created"))))
    drain()
    register(shop, "ZVW8GV")
    # A known order turns out to be a registered one, and another account has a new order.
    shop.post(HOOK, data=raw(tiramizoo_order(UUID, life("created", "dispatched"), **NAMES)))
    shop.post(PARKING, data=raw(tiramizoo_order(OTHER_UUID, life("created"))))
    with ThreadPoolExecutor() as pool:
        # As register_orders() locks them, in their order.
        with sessions.begin() as batch:
            lock_names(batch, ["tiramizoo"], registering=True)
            folding = pool.submit(drain_batch, sessions, settings, datetime.now(UTC))
            wait_until(lambda: bool(waiting_for(sessions)))
            lock_names(batch, ["tiramizoo-parking"], registering=True)
        assert folding.result(30) == 2
    (only,) = orders(shop)
    assert (only["courier_order_id"], only["status"]) == (UUID, "awaiting_pickup")


def test_a_batch_whose_orders_depend_on_one_another_does_not_deadlock_with_a_fold(
    shop: FlaskClient, drain: Callable[[], int], sessions: sessionmaker[Session], settings: Settings
) -> None:
    for uuid in (OTHER_UUID, UUID):
        shop.post(HOOK, data=raw(tiramizoo_order(uuid, life("created"))))
        drain()
    # The second one is recorded after the first, whose reference looks like it, and is older.
    new = [
        {"account": "tiramizoo", "courier_order_id": UUID, "reference": OTHER_UUID},
        {"account": "tiramizoo", "courier_order_id": OTHER_UUID},
    ]
    for uuid in (OTHER_UUID, UUID):
        shop.post(HOOK, data=raw(tiramizoo_order(uuid, life("created", "dispatched"))))
    older = select(Order.id).where(Order.courier_order_id == OTHER_UUID)

    def count_waiting() -> int:
        """How many connections wait for a lock, also for one on a row."""
        waiting = text(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with sessions() as session:
            return int(session.scalars(waiting).one())

    with ThreadPoolExecutor() as pool:
        with sessions.begin() as other:
            other.execute(older.with_for_update())
            folding = pool.submit(drain_batch, sessions, settings, datetime.now(UTC))
            wait_until(lambda: count_waiting() == 1)
            batch = pool.submit(shop.post, "/v1/orders/batch", json={"orders": new})
            wait_until(lambda: count_waiting() == 2)
        assert batch.result(30).status_code == 200
        assert folding.result(30) == 2
