"""The environment, read once: every fault in one report, and no secret in any."""

import re
from collections.abc import Mapping
from dataclasses import FrozenInstanceError
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from receiver.couriers import DRIVERS
from receiver.couriers.signatures import (
    BasicCredentials,
    HeaderToken,
    Hmac,
    Scheme,
    StandardWebhooks,
    TokenInUrl,
)
from receiver.settings import ACCOUNT, ACCOUNT_NAME, GENERAL, BadSettings, Settings
from tests.service import ROOT

REQUIRED = {
    "DATABASE_URL": "postgresql://ordertrail:db-secret@db.example:5432/ordertrail",
    "REDIS_URL": "redis://:redis-secret@cache.example:6379/0",
    "API_TOKENS": "api-secret-of-the-shop",
}

# Makes a token long enough.
LONG = "-0123456789abcdef"


def settings(**given: str) -> Settings:
    """What the required names and these make."""
    return Settings.from_env({**REQUIRED, **given})


def faults(environ: Mapping[str, str]) -> list[str]:
    """What is wrong with an environment, a line each."""
    with pytest.raises(BadSettings) as raised:
        Settings.from_env(environ)
    assert str(raised.value).splitlines()[1:] == [f"  {fault}" for fault in raised.value.faults]
    return raised.value.faults


def fault(**given: str) -> str:
    """The one thing that is wrong with these, beside what is required."""
    [only] = faults({**REQUIRED, **given})
    return only


# What is given


def test_only_three_names_are_required() -> None:
    read = settings()
    assert (read.host, read.port, read.data_dir) == ("127.0.0.1", 8000, Path(".data"))
    assert read.max_body_bytes == 1_048_576
    assert read.poll_interval_factor == 1.0
    assert (read.inbox_retention_days, read.personal_data_retention_days) == (90, 90)
    assert (read.order_retention_days, read.archive_dir) == (None, None)
    assert (read.metrics_token, read.alert_urls, read.accounts) == (None, (), {})


def test_what_is_given_counts() -> None:
    read = settings(
        HOST="::1",
        PORT="9000",
        DATA_DIR="/srv/order trail",
        API_TOKENS=f"one{LONG}, two{LONG},,three{LONG} ",
        METRICS_TOKEN=f"scrape{LONG}",
        MAX_BODY_BYTES="1000",
        POLL_INTERVAL_FACTOR="0.001",
        INBOX_RETENTION_DAYS="7",
        PERSONAL_DATA_RETENTION_DAYS="30",
        ORDER_RETENTION_DAYS="365",
        ARCHIVE_DIR="/srv/archive",
        ALERT_URLS="json://a,json://b",
    )
    assert (read.host, read.port, read.data_dir) == ("::1", 9000, Path("/srv/order trail"))
    assert [(token.name, token.value) for token in read.api_tokens] == [
        ("api-1", f"one{LONG}"),
        ("api-2", f"two{LONG}"),
        ("api-3", f"three{LONG}"),
    ]
    assert (read.metrics_token, read.max_body_bytes) == (f"scrape{LONG}", 1000)
    assert read.poll_interval_factor == 0.001
    assert (read.inbox_retention_days, read.personal_data_retention_days) == (7, 30)
    assert (read.order_retention_days, read.archive_dir) == (365, Path("/srv/archive"))
    assert read.alert_urls == ("json://a", "json://b")


def test_an_empty_value_counts_as_not_given() -> None:
    empty = dict.fromkeys([*GENERAL.fields, "COURIER_TIRAMIZOO_SECRETS", "PORT_FILE"], "")
    assert Settings.from_env({**empty, **REQUIRED}) == settings()


def test_runbook_links_lead_to_the_console_or_to_another_page() -> None:
    found = settings(PUBLIC_URL="https://ordertrail.shop.example/")
    assert found.runbook_base == "https://ordertrail.shop.example/ops/runbook"
    found = settings(RUNBOOK_URL="https://wiki.shop.example/ordertrail")
    assert found.runbook_base == "https://wiki.shop.example/ordertrail"


def test_names_of_others_are_left_alone() -> None:
    assert settings(PATH="/bin", COURIERS="3", SSL_CERT_FILE="/nowhere", LOG_FILE="x") == settings()


