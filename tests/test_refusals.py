"""Refused requests are shown by reason and likely cause, and never to the courier."""

import base64
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import Engine, event, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from receiver.accounts.credential_diagnosis import Evidence, diagnose
from receiver.accounts.refused_credentials import (
    MOST_EXAMINED,
    CredentialRecorder,
    find_old_secret_use,
    read_secret_uses,
)
from receiver.couriers.signatures.scheme import Sent
from receiver.db.engine import create_engine_for
from receiver.db.engine import session_factory as open_sessions
from receiver.db.models import Message, Refusal, SecretUse
from receiver.settings import Settings
from tests.bodies import after, cottoncast_signature, cottoncast_status, raw, tiramizoo_order
from tests.conftest import API_TOKEN
from tests.digests import hmac_sha256_hex
from tests.service import running_web
from workers.upkeep.retention import Retention

Sessions = sessionmaker[Session]

KEY = "cottoncast-key"
COTTONCAST = "/webhooks/cottoncast/orders"
BODY = (
    b'{"orderID": "3AF7", "ref": "41", "name": "M\\u00fcller/1",'
    b' "status": {"code": "D", "timestamp": 1622007287}}'
)
NOW = datetime(2026, 4, 16, tzinfo=UTC)
HEX = hmac_sha256_hex(KEY, BODY)


@pytest.fixture
def retiring(new_app: Callable[..., Flask], sessions: Sessions, redis: Any) -> Flask:
    """An application that knows secrets that were retired."""
    return new_app(
        COURIER_COTTONCAST_RETIRED_SECRETS="cottoncast-ancient",
        COURIER_TIRAMIZOO_RETIRED_SECRETS="tiramizoo-ancient",
    )


def refusals(app: Flask) -> list[dict[str, Any]]:
    answer = app.test_client().get("/v1/refusals", headers={"Authorization": f"Bearer {API_TOKEN}"})
    assert answer.status_code == 200
    return list(answer.get_json()["refusals"])


DIGEST = hmac.digest(KEY.encode(), BODY, "sha256")


MISTAKES: Mapping[str, tuple[str, str, str | None]] = {
    "a retired key": (hmac_sha256_hex("cottoncast-ancient", BODY), "old_secret", None),
    "another account's key": (
        hmac_sha256_hex("parking-key", BODY),
        "other_account",
        "cottoncast-parking",
    ),
    "base64": (base64.b64encode(DIGEST).decode(), "base64", None),
    "prefixed": (f"sha256={HEX}", "prefixed", None),
    "a stranger's": (hmac_sha256_hex("somebody else's", BODY), "unknown_secret", None),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_wrong_signature_is_diagnosed_and_the_courier_learns_nothing_of_it(
    retiring: Flask, sessions: Sessions, mistake: str
) -> None:
    signature, likely, other = MISTAKES[mistake]
    answer = retiring.test_client().post(
        COTTONCAST, data=BODY, headers={"Cottoncast-Authentication": signature}
    )
    assert answer.status_code == 401
    assert answer.get_json()["message"] in {
        "the signature does not match the body",
        "Cottoncast-Authentication is not an HMAC-SHA256 in hex",
    }
    [refusal] = refusals(retiring)
    assert (refusal["account"], refusal["likely"]) == ("cottoncast", likely)
    assert refusal["other_account"] == other
    assert (refusal["count"], refusal["first_at"]) == (1, refusal["last_at"])
    assert refusal["summary"]
    assert refusal["what_to_do"]
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Message)) == 0


@pytest.mark.parametrize(
    ("token", "likely"),
    [
        ("tiramizoo-ancient", "old_secret"),
        ("parking-token", "other_account"),
        ("guess", "unknown_secret"),
    ],
)
def test_a_wrong_token_is_diagnosed(retiring: Flask, token: str, likely: str) -> None:
    answer = retiring.test_client().post(f"/webhooks/tiramizoo/orders/{token}", data=b"{}")
    assert (answer.status_code, answer.get_json()["message"]) == (401, "the token is wrong")
    assert [it["likely"] for it in refusals(retiring)] == [likely]


