"""A message about several orders: what becomes of each, and of the message."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy.orm import Session, sessionmaker

from receiver.cli.main import main
from receiver.inbox.accept import IncomingMessage, store_messages
from receiver.settings import Settings
from tests.bodies import raw
from tests.conftest import ENVIRON
from tests.shop import get
from workers.folding.drain import drain_batch

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

WEBHOOK = "/webhooks/fields/orders/fields-secret"
AT = "2026-04-16T09:00:00Z"


def post(client: FlaskClient, body: Any) -> None:
    assert client.post(WEBHOOK, data=raw(body)).status_code == 200


def shipments(*items: Any) -> dict[str, Any]:
    return {"shipments": list(items)}


def state_of(shop: FlaskClient, order_id: str) -> str:
    return str(get(shop, f"/orders/fields/{order_id}")["status"])


def the_message(shop: FlaskClient) -> dict[str, Any]:
    (message,) = get(shop, "/messages", account="fields")["messages"]
    return dict(message)


def test_a_bad_item_costs_itself_and_is_reported(shop: FlaskClient, drain: Drain) -> None:
    good = [{"id": f"F-{number}", "state": "On its way", "at": AT} for number in (1, 2)]
    post(shop, shipments(good[0], {"id": "F-3"}, "nothing", good[1]))
    drain()
    assert [state_of(shop, order["id"]) for order in good] == ["in_transit", "in_transit"]
    assert shop.get("/v1/orders/fields/F-3").status_code == 404
    message = the_message(shop)
    assert (message["outcome"], message["courier_order_id"]) == ("applied", None)
    whole = get(shop, f"/messages/{message['id']}")
    assert [item["field"] for item in whole["left_out"]] == ["orders.1", "orders.2"]
    couriers = {row["account"]: row for row in get(shop, "/couriers")["couriers"]}
    assert couriers["fields"]["left_out"] == [{"field": "orders", "count": 1}]


def test_a_body_may_be_an_array(shop: FlaskClient, drain: Drain) -> None:
    post(shop, [{"id": f"F-{number}", "state": "delivered", "at": AT} for number in (1, 2)])
    drain()
    assert [state_of(shop, f"F-{number}") for number in (1, 2)] == ["delivered", "delivered"]


def test_a_body_without_a_readable_order_is_quarantined_with_the_expression(
    shop: FlaskClient, drain: Drain
) -> None:
    post(shop, shipments({"id": "F-1"}, {"state": "delivered"}))
    drain()
    message = the_message(shop)
    assert message["outcome"] == "quarantined"
    assert "orders.0.courier_status at 'state' (it finds nothing)" in message["reason"]
    assert "orders.1.courier_order_id at 'id' (it finds nothing)" in message["reason"]


def test_whichever_order_is_registered_first_releases_a_parked_message(
    shop: FlaskClient, sessions: Sessions, settings: Settings
) -> None:
    """The answer is 200 as ever: only a courier that documents a 404 gets one."""
    parking = replace(settings.accounts["fields"], parks_unknown_orders=True)
    strict = replace(settings, accounts={**settings.accounts, "fields": parking})

    def drain() -> None:
        while drain_batch(sessions, strict, datetime.now(UTC)):
            pass

    def register(order_id: str) -> None:
        order = {"account": "fields", "courier_order_id": order_id}
        assert shop.post("/v1/orders", json=order).status_code == 201

    register("F-1")
    post(shop, shipments(*({"id": f"F-{n}", "state": "delivered", "at": AT} for n in (1, 2, 3))))
    drain()
    assert (the_message(shop)["outcome"], state_of(shop, "F-1")) == ("parked", "delivered")
    for order_id, outcome in (("F-2", "parked"), ("F-3", "applied")):
        register(order_id)
        drain()
        assert state_of(shop, order_id) == "delivered"
        assert the_message(shop)["outcome"] == outcome


def test_a_word_that_is_mapped_later_counts_after_a_rebuild(
    shop: FlaskClient, drain: Drain, environ: dict[str, str]
) -> None:
    post(shop, shipments(*({"id": f"F-{n}", "state": "handed over", "at": AT} for n in (1, 2))))
    drain()
    assert state_of(shop, "F-1") == "unknown"
    field_map = json.loads(ENVIRON["COURIER_FIELDS_FIELDS"])
    field_map["statuses"]["handed over"] = "picked_up"
    changed = {**environ, "COURIER_FIELDS_FIELDS": json.dumps(field_map)}
    done = CliRunner(env=changed).invoke(main, ["rebuild", "--account", "fields"])
    assert "2 changed, 0 messages could not be decoded" in done.stdout
    assert [state_of(shop, f"F-{n}") for n in (1, 2)] == ["picked_up", "picked_up"]
    assert len(get(shop, "/orders/fields/F-1/events")["events"]) == 1


def test_of_an_answer_about_several_orders_those_that_are_registered_are_applied(
    shop: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    """Only a webhook makes an order that nobody has registered."""

    def answer(*order_ids: str) -> IncomingMessage:
        items = [{"id": order_id, "state": "delivered", "at": AT} for order_id in order_ids]
        body = raw(shipments(*items))
        return IncomingMessage("fields", "orders", "poll", "fetched", body, datetime.now(UTC))

    order = {"account": "fields", "courier_order_id": "F-1"}
    assert shop.post("/v1/orders", json=order).status_code == 201
    with sessions.begin() as session:
        store_messages(session, [answer("F-1", "F-2"), answer("F-3", "F-4")])
    drain()
    assert state_of(shop, "F-1") == "delivered"
    assert shop.get("/v1/orders/fields/F-2").status_code == 404
    outcomes = [it["outcome"] for it in get(shop, "/messages", account="fields")["messages"]]
    assert sorted(outcomes) == ["applied", "quarantined"]
