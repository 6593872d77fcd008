"""PATCH and DELETE of an order: what the shop corrects, stops, resumes and takes back."""

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.db.models import Event, Identifier, Message, Order, Poll
from receiver.orders.corrections import delete
from receiver.orders.corrections.change import change_order
from receiver.queue.doorbell import Bells
from receiver.settings import Settings
from tests.bodies import START, life, tiramizoo_order
from tests.polling import DAY, HOUR, MakeWorld
from tests.sandbox import evenly
from tests.shop import deliver, get, problem_of
from tests.test_rebuild import rebuild, rows
from workers.folding.drain import drain_batch
from workers.polling import leases, outage_recovery

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

UUID = "2a9eeeb3-16ba-4184-b894-c9734f613e93"
PATH = f"/v1/orders/tiramizoo/{UUID}"


def register(shop: FlaskClient, name: str = UUID, **given: Any) -> None:
    new = {"account": "tiramizoo", "courier_order_id": name, **given}
    assert shop.post("/v1/orders", json=new).status_code in {200, 201}


def patch(shop: FlaskClient, name: str = UUID, **changes: Any) -> dict[str, Any]:
    answer = shop.patch(f"/v1/orders/tiramizoo/{name}", json=changes)
    assert answer.status_code == 200, answer.data
    return dict(answer.get_json())


def hook(*states: str, **more: Any) -> dict[str, Any]:
    return tiramizoo_order(UUID, life(*states), **more)


# Reference and metadata


def test_a_correction_replaces_what_was_registered_and_null_clears_it(
    shop: FlaskClient, drain: Drain
) -> None:
    register(shop, reference="T-1", metadata={"shop": "munich", "channel": "web"})
    order = patch(shop, reference=" T-2 ", metadata={"shop": "bonn"})
    assert (order["reference"], order["metadata"]) == ("T-2", {"shop": "bonn"})
    assert order["version"] == 2
    changes = get(shop, "/changes")["changes"]
    assert (changes[-1]["changed"], changes[-1]["version"]) == (["reference", "metadata"], 2)
    # What is not named stays, and what changes nothing is no change.
    assert patch(shop, reference="T-2")["version"] == 2
    order = patch(shop, reference=None, metadata=None)
    assert (order["reference"], order["metadata"], order["version"]) == (None, {}, 3)
    # The courier's own reference counts where the shop gives none.
    deliver(shop, hook("created", external_id="theirs"))
    drain()
    assert get(shop, f"/orders/tiramizoo/{UUID}")["reference"] == "theirs"
    assert patch(shop, reference="T-3")["reference"] == "T-3"


def test_an_order_is_found_by_its_new_reference_alone(
    shop: FlaskClient, sessions: Sessions
) -> None:
    register(shop, reference="T-1")
    patch(shop, reference="T-2")
    assert get(shop, "/orders", reference="T-1")["orders"] == []
    assert len(get(shop, "/orders", reference="t2")["orders"]) == 1
    with sessions() as session:
        assert {*session.scalars(select(Identifier.value))} == {UUID, "T-2"}


def test_a_correction_holds_after_refold_merging_and_rebuild(
    shop: FlaskClient, drain: Drain, sessions: Sessions, environ: dict[str, str]
) -> None:
    # The same order under two of its names, of which the second is corrected.
    register(shop, "ZVW8GV", reference="T-1", metadata={"a": "1"})
    register(shop, "ID4K7-EHQX-62RA", reference="T-2", metadata={"b": "2"})
    patch(shop, "ID4K7-EHQX-62RA", reference="T-3", metadata={"c": "3"}, tracking="stopped")
    names: dict[str, Any] = {
        "identifier": "ZVW8GV",
        "tracking_code": "ID4K7-EHQX-62RA",
        "external_id": "theirs",
    }
    deliver(shop, hook("created", **names), hook("created", "picked_up", **names))
    drain()
    [order] = get(shop, "/orders")["orders"]
    corrected = {"reference": "T-3", "metadata": {"c": "3"}, "tracking": "stopped"}
    assert order | corrected == order
    before = rows(sessions)
    assert rebuild(environ)[0] == 0
    assert rows(sessions) == before
    # What is registered later under a known name counts again.
    register(shop, "ZVW8GV", reference="T-4", metadata={"d": "4"})
    order = get(shop, "/orders/tiramizoo/ZVW8GV")
    assert (order["reference"], order["metadata"]) == ("T-4", {"c": "3", "d": "4"})


