"""Orders are found by every name they ever had, however it is spelled and whatever came first."""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from tests.bodies import (
    after,
    cottoncast_signature,
    cottoncast_status,
    life,
    raw,
    tiramizoo_order,
    tour_plan,
)
from tests.console import sign_in
from tests.shop import deliver, get, problem_of

Drain = Callable[[], int]

TOURS = "/webhooks/tiramizoo/tours/tiramizoo-token"


def register(shop: FlaskClient, name: str, account: str = "tiramizoo", **given: Any) -> int:
    new = {"account": account, "courier_order_id": name, **given}
    return shop.post("/v1/orders", json=new).status_code


def id_by(shop: FlaskClient, name: str, account: str = "tiramizoo") -> Any:
    return get(shop, f"/orders/{account}/{quote(name, safe='')}")["courier_order_id"]


def test_every_name_that_an_order_ever_had_leads_to_it_in_any_order_of_arrival(
    shop: FlaskClient, drain: Drain
) -> None:
    for number, order_of_arrival in enumerate([(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)]):
        uuid = f"uuid-{number}"
        snapshots = [
            tiramizoo_order(
                uuid,
                life(*("created", "dispatched", "picked_up")[: each + 1]),
                identifier=f"Id{each}-{number}",
                tracking_code=f"Code{each}-{number}",
                external_id=f"R{each}-{number}",
                packages=[{"identifier": f"Parcel{each}-{number}", "state": "pending"}],
            )
            for each in range(3)
        ]
        for each in order_of_arrival:
            if each < 3:
                deliver(shop, snapshots[each])
            else:
                # By a reference that is the order's no more.
                etas: dict[str, Any] = {f"r0-{number}": after(60)}
                shop.post(TOURS, data=raw(tour_plan(etas, f"tour {number}")))
            drain()
        kinds = ("Id", "Code", "Parcel")
        for name in (uuid, *(f"{kind}{each}-{number}" for kind in kinds for each in range(3))):
            for spelled in (name, name.upper(), f" {name.replace('-', '').lower()}\t"):
                assert id_by(shop, spelled) == uuid
        order = get(shop, f"/orders/tiramizoo/{uuid}")
        assert order["eta"]["to"] == "2026-04-16T08:00:00Z"
        # The shop's reference is looked up as such.
        assert get(shop, "/orders", reference=f" R2-{number} ")["orders"] == [order]
        for each in range(3):
            assert shop.get(f"/v1/orders/tiramizoo/R{each}-{number}").status_code == 404


def test_exact_names_count_before_their_spellings(shop: FlaskClient, drain: Drain) -> None:
    deliver(shop, tiramizoo_order("AB-1"), tiramizoo_order("ab1"), tiramizoo_order("c"))
    deliver(shop, tiramizoo_order("d", identifier="C"), tiramizoo_order("e", identifier="ab-1"))
    drain()
    exact = {"AB-1": "AB-1", "ab1": "ab1", "ab-1": "e", "c": "c", "C": "d"}
    assert {name: id_by(shop, name) for name in exact} == exact
    problem = problem_of(shop.get("/v1/orders/tiramizoo/Ab1"), 409)
    assert "'AB-1', 'ab1', 'e'" in problem["detail"]


def test_an_order_registered_in_another_spelling_is_the_couriers(
    shop: FlaskClient, drain: Drain
) -> None:
    assert register(shop, " reg-1 ", reference=" R1 ") == 201
    assert register(shop, "REG1") == 200
    deliver(shop, tiramizoo_order("REG-1"), tiramizoo_order("reg-1", life("created", "cancelled")))
    drain()
    # Two ids of the courier are two orders, however alike.
    assert {id_by(shop, "REG-1"), id_by(shop, "reg-1")} == {"REG-1", "reg-1"}
    (order,) = get(shop, "/orders", reference="R1")["orders"]
    assert order["courier_order_id"] == "reg-1"

    assert register(shop, "new-2", reference="R2") == 201
    deliver(shop, tiramizoo_order("NEW-2"))
    drain()
    (order,) = get(shop, "/orders", reference="R2")["orders"]
    assert (order["courier_order_id"], order["status"]) == ("NEW-2", "info_received")
    assert id_by(shop, "new-2") == "NEW-2"


