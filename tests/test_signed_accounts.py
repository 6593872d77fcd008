"""Accounts with a signature of their own: what is kept, refused, diagnosed, sent and shown."""

import base64
import hmac
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from receiver.accounts.credential_diagnosis import CAUSES, Evidence, diagnose
from receiver.couriers.contract import Topic
from receiver.couriers.signatures import HeaderToken, Hmac, sign
from receiver.couriers.signatures.scheme import Sent
from receiver.couriers.snapshot import Decoded, MessageContext
from receiver.db.models import Message
from receiver.settings import Account, Settings
from receiver.settings.signature import read_scheme
from receiver.standalone.banner import banner_text
from receiver.web.webhooks.declared import find_trust
from tests.bodies import raw, tiramizoo_order
from tests.command import run_command
from tests.conftest import API_TOKEN
from tests.service import Web, head, running_web
from workers.cli.doctor.webhook import check_webhook_url

Sessions = sessionmaker[Session]

BODY = raw(tiramizoo_order("signed-1"))
WHSEC = f"whsec_{base64.b64encode(bytes(range(32))).decode()}"
NOW = datetime(2026, 4, 16, 8, 10, 5, tzinfo=UTC)

# By the account's name: its setting, its secret, and how far its messages are trusted.
ACCOUNTS: Mapping[str, tuple[dict[str, Any], str, str]] = {
    "base64": ({"header": "X-Sig", "encoding": "base64"}, "key-of-base64", "signed"),
    "onfleet": (
        {"header": "X-Onfleet-Signature", "algorithm": "sha512", "key": "hex"},
        "0a1b" * 16,
        "signed",
    ),
    "stripe": (
        {
            "header": "X-Sig",
            "prefix": "v1=",
            "separator": ",",
            "timestamp_prefix": "t=",
            "signed": "{timestamp}.{body}",
        },
        "key-of-stripe",
        "signed",
    ),
    "standard": ({"scheme": "standard-webhooks"}, WHSEC, "signed"),
    "api-key": ({"header": "X-Api-Key", "compare": "token"}, "it's a key: 100%", "token"),
    "bearer": (
        {"header": "Authorization", "compare": "token", "prefix": "Bearer "},
        "key-of-bearer",
        "token",
    ),
    "basic": ({"compare": "basic"}, "shop:pass word", "token"),
    "in-url": ({"scheme": "token-in-url"}, "token-of-the-url", "token"),
}
ENVIRON = {
    f"COURIER_{name.upper().replace('-', '_')}_{setting}": value
    for name, (signature, secret, _) in ACCOUNTS.items()
    for setting, value in {
        "DRIVER": "tiramizoo" if name != "in-url" else "cottoncast",
        "SECRETS": secret,
        "SIGNATURE": json.dumps(signature),
    }.items()
}
every_account = pytest.mark.parametrize("name", list(ACCOUNTS))


@pytest.fixture
def app(new_app: Callable[..., Flask], sessions: Sessions, redis: Any) -> Flask:
    return new_app(**ENVIRON)


