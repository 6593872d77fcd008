"""All orders of a list as a file: CSV for spreadsheets, NDJSON for programs."""

import csv
import http.client
import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import text
from sqlalchemy.orm import Session, sessionmaker

from receiver.orders.listing import export
from receiver.orders.listing.export import COLUMNS
from receiver.settings import Settings
from tests.bodies import START, package, tiramizoo_order, tour_plan
from tests.command import run_command
from tests.conftest import API_TOKEN
from tests.console import sign_in
from tests.service import Web
from tests.shop import deliver, fill, get, problem_of

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

CSV = {"Accept": "text/csv"}
NDJSON = {"Accept": "application/x-ndjson"}


def read_csv(body: str) -> list[dict[str, str]]:
    assert body.endswith("\r\n")
    return list(csv.DictReader(io.StringIO(body, newline=""), strict=True))


def read_lines(body: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


def test_a_download_has_the_columns_of_the_contract(shop: FlaskClient, drain: Drain) -> None:
    packages = [package(identifier="P-1"), package(identifier="P-2")]
    deliver(shop, tiramizoo_order(uuid="u-1", external_id="41", packages=packages))
    sent = shop.post("/webhooks/tiramizoo/tours/tiramizoo-token", json=tour_plan({"u-1": START}))
    assert sent.status_code == 200
    drain()
    answer = shop.get("/v1/orders", headers=NDJSON)
    assert answer.mimetype == "application/x-ndjson"
    assert "Accept" in answer.headers["Vary"]
    (row,) = read_lines(answer.text)
    assert tuple(row) == COLUMNS
    order = get(shop, "/orders/tiramizoo/u-1")
    shown = {name: order[name] for name in COLUMNS if name in order}
    assert row == {
        **shown,
        "eta_from": order["eta"]["from"],
        "eta_to": order["eta"]["to"],
        "tracking_numbers": ["P-1", "P-2"],
    }
    (cells,) = read_csv(shop.get("/v1/orders", headers=CSV).text)
    assert cells == {
        name: {None: "", True: "true", False: "false"}.get(value, value)
        for name, value in {**row, "tracking_numbers": "P-1 P-2"}.items()
    }


@pytest.mark.parametrize(
    ("text_", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("＝1", "'＝1"),  # noqa: RUF001
        ('say "hi", twice\r\nor more', 'say "hi", twice\r\nor more'),
        ("Straße 7 – 🚚", "Straße 7 – 🚚"),  # noqa: RUF001
        ("'s-Hertogenbosch", "'s-Hertogenbosch"),
        ("a=b", "a=b"),
        (";", ";"),
    ],
)
def test_a_text_is_no_formula_in_csv_and_unchanged_in_ndjson(
    shop: FlaskClient, sessions: Sessions, text_: str, cell: str
) -> None:
    fill(sessions, {"reference": text_, "reason": text_}, {"reference": "next"})
    rows = read_csv(shop.get("/v1/orders", headers=CSV).text)
    assert [row["reference"] for row in rows] == ["next", cell]
    assert rows[1]["reason"] == cell
    lines = read_lines(shop.get("/v1/orders", headers=NDJSON).text)
    assert [row["reason"] for row in lines] == [None, text_]


def test_all_pages_come_at_once_whatever_the_limit(
    shop: FlaskClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_SIZE", 3)
    rows = [
        {"status": ("delivered", "lost")[n % 2], "created_at": START + timedelta(hours=n)}
        for n in range(9)
    ]
    fill(sessions, *rows)
    listed = [order["courier_order_id"] for order in get(shop, "/orders")["orders"]]
    for path, expected in (
        ("/v1/orders?limit=2", listed),
        ("/v1/orders?status=lost", listed[1::2]),
        ("/v1/orders?status_group=unknown", []),
        ("/v1/orders?created_since=2026-04-16T09:00:00Z&status=delivered,lost", listed[:7]),
    ):
        found = [row["courier_order_id"] for row in read_csv(shop.get(path, headers=CSV).text)]
        assert found == expected, path
    cursor = get(shop, "/orders", limit=4)["next_cursor"]
    rest = shop.get(f"/v1/orders?cursor={cursor}", headers=NDJSON).text
    assert [row["courier_order_id"] for row in read_lines(rest)] == listed[4:]


def test_an_order_that_changes_or_comes_meanwhile_is_there_once_or_not(
    sessions: Sessions, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_SIZE", 2)
    fill(sessions, *({} for _ in range(5)))
    pages = export.export_orders(sessions, settings, {}, "ndjson")
    rows = read_lines(next(pages).decode())
    fill(sessions, {"courier_order_id": "later"})
    with sessions.begin() as session:
        session.execute(text("UPDATE orders SET updated_at = now(), status = 'lost'"))
        # No transaction is open between two pages.
        idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        own_database = text(f"{idle} AND datname = current_database()")
        assert session.scalar(own_database) == 0
    rows += read_lines(b"".join(pages).decode())
    assert [row["courier_order_id"] for row in rows] == [f"order {n}" for n in (4, 3, 2, 1, 0)]
    assert [row["status"] for row in rows] == ["pending"] * 2 + ["lost"] * 3


@pytest.mark.parametrize(
    ("accept", "mimetype"),
    [
        ("*/*", "application/json"),
        ("text/html", "application/json"),
        ("application/json, text/csv;q=0.9", "application/json"),
        ("text/csv, application/json;q=0.9", "text/csv"),
        ("text/*", "text/csv"),
        ("nonsense", "application/json"),
    ],
)
def test_the_accept_header_decides(shop: FlaskClient, accept: str, mimetype: str) -> None:
    answer = shop.get("/v1/orders", headers={"Accept": accept})
    assert (answer.status_code, answer.mimetype) == (200, mimetype)
    assert answer.headers["Vary"] == "Accept"


def test_the_description_has_the_filters_and_all_formats(shop: FlaskClient) -> None:
    described = shop.get("/v1/openapi.json").get_json()["paths"]["/v1/orders"]["get"]
    assert {"created_until", "status"} <= {each["name"] for each in described["parameters"]}
    formats = {"application/json", "text/csv", "application/x-ndjson"}
    assert set(described["responses"]["200"]["content"]) == formats
    (status,) = [each for each in described["parameters"] if each["name"] == "status"]
    assert (status["explode"], status["schema"]["type"]) == (False, "array")


def test_what_is_wrong_before_the_first_row_has_an_answer_of_its_own(
    shop: FlaskClient, client: FlaskClient
) -> None:
    for query, status in (
        ("status=teleported", 422),
        ("cursor=nonsense", 422),
        ("account=nowhere", 404),
        ("created_since=2026-01-02T00:00:00Z&created_until=2026-01-01T00:00:00Z", 422),
    ):
        problem_of(shop.get(f"/v1/orders?{query}", headers=CSV), status)
    problem_of(client.get("/v1/orders", headers=CSV), 401)
    empty = shop.get("/v1/orders", headers=CSV)
    assert empty.text == ",".join(COLUMNS) + "\r\n"
    head = shop.head("/v1/orders", headers=CSV)
    assert (head.mimetype, head.data) == ("text/csv", b"")
    assert shop.get("/v1/orders", headers=NDJSON).data == b""


def test_a_download_that_breaks_off_does_not_look_whole(
    web: Web, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last page cannot be read: a stored time is one that Python does not have."""
    fill(sessions, *({"reason": "x" * 2000} for _ in range(export.PAGE_SIZE + 1)))
    with sessions.begin() as session:
        session.execute(text("UPDATE orders SET status_at = 'infinity' WHERE id = 1"))
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=60)
    connection.request("GET", "/v1/orders", headers={**CSV, "Authorization": f"Bearer {API_TOKEN}"})
    answer = connection.getresponse()
    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    connection.close()


def test_a_reader_that_goes_away_leaves_nothing_behind(
    app: Flask, shop: FlaskClient, sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "PAGE_SIZE", 1)
    fill(sessions, *({} for _ in range(3)))
    answer = shop.get("/v1/orders", headers=CSV, buffered=False)
    assert next(iter(answer.iter_encoded())).startswith(b"account,")
    answer.close()
    assert app.extensions["ordertrail"].engine.pool.checkedout() == 0
    assert len(read_csv(shop.get("/v1/orders", headers=CSV).text)) == 3


def test_the_command_line_prints_the_same(
    shop: FlaskClient, sessions: Sessions, environ: dict[str, str]
) -> None:
    fill(sessions, {"reference": "=1"}, {"status": "lost"})
    for format_, headers in (("csv", CSV), ("ndjson", NDJSON)):
        printed = run_command(environ, "orders", "--format", format_)
        assert printed.exit_code == 0
        assert printed.stdout_bytes == shop.get("/v1/orders", headers=headers).data
    lost = run_command(environ, "orders", "--format", "ndjson", "--status", "lost,delivered")
    assert len(lost.stdout.splitlines()) == 1
    assert run_command(environ, "orders", "--format", "csv", "--limit", "5").exit_code == 2
    assert run_command(environ, "orders", "--format", "csv", "--account", "x").exit_code == 1


def test_the_console_downloads_what_its_page_shows(
    client: FlaskClient, shop: FlaskClient, sessions: Sessions
) -> None:
    fill(
        sessions,
        {"status": "lost", "created_at": START},
        {"status": "lost", "created_at": START + timedelta(days=1)},
        {"created_at": START},
    )
    assert client.get("/ops/orders.csv").status_code in {302, 303, 401}
    sign_in(client)
    day = START.date().isoformat()
    query = f"status=lost&account=&created_from={day}&created_to={day}&cursor="
    page = client.get(f"/ops/orders?{query}").text
    link = page.split('href="/ops/orders.csv')[1].split('"')[0].replace("&amp;", "&")
    answer = client.get(f"/ops/orders.csv{link}")
    assert answer.mimetype == "text/csv"
    assert [row["courier_order_id"] for row in read_csv(answer.text)] == ["order 0"]
    assert client.get("/ops/orders.csv?created_from=yesterday").status_code == 422
