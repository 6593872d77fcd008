"""Orders with thousands of parcels, events or messages: everything that shows them is in pages."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import select, text
from sqlalchemy.orm import Session, sessionmaker

from receiver.cli.main import main
from receiver.db.models import Event, Message, Order
from receiver.orders.fold import sort_position
from receiver.orders.listing.pages import EVENT_POSITION
from tests.bodies import (
    after,
    cottoncast_signature,
    cottoncast_status,
    history_entry,
    life,
    package,
    raw,
    tiramizoo_order,
)
from tests.console import seen

ORDER = "/v1/orders/tiramizoo/u-1"
PAGE = "/ops/order?account=tiramizoo&id=u-1"
NUMBERS = [f"P{number:04}" for number in range(450)]
FAILURES = [
    history_entry("recipient_was_not_at_home", after(60 + number), "delivery_failed")
    for number in range(449)
]


def put_in(client: FlaskClient, drain: Callable[[], int], **fields: Any) -> None:
    body = raw(tiramizoo_order("u-1", life("created"), **fields))
    assert client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body).status_code == 200
    drain()


@pytest.fixture
def many(client: FlaskClient, drain: Callable[[], int]) -> None:
    """An order with 450 parcels and 450 events."""
    packages = [package(number) for number in NUMBERS]
    put_in(client, drain, state="delivery_failed", packages=packages, history=FAILURES)


def pages(shop: FlaskClient, path: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = shop.get(f"{path}{cursor}")
        assert answer.status_code == 200, answer.get_json()
        found.append(answer.get_json())
        if found[-1]["next_cursor"] is None:
            return found
        cursor = f"{'&' if '?' in path else '?'}cursor={found[-1]['next_cursor']}"


@pytest.mark.usefixtures("many")
def test_an_order_shows_50_parcels_and_how_many_there_are(shop: FlaskClient) -> None:
    lookup = {"orders": [{"account": "tiramizoo", "courier_order_id": "u-1"}]}
    shown = [
        shop.get(ORDER).get_json(),
        *shop.get("/v1/orders").get_json()["orders"],
        *shop.post("/v1/orders/lookup", json=lookup).get_json()["results"][0]["orders"],
    ]
    for order in shown:
        assert order["parcel_count"] == 450
        assert [parcel["tracking_number"] for parcel in order["parcels"]] == NUMBERS[:50]


@pytest.mark.usefixtures("many")
def test_parcels_come_in_pages(shop: FlaskClient) -> None:
    found = pages(shop, f"{ORDER}/parcels")
    assert [len(page["parcels"]) for page in found] == [200, 200, 50]
    assert [each["tracking_number"] for page in found for each in page["parcels"]] == NUMBERS
    assert found[2]["parcels"][0].keys() == {
        *("tracking_number", "tracking_url", "courier_name", "status")
    }


def test_a_change_of_a_late_parcel_is_a_change_of_parcels(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int]
) -> None:
    for state in ("picked_up", "delivered"):
        packages = [package(number) for number in NUMBERS[:-1]] + [package(NUMBERS[-1], state)]
        put_in(client, drain, packages=packages)
    changes = shop.get("/v1/changes").get_json()["changes"]
    assert [change["changed"] for change in changes][1:] == [["parcels"]]
    assert pages(shop, f"{ORDER}/parcels?limit=9")[-1]["parcels"][-1]["status"] == "delivered"


@pytest.mark.usefixtures("many")
def test_the_timeline_comes_in_pages(shop: FlaskClient) -> None:
    found = pages(shop, f"{ORDER}/events")
    assert [len(page["events"]) for page in found] == [200, 200, 50]
    times = [event["occurred_at"] for page in found for event in page["events"]]
    assert times == sorted(set(times))


def test_postgresql_sorts_events_as_the_fold_does(
    client: FlaskClient, sessions: sessionmaker[Session], drain: Callable[[], int]
) -> None:
    """Also where times are equal: by rank, the courier's order of words, and the key."""
    states = ["delivered", "picked_up", "created", "beamed", "delivery_failed", "Zapped", "äaa"]
    history = [history_entry(None, after(30), state) for state in states]
    history += [history_entry("x", after(10), "dispatched")]
    # `state` is none of the dated ones: it comes last.
    put_in(client, drain, state="cancelled", history=history)
    with sessions() as session:
        events = session.scalars(select(Event).order_by(*EVENT_POSITION)).all()
    assert len(events) == 10
    assert events == sorted(events, key=sort_position)


