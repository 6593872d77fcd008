"""`ordertrail send`: what a courier would send, from anywhere, with nothing but the secret."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from flask.testing import FlaskClient
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from receiver.couriers import DRIVERS
from receiver.db.models import Message
from tests.bodies import life, raw, tiramizoo_order, tour_plan
from tests.command import process, run_command
from tests.conftest import API_TOKEN
from tests.service import Web
from tests.shop import deliver, get

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

SECRETS = {
    "COURIER_TIRAMIZOO_SECRETS": "tiramizoo-token",
    "COURIER_COTTONCAST_SECRETS": "cottoncast-key",
    "COURIER_SHIPMENTAPI_SECRETS": "shipmentapi-token",
    # No installation beside us is to be found.
    "DATA_DIR": "/nowhere",
}


def send(web: Web, *arguments: str, **environ: str) -> Result:
    """What `ordertrail send` did, which knows nothing but secrets and an address."""
    url = f"http://127.0.0.1:{web.port}"
    return run_command({**SECRETS, **environ}, "send", *arguments, "--url", url)


@pytest.mark.usefixtures("sessions")
@pytest.mark.parametrize("name", [name for name in SECRETS if name != "DATA_DIR"])
def test_a_sample_is_kept_and_where_to_read_it_is_told(
    web: Web, shop: FlaskClient, drain: Drain, name: str
) -> None:
    account = name.removeprefix("COURIER_").removesuffix("_SECRETS").lower()
    done = send(web, account, "--status", "delivered")
    assert done.exit_code == 0, done.output
    assert "200 in" in done.stdout
    assert f"ordertrail order {account} {DRIVERS[account].sample_order_id}" in done.stdout
    assert SECRETS[name] not in done.output
    drain()
    path = f"/orders/{account}/{DRIVERS[account].sample_order_id}"
    assert f"http://127.0.0.1:{web.port}/v1{path}" in done.stdout
    order = get(shop, path)
    assert (order["status"], order["sample"]) == ("delivered", True)
    assert shop.delete(f"/v1{path}").status_code == 204


@pytest.mark.usefixtures("sessions")
def test_whatever_is_said_of_the_order_is_sent(web: Web, shop: FlaskClient, drain: Drain) -> None:
    at, name = "2026-04-16T10:00:00+0200", "ORDERTRAIL-SAMPLE-a/b"
    assert send(web, "cottoncast", "--status", "X", "--order", name, "--at", at).exit_code == 0
    drain()
    order = get(shop, "/orders/cottoncast/ORDERTRAIL-SAMPLE-a%2Fb")
    assert (order["courier_status"], order["status_at"]) == ("X", "2026-04-16T08:00:00Z")


@pytest.mark.usefixtures("sessions")
def test_the_order_that_is_named_changes_and_no_other_is_made(
    web: Web, shop: FlaskClient, drain: Drain
) -> None:
    names: dict[str, Any] = {"identifier": "ZVW8GV", "external_id": "theirs"}
    deliver(shop, tiramizoo_order("u-1", life("created"), **names))
    new = {"account": "tiramizoo", "courier_order_id": "u-1", "reference": "T-1001"}
    assert shop.post("/v1/orders", json=new).status_code == 201
    drain()
    before = get(shop, "/orders/tiramizoo/u-1")
    named = {
        "delivery_failed": ("--reference", "T-1001"),
        "picked_up": ("--order", "ZVW8GV"),
        "delivered": ("--order", " zvw8gv", "--reference", "T-1001"),
    }
    for status, options in named.items():
        done = send(web, "tiramizoo", "--status", status, *options, API_TOKENS=API_TOKEN)
        assert done.exit_code == 0, done.output
        drain()
        assert len(get(shop, "/orders")["orders"]) == 1
    order = get(shop, "/orders/tiramizoo/u-1")
    assert order["status"] == "delivered"
    for name in ("identifiers", "reference", "parcels", "sample"):
        assert order[name] == before[name]


@pytest.mark.usefixtures("sessions")
def test_an_order_that_is_not_there_is_told_and_nothing_is_sent(
    web: Web, shop: FlaskClient, sessions: Sessions
) -> None:
    for number in (1, 2):
        new = {"account": "tiramizoo", "courier_order_id": f"u-{number}", "reference": "T-1"}
        assert shop.post("/v1/orders", json=new).status_code == 201
    for token, options, told in (
        (API_TOKEN, ("--reference", "T-9"), "no order with the reference 'T-9'"),
        (API_TOKEN, ("--reference", "T-1"), "several orders"),
        (API_TOKEN, ("--order", "u-9"), "no order 'u-9'"),
        (API_TOKEN, ("--order", "u-1", "--reference", "T-9"), "has the reference 'T-1'"),
        ("another-token-of-16", ("--order", "u-1"), "401"),
    ):
        done = send(web, "tiramizoo", *options, API_TOKENS=token)
        assert done.exit_code == 1, done.output
        assert told in done.stderr
    done = send(web, "tiramizoo", "--order", "u-1")
    assert done.exit_code == 2
    assert "API_TOKENS" in done.stderr
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0


def test_a_file_is_sent_as_it_is_and_as_often_as_wanted(
    web: Web, sessions: Sessions, tmp_path: Path
) -> None:
    body = b'{ "orderID":"1",\t"status": {"code":"N"} }\n'
    (tmp_path / "body.json").write_bytes(body)
    done = send(web, "cottoncast", "--file", str(tmp_path / "body.json"), "--times", "3")
    assert done.exit_code == 0, done.output
    assert [line[:6] for line in done.stdout.splitlines() if " ms " in line] == [
        f"{number}: 200" for number in (1, 2, 3)
    ]
    with sessions() as session:
        (kept,) = session.scalars(select(Message)).all()
    assert (kept.body, kept.repetitions, kept.trust) == (body, 2, "signed")


@pytest.mark.usefixtures("sessions")
def test_a_tour_plan_is_sent_from_a_file(web: Web, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(raw(tour_plan({"A": None}, "tour 5")))
    file = str(tmp_path / "plan.json")
    done = send(web, "tiramizoo", "--topic", "tours", "--file", file)
    assert done.exit_code == 0, done.output
    assert "ordertrail tour tiramizoo 'tour 5'" in done.stdout
    assert send(web, "tiramizoo", "--topic", "tours").exit_code == 2
    assert send(web, "cottoncast", "--topic", "tours", "--file", file).exit_code == 2


@pytest.mark.usefixtures("sessions")
def test_what_the_driver_does_not_read_is_kept_and_said(web: Web, tmp_path: Path) -> None:
    (tmp_path / "body.json").write_bytes(b"{}")
    done = send(web, "tiramizoo", "--file", str(tmp_path / "body.json"))
    assert done.exit_code == 0
    assert "quarantine" in done.stdout


@pytest.mark.parametrize("given", [b"no JSON", b"[]", b"\xff"])
def test_what_is_refused_ends_with_one(
    web: Web, sessions: Sessions, tmp_path: Path, given: bytes
) -> None:
    (tmp_path / "body").write_bytes(given)
    done = send(web, "tiramizoo", "--file", str(tmp_path / "body"))
    assert done.exit_code == 1
    assert "Not stored (400)" in done.stderr


def test_a_wrong_secret_is_told_and_what_to_compare(web: Web, sessions: Sessions) -> None:
    for account in ("tiramizoo", "cottoncast"):
        name = f"COURIER_{account.upper()}_SECRETS"
        done = send(web, account, **{name: "wrong-secret"})
        assert done.exit_code == 1
        assert "Not stored (401)" in done.stderr
        assert name in done.stderr
        assert "wrong-secret" not in done.output
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0


def test_an_account_that_is_not_there_is_told(web: Web) -> None:
    done = send(web, "elsewhere", "--courier", "tiramizoo", COURIER_ELSEWHERE_SECRETS="x")
    assert done.exit_code == 1
    assert "Not stored (404)" in done.stderr


def test_nobody_at_the_address_ends_with_one_and_is_not_tried_again() -> None:
    done = run_command(SECRETS, "send", "tiramizoo", "--url", "http://127.0.0.1:9", "--times", "9")
    assert done.exit_code == 1
    assert "No response" in done.stderr
    assert done.stdout.count("no response") == 1


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nobody",), "COURIER_NOBODY_DRIVER"),
        (("parking", "--courier", "tiramizoo"), "set COURIER_PARKING_SECRETS"),
        (("tiramizoo", "--url", "shop.example"), "--url"),
        (
            ("tiramizoo", "--url", "https://shop.example/webhooks/tiramizoo/orders/x"),
            "must not be on a command line",
        ),
        (("tiramizoo", "--status", "teleported"), "picked_up"),
        (("cottoncast", "--status", "returned"), "no word for returned"),
        (("tiramizoo", "--file", "LICENSE", "--order", "1"), "--file"),
        (("tiramizoo", "--topic", "moods"), "orders, tours"),
    ],
)
def test_wrong_usage_is_told_and_nothing_is_sent(arguments: tuple[str, ...], told: str) -> None:
    done = run_command({**SECRETS, "COURIER_NOBODY_SECRETS": "x"}, "send", *arguments)
    assert done.exit_code == 2, done.output
    assert told in done.stderr


def test_a_dry_run_sends_nothing_and_shows_no_token() -> None:
    done = run_command(SECRETS, "send", "tiramizoo", "--dry-run", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 0
    assert "http://127.0.0.1:9/webhooks/tiramizoo/orders/<token>" in done.stdout
    told = run_command(SECRETS, "send", "cottoncast", "--dry-run", "--json")
    shown = json.loads(told.stdout)
    assert shown["url"] == "http://127.0.0.1:8000/webhooks/cottoncast/orders"
    assert len(shown["headers"]["Cottoncast-Authentication"]) == 64
    assert json.loads(shown["body"])["orderID"] == "ORDERTRAIL-SAMPLE-C"


@pytest.mark.usefixtures("sessions")
def test_the_secret_comes_from_a_file_or_from_stdin(web: Web, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("tiramizoo-token\n")
    alone = {"DATA_DIR": "/nowhere"}
    arguments = ("send", "tiramizoo", "--json", "--url", f"http://127.0.0.1:{web.port}")
    assert run_command(alone, *arguments, "--secret-file", str(file)).exit_code == 0
    by_name = {**alone, "COURIER_TIRAMIZOO_SECRETS_FILE": str(file)}
    done = run_command(by_name, *arguments)
    assert done.exit_code == 0
    told = json.loads(done.stdout)
    assert (told["kept"], told["about"]) == (True, DRIVERS["tiramizoo"].sample_order_id)
    assert [answer["status"] for answer in told["answers"]] == [200]
    piped = process(alone, *arguments, "--secret-file", "-", stdin=True)
    piped.communicate("tiramizoo-token\n")
    assert piped.returncode == 0


@pytest.mark.usefixtures("sessions")
def test_beside_a_run_its_secrets_and_its_port_are_found(web: Web, tmp_path: Path) -> None:
    run = f"COURIER_TIRAMIZOO_SECRETS=tiramizoo-token\nPORT={web.port}\n"
    (tmp_path / "run.env").write_text(run)
    done = run_command({"DATA_DIR": str(tmp_path)}, "send", "tiramizoo")
    assert done.exit_code == 0, done.output
