"""Rebuild: the same rows from the kept messages, old orders mended after a change to a word map."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from click.testing import CliRunner
from flask.testing import FlaskClient
from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver import statuses
from receiver.cli.main import main
from receiver.couriers import DRIVERS, cottoncast
from receiver.db.models import Base, Event, Message, Order, TourStop
from tests.bodies import (
    after,
    cottoncast_shipment,
    cottoncast_signature,
    cottoncast_status,
    life,
    raw,
    shipmentapi_order,
    tiramizoo_snapshots,
    tour_plan,
)


@pytest.fixture
def filled(client: FlaskClient, drain: Callable[[], int]) -> None:
    """Orders of every courier, told out of order, with a tour plan."""
    times = life("created", "dispatched", "cancelled", "picked_up", "delivered")
    bodies = [("tiramizoo/orders", body) for body in tiramizoo_snapshots("u-1", times)][::-1]
    bodies.append(("tiramizoo/tours", tour_plan({"u-1": after(200)})))
    bodies += [
        ("shipmentapi/orders", shipmentapi_order(status=it)) for it in ("accepted", "shipped")
    ]
    for route, body in bodies:
        token = f"{route.partition('/')[0]}-token"
        assert client.post(f"/webhooks/{route}/{token}", data=raw(body)).status_code == 200
        drain()
    for code in "NLE":
        shipments = [cottoncast_shipment("P1", code)]
        signed = raw(cottoncast_status(code, after("NLE".index(code)), shipments=shipments))
        headers = cottoncast_signature(signed)
        client.post("/webhooks/cottoncast/orders", data=signed, headers=headers)
    drain()


def rebuild(environ: dict[str, str], *arguments: str) -> tuple[int, str]:
    done = CliRunner(env=environ).invoke(main, ["rebuild", *arguments], catch_exceptions=False)
    return done.exit_code, done.stdout


def rows(sessions: sessionmaker[Session], *without: str) -> list[list[dict[str, Any]]]:
    """Everything derived: every table but the inbox, Alembic's, and what web counts at the door
    and writes in its own time.
    """
    with sessions() as session:
        return [
            [
                dict(row)
                for row in session.execute(select(table).order_by(*table.primary_key)).mappings()
            ]
            for name, table in sorted(Base.metadata.tables.items())
            if name not in {"messages", "refusals", "secret_uses", *without}
        ]


def without_stamps(tables: list[list[dict[str, Any]]]) -> list[list[dict[str, Any]]]:
    stamps = {"version", "updated_at"}
    return [
        [{name: it for name, it in row.items() if name not in stamps} for row in table]
        for table in tables
    ]


@pytest.mark.usefixtures("filled")
def test_a_rebuild_gives_the_same_rows(
    sessions: sessionmaker[Session], environ: dict[str, str]
) -> None:
    before = rows(sessions)
    assert rebuild(environ, "--dry-run") == (
        0,
        "3 orders rebuilt from 10 messages: 0 would change, 0 messages could not be decoded\n",
    )
    assert rebuild(environ)[0] == 0
    assert rows(sessions) == before


@pytest.mark.usefixtures("filled")
def test_it_mends_what_was_spoilt_and_a_dry_run_only_says_so(
    sessions: sessionmaker[Session], environ: dict[str, str]
) -> None:
    # The change feed tells how it was mended.
    before = rows(sessions, "changes")
    with sessions.begin() as session:
        session.execute(update(Order).values(status="lost", eta=None, details={}))
        session.execute(update(Order).values(status_at=datetime(2026, 4, 1, tzinfo=UTC)))
        session.execute(delete(Event).where(Event.courier_status == "picked_up"))
    spoilt = rows(sessions)
    code, output = rebuild(environ, "--dry-run")
    assert code == 1
    assert "status 'lost' -> 'delivered'" in output
    assert "status_at 2026-04-01T00:00:00Z -> " in output
    assert "; details; " in output
    assert "1 event added" in output
    assert rows(sessions) == spoilt
    assert rebuild(environ)[0] == 1
    assert without_stamps(rows(sessions, "changes")) == without_stamps(before)
    assert rebuild(environ)[0] == 0


@pytest.mark.usefixtures("filled")
def test_it_keeps_to_the_orders_it_is_asked_for(
    sessions: sessionmaker[Session], environ: dict[str, str]
) -> None:
    with sessions.begin() as session:
        session.execute(update(Order).values(status="lost"))
    rebuild(environ, "--account", "tiramizoo", "--order", "u-1")
    with sessions() as session:
        found = {order.courier: order.status for order in session.scalars(select(Order))}
    assert found == {"tiramizoo": "delivered", "shipmentapi": "lost", "cottoncast": "lost"}


@pytest.mark.usefixtures("filled")
def test_a_mended_word_map_mends_old_orders(
    sessions: sessionmaker[Session], environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = cottoncast.WORDS | {"E": statuses.OUT_FOR_DELIVERY}
    monkeypatch.setattr(cottoncast, "WORDS", words)
    monkeypatch.setitem(DRIVERS, "cottoncast", replace(cottoncast.driver, words=words))
    assert rebuild(environ)[0] == 1
    with sessions() as session:
        order = session.scalars(select(Order).where(Order.courier == "cottoncast")).one()
    assert order.status == statuses.OUT_FOR_DELIVERY
    assert order.parcels[0]["status"] == statuses.OUT_FOR_DELIVERY


@pytest.mark.usefixtures("filled")
def test_dropped_bodies_are_made_up_for_by_the_stored_events(
    sessions: sessionmaker[Session], environ: dict[str, str]
) -> None:
    before = rows(sessions)
    with sessions.begin() as session:
        session.execute(update(Message).where(Message.id % 2 == 0).values(body=None))
    assert rebuild(environ)[0] == 0
    assert rows(sessions) == before


@pytest.mark.usefixtures("filled")
def test_what_a_person_said_of_a_conflict_stays(shop: FlaskClient, environ: dict[str, str]) -> None:
    path = "/v1/orders/tiramizoo/u-1"
    (conflict,) = shop.get(f"{path}/explain").get_json()["conflicts"]
    shop.post(f"{path}/conflicts/{conflict['id']}/close", json={"by": "Ada", "note": "known"})
    assert rebuild(environ)[0] == 0
    (conflict,) = shop.get(f"{path}/explain").get_json()["conflicts"]
    assert (conflict["closed_by"], conflict["note"]) == ("Ada", "known")


def counted(output: str) -> list[str]:
    """What a rebuild lists, and the numbers of its last line."""
    *listed, last = output.splitlines()
    return [*sorted(listed), *re.findall("[0-9]+", last)]


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    "changed", [{"COURIER_TIRAMIZOO_SECRETS": ""}, {"COURIER_TIRAMIZOO_DRIVER": "cottoncast"}]
)
def test_what_an_account_can_no_longer_read_is_listed_and_the_rest_rebuilt(
    sessions: sessionmaker[Session], environ: dict[str, str], changed: dict[str, str]
) -> None:
    before = rows(sessions, "changes")
    with sessions.begin() as session:
        session.execute(update(Order).values(status="lost"))
    code, planned = rebuild(environ | changed, "--dry-run")
    # Its five snapshots and its tour plan.
    assert (code, planned.count("message ")) == (1, 6)
    assert counted(planned) == counted(rebuild(environ | changed)[1])
    assert without_stamps(rows(sessions, "changes")) == without_stamps(before)
    assert " 0 changed" in rebuild(environ | changed)[1]


@pytest.mark.usefixtures("filled")
def test_messages_and_orders_that_fail_are_listed_and_the_rest_rebuilt(
    sessions: sessionmaker[Session], environ: dict[str, str]
) -> None:
    with sessions.begin() as session:
        # A body that is no JSON, a tour plan that is none, and details that no code of ours wrote.
        for account, body in {"cottoncast": b"\xff", "tiramizoo": b"{}"}.items():
            newest_topic = select(Message.id).where(Message.account == account)
            first = newest_topic.order_by(Message.topic.desc(), Message.id).limit(1)
            chosen = Message.id == first.scalar_subquery()
            session.execute(update(Message).where(chosen).values(body=body))
        session.execute(update(Order).values(status="lost"))
        spoilt = update(Order).where(Order.courier == "shipmentapi")
        session.execute(spoilt.values(details={"parcels": 3}))
    code, planned = rebuild(environ, "--dry-run")
    assert code == 1
    assert planned.endswith("2 would change, 2 messages could not be decoded, 1 order failed\n")
    assert counted(planned) == counted(rebuild(environ)[1])
    with sessions() as session:
        found = {order.courier: order.status for order in session.scalars(select(Order))}
    assert found == {"tiramizoo": "delivered", "shipmentapi": "lost", "cottoncast": "in_transit"}


@pytest.mark.usefixtures("filled")
def test_a_dry_run_knows_what_changed_tour_plans_bring(
    sessions: sessionmaker[Session], environ: dict[str, str]
) -> None:
    with sessions.begin() as session:
        session.execute(delete(TourStop))
        session.execute(update(Order).values(eta=None, details={}))
    before = rows(sessions)
    planned = rebuild(environ, "--dry-run")[1]
    assert rows(sessions) == before
    assert "tiramizoo tour " in planned
    assert "eta None -> {" in planned
    assert counted(planned) == counted(rebuild(environ)[1])
    assert rebuild(environ)[0] == 0


def test_an_order_that_nothing_was_heard_of_does_not_differ(
    shop: FlaskClient, environ: dict[str, str]
) -> None:
    shop.post("/v1/orders", json={"account": "tiramizoo", "courier_order_id": "unheard"})
    assert rebuild(environ, "--dry-run")[0] == 0
