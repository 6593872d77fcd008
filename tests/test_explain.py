"""Explain: the whole story of an order, over the API and as a page for people."""

from collections.abc import Callable

from click.testing import CliRunner
from flask.testing import FlaskClient

from receiver.cli.main import main
from tests.bodies import after, history_entry, life, raw, tiramizoo_order, tour_plan

TIMES = life("created", "dispatched", "picked_up", "delivered")


def told_late(client: FlaskClient, drain: Callable[[], int]) -> None:
    """The delivered hook comes first, then the picked_up hook, then that one once more."""
    picked_up = {state: TIMES[state] for state in ("created", "dispatched", "picked_up")}
    for times in (TIMES, picked_up, picked_up):
        body = raw(tiramizoo_order("u-1", times, external_id="41", identifier="ZVW8GV"))
        client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
        drain()


def test_explains_which_message_told_what_and_what_set_the_status(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int]
) -> None:
    told_late(client, drain)
    told = shop.get("/v1/orders/tiramizoo/ZVW8GV/explain").get_json()
    assert [
        (message["first_told"], message["repetitions"], message["outcome"])
        for message in told["messages"]
    ] == [(["created", "dispatched", "picked_up", "delivered"], 0, "applied"), ([], 1, "applied")]
    (setter,) = [event for event in told["events"] if event["set_status"]]
    assert setter["courier_status"] == "delivered"
    assert setter["message_id"] == told["messages"][0]["id"]
    assert {detail["name"]: detail["value"] for detail in told["details"]} == {
        "reference": "41",
        "identifier": "ZVW8GV",
    }


def test_explains_what_did_not_count_and_why(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int]
) -> None:
    history = [history_entry("pick_up", after(200), "picked_up")]
    body = raw(tiramizoo_order("u-1", TIMES, state="delivered", history=history))
    client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
    drain()
    told = shop.get("/v1/orders/tiramizoo/u-1/explain").get_json()
    refused = {event["courier_status"]: event["not_applied_why"] for event in told["events"]}
    assert refused["picked_up"] == "picked_up cannot follow delivered"


def test_explains_every_eta_and_its_tour_plan(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int]
) -> None:
    for eta in (after(60), after(90)):
        body = raw(tour_plan({"u-1": eta}))
        client.post("/webhooks/tiramizoo/tours/tiramizoo-token", data=body)
        drain()
    told_late(client, drain)
    told = shop.get("/v1/orders/tiramizoo/u-1/explain").get_json()
    assert [eta["to"] for eta in told["etas"]] == ["2026-04-16T08:00:00Z", "2026-04-16T08:30:00Z"]
    assert [message["topic"] for message in told["messages"]] == [
        "tours",
        "tours",
        "orders",
        "orders",
    ]


def test_an_order_that_nobody_told_of_is_explained_too(shop: FlaskClient) -> None:
    shop.post("/v1/orders", json={"account": "tiramizoo", "courier_order_id": "u-9"})
    told = shop.get("/v1/orders/tiramizoo/u-9/explain").get_json()
    assert (told["order"]["status"], told["messages"], told["events"]) == ("pending", [], [])


def test_the_page_tells_the_story_in_words(
    client: FlaskClient, drain: Callable[[], int], environ: dict[str, str]
) -> None:
    told_late(client, drain)
    shown = CliRunner(env=environ).invoke(
        main, ["explain", "tiramizoo", "u-1"], catch_exceptions=False
    )
    assert shown.exit_code == 0
    lines = shown.output.splitlines()
    assert lines[0] == "Order u-1 of tiramizoo, your reference 41"
    assert lines[1] == "Status: delivered since 2026-04-16T08:30:00Z"
    assert any("nothing new" in line and "repeated" in line for line in lines)
    assert any("delivered -> delivered" in line and "set the status" in line for line in lines)


def test_courier_text_cannot_break_a_line_or_steer_the_terminal(
    client: FlaskClient, drain: Callable[[], int], environ: dict[str, str]
) -> None:
    evil = "\x1b[2J\nStatus: lost"
    body = raw(
        tiramizoo_order(
            "u-1", TIMES, tracking_url=f"https://x/{evil}", external_id=evil, state=evil
        )
    )
    client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
    drain()
    shown = CliRunner(env=environ).invoke(main, ["explain", "tiramizoo", "u-1"])
    assert "\x1b" not in shown.output
    assert "Status: lost" not in shown.output.splitlines()


def test_explaining_an_unknown_order_ends_with_1(environ: dict[str, str]) -> None:
    shown = CliRunner(env=environ).invoke(main, ["explain", "tiramizoo", "nobody"])
    assert shown.exit_code == 1
    assert "nobody" in shown.output