@pytest.mark.usefixtures("many")
def test_an_explanation_comes_in_pages_that_are_complete_together(shop: FlaskClient) -> None:
    found = pages(shop, f"{ORDER}/explain?limit=100")
    events = [event for page in found for event in page["events"]]
    assert len(events) == found[0]["event_count"] == 450
    assert [event["occurred_at"] for event in events if event["set_status"]] == [
        max(event["occurred_at"] for event in events)
    ]
    assert sum(len(page["messages"]) for page in found) == found[0]["message_count"] == 1
    assert len(found[0]["messages"][0]["first_told"]) == 50
    details = [detail["name"] for page in found for detail in page["details"]]
    assert len(details) == len(set(details))
    assert all(page["order"] == found[0]["order"] for page in found)


def test_a_message_about_several_orders_is_explained_where_it_gave_a_parcel(
    shop: FlaskClient, sessions: sessionmaker[Session], client: FlaskClient, drain: Any
) -> None:
    put_in(client, drain)
    put_in(client, drain, packages=[package("P1", "picked_up")])
    with sessions.begin() as session:
        # As where a message is about several orders.
        for message in session.scalars(select(Message)):
            message.courier_order_id = None
    told = shop.get(f"{ORDER}/explain").get_json()
    assert len(told["messages"]) == told["message_count"] == 2


@pytest.mark.usefixtures("many")
def test_the_order_page_shows_parts_and_leads_to_the_others(shop: FlaskClient) -> None:
    page = shop.get(PAGE)
    assert page.status_code == 200
    assert "426 to 450 of 450 Older" in seen(page)
    assert "1 to 25 of 450 Next" in seen(page)
    assert page.data.count(b"<tr") < 60
    oldest = shop.get(f"{PAGE}&events=99&parcels=18")
    assert "1 to 25 of 450 Newer" in seen(oldest)
    assert "426 to 450 of 450 Previous" in seen(oldest)
    assert b"parcels=18&amp;events=17#events" in oldest.data
    assert "P0449" in seen(oldest)


@pytest.mark.parametrize("part", ["0", "-1", "99999999999999999999", "x", "٣", ""])
@pytest.mark.usefixtures("many")
def test_a_part_that_is_none_is_the_nearest(shop: FlaskClient, part: str) -> None:
    assert shop.get(f"{PAGE}&events={part}&messages={part}&parcels={part}").status_code == 200


def test_of_a_large_body_the_console_shows_the_beginning(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int]
) -> None:
    put_in(client, drain, packages=[package(f"P{number:06}") for number in range(3000)])
    (message,) = shop.get("/v1/messages").get_json()["messages"]
    page = shop.get(f"/ops/messages/{message['id']}")
    assert message["size"] > 200_000
    assert len(page.data) < 150_000
    assert "Only the beginning" in seen(page)
    assert len(shop.get(f"/ops/messages/{message['id']}/raw").data) == message["size"]


def test_a_large_message_is_folded_in_a_transaction_of_its_own(
    client: FlaskClient, sessions: sessionmaker[Session], drain: Callable[[], int]
) -> None:
    for uuid, count in (("small", 1), ("large", 3000), ("late", 1)):
        packages = [package(f"P{number:06}") for number in range(count)]
        body = raw(tiramizoo_order(uuid, packages=packages))
        client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
    assert drain() == 3
    rows = text("SELECT outcome, xmin::text FROM messages ORDER BY id")
    with sessions() as session:
        small, large, late = session.execute(rows)
    assert {small.outcome, large.outcome, late.outcome} == {"applied"}
    assert small.xmin == late.xmin != large.xmin


def test_conflicts_and_proofs_of_an_order_are_limited(
    client: FlaskClient, sessions: sessionmaker[Session], drain: Callable[[], int]
) -> None:
    clash = [
        history_entry("x", after(60 + number), ("cancelled", "picked_up")[number % 2])
        for number in range(300)
    ]
    proofs = [
        history_entry("x", after(10), "picked_up", signature={"url": f"https://x/{n}", "name": "A"})
        for n in range(300)
    ]
    put_in(client, drain, history=clash + proofs)
    with sessions() as session:
        order = session.scalars(select(Order)).one()
        most = max(session.scalars(select(Event)), key=lambda event: len(event.proofs))
    assert len(order.conflicts) == 50
    assert len(most.proofs) == 20