def test_what_needs_no_guess_says_so(client: FlaskClient, app: Flask) -> None:
    client.post("/webhooks/tiramizoo/orders", data=b"{}")
    client.post("/webhooks/nobody/orders", data=b"{}")
    client.post("/webhooks/nobody-else/orders/x", data=b"{}")
    client.post("/webhooks/tiramizoo/nothing/x", data=b"{}")
    client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=b"x" * 1_048_577)
    found = {(it["account"], it["reason"], it["likely"], it["count"]) for it in refusals(app)}
    assert found == {
        ("tiramizoo", "missing", None, 1),
        (None, "unknown_account", None, 2),
        ("tiramizoo", "unknown_topic", None, 1),
        ("tiramizoo", "BodyTooLarge", None, 1),
    }


def test_a_flood_leaves_few_rows_and_costs_few_writes(
    app: Flask, client: FlaskClient, sessions: Sessions
) -> None:
    sent: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        sent.append(statement)

    engine: Engine = app.extensions["ordertrail"].engine
    event.listen(engine, "before_cursor_execute", note)
    for number in range(300):
        client.post(f"/webhooks/nobody-{number}/orders/{number}", data=b"{}")
        client.post(f"/webhooks/tiramizoo/orders/guess-{number}", data=b"{}")
    app.extensions["ordertrail"].credential_recorder.flush()
    assert len(sent) < 20
    found = {(it["account"], it["likely"]): it["count"] for it in refusals(app)}
    # The requests take some seconds, and each time that the counts are written some are examined.
    assert MOST_EXAMINED <= found["tiramizoo", "unknown_secret"] < 100
    assert found == {
        (None, None): 300,
        ("tiramizoo", "unknown_secret"): found["tiramizoo", "unknown_secret"],
        ("tiramizoo", "not_examined"): 300 - found["tiramizoo", "unknown_secret"],
    }
    with sessions() as session:
        assert session.scalar(select(func.count()).select_from(Refusal)) == len(found)


def test_several_processes_add_up(sessions: Sessions, settings: Settings, app: Flask) -> None:
    recorders = [CredentialRecorder(sessions, settings.accounts) for _ in range(3)]
    try:
        for recorder in recorders:
            recorder.record_refusal(
                "tiramizoo", "wrong", Evidence("tiramizoo", Sent({}, b"", "guess"), "wrong", NOW)
            )
            recorder.record_secret_use("tiramizoo", 1)
            recorder.flush()
    finally:
        for recorder in recorders:
            recorder.close()
    assert [it["count"] for it in refusals(app)] == [3]
    with sessions() as session:
        assert session.scalars(select(SecretUse.count)).all() == [3]


def test_what_postgresql_does_not_take_is_written_down_later(
    sessions: Sessions, settings: Settings, app: Flask
) -> None:
    nowhere = create_engine_for("postgresql://nobody@/nothing?host=/nowhere")
    recorder = CredentialRecorder(open_sessions(nowhere), settings.accounts)
    try:
        recorder.record_refusal("tiramizoo", "missing")
        recorder.record_secret_use("tiramizoo", 0)
        with pytest.raises(OperationalError):
            recorder.flush()
        recorder._sessions = sessions
        recorder.flush()
    finally:
        recorder.close()
        nowhere.dispose()
    assert [it["count"] for it in refusals(app)] == [1]


def test_refusals_are_written_without_being_asked_for(
    sessions: Sessions, settings: Settings
) -> None:
    recorder = CredentialRecorder(sessions, settings.accounts)
    recorder.record_refusal("tiramizoo", "missing")
    recorder.close()
    with sessions() as session:
        assert session.scalars(select(Refusal.count)).all() == [1]