def test_a_cleared_reference_stays_cleared_when_names_merge(
    shop: FlaskClient, drain: Drain
) -> None:
    register(shop, "ZVW8GV", reference="T-1")
    register(shop, "ID4K7-EHQX-62RA", reference="T-2")
    patch(shop, "ZVW8GV", reference=None)
    deliver(shop, hook("created", identifier="ZVW8GV", tracking_code="ID4K7-EHQX-62RA"))
    drain()
    [order] = get(shop, "/orders")["orders"]
    assert order["reference"] is None


def test_metadata_of_an_erased_order_is_not_kept(shop: FlaskClient, sessions: Sessions) -> None:
    register(shop, metadata={"buyer": "Bob Obbay"})
    patch(shop, metadata={"buyer": "Bob Obbay"})
    assert shop.delete(f"{PATH}/personal-data").status_code == 204
    assert patch(shop, metadata={"buyer": "Bob Obbay"})["metadata"] == {}
    with sessions() as session:
        stored = session.execute(text("SELECT orders::text FROM orders")).scalar_one()
    assert "Obbay" not in stored


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        {"reference": ""},
        {"reference": " "},
        {"reference": 7},
        {"reference": "x" * 256},
        {"reference": "a\x00b"},
        {"metadata": []},
        {"metadata": {"": "x"}},
        {"metadata": {"x": 1}},
        {"metadata": {"x": "y" * 1001}},
        {"metadata": {"x\x00": "y"}},
        {"metadata": {str(n): "" for n in range(51)}},
        {"tracking": "paused"},
        {"tracking": None},
        {"tracking": True},
        {"status": "delivered"},
        {"reference": "1", "courier_order_id": "2"},
    ],
)
def test_a_bad_correction_is_refused_and_changes_nothing(shop: FlaskClient, body: Any) -> None:
    register(shop, reference="T-1")
    problem_of(shop.patch(PATH, json=body), 422)
    order = get(shop, f"/orders/tiramizoo/{UUID}")
    assert (order["reference"], order["version"]) == ("T-1", 1)


def test_an_unknown_order_cannot_be_corrected_or_deleted(shop: FlaskClient) -> None:
    for path in ("/v1/orders/tiramizoo/nobody", "/v1/orders/nowhere/x", "/v1/orders/%00/%00"):
        problem_of(shop.patch(path, json={"reference": None, "metadata": None}), 404)
        problem_of(shop.delete(path), 404)


# Tracking


def test_a_stopped_order_needs_no_attention_and_moves_on_all_the_same(
    shop: FlaskClient, drain: Drain
) -> None:
    deliver(shop, hook("created", "picked_up", "delivery_failed"))
    drain()
    assert get(shop, f"/orders/tiramizoo/{UUID}")["needs_attention"]
    order = patch(shop, tracking="stopped")
    assert (order["tracking"], order["needs_attention"]) == ("stopped", False)
    changed = get(shop, "/changes")["changes"][-1]["changed"]
    assert changed == ["needs_attention", "tracking"]
    problem = problem_of(shop.post(f"{PATH}/refresh"), 409)
    assert "tracking" in problem["detail"] or "cannot be polled" in problem["detail"]
    # A contradiction, too.
    deliver(shop, hook("created", "cancelled", "picked_up"))
    drain()
    order = get(shop, f"/orders/tiramizoo/{UUID}")
    assert (order["tracking"], order["needs_attention"]) == ("stopped", False)
    deliver(shop, hook("created", "picked_up", "delivery_failed", "delivered"))
    drain()
    # A finished order can be stopped and resumed as well.
    assert patch(shop, tracking="active")["tracking"] == "active"


