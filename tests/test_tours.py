"""Tour plans as the shop reads them: each tour as the newest plan has it, and the ETAs it gives."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import pytest
from flask.testing import FlaskClient

from tests.bodies import after, payload, raw, tiramizoo_order, tour_plan

Drain = Callable[[], int]

UUID = "6d1f0b1e-5f0e-4c39-8f0c-0a3c1e8a7b11"


def plan(client: FlaskClient, body: Any, account: str = "tiramizoo") -> None:
    """Post a tour plan as the account's courier does."""
    token = {"tiramizoo": "tiramizoo-token", "tiramizoo-parking": "parking-token"}[account]
    answer = client.post(f"/webhooks/{account}/tours/{token}", data=raw(body))
    assert answer.status_code == 200


def order(client: FlaskClient, **fields: Any) -> None:
    body = raw(tiramizoo_order(**fields))
    answer = client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
    assert answer.status_code == 200


def get(shop: FlaskClient, path: str) -> dict[str, Any]:
    answer = shop.get(f"/v1{path}")
    assert answer.status_code == 200
    return dict(json.loads(answer.data))


def test_tour_of_the_document_is_read_back(shop: FlaskClient, drain: Drain) -> None:
    plan(shop, payload("tiramizoo/tour_plan_web_hook.json"))
    drain()
    tour = get(shop, "/tours/tiramizoo/EDFIL1-2")
    assert tour.pop("received_at").endswith("Z")
    assert tour == {
        "account": "tiramizoo",
        "tour_id": "EDFIL1-2",
        "courier_name": "N2",
        "pick_up_at": "2016-06-08T06:00:00Z",
        "window_from": "2016-06-08T06:00:00Z",
        "window_to": "2016-06-08T09:00:00Z",
        "stops": [
            {
                "order_id": f"ID2-{number}",
                "eta": f"2016-06-08T06:0{number}:00Z",
                "packages": [f"AAAAAAAAAAAAA2{number}{package}" for package in (0, 1)],
            }
            for number in range(3)
        ],
    }
    assert get(shop, "/tours/tiramizoo/EDFIL1-1")["courier_name"] == "N1"


def test_tour_of_nothing_but_ids_is_read_back(shop: FlaskClient, drain: Drain) -> None:
    plan(shop, {"tours": [{"id": "T1", "orders": [{"id": "O1"}]}]})
    drain()
    tour = get(shop, "/tours/tiramizoo/T1")
    assert tour["stops"] == [{"order_id": "O1", "eta": None, "packages": []}]
    assert [tour[name] for name in ("courier_name", "pick_up_at", "window_from", "window_to")] == [
        None
    ] * 4


def test_newer_plan_replaces_the_tour(shop: FlaskClient, drain: Drain) -> None:
    plan(shop, tour_plan({"O1": after(60), "O2": after(70)}, courier="N1"))
    plan(shop, tour_plan({"O2": after(80)}, courier="N2"))
    drain()
    tour = get(shop, "/tours/tiramizoo/EDFIL1-1")
    assert tour["courier_name"] == "N2"
    assert [(stop["order_id"], stop["eta"]) for stop in tour["stops"]] == [
        ("O2", "2026-04-16T08:20:00Z")
    ]


def test_tours_of_two_accounts_are_two_tours(shop: FlaskClient, drain: Drain) -> None:
    plan(shop, tour_plan(courier="N1"))
    plan(shop, tour_plan(courier="N2"), account="tiramizoo-parking")
    drain()
    assert get(shop, "/tours/tiramizoo/EDFIL1-1")["courier_name"] == "N1"
    assert get(shop, "/tours/tiramizoo-parking/EDFIL1-1")["courier_name"] == "N2"


@pytest.mark.parametrize("tour_id", ["a/b", "a//b", "a b", "a%2Fb", "a?b", "é", "🚚", ".."])
def test_tour_id_of_any_characters_is_found(shop: FlaskClient, drain: Drain, tour_id: str) -> None:
    plan(shop, tour_plan(tour_id=tour_id))
    drain()
    assert get(shop, f"/tours/tiramizoo/{quote(tour_id, safe='')}")["tour_id"] == tour_id


@pytest.mark.parametrize(
    "path", ["tiramizoo/EDFIL1-9", "cottoncast/EDFIL1-1", "nowhere/EDFIL1-1", "tiramizoo/%00"]
)
def test_tour_that_no_plan_names_is_not_found(shop: FlaskClient, drain: Drain, path: str) -> None:
    plan(shop, tour_plan())
    drain()
    answer = shop.get(f"/v1/tours/{path}")
    assert answer.status_code == 404
    assert answer.mimetype == "application/problem+json"


def test_plan_shows_in_the_orders_eta_and_not_in_its_timeline(
    shop: FlaskClient, drain: Drain
) -> None:
    order(shop, uuid=UUID, external_id="41")
    drain()
    before = get(shop, f"/orders/tiramizoo/{UUID}")
    events = get(shop, f"/orders/tiramizoo/{UUID}/events")
    plan(shop, tour_plan({"41": after(90)}))
    drain()
    known = get(shop, f"/orders/tiramizoo/{UUID}")
    assert known["eta"].pop("updated_at").endswith("Z")
    assert known["eta"] == {
        "from": "2026-04-16T08:30:00Z",
        "to": "2026-04-16T08:30:00Z",
        "source": "tour_plan",
    }
    assert (known["status"], known["version"]) == (before["status"], before["version"] + 1)
    assert get(shop, f"/orders/tiramizoo/{UUID}/events") == events


def test_eta_of_the_order_itself_says_so(shop: FlaskClient, drain: Drain) -> None:
    order(shop, uuid=UUID, delivery={"eta": after(120).isoformat()})
    drain()
    eta = get(shop, f"/orders/tiramizoo/{UUID}")["eta"]
    assert (eta["to"], eta["source"]) == ("2026-04-16T09:00:00Z", "order")