@pytest.mark.usefixtures("many")
def test_the_command_line_prints_pages(environ: dict[str, str], shop: FlaskClient) -> None:
    def run(*arguments: str) -> str:
        result = CliRunner(env=environ).invoke(main, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    assert "and 400 more: see ordertrail parcels tiramizoo u-1" in run("order", "tiramizoo", "u-1")
    assert len(run("parcels", "tiramizoo", "u-1", "--all").splitlines()) == 451
    assert len(run("events", "tiramizoo", "u-1", "--limit", "7").splitlines()) == 8
    first = json.loads(run("explain", "tiramizoo", "u-1", "--limit", "9", "--json"))
    assert first == shop.get(f"{ORDER}/explain?limit=9").get_json()
    second = run("explain", "tiramizoo", "u-1", "--limit", "9", "--cursor", first["next_cursor"])
    assert second.count("-> delivery_failed") == 9


def test_parcels_of_a_row_from_before_the_upgrade_are_shown_in_pages_too(
    client: FlaskClient, shop: FlaskClient, sessions: sessionmaker[Session], drain: Any
) -> None:
    put_in(client, drain, packages=[package(number) for number in NUMBERS])
    with sessions.begin() as session:
        order = session.scalars(select(Order)).one()
        order.parcels = [*order.parcels, *order.further_parcels]
        order.further_parcels, order.further_parcel_count = [], 0
    shown = shop.get(ORDER).get_json()
    assert (len(shown["parcels"]), shown["parcel_count"]) == (50, 450)
    assert len(pages(shop, f"{ORDER}/parcels")) == 3
    put_in(client, drain, packages=[package(number) for number in NUMBERS], external_id="2")
    with sessions() as session:
        order = session.scalars(select(Order)).one()
        assert (len(order.parcels), order.further_parcel_count) == (50, 400)


@pytest.mark.parametrize(("place", "status"), [(3, 200), (60, 404)])
def test_a_parking_account_answers_a_large_body_by_its_first_parcels(
    client: FlaskClient, shop: FlaskClient, drain: Callable[[], int], place: int, status: int
) -> None:
    """Registered by a parcel. The worker reads all of them, so the message is applied anyhow."""
    registered = {"account": "cottoncast-parking", "courier_order_id": f"P{place:06}"}
    shop.post("/v1/orders", json=registered)
    shipments = [{"trackingcode": f"P{number:06}"} for number in range(100)]
    body = raw(cottoncast_status(ref=None, shipments=shipments))
    signature = cottoncast_signature(body, "parking-key")
    answer = client.post("/webhooks/cottoncast-parking/orders", data=body, headers=signature)
    assert answer.status_code == status
    drain()
    assert shop.get("/v1/messages").get_json()["messages"][0]["outcome"] == "applied"


@pytest.mark.parametrize(
    "path",
    [
        *(ORDER, f"{ORDER}/events", f"{ORDER}/explain", f"{ORDER}/parcels", "/v1/orders"),
        *(
            "/v1/conflicts",
            "/v1/alerts",
            PAGE,
            "/ops/orders",
            "/ops/conflicts",
            "/ops/",
            "/metrics",
        ),
    ],
)
def test_a_status_that_a_newer_release_stored_is_shown(
    client: FlaskClient, shop: FlaskClient, sessions: sessionmaker[Session], drain: Any, path: str
) -> None:
    put_in(client, drain, packages=[package("P1", "picked_up")])
    with sessions.begin() as session:
        for table in ("orders", "events", "changes"):
            session.execute(text(f"UPDATE {table} SET status = 'teleported'"))  # noqa: S608
    assert shop.get(path).status_code == 200
    if path == ORDER:
        assert shop.get(path).get_json()["status_group"] == "unknown"
    put_in(client, drain, packages=[package("P1", "delivered")])
    assert shop.get(ORDER).get_json()["status"] == "info_received"