def test_a_stopped_order_is_not_polled_until_it_is_resumed(new_world: MakeWorld) -> None:
    world = new_world()
    placed = world.place(evenly("created", "picked_up", start=START, apart=10 * DAY))
    bells = Bells(lambda: None, lambda: None)

    def change(tracking: str) -> None:
        given = (world.account.slug, placed.id, {"tracking": tracking}, world.clock())
        change_order(world.sessions, world.settings, bells, *given)

    world.clock.move_to(world.clock() + HOUR)
    # A worker polls it while its tracking is stopped.
    with world.sessions.begin() as session:
        [lease] = leases.lease_orders(session, world.account.slug, world.clock(), 1)
    change("stopped")
    with world.sessions.begin() as session:
        assert leases.lock_leased_polls(session, [lease]) == []
    for restart in (False, True):
        world.clock.move_to(world.clock() + 2 * DAY)
        added = outage_recovery.add_missing_polls(world.sessions, "tiramizoo", world.clock())
        due = outage_recovery.make_open_orders_due(
            world.sessions, "tiramizoo", world.clock(), stopped=restart
        )
        assert (sum(added), sum(due), world.poll_due()) == (0, 0, 0)
    change("active")
    assert world.poll_due() == 1


# Deleting


def test_a_registration_made_by_mistake_is_deleted(shop: FlaskClient, sessions: Sessions) -> None:
    register(shop, reference="T-1")
    after = get(shop, "/changes")["next_cursor"]
    assert shop.delete(PATH).status_code == 204
    problem_of(shop.delete(PATH), 404)
    problem_of(shop.get(PATH), 404)
    problem_of(shop.patch(PATH, json={"reference": "x"}), 404)
    assert get(shop, "/orders", reference="T-1")["orders"] == []
    # Nothing of it is in the feed, and its cursors stay valid.
    assert get(shop, "/changes")["changes"] == []
    assert get(shop, "/changes", after=after)["changes"] == []
    register(shop)
    [change] = get(shop, "/changes", after=after)["changes"]
    assert (change["changed"][0], change["version"]) == ("created", 1)


def test_an_order_that_its_courier_reported_stays(shop: FlaskClient, drain: Drain) -> None:
    register(shop)
    deliver(shop, hook("created"))
    drain()
    problem = problem_of(shop.delete(PATH), 409)
    assert "tracking" in problem["detail"]
    assert get(shop, f"/orders/tiramizoo/{UUID}")["status"] == "info_received"