@pytest.fixture(scope="module")
def signing_web(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    log = tmp_path_factory.mktemp("web") / "log"
    with running_web({**environ, **ENVIRON}, log) as web:
        yield web


def accounts_of(app: Flask) -> Mapping[str, Account]:
    settings: Settings = app.extensions["ordertrail"].settings
    return settings.accounts


def path_of(account: Account, token: str = "") -> str:
    return f"/webhooks/{account.slug}/orders{f'/{token}' if token else ''}"


@every_account
def test_a_webhook_is_kept_and_trusted_as_its_account_is_signed(
    app: Flask, sessions: Sessions, name: str
) -> None:
    client, account = app.test_client(), accounts_of(app)[name]
    _, secret, trust = ACCOUNTS[name]
    headers = sign(account.signature, secret, BODY, datetime.now(UTC))
    path = path_of(account, secret if account.signature.in_url else "")
    assert client.post(path, data=BODY, headers=headers).status_code == 200
    assert client.post(path_of(account), data=BODY).status_code == 401
    if not account.signature.in_url:
        # Where the credential is in a header, the URL has no token.
        assert client.post(path_of(account, "token"), data=BODY, headers=headers).status_code == 404
    with sessions() as session:
        assert session.execute(select(Message.body, Message.trust)).all() == [(BODY, trust)]


def test_a_signature_does_not_prove_what_it_does_not_cover() -> None:
    plain = Hmac("X-Sig")
    with_topic = Hmac("X-Sig", signed="{header:X-Topic}.{body}")

    def decode(body: Any, context: MessageContext) -> Decoded:
        return Decoded()

    body_only, header = Topic(decode), Topic(decode, headers=("x-topic",))
    query, nothing = Topic(decode, keeps_query=True), Topic(decode, ("PUT",), body="empty")
    assert [find_trust(topic, plain) for topic in (body_only, header, query, nothing)] == [
        *("signed", "token", "token", "token")
    ]
    assert [find_trust(topic, with_topic) for topic in (header, query)] == ["signed", "token"]
    assert find_trust(body_only, HeaderToken("X-Key")) == "token"


def test_an_old_timestamp_is_refused_counted_and_diagnosed(app: Flask, sessions: Sessions) -> None:
    client, account = app.test_client(), accounts_of(app)["stripe"]
    for minutes in (-6, 6):
        at = datetime.now(UTC) + timedelta(minutes=minutes)
        headers = sign(account.signature, account.secrets[0], BODY, at)
        answer = client.post(path_of(account), data=BODY, headers=headers)
        assert answer.status_code == 401
        assert "our clock" in answer.get_json()["message"]
    app.extensions["ordertrail"].credential_recorder.flush()
    bearer = {"Authorization": f"Bearer {API_TOKEN}"}
    shown = client.get("/v1/refusals", headers=bearer).get_json()["refusals"]
    assert {(it["reason"], it["likely"]) for it in shown} == {
        ("outside_window", "timestamp_behind"),
        ("outside_window", "timestamp_ahead"),
    }
    [standing] = [
        it
        for it in client.get("/v1/couriers", headers=bearer).get_json()["couriers"]
        if it["account"] == "stripe"
    ]
    assert standing["signature_failures"] == 2
    assert "X-Sig, with a timestamp" in standing["webhook_authentication"]
    with sessions() as session:
        assert session.scalars(select(Message.id)).all() == []


def test_a_header_that_is_sent_twice_is_refused(signing_web: Web, sessions: Sessions) -> None:
    for name in ("base64", "onfleet", "standard", "api-key", "bearer", "basic", "stripe"):
        setting, secret, _ = ACCOUNTS[name]
        made = sign(read_scheme(setting), secret, BODY, datetime.now(UTC))
        lines = [f"{header}: {value}" for header, value in made.items()]
        once = head(f"/webhooks/{name}/orders", f"Content-Length: {len(BODY)}", *lines)
        twice = head(f"/webhooks/{name}/orders", f"Content-Length: {len(BODY)}", *lines, *lines)
        assert signing_web.send(once + BODY).status_code == 200
        assert signing_web.send(twice + BODY).status_code == 401
    assert "key-of" not in signing_web.log.read_text()


def test_the_doctor_tries_every_account_with_a_credential_that_is_refused(
    signing_web: Web, environ: dict[str, str], sessions: Sessions
) -> None:
    settings = Settings.from_env({**environ, **ENVIRON})
    found = check_webhook_url(settings, f"http://127.0.0.1:{signing_web.port}")
    seen = {finding.check: finding.seen for finding in found if finding.check in ACCOUNTS}
    assert set(seen) == set(ACCOUNTS)
    assert all("rejects a wrong credential" in text for text in seen.values()), seen
    with sessions() as session:
        assert session.scalars(select(Message.id)).all() == []


def evidence(account: Account, headers: Mapping[str, str], why: str = "wrong") -> Evidence:
    return Evidence(account.slug, Sent(headers, BODY, None), why, NOW)


def digest(secret: str | bytes, algorithm: str = "sha256", text: bytes = BODY) -> bytes:
    return hmac.digest(secret if isinstance(secret, bytes) else secret.encode(), text, algorithm)


def in_base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


TIMED = f"{int(NOW.timestamp())}.".encode() + BODY
MISTAKES = {
    ("base64", "hex"): digest("key-of-base64").hex(),
    ("base64", "base64url"): base64.urlsafe_b64encode(digest("key-of-base64")).decode().rstrip("="),
    ("base64", "prefixed"): f"sha256={in_base64(digest('key-of-base64'))}",
    ("base64", "other_algorithm"): in_base64(digest("key-of-base64", "sha1")),
    ("base64", "old_secret"): in_base64(digest("retired")),
    ("base64", "other_account:bearer"): in_base64(digest("key-of-bearer")),
    ("base64", "plain_secret"): "key-of-base64",
    ("base64", "unknown_secret"): in_base64(digest("a stranger's")),
    ("onfleet", "other_key_form"): digest("0a1b" * 16, "sha512").hex(),
    ("onfleet", "base64"): in_base64(digest(bytes.fromhex("0a1b" * 16), "sha512")),
    (
        "stripe",
        "unprefixed",
    ): f"t={TIMED[:10].decode()},{digest('key-of-stripe', text=TIMED).hex()}",
    ("stripe", "other_text"): f"t={TIMED[:10].decode()},v1={digest('key-of-stripe').hex()}",
    ("stripe", "timestamp_unreadable"): f"t=now,v1={digest('key-of-stripe', text=TIMED).hex()}",
    ("api-key", "base64"): in_base64(b"it's a key: 100%"),
    ("api-key", "prefixed"): "Token it's a key: 100%",
    ("api-key", "old_secret"): "retired",
    ("api-key", "other_account:stripe"): "key-of-stripe",
    ("api-key", "unknown_secret"): "a guess",
    ("bearer", "unprefixed"): "key-of-bearer",
    ("bearer", "prefixed"): "Bearer Token key-of-bearer",
    ("basic", "other_user"): f"Basic {in_base64(b'other:pass word')}",
    ("basic", "unprefixed"): in_base64(b"shop:pass word"),
    ("basic", "unknown_secret"): "Basic %%%",
}


@pytest.mark.parametrize(("name", "likely"), list(MISTAKES))
def test_what_is_wrong_with_a_credential_is_found_for_every_scheme(
    environ: dict[str, str], name: str, likely: str
) -> None:
    accounts = dict(Settings.from_env({**environ, **ENVIRON}).accounts)
    accounts[name] = replace(accounts[name], retired_secrets=("retired",))
    header = accounts[name].signature.header_names[0]
    found = diagnose(evidence(accounts[name], {header: MISTAKES[name, likely]}), accounts)
    assert found == likely
    assert likely.partition(":")[0] in CAUSES


@every_account
def test_nothing_that_comes_breaks_the_diagnosis_of_any_scheme(
    environ: dict[str, str], name: str
) -> None:
    accounts = Settings.from_env({**environ, **ENVIRON}).accounts
    for value in ("", " ", "=", "é" * 300, "\x00", "t=,v1=", "Basic", "Basic =", "v1,", "0" * 64):
        headers = dict.fromkeys(accounts[name].signature.header_names, value)
        for body in (b"", b"\xff", b"{}" * 500_000):
            sent = Sent(headers, body, value)
            found = diagnose(Evidence(name, sent, "malformed", NOW), accounts)
            assert found in {"unknown_secret", "timestamp_unreadable"}


@every_account
def test_what_is_sent_for_a_trial_is_accepted_and_shows_no_secret(
    signing_web: Web, sessions: Sessions, name: str
) -> None:
    secret = ACCOUNTS[name][1]
    url = f"http://127.0.0.1:{signing_web.port}"
    known = {setting: value for setting, value in ENVIRON.items() if setting.startswith("COURIER")}
    done = run_command({**known, "DATA_DIR": "/nowhere"}, "send", name, "--url", url)
    assert done.exit_code == 0, done.output
    dry = run_command({**known, "DATA_DIR": "/nowhere"}, "send", name, "--dry-run", "--json")
    for shown in (done.output, dry.output):
        assert secret not in shown
        assert in_base64(secret.encode()) not in shown


def test_the_commands_that_are_printed_at_the_start_work(environ: dict[str, str]) -> None:
    settings = Settings.from_env({**environ, **ENVIRON})
    lines = banner_text(settings, {}, [Path("log")]).splitlines()
    assert any("/webhooks/in-url/orders/token-of-the-url" in line for line in lines)
    [row] = [line for line in lines if "/webhooks/basic/orders (" in line]
    assert "needs user name and password in the header Authorization" in row
    [bearer] = [line for line in lines if "curl" in line and "/webhooks/bearer/orders " in line]
    assert "-H 'Authorization: Bearer key-of-bearer'" in bearer
    # A signature with a timestamp would soon be too old.
    for name in ("stripe", "standard"):
        assert [line.split()[:3] for line in lines if f"send {name} " in line] == [
            ["ordertrail", "send", name]
        ]
