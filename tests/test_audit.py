"""The audit log: each action has one entry, in its own transaction, with who did it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update
from sqlalchemy.orm import Session, sessionmaker

from receiver import audit
from receiver.audit import Actor, act_as
from receiver.db.models import AuditEntry
from receiver.settings import Settings
from tests.command import command_json, run_command
from tests.conftest import API_TOKEN
from tests.console import seen, send, sign_in
from tests.shop import deliver, get, problem_of
from workers.upkeep.retention import Retention

Sessions = sessionmaker[Session]
Drain = Callable[[], int]

ORDER = {"account": "tiramizoo", "courier_order_id": "u-1"}


def entries(sessions: Sessions) -> Sequence[AuditEntry]:
    with sessions() as session:
        return session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()


def act(sessions: Sessions, action: str, who: str = "Ann", **subject: Any) -> None:
    act_as(Actor(who, "backend", "r-1"))
    with sessions.begin() as session:
        audit.record_action(session, action, **subject)


def test_an_entry_says_who_did_what_when(sessions: Sessions) -> None:
    act(sessions, audit.ERASE, account="tiramizoo", courier_order_id="a'\"b")
    with sessions.begin() as session:
        audit.record_actions(session, audit.REGISTER, [("tiramizoo", "u-1"), ("tiramizoo", "u-2")])
    first, *others = entries(sessions)
    assert (first.who, first.token_name, first.request_id) == ("Ann", "backend", "r-1")
    assert (first.action, first.account, first.courier_order_id) == ("erase", "tiramizoo", "a'\"b")
    assert abs((datetime.now(UTC) - first.at).total_seconds()) < 60
    assert [entry.courier_order_id for entry in others] == ["u-1", "u-2"]


def test_an_action_that_is_rolled_back_is_not_in_the_log(sessions: Sessions) -> None:
    with sessions() as session:
        audit.record_action(session, audit.REGISTER)
        session.rollback()
    assert entries(sessions) == []


def test_what_the_api_does_is_in_the_log_without_references_and_notes(
    shop: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    deliver(shop, {"uuid": "broken-1"}, {"uuid": "broken-2"}, {"uuid": "broken-3"})
    drain()
    shop.post("/v1/orders", json={**ORDER, "reference": "secret"}, headers={"X-Request-ID": "r-7"})
    shop.delete("/v1/orders/tiramizoo/u-1/personal-data")
    shop.post("/v1/messages/1/retry")
    shop.post("/v1/messages/1/retry")
    drain()
    shop.post("/v1/messages/1/discard", json={"by": "Bob", "note": "secret"})
    many = {"outcome": "quarantined", "account": "tiramizoo"}
    shop.post("/v1/messages/discard", json={**many, "note": "secret", "dry_run": True})
    shop.post("/v1/messages/retry", json=many)
    # Nothing that failed, and nothing that only reads.
    shop.post("/v1/orders/tiramizoo/u-1/refresh")
    shop.post("/v1/alerts/7/acknowledge")
    found = get(shop, "/audit")["entries"]
    assert [
        (entry["action"], entry["courier_order_id"], entry["message_id"]) for entry in found
    ] == [
        ("retry", None, None),
        ("discard", None, "1"),
        ("retry", None, "1"),
        ("erase", "u-1", None),
        ("register", "u-1", None),
    ]
    assert {(entry["who"], entry["account"]) for entry in found} == {("api-1", "tiramizoo")}
    assert found[-1]["request_id"] == "r-7"
    assert "secret" not in shop.get("/v1/audit").text


def test_what_is_done_in_the_console_names_the_person_and_the_token(
    client: FlaskClient, shop: FlaskClient, sessions: Sessions, drain: Drain
) -> None:
    deliver(shop, {"uuid": "broken"})
    drain()
    sign_in(client, "wrong")
    sign_in(client)
    send(client, "/ops/messages/1/discard", by="Bob", note="x")
    page = seen(client.get("/ops/audit?action=discard"))
    assert "Ann token api-1 discard message 1" in page
    assert "sign in Ann" not in page
    send(client, "/ops/signout")
    done = [(entry.who, entry.token_name, entry.action) for entry in entries(sessions)]
    assert done == [("Ann", "api-1", action) for action in ("sign_in", "discard", "sign_out")]


def test_the_command_line_records_its_user_and_lists_the_log(
    environ: dict[str, str], sessions: Sessions
) -> None:
    assert run_command(environ, "register", "tiramizoo", "u-1").exit_code == 0
    found = command_json(environ, "audit", "--action", "register", "--all")
    [entry] = found["entries"]
    assert entry["who"].startswith("command line (")
    assert (entry["token_name"], entry["request_id"]) == (None, None)
    assert "u-1" in run_command(environ, "audit").stdout
    wrong = run_command(environ, "audit", "--since", "yesterday")
    assert (wrong.exit_code, "--since" in wrong.output) == (2, True)


def test_the_log_is_filtered_and_read_in_pages(shop: FlaskClient, sessions: Sessions) -> None:
    for number in range(5):
        act(sessions, audit.REGISTER, account="tiramizoo", courier_order_id=f"u-{number}")
    act(sessions, audit.ERASE, "Bob", account="cottoncast", courier_order_id="u-1")
    with sessions.begin() as session:
        # All at one time, as those of a batch may be.
        session.execute(update(AuditEntry).values(at=datetime(2026, 4, 16, 7, tzinfo=UTC)))

    def numbers(**filters: Any) -> list[str]:
        page = get(shop, "/audit", **filters)
        found = [entry["courier_order_id"] for entry in page["entries"]]
        if page["next_cursor"]:
            found += numbers(**filters | {"cursor": page["next_cursor"]})
        return found

    assert numbers(limit=2) == ["u-1", "u-4", "u-3", "u-2", "u-1", "u-0"]
    assert numbers(limit=2, action="erase") == numbers(who="Bob") == ["u-1"]
    assert numbers(account="tiramizoo", courier_order_id="u-1") == ["u-1"]
    assert len(numbers(since="2026-04-16T07:00:00Z")) == 6
    assert numbers(until="2026-04-16T07:00:00Z") == []
    for wrong in ("since=x", "action=x", "courier_order_id=u-1", "limit=0", "colour=red"):
        problem_of(shop.get(f"/v1/audit?{wrong}"), 422)
    assert problem_of(shop.get("/v1/audit?cursor=x"), 422)["code"] == "invalid_cursor"
    problem_of(shop.get("/v1/audit?account=tiramisu"), 404)


def test_a_page_after_an_entry_that_is_gone_is_empty(shop: FlaskClient, sessions: Sessions) -> None:
    act(sessions, audit.REGISTER)
    act(sessions, audit.REGISTER)
    cursor = get(shop, "/audit", limit=1)["next_cursor"]
    with sessions.begin() as session:
        for entry in session.scalars(select(AuditEntry)):
            session.delete(entry)
    assert get(shop, "/audit", cursor=cursor) == {"entries": [], "next_cursor": None}


def test_entries_are_kept_as_long_as_orders(sessions: Sessions, settings: Settings) -> None:
    act(sessions, audit.ERASE)
    later = datetime.now(UTC) + timedelta(days=31)
    assert Retention(settings).drop_due(sessions, later, 1) == {}
    kept_briefly = replace(settings, order_retention_days=30)
    assert Retention(kept_briefly).drop_due(sessions, later - timedelta(days=2), 1) == {}
    assert Retention(kept_briefly).drop_due(sessions, later, 1) == {"audit_entries": 1}


def test_a_token_acts_under_its_name(new_app: Callable[..., Flask], sessions: Sessions) -> None:
    client = new_app(API_TOKENS=f"wärehouse two:{API_TOKEN}").test_client()
    client.post("/v1/orders", json=ORDER, headers={"Authorization": f"Bearer {API_TOKEN}"})
    assert [entry.who for entry in entries(sessions)] == ["wärehouse two"]


def test_a_name_that_cannot_be_stored_is_signed_in_with_all_the_same(
    client: FlaskClient, sessions: Sessions
) -> None:
    sign_in(client, name=" A\x00nn\n")
    assert client.get("/ops/orders").status_code == 200
    assert send(client, "/ops/signout").status_code == 303
    done = [(entry.who, entry.action) for entry in entries(sessions)]
    assert done == [("A?nn", "sign_in"), ("A?nn", "sign_out")]