def test_a_sample_is_deleted_whole_and_hides_no_order(
    shop: FlaskClient, drain: Drain, sessions: Sessions
) -> None:
    # Somebody who knows the secret reports a sample with the names of an order.
    names: dict[str, Any] = {
        "identifier": "ZVW8GV",
        "tracking_code": "ID4K7-EHQX-62RA",
        "external_id": "T-1",
    }
    register(shop, "ZVW8GV", reference="T-1")
    deliver(
        shop, tiramizoo_order("ORDERTRAIL-SAMPLE-9", life("created", "delivery_failed"), **names)
    )
    drain()
    order = get(shop, "/orders/tiramizoo/ZVW8GV")
    assert (order["sample"], order["status"]) == (False, "pending")
    assert [each["sample"] for each in get(shop, "/orders", reference="T-1")["orders"]] == [False]
    deliver(shop, hook("created", **names))
    drain()
    assert get(shop, "/orders/tiramizoo/ID4K7-EHQX-62RA")["sample"] is False
    sample = get(shop, "/orders/tiramizoo/ordertrail-sample-9")
    assert (sample["sample"], sample["status"]) == (True, "delivery_failed")
    problem_of(shop.post("/v1/orders/tiramizoo/ORDERTRAIL-SAMPLE-9/refresh"), 409)
    # And an order cannot take the name of a sample.
    deliver(shop, tiramizoo_order("u-1", life("created"), identifier="ORDERTRAIL-SAMPLE-9"))
    drain()
    assert get(shop, "/orders/tiramizoo/ORDERTRAIL-SAMPLE-9")["status"] == "delivery_failed"
    with sessions() as session:
        before = session.scalars(select(Message.id)).all()
    assert shop.delete("/v1/orders/tiramizoo/ORDERTRAIL-SAMPLE-9").status_code == 204
    with sessions() as session:
        assert len(session.scalars(select(Message.id)).all()) == len(before) - 1
        assert {*session.scalars(select(Order.courier_order_id))} == {"ZVW8GV", "u-1"}
        owned = {*session.scalars(select(Event.order_id)), *session.scalars(select(Poll.order_id))}
        assert owned <= {*session.scalars(select(Order.id))}
    # A message that comes later makes a new one.
    deliver(shop, tiramizoo_order("ORDERTRAIL-SAMPLE-9", life("created")))
    drain()
    assert get(shop, "/orders/tiramizoo/ORDERTRAIL-SAMPLE-9")["version"] == 1


def test_a_deletion_waits_for_a_worker_that_reads_a_message_of_the_order(
    shop: FlaskClient, drain: Drain, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(shop, tiramizoo_order("ORDERTRAIL-SAMPLE-9", life("created")))
    drain()
    monkeypatch.setattr(delete, "PATIENCE", 0.2)
    path = "/v1/orders/tiramizoo/ORDERTRAIL-SAMPLE-9"
    with sessions.begin() as worker:
        worker.execute(select(Message.id).with_for_update())
        problem_of(shop.delete(path), 503)
        assert shop.get(path).status_code == 200
    assert shop.delete(path).status_code == 204


@pytest.mark.parametrize("account", ["tiramizoo", "tiramizoo-parking"])
def test_no_message_is_lost_beside_a_deletion(
    shop: FlaskClient, sessions: Sessions, settings: Settings, account: str
) -> None:
    """Each round a webhook is folded while its order is deleted: one of the two comes first."""
    answers: list[int] = []
    for number in range(8):
        name = f"u-{number}"
        new = {"account": account, "courier_order_id": name}
        assert shop.post("/v1/orders", json=new).status_code == 201
        deliver(shop, tiramizoo_order(name, life("created")), account=account)

        def delete_one(path: str = f"/v1/orders/{account}/{name}") -> None:
            answers.append(shop.delete(path).status_code)

        threads = [
            threading.Thread(target=delete_one),
            threading.Thread(target=drain_batch, args=(sessions, settings, datetime.now(UTC))),
        ]
        for thread in threads[:: 1 if number % 2 else -1]:
            thread.start()
        for thread in threads:
            thread.join(60)
    while drain_batch(sessions, settings, datetime.now(UTC)):
        pass
    assert {*answers} <= {204, 409}
    messages = get(shop, "/messages", account=account)["messages"]
    parked = {m["courier_order_id"] for m in messages if m["outcome"] == "parked"}
    known = {order["courier_order_id"] for order in get(shop, "/orders")["orders"]}
    assert len(messages) == 8
    assert known | parked == {f"u-{number}" for number in range(8)}
    assert not known & parked
    # Whoever registers again gets what was kept.
    for name in parked:
        new = {"account": account, "courier_order_id": name}
        assert shop.post("/v1/orders", json=new).status_code == 201
    while drain_batch(sessions, settings, datetime.now(UTC) + timedelta(seconds=1)):
        pass
    statuses = {order["status"] for order in get(shop, "/orders")["orders"]}
    assert statuses == {"info_received"}