def test_the_old_secret_is_seen_until_nobody_uses_it(
    client: FlaskClient, shop: FlaskClient, sessions: Sessions, settings: Settings
) -> None:
    def secrets(account: str) -> list[tuple[int, int, bool]]:
        couriers = {it["account"]: it for it in shop.get("/v1/couriers").get_json()["couriers"]}
        return [
            (it["place"], it["uses"], it["last_used_at"] is not None)
            for it in couriers[account]["secrets"]
        ]

    assert secrets("tiramizoo") == [(1, 0, False), (2, 0, False)]
    body = raw(tiramizoo_order("u-1", {"created": after(0)}))
    client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=body)
    assert secrets("tiramizoo") == [(1, 1, True), (2, 0, False)]
    with sessions() as session:
        assert (
            find_old_secret_use(read_secret_uses(session), settings.accounts["tiramizoo"]) is None
        )
    client.post("/webhooks/tiramizoo/orders/tiramizoo-old-token", data=body)
    assert secrets("tiramizoo") == [(1, 1, True), (2, 1, True)]
    with sessions() as session:
        assert (
            find_old_secret_use(read_secret_uses(session), settings.accounts["tiramizoo"])
            is not None
        )

    signed = raw(cottoncast_status("N", after(0)))
    headers = cottoncast_signature(signed, "cottoncast-old-key")
    assert client.post(COTTONCAST, data=signed, headers=headers).status_code == 200
    assert secrets("cottoncast") == [(1, 0, False), (2, 1, True)]


def test_no_secret_is_recorded(client: FlaskClient, app: Flask, sessions: Sessions) -> None:
    client.post("/webhooks/tiramizoo/orders/tiramizoo-token", data=b"{}")
    client.post("/webhooks/tiramizoo/orders/a-guess-to-find", data=b"{}")
    app.extensions["ordertrail"].credential_recorder.flush()
    with sessions() as session:
        rows = [repr(vars(row)) for row in session.scalars(select(SecretUse))]
        rows += [repr(vars(row)) for row in session.scalars(select(Refusal))]
    assert len(rows) == 2
    assert not any("token" in row or "guess" in row for row in rows)


def test_what_was_refused_long_ago_goes(
    client: FlaskClient, app: Flask, sessions: Sessions, settings: Settings
) -> None:
    client.post("/webhooks/nobody/orders", data=b"{}")
    app.extensions["ordertrail"].credential_recorder.flush()
    now = datetime.now(UTC)
    assert Retention(settings).drop_due(sessions, now + timedelta(days=29), 60) == {}
    assert Retention(settings).drop_due(sessions, now + timedelta(days=32), 60) == {"refusals": 1}


@pytest.mark.parametrize(
    "body", [b"[" * 60_000, b"\xff\xfe", b"", b"{}" * 500_000, b'{"a": NaN}', b'"\\ud800"']
)
@pytest.mark.parametrize("offered", ["", "é" * 300, "=" * 40, "0" * 64, "\x00"])
def test_nothing_that_comes_breaks_the_diagnosis(
    settings: Settings, body: bytes, offered: str
) -> None:
    headers = {"Cottoncast-Authentication": offered}
    signed = Evidence("cottoncast", Sent(headers, body), "wrong", NOW)
    assert diagnose(signed, settings.accounts) == "unknown_secret"
    in_url = Evidence("tiramizoo", Sent({}, b"", offered), "wrong", NOW)
    assert diagnose(in_url, settings.accounts) == "unknown_secret"


def test_a_live_secret_that_is_called_retired_is_refused(environ: Mapping[str, str]) -> None:
    with pytest.raises(Exception, match="COURIER_TIRAMIZOO_RETIRED_SECRETS: "):
        Settings.from_env({**environ, "COURIER_TIRAMIZOO_RETIRED_SECRETS": "tiramizoo-token"})


def test_a_web_process_that_stops_records_its_last_refusals(
    environ: Mapping[str, str], sessions: Sessions, redis: Any, tmp_path: Path
) -> None:
    with running_web(environ, tmp_path / "web.log") as web:
        assert web.post("/webhooks/nobody/orders", b"{}").status_code == 404
    with sessions() as session:
        assert session.scalars(select(Refusal.reason)).all() == ["unknown_account"]