def test_the_addresses_may_be_of_every_kind_that_is_documented() -> None:
    for url in ("postgresql:///ordertrail?host=/run", "postgres://db/x", "postgresql+psycopg://db"):
        assert settings(DATABASE_URL=url).database_url == url
    for url in (
        "rediss://cache.example/1",
        "unix:///run/valkey.sock?db=1",
        "redis+sentinel://one:26379,two:26379/mymaster/0",
    ):
        assert settings(REDIS_URL=url).redis_url == url


# Faults


def test_all_faults_are_told_together() -> None:
    told = faults(
        {
            "REDIS_URL": "http://cache.example",
            "API_TOKENS": " , ",
            "PORT": "http",
            "MAX_BODY_BYTES": "0",
            "POLL_INTERVAL_FACTOR": "0",
            "INBOX_RETENTION_DAYS": "-1",
            "METRICS_TOKEN_FILE": "/nowhere/at/all",
            "COURIER_TIRAMIZOO_SECRETS": "two words",
            "COURIER_TIRAMIZOO_CONFIRM": "some",
            "COURIER_MUNICH_SECRETS": "x",
            "COURIER_SHIPMENTAPI_SECRETS": "x",
            "COURIER_SHIPMENTAPI_FIELDS": "[1]",
            "COURIER_COTTONCAST_SECRET": "x",
        }
    )
    names = sorted(re.split(r"[ :]", line)[0] for line in told)
    assert names == [
        "API_TOKENS",
        "COURIER_COTTONCAST_SECRET",
        "COURIER_MUNICH_DRIVER",
        "COURIER_SHIPMENTAPI_FIELDS",
        "COURIER_TIRAMIZOO_CONFIRM",
        "DATABASE_URL",
        "INBOX_RETENTION_DAYS",
        "MAX_BODY_BYTES",
        "METRICS_TOKEN_FILE",
        "POLL_INTERVAL_FACTOR",
        "PORT",
        "REDIS_URL",
    ]