@pytest.mark.parametrize("name", [UUID, "41"])
def test_plan_that_came_before_the_registration_gives_the_order_its_eta(
    shop: FlaskClient, drain: Drain, name: str
) -> None:
    plan(shop, tour_plan({name: after(90)}))
    drain()
    new = {"account": "tiramizoo", "courier_order_id": UUID, "reference": "41"}
    assert shop.post("/v1/orders", json=new).status_code == 201
    drain()
    eta = get(shop, f"/orders/tiramizoo/{UUID}")["eta"]
    assert eta is not None
    assert eta["to"] == "2026-04-16T08:30:00Z"


def stop(name: str, minutes: int | None, *packages: str) -> dict[str, Any]:
    eta = None if minutes is None else after(minutes).isoformat()
    return {"id": name, "delivery_eta": eta, "packages": [{"id": each} for each in packages]}


def tour(*stops: dict[str, Any], tour_id: str = "T1", note: str = "") -> dict[str, Any]:
    return {"note": note, "tours": [{"id": tour_id, "orders": list(stops)}]}


FOUND_BY: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another name": (stop("zvw-8gv", 60), {"identifier": "ZVW8GV"}),
    "a package": (stop("odd", 60, "p-1"), {"packages": [{"identifier": "P1"}]}),
    "the tour": (stop("odd", 60), {"tour_identifier": "T1"}),
}


@pytest.mark.parametrize("plan_first", [True, False])
@pytest.mark.parametrize("found_by", FOUND_BY)
def test_a_stop_is_its_orders_by_whatever_names_it(
    shop: FlaskClient, drain: Drain, found_by: str, plan_first: bool
) -> None:
    its_stop, fields = FOUND_BY[found_by]
    for is_plan in (plan_first, not plan_first):
        if is_plan:
            plan(shop, tour(its_stop))
        else:
            order(shop, uuid=UUID, **fields)
        drain()
    assert get(shop, f"/orders/tiramizoo/{UUID}")["eta"]["to"] == "2026-04-16T08:00:00Z"


def test_a_tour_of_several_stops_does_not_say_which_is_an_orders(
    shop: FlaskClient, drain: Drain
) -> None:
    order(shop, uuid=UUID, tour_identifier="T1")
    plan(shop, tour(stop("A", 60), stop("B", 70)))
    drain()
    assert get(shop, f"/orders/tiramizoo/{UUID}")["eta"] is None


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("order_last", [True, False])
def test_an_order_that_a_newer_plan_of_its_tour_leaves_out_loses_that_eta(
    shop: FlaskClient, drain: Drain, order_last: bool, at_once: bool
) -> None:
    its_own = {"eta": after(300).isoformat()}
    plans = [
        tour(stop("Z", 60), stop("B", 90, "P1")),
        tour(stop("Z", 70), tour_id="T2"),
        tour(stop("B", 95), note="newer"),
    ]

    packages = [{"identifier": "P1"}]
    for body in [*plans, None] if order_last else [None, *plans]:
        if body is None:
            order(shop, uuid=UUID, identifier="Z", packages=packages, delivery=its_own)
        else:
            plan(shop, body)
        if not at_once:
            drain()
    drain()

    def eta() -> Any:
        return get(shop, f"/orders/tiramizoo/{UUID}")["eta"]

    # The tour T2 still has it.
    assert (eta()["to"], eta()["source"]) == ("2026-04-16T08:10:00Z", "tour_plan")
    plan(shop, tour(stop("C", 70), tour_id="T2", note="newer"))
    drain()
    assert (eta()["to"], eta()["source"]) == ("2026-04-16T12:00:00Z", "order")
    # The same bytes again are the old plan.
    plan(shop, plans[0])
    drain()
    assert eta()["source"] == "order"
    plan(shop, tour(stop("Z", None), stop("B", 99), note="no time"))
    drain()
    assert eta()["source"] == "order"


@pytest.mark.parametrize(("first", "second"), [(60, 70), (70, 60), (60, 60)])
def test_an_order_that_one_plan_names_in_two_tours_has_both_etas(
    shop: FlaskClient, drain: Drain, first: int, second: int
) -> None:
    """The latest counts; each ends with a newer plan of its tour."""
    order(shop, uuid=UUID, identifier="Z")
    tours = [
        {"id": "T1", "orders": [stop("Z", first)]},
        {"id": "T2", "orders": [stop("Z", second)]},
    ]
    plan(shop, {"tours": tours})
    shown = []
    for body in (None, tour(stop("C", 80)), tour(stop("C", 80), tour_id="T2")):
        if body is not None:
            plan(shop, body)
        drain()
        eta = get(shop, f"/orders/tiramizoo/{UUID}")["eta"]
        shown.append(eta and datetime.fromisoformat(eta["to"]))
    assert shown == [after(max(first, second)), after(second), None]


def test_one_eta_that_cannot_be_read_costs_that_eta(shop: FlaskClient, drain: Drain) -> None:
    order(shop, uuid=UUID, identifier="Z")
    order(shop, uuid=f"{UUID}2", identifier="B")
    for number, odd in enumerate(("09:30", 7, {}, [], False, "soon")):
        bad = {**stop("Z", 60), "delivery_eta": odd}
        plan(shop, tour(bad, {"id": None}, stop("B", 60 + number), note=str(number)))
        drain()
        assert get(shop, f"/orders/tiramizoo/{UUID}")["eta"] is None
        eta = get(shop, f"/orders/tiramizoo/{UUID}2")["eta"]
        assert eta["to"] == f"2026-04-16T08:0{number}:00Z"