@pytest.mark.parametrize("name", ["41", "a-b", "3SCEBU1"])
def test_the_documented_404_knows_every_registered_name(
    shop: FlaskClient, drain: Drain, name: str
) -> None:
    account, shipments = "cottoncast-parking", [{"trackingcode": "3SCEBU1"}]
    order_id = {"a-b": "AB"}.get(name, "41")
    body = raw(cottoncast_status("E", order_id=order_id, ref="R", shipments=shipments))

    def answered() -> int:
        headers = cottoncast_signature(body, "parking-key")
        path = f"/webhooks/{account}/orders"
        return shop.post(path, data=body, headers=headers).status_code

    assert answered() == 404
    drain()
    assert get(shop, "/messages", outcome="parked")["messages"]
    assert register(shop, "other", account) == 201
    assert answered() == 404
    assert register(shop, name, account) == 201
    assert answered() == 200
    drain()
    assert answered() == 200
    for known in (name, order_id, "3scebu1"):
        assert get(shop, f"/orders/{account}/{known}")["status"] == "in_transit"
    assert not get(shop, "/messages", outcome="parked")["messages"]


def test_a_parked_message_is_released_by_a_name_that_its_order_gets(
    shop: FlaskClient, drain: Drain
) -> None:
    """The first snapshot has no name but the uuid, under which nobody registers."""
    account = "tiramizoo-parking"
    deliver(shop, tiramizoo_order("uuid"), account=account)
    last = tiramizoo_order("uuid", life("created", "dispatched"), tracking_code="ID4K7-EHQX")
    drain()
    assert register(shop, "id4k7ehqx", account) == 201
    deliver(shop, last, account=account)
    while drain():
        pass
    assert len(get(shop, f"/orders/{account}/UUID/explain")["messages"]) == 2


def test_search_finds_references_and_parcels_in_any_spelling(
    client: FlaskClient, shop: FlaskClient, drain: Drain
) -> None:
    assert sign_in(client).status_code == 303
    packages = [{"identifier": "18A24901BE5D49C3", "state": "pending"}]
    deliver(shop, tiramizoo_order("u-1", external_id="T-1001", packages=packages))
    deliver(shop, tiramizoo_order("u-2", external_id="T-2002", identifier="ZVW8GV"))
    drain()
    for text, found in (("t-1001", "u-1"), ("18a24901be5d49c3", "u-1"), ("zvw8GV ", "u-2")):
        answer = client.get("/ops/orders", query_string={"q": text})
        assert (answer.status_code, f"id={found}" in answer.headers["Location"]) == (303, True)
    assert "u-2" in client.get("/ops/orders", query_string={"q": "t-20"}).text


def test_a_reference_is_found_however_it_is_spelled_unless_an_order_has_it_exactly(
    shop: FlaskClient, drain: Drain
) -> None:
    references = {"a": "AB-1", "b": "ab1", "c": "CD-2", "d": "cd2", "e": "EF-3", "f": "x"}
    deliver(shop, *(tiramizoo_order(uuid, external_id=told) for uuid, told in references.items()))
    # A name is no reference, and no reference that the order does not have any more.
    deliver(shop, tiramizoo_order("g", identifier="AB-1", external_id=None))
    deliver(shop, tiramizoo_order("h", life("created"), external_id="ef-3"))
    deliver(shop, tiramizoo_order("h", life("created", "dispatched"), external_id="y"))
    drain()
    found = {
        "AB-1": ["a"],
        "ab1": ["b"],
        "Ab1": ["b", "a"],
        "c-D-2": ["d", "c"],
        "ef3": ["e"],
        "---": [],
        "Cd": [],
    }
    for told, ids in found.items():
        orders = get(shop, "/orders", reference=told)["orders"]
        assert [order["courier_order_id"] for order in orders] == ids, told
        answer = shop.post("/v1/orders/lookup", json={"references": [told]}).get_json()
        (result,) = answer["results"]
        assert [order["courier_order_id"] for order in result["orders"]] == ids, told
    page = get(shop, "/orders", reference="Ab1", limit=1)
    assert [order["courier_order_id"] for order in page["orders"]] == ["b"]
    page = get(shop, "/orders", reference="Ab1", limit=1, cursor=page["next_cursor"])
    assert [order["courier_order_id"] for order in page["orders"]] == ["a"]
    # The order that has it exactly does not fit: that is no reason to show another.
    assert get(shop, "/orders", reference="ab1", status="delivered")["orders"] == []