def test_every_required_name_that_is_missing_is_named() -> None:
    assert [line.partition(":")[0] for line in faults({})] == sorted(REQUIRED)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://db/x"),
        ("DATABASE_URL", "ordertrail"),
        ("DATABASE_URL", "postgresql://db:port/x"),
        ("REDIS_URL", "http://cache"),
        ("REDIS_URL", "redis://cache:port/0"),
        ("REDIS_URL", "redis://cache:0/0"),
        ("REDIS_URL", "redis+sentinel://one:port/mymaster"),
        ("API_TOKENS", ","),
        ("API_TOKENS", "0123456789abcde"),
        ("API_TOKENS", "0123456789abcdef,0123456789abcde"),
        ("METRICS_TOKEN", "0123456789abcde"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("MAX_BODY_BYTES", "0"),
        ("MAX_BODY_BYTES", "1 MB"),
        ("POLL_INTERVAL_FACTOR", "0"),
        ("POLL_INTERVAL_FACTOR", "-1"),
        ("POLL_INTERVAL_FACTOR", "nan"),
        ("POLL_INTERVAL_FACTOR", "inf"),
        ("INBOX_RETENTION_DAYS", "0"),
        ("PERSONAL_DATA_RETENTION_DAYS", "soon"),
        ("ORDER_RETENTION_DAYS", "29"),
        ("COURIER_TIRAMIZOO_DRIVER", "tiramisu"),
        ("COURIER_TIRAMIZOO_API_URL", "ftp://courier.example"),
        ("COURIER_TIRAMIZOO_UNKNOWN_ORDERS", "maybe"),
        ("COURIER_TIRAMIZOO_CONFIRM", "some"),
        ("COURIER_SHIPMENTAPI_ORDER_PATH", "/orders"),
        ("COURIER_SHIPMENTAPI_ORDER_PATH", "orders/{id}"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    account = name.removeprefix("COURIER_").partition("_")[0]
    secrets = {f"COURIER_{account}_SECRETS": "x"} if name.startswith("COURIER_") else {}
    told = fault(**{**secrets, name: value})
    assert told.startswith(f"{name}: ")


@pytest.mark.parametrize(
    "name",
    [
        "COURIER_TIRAMIZOO_SECRET",
        "COURIER_TIRAMIZOO_TOKENS",
        "COURIER_SECRETS",
        "COURIER_tira_SECRETS",
    ],
)
def test_a_courier_setting_that_does_not_exist_is_named(name: str) -> None:
    assert fault(**{name: "x"}).startswith(f"{name} is not a setting")


# Values from files


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    def file(value: str) -> str:
        path = tmp_path / str(len(list(tmp_path.iterdir())))
        path.write_text(value, encoding="utf-8")
        return str(path)

    read = Settings.from_env(
        {
            "DATABASE_URL_FILE": file(REQUIRED["DATABASE_URL"] + "\n"),
            "REDIS_URL_FILE": file(REQUIRED["REDIS_URL"]),
            "API_TOKENS_FILE": file(f"one{LONG},two{LONG}\n"),
            "PORT_FILE": file(" 9000 \n"),
            "COURIER_TIRAMIZOO_MUNICH_DRIVER_FILE": file("tiramizoo"),
            "COURIER_TIRAMIZOO_MUNICH_SECRETS_FILE": file("new,old\n"),
        }
    )
    assert read.database_url == REQUIRED["DATABASE_URL"]
    assert [token.value for token in read.api_tokens] == [f"one{LONG}", f"two{LONG}"]
    assert read.port == 9000
    assert read.accounts["tiramizoo-munich"].secrets == ("new", "old")


def test_a_token_of_sixteen_characters_is_long_enough_and_a_short_one_is_not_shown() -> None:
    read = settings(API_TOKENS="0123456789abcdef", METRICS_TOKEN="fedcba9876543210")
    assert read.api_tokens[0].value == "0123456789abcdef"
    assert read.metrics_token == "fedcba9876543210"
    told = fault(API_TOKENS="0123456789abcdef,hunter2")
    assert "no. 2" in told
    assert "hunter2" not in told


def test_a_token_may_have_a_name_before_its_first_colon() -> None:
    read = settings(
        API_TOKENS="shop: 0123456789abcdef:1,fedcba9876543210", READ_TOKENS="00112233445566778"
    )
    tokens = [(token.name, token.value, token.may_write) for token in read.tokens]
    assert tokens == [
        ("shop", "0123456789abcdef:1", True),
        ("api-2", "fedcba9876543210", True),
        ("read-1", "00112233445566778", False),
    ]
    assert "0123456789abcdef" not in repr(read)


@pytest.mark.parametrize(
    ("api_tokens", "read_tokens", "name"),
    [
        ("sh\x1bop:0123456789abcdef", "", "API_TOKENS"),
        (f"{'x' * 65}:0123456789abcdef", "", "API_TOKENS"),
        (":0123456789abcdef", "", "API_TOKENS"),
        ("shop:0123456789abcde", "", "API_TOKENS"),
        ("shop:0123456789abcdef,shop:fedcba9876543210", "", "API_TOKENS"),
        ("api-2:0123456789abcdef,fedcba9876543210", "", "API_TOKENS"),
        ("a:0123456789abcdef,b:0123456789abcdef", "", "API_TOKENS"),
        ("0123456789abcdef", "0123456789abcdef", "READ_TOKENS"),
        ("shop:0123456789abcdef", "shop:fedcba9876543210", "READ_TOKENS"),
        ("0123456789abcdef", "short", "READ_TOKENS"),
        ("0123456789abcdef", ",", "READ_TOKENS"),
    ],
)
def test_tokens_that_cannot_be_told_apart_or_named_are_faults(
    api_tokens: str, read_tokens: str, name: str
) -> None:
    told = fault(API_TOKENS=api_tokens, READ_TOKENS=read_tokens)
    assert told.startswith(f"{name}: ")
    assert "0123456789abcde" not in told


def test_a_name_given_twice_is_a_fault(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("x")
    assert fault(API_TOKENS_FILE=str(file)) == (
        "API_TOKENS and API_TOKENS_FILE are both set: keep one"
    )


def test_a_file_that_cannot_be_read_is_told_once_and_not_as_missing(tmp_path: Path) -> None:
    environ = {**REQUIRED, "API_TOKENS_FILE": str(tmp_path / "gone")}
    del environ["API_TOKENS"]
    [told] = faults(environ)
    assert told.startswith("API_TOKENS_FILE cannot be read: ")
    assert str(tmp_path / "gone") in told
    (tmp_path / "binary").write_bytes(b"\xff")
    [told] = faults({**environ, "API_TOKENS_FILE": str(tmp_path / "binary")})
    assert told.startswith("API_TOKENS_FILE cannot be read: ")


@pytest.mark.parametrize("name", ["DATABASE_URL", "REDIS_URL", "API_TOKENS"])
def test_an_empty_file_of_a_required_name_is_a_fault(name: str, tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.write_text("\n")
    environ = {**REQUIRED, f"{name}_FILE": str(file)}
    del environ[name]
    [told] = faults(environ)
    assert told.startswith(name)


def test_an_empty_file_of_an_optional_name_leaves_the_default(tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.write_text("\n")
    files = {f"{name}_FILE": str(file) for name in ("PORT", "METRICS_TOKEN", "ALERT_URLS")}
    assert settings(**files, COURIER_TIRAMIZOO_SECRETS_FILE=str(file)) == settings()


# Accounts


def test_an_account_is_switched_on_by_its_secrets() -> None:
    read = settings(COURIER_TIRAMIZOO_SECRETS="new,old", COURIER_COTTONCAST_API_TOKEN="x")
    assert list(read.accounts) == ["tiramizoo"]
    account = read.accounts["tiramizoo"]
    assert (account.slug, account.driver, account.secrets) == (
        "tiramizoo",
        "tiramizoo",
        ("new", "old"),
    )
    assert (account.api_url, account.api_user, account.api_token) == (None, None, None)
    assert (account.parks_unknown_orders, account.confirm) == (False, "none")
    assert (account.order_path, account.field_map) == (None, {})


def test_a_shop_may_hold_several_accounts_with_one_courier() -> None:
    read = settings(
        COURIER_TIRAMIZOO_SECRETS="berlin",
        COURIER_TIRAMIZOO_MUNICH_DRIVER="tiramizoo",
        COURIER_TIRAMIZOO_MUNICH_SECRETS="munich",
        COURIER_TIRAMIZOO_MUNICH_UNKNOWN_ORDERS="park",
        COURIER_TIRAMIZOO_MUNICH_API_URL="https://munich.example/api",
        COURIER_TIRAMIZOO_MUNICH_API_TOKEN="munich-api",
        COURIER_TIRAMIZOO_MUNICH_CONFIRM="terminal",
        COURIER_2_DRIVER="cottoncast",
        COURIER_2_SECRETS="any key: ä/%",
    )
    assert sorted(read.accounts) == ["2", "tiramizoo", "tiramizoo-munich"]
    munich = read.accounts["tiramizoo-munich"]
    assert (munich.slug, munich.driver, munich.secrets) == (
        "tiramizoo-munich",
        "tiramizoo",
        ("munich",),
    )
    assert munich.parks_unknown_orders
    assert (munich.api_url, munich.api_token) == ("https://munich.example/api", "munich-api")
    assert munich.confirm == "terminal"
    assert read.accounts["tiramizoo"].secrets == ("berlin",)
    assert read.accounts["2"].driver == "cottoncast"


def test_an_account_whose_name_ends_like_a_setting_is_read_right() -> None:
    read = settings(
        COURIER_FAST_API_DRIVER="shipmentapi",
        COURIER_FAST_API_SECRETS="x",
        COURIER_FAST_API_API_TOKEN="y",
        COURIER_FAST_API_ORDER_PATH="/v2/orders/{id}",
    )
    assert list(read.accounts) == ["fast-api"]
    assert read.accounts["fast-api"].api_token == "y"
    assert read.accounts["fast-api"].order_path == "/v2/orders/{id}"


def test_an_account_of_an_unknown_name_must_say_its_driver() -> None:
    told = fault(COURIER_MUNICH_SECRETS="x")
    assert told.startswith("COURIER_MUNICH_DRIVER: ")
    assert "tiramizoo" in told


@pytest.mark.parametrize("token", ["two words", "a/b", "a?b", "a#b", "a%20b", "ä", "a+b", "a:b"])
def test_a_token_that_does_not_survive_in_a_url_is_a_fault(token: str) -> None:
    for account in ("TIRAMIZOO", "SHIPMENTAPI"):
        told = fault(**{f"COURIER_{account}_SECRETS": f"fine,{token}"})
        assert told.startswith(f"COURIER_{account}_SECRETS: ")
        assert token not in told


def test_a_token_may_hold_every_character_that_survives_in_a_url() -> None:
    token = "AZaz09._~-"
    assert settings(COURIER_TIRAMIZOO_SECRETS=token).accounts["tiramizoo"].secrets == (token,)


def test_a_signing_key_may_hold_anything_but_a_comma() -> None:
    read = settings(COURIER_COTTONCAST_SECRETS="k y/?#%ä:+,old")
    assert read.accounts["cottoncast"].secrets == ("k y/?#%ä:+", "old")


# The field map


def signed_as(setting: str, secret: str = "a-key") -> dict[str, str]:
    return {"COURIER_TIRAMIZOO_SECRETS": secret, "COURIER_TIRAMIZOO_SIGNATURE": setting}


@pytest.mark.parametrize(
    ("setting", "scheme"),
    [
        ('{"header": "X-Sig"}', Hmac("X-Sig")),
        (
            """{"header": "X-Sig", "algorithm": "sha1", "encoding": "base64", "prefix": "sha1=",
            "key": "hex", "signed": "{timestamp}.{body}", "timestamp_header": "X-Time",
            "tolerance_seconds": 60}""",
            Hmac(
                "X-Sig",
                algorithm="sha1",
                encoding="base64",
                prefix="sha1=",
                key="hex",
                signed="{timestamp}.{body}",
                timestamp_header="X-Time",
                tolerance_seconds=60,
            ),
        ),
        (
            """{"header": "X-Sig", "algorithm": "sha256", "encoding": "hex", "prefix": "",
            "key": "text", "signed": "{body}", "timestamp_header": null,
            "tolerance_seconds": 300}""",
            Hmac("X-Sig"),
        ),
        ('{"header": "X-Key", "compare": "token"}', HeaderToken("X-Key")),
        ('{"header": "X-Auth", "compare": "basic"}', BasicCredentials("X-Auth")),
        ('{"compare": "basic"}', BasicCredentials()),
        ('{"scheme": "standard-webhooks"}', StandardWebhooks()),
        ('{"scheme": "token-in-url"}', TokenInUrl()),
    ],
)
def test_an_account_says_how_its_webhooks_are_signed(setting: str, scheme: Scheme) -> None:
    secret = "user:00ff" if "basic" in setting else "00ff"
    [account] = settings(**signed_as(setting, secret)).accounts.values()
    assert account.signature == scheme


def test_without_the_setting_the_courier_says_how_its_webhooks_are_signed() -> None:
    accounts = settings(COURIER_TIRAMIZOO_SECRETS="t", COURIER_COTTONCAST_SECRETS="k").accounts
    assert accounts["tiramizoo"].signature == TokenInUrl()
    assert accounts["cottoncast"].signature == Hmac("Cottoncast-Authentication")


@pytest.mark.parametrize(
    ("setting", "why"),
    [
        ("X-Signature", "is not JSON: "),
        ('["X-Signature"]', "is not a JSON object"),
        ("{}", "header: is missing: the name of the header with the credential"),
        ('{"header": null}', "header: Field may not be null."),
        ('{"header": 5}', "header: Not a valid string."),
        ('{"header": ""}', "header: is no header's name that reaches us"),
        ('{"header": "X Sig"}', "header: is no header's name"),
        ('{"header": "X_Sig"}', "header: is no header's name"),
        ('{"header": "X-Sig\\n"}', "header: is no header's name"),
        ('{"header": "X-Sig", "algoritm": "sha1"}', "algoritm: is not a key of this form"),
        ('{"header": "X-Sig", "algorithm": "md5"}', "algorithm: Must be one of: sha256, sha1,"),
        ('{"header": "X-Sig", "encoding": "base32"}', "encoding: Must be one of: hex, base64,"),
        ('{"header": "X-Sig", "key": "pem"}', "key: Must be one of: text, hex, base64."),
        ('{"header": "X-Sig", "separator": ";"}', "separator: Must be one of: "),
        ('{"header": "X-Sig", "prefix": null}', "prefix: Field may not be null."),
        ('{"header": "X-Sig", "tolerance_seconds": 0}', "tolerance_seconds: Must be greater"),
        ('{"header": "X-Sig", "tolerance_seconds": "300"}', "tolerance_seconds: Not a valid"),
        ('{"header": "X-Sig", "tolerance_seconds": true}', "tolerance_seconds: Not a valid"),
        ('{"header": "X-Sig", "signed": "{bdy}{body}"}', "signed: only {body}, {timestamp} and"),
        ('{"header": "X-Sig", "signed": ""}', "signed: without {body}"),
        ('{"header": "X-Sig", "signed": "{timestamp}{body}"}', "signed: {timestamp} needs"),
        ('{"header": "X-Sig", "timestamp_header": "X-Time"}', "signed: without {timestamp}"),
        (
            '{"header": "X-Sig", "timestamp_prefix": "t=", "signed": "{timestamp}{body}"}',
            "timestamp_prefix: needs separator",
        ),
        ('{"header": "X-Sig", "prefix": "a,", "separator": ","}', "prefix: must not contain"),
        ('{"header": "X-Sig", "compare": "plain"}', "compare: Must be one of: token, basic."),
        ('{"header": "X-Sig", "compare": ["token"]}', "compare: Must be one of: token, basic."),
        ('{"compare": "token"}', "header: is missing"),
        ('{"header": "X-Sig", "compare": "token", "key": "hex"}', "key: is not a key of this"),
        ('{"scheme": "rsa"}', "scheme: Must be one of: standard-webhooks, token-in-url."),
        ('{"scheme": "standard-webhooks", "header": "X"}', "header: is not a key of this form"),
    ],
)
def test_what_is_no_signature_is_a_fault_that_says_why(setting: str, why: str) -> None:
    told = fault(**signed_as(setting))
    assert told.startswith(f"COURIER_TIRAMIZOO_SIGNATURE: {why}")


def test_all_faults_of_a_signature_are_told() -> None:
    given = signed_as('{"heder": "X-Sig", "key": "pem"}')
    told = faults({**REQUIRED, **given})
    assert [fault.split(": ")[1] for fault in told] == ["header", "heder", "key"]


@pytest.mark.parametrize(
    ("setting", "secret"),
    [
        ('{"scheme": "token-in-url"}', "not/in/a/url"),
        ('{"header": "X-Sig", "key": "hex"}', "xyz-secret"),
        ('{"header": "X-Sig", "key": "base64"}', "not*base64"),
        ('{"scheme": "standard-webhooks"}', "whsec_"),
        ('{"compare": "basic"}', "no-colon"),
    ],
)
def test_a_secret_that_cannot_be_one_of_the_signature_is_a_fault_without_it(
    setting: str, secret: str
) -> None:
    told = fault(**signed_as(setting, secret))
    assert told.startswith("COURIER_TIRAMIZOO_SECRETS: ")
    assert secret not in told


def test_a_field_map_is_kept_as_it_is() -> None:
    told = '{"courier_status": "order.state", "statuses": {"Zugestellt": "delivered"}}'
    read = settings(COURIER_SHIPMENTAPI_SECRETS="x", COURIER_SHIPMENTAPI_FIELDS=told)
    assert read.accounts["shipmentapi"].field_map == {
        "courier_status": "order.state",
        "statuses": {"Zugestellt": "delivered"},
    }


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("{", "not JSON"),
        ("[]", "not a JSON object"),
        ('"status"', "not a JSON object"),
        ('{"curier_status": "status"}', "'curier_status'"),
        ('{"courier_status": "a["}', "courier_status"),
        ('{"courier_status": ""}', "courier_status"),
        ('{"courier_status": 7}', "courier_status"),
        ('{"courier_status": null}', "courier_status"),
        ('{"courier_status": ["a"]}', "courier_status"),
        ('{"statuses": "delivered"}', "statuses"),
        ('{"statuses": {"Zugestellt": "deliverd"}}', "'deliverd'"),
        ('{"statuses": {"Zugestellt": null}}', "'Zugestellt'"),
        ('{"statuses": {"Zugestellt": ["delivered"]}}', "'Zugestellt'"),
        ('{"reference": "a", "reference": "b"}', "the key 'reference' is there twice"),
        (f'{{"statuses": {"[" * 100_000}', "is nested too deeply"),
    ],
)
def test_a_bad_field_map_is_told_with_what_is_wrong(told: str, why: str) -> None:
    line = fault(COURIER_SHIPMENTAPI_SECRETS="x", COURIER_SHIPMENTAPI_FIELDS=told)
    assert line.startswith("COURIER_SHIPMENTAPI_FIELDS: ")
    assert why in line


def test_every_fault_of_a_field_map_is_told() -> None:
    told = '{"a": "b", "reason": "[", "statuses": {"x": "y"}}'
    lines = faults(
        {**REQUIRED, "COURIER_SHIPMENTAPI_SECRETS": "x", "COURIER_SHIPMENTAPI_FIELDS": told}
    )
    assert len(lines) == 3


def test_a_courier_that_is_not_read_through_a_field_map_takes_none() -> None:
    line = fault(COURIER_TIRAMIZOO_SECRETS="x", COURIER_TIRAMIZOO_FIELDS='{"reason": "x"}')
    assert line.startswith("COURIER_TIRAMIZOO_FIELDS: ")


# Secrets


def test_no_secret_is_in_what_is_printed_of_the_settings() -> None:
    read = settings(
        METRICS_TOKEN="metrics-secret-of-the-scraper",
        ALERT_URLS="mailto://user:alert-secret@mail.example",
        COURIER_TIRAMIZOO_SECRETS="token-secret",
        COURIER_TIRAMIZOO_API_TOKEN="courier-secret",
        COURIER_COTTONCAST_SECRETS="key-secret",
    )
    assert "secret" not in repr(read).replace("secrets", "")
    assert "tiramizoo" in repr(read)


def test_no_secret_is_in_a_report_of_faults() -> None:
    told = faults(
        {
            "DATABASE_URL": "mysql://user:db-secret@db/x",
            "REDIS_URL": "http://:redis-secret@cache",
            "API_TOKENS": ",",
            "COURIER_TIRAMIZOO_SECRETS": "token secret",
            "COURIER_SHIPMENTAPI_API_TOKEN": "api-secret",
            "COURIER_SHIPMENTAPI_API_URL": "user:secret@courier.example",
            "COURIER_SHIPMENTAPI_SECRET": "typo-secret",
        }
    )
    assert len(told) == 6
    assert [line for line in told if "secret" in line] == []


def test_settings_do_not_change() -> None:
    read: Any = settings(COURIER_TIRAMIZOO_SECRETS="x")
    with pytest.raises(FrozenInstanceError):
        read.port = 1
    with pytest.raises(FrozenInstanceError):
        read.accounts["tiramizoo"].secrets = ()
    with pytest.raises(TypeError):
        read.accounts["another"] = None


# deploy/env.example

LINE = re.compile(r"(?P<optional>#?)(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)")


def example() -> dict[str, re.Match[str]]:
    """The settings in deploy/env.example, by name."""
    lines = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8").splitlines()
    found = [match for line in lines if (match := LINE.fullmatch(line))]
    assert len({match["name"] for match in found}) == len(found)
    return {match["name"]: match for match in found}


def test_the_example_names_exactly_the_settings_that_there_are() -> None:
    general = {name for name in example() if not name.startswith("COURIER_")}
    assert general == set(GENERAL.fields)
    of_accounts = [ACCOUNT_NAME.fullmatch(name) for name in example().keys() - general]
    declared = {name for driver in DRIVERS.values() for name in driver.settings}
    assert {match["setting"] for match in of_accounts if match} == {*ACCOUNT.fields, *declared}
    assert None not in of_accounts


def test_the_example_shows_the_defaults() -> None:
    empty = {None: "", (): "", dict: "{}"}
    for name, match in example().items():
        account = ACCOUNT_NAME.fullmatch(name)
        declared = DRIVERS.get(account["account"].lower()) if account else None
        settings_of = {**ACCOUNT.fields, **(declared.settings if declared else {})}
        field = settings_of[account["setting"]] if account else GENERAL.fields[name]
        if field.required:
            assert (match["optional"], match["value"]) == ("", ""), name
        elif account and account["setting"] == "DRIVER":
            assert match["optional"] == "#", name
        else:
            default = field.load_default
            shown = empty.get(default, str(default)) if not callable(default) else "{}"
            assert (match["optional"], match["value"]) == ("#", shown), name


def test_the_example_is_refused_until_it_is_filled_in_and_then_works() -> None:
    given = {name: match["value"] for name, match in example().items() if not match["optional"]}
    assert [line.partition(":")[0] for line in faults(given)] == sorted(REQUIRED)
    assert Settings.from_env({**given, **REQUIRED}) == settings()
    everything = {name: match["value"] for name, match in example().items()}
    assert Settings.from_env({**everything, **REQUIRED}) == settings()


def test_the_example_says_what_each_setting_means() -> None:
    lines = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8").splitlines()
    for above, line in pairwise(lines):
        if LINE.fullmatch(line):
            # Names that belong together share the comment above the first of them.
            assert above.startswith("# ") or LINE.fullmatch(above), line


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("https://", "host"),
        ("https://a.example/api?key=1", "path"),
        ("https://a.example/api#top", "path"),
        ("https://user:word@a.example/api", "path"),
        ("https://a.example/my api", "space"),
        ("https://a.example/ü", "percent-encoding"),
        ("ftp://a.example", "http"),
    ],
)
def test_address_of_an_api_is_a_plain_one(url: str, why: str) -> None:
    told = fault(COURIER_TIRAMIZOO_API_URL=url)
    assert told.startswith("COURIER_TIRAMIZOO_API_URL: ")
    assert why in told
    assert "word" not in told


def test_slash_at_the_end_of_an_api_address_is_no_part_of_it() -> None:
    read = settings(
        COURIER_TIRAMIZOO_SECRETS="s",
        COURIER_TIRAMIZOO_API_URL="https://a.example/api/",
        COURIER_TIRAMIZOO_API_TOKEN="t",
    )
    access = read.accounts["tiramizoo"].access
    assert access is not None
    assert access.url == "https://a.example/api"


@pytest.mark.parametrize(
    ("account", "given", "polled"),
    [
        ("TIRAMIZOO", {"API_TOKEN": "t"}, True),
        ("COTTONCAST", {"API_TOKEN": "t"}, False),
        ("COTTONCAST", {"API_TOKEN": "t", "API_USER": "shop"}, True),
        ("SHIPMENTAPI", {"API_TOKEN": "t"}, False),
        ("SHIPMENTAPI", {"API_TOKEN": "t", "API_URL": "https://s.example"}, True),
    ],
)
def test_account_is_polled_where_all_that_its_courier_asks_for_is_given(
    account: str, given: dict[str, str], polled: bool
) -> None:
    own = {f"COURIER_{account}_{name}": value for name, value in given.items()}
    read = settings(**{f"COURIER_{account}_SECRETS": "s", **own})
    assert (read.accounts[account.lower()].access is not None) == polled


# Pushing to the shop

SHOP = {"PUSH_URL": "https://shop.example/hooks?shop=1"}
WEBHOOK_SECRET = "whsec_" + "A" * 32


def test_a_push_needs_an_address_and_secrets_of_standard_webhooks() -> None:
    other = f"whsec_{'Ab+/' * 21}Aw=="
    read = settings(**SHOP, PUSH_SECRET=f"{WEBHOOK_SECRET}, {other}")
    assert (read.push_url, read.push_secret) == (SHOP["PUSH_URL"], (WEBHOOK_SECRET, other))
    assert read.shown_push_url == "https://shop.example/hooks"
    assert "shop=1" not in repr(read)
    assert WEBHOOK_SECRET not in repr(read)
    # A secret alone does no harm: an address that is empty switches the push off.
    assert settings(PUSH_URL="", PUSH_SECRET=WEBHOOK_SECRET).push_url is None


def test_a_push_without_a_secret_is_refused_with_how_to_make_one() -> None:
    told = fault(**SHOP)
    assert told.startswith("PUSH_URL: needs PUSH_SECRET")
    assert "openssl rand" in told


@pytest.mark.parametrize(
    "secret",
    [
        "hunter-2",
        "A" * 32,
        "whsec_",
        "whsec_!!!!",
        "whsec_" + "A" * 28,
        "whsec_" + "A" * 33,
        "whsec_" + "A" * 88,
        "WHSEC_" + "A" * 32,
        "whsec_" + "-_-_" * 10,
        f"{WEBHOOK_SECRET},whsec_x",
    ],
)
def test_what_is_no_secret_of_standard_webhooks_is_refused_and_not_shown(secret: str) -> None:
    told = fault(**SHOP, PUSH_SECRET=secret)
    assert re.match(r"PUSH_SECRET: secret no\. [12] is not whsec_", told)
    assert (secret.removeprefix("whsec_") or "nothing") not in told


@pytest.mark.parametrize(
    "url",
    [
        "shop.example/hooks",
        "ftp://shop.example/hooks",
        "https:///hooks",
        "https://shop.example:0/hooks",
        "https://shop.example:port/hooks",
        "https://ann:password@shop.example/hooks",
        "https://shop.example/hooks#part",
        "https://shop.example/ho oks",
        "https://shöp.example/hooks",
    ],
)
def test_what_is_no_address_to_push_to_is_refused_and_not_shown(url: str) -> None:
    told = fault(PUSH_URL=url, PUSH_SECRET=WEBHOOK_SECRET)
    assert told.startswith("PUSH_URL: ")
    assert "password@" not in told


def test_a_private_address_may_be_pushed_to() -> None:
    for url in ("http://10.1.2.3/hooks", "http://127.0.0.1:8080/", "https://[fd00::1]/hooks"):
        assert settings(PUSH_URL=url, PUSH_SECRET=WEBHOOK_SECRET).push_url == url
