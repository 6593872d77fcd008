"""Read and check the environment: one frozen `Settings` object, built once and handed down.

All faults are reported together, so that they can be corrected in one go.
"""

import json
import re
from base64 import b64decode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import available_timezones

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate, validates_schema

from receiver.access.tokens import (
    TOKEN_CHARACTERS,
    Token,
    find_faults,
    find_repetitions,
    read_tokens,
)
from receiver.couriers import DRIVERS
from receiver.couriers.contract import Access
from receiver.couriers.snapshot import MessageContext
from receiver.errors import OrdertrailError

# A secret of Standard Webhooks: this, and a key in base64.
WEBHOOK_SECRET = "whsec_"  # noqa: S105 (no secret)
WEBHOOK_KEY_BYTES = range(24, 65)
NEW_SECRET = 'create one with `echo "whsec_$(openssl rand -base64 32)"`'  # noqa: S105
# A token is part of a URL's path: these characters need no encoding there.
URL_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")
# The address of this machine to connect to where the service listens on all of its addresses.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound to


class BadSettings(OrdertrailError):
    """The environment is not usable; the text lists every fault, one per line."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n  ".join(["Ordertrail cannot start:", *self.faults]))


@dataclass(frozen=True)
class Account:
    """One configured contract with a courier. Its slug is used in URLs and in every table."""

    slug: str
    driver: str
    secrets: tuple[str, ...] = field(repr=False)
    retired_secrets: tuple[str, ...] = field(default=(), repr=False)
    api_url: str | None = None
    api_user: str | None = None
    api_token: str | None = field(default=None, repr=False)
    parks_unknown_orders: bool = False
    field_map: Mapping[str, Any] = field(default_factory=dict)
    zone: str | None = None
    order_path: str = "/orders/{id}"
    confirm: str = "none"
    test: bool = False

    def env_name(self, setting: str) -> str:
        """Return the environment variable of one of the account's settings, such as SECRETS."""
        return f"COURIER_{self.slug.upper().replace('-', '_')}_{setting}"

    def message_context(self, received_at: datetime, kind: str) -> MessageContext:
        """Return what its driver needs beside the body of a message to decode it."""
        return MessageContext(received_at, kind, self.field_map, self.zone or "")

    @property
    def access(self) -> Access | None:
        """The address and credentials of its courier's API; None where they are incomplete."""
        api = DRIVERS[self.driver].api
        url = self.api_url or (api.url if api else None)
        if api is None or url is None or self.api_token is None:
            return None
        if api.needs_user and self.api_user is None:
            return None
        return Access(url.rstrip("/"), self.api_user, self.api_token, self.order_path)


@dataclass(frozen=True)
class Settings:
    """Everything that differs between installations.

    accounts: those that are on, by slug. test_accounts: the slugs of all test accounts, also of
    those that are off: their orders stay apart.
    """

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    api_tokens: tuple[Token, ...]
    read_tokens: tuple[Token, ...]
    accounts: Mapping[str, Account]
    test_accounts: frozenset[str]
    host: str
    port: int
    data_dir: Path
    metrics_token: str | None = field(repr=False)
    max_body_bytes: int
    poll_interval_factor: float
    inbox_retention_days: int
    personal_data_retention_days: int
    order_retention_days: int | None
    archive_dir: Path | None
    alert_urls: tuple[str, ...] = field(repr=False)
    heartbeat_url: str | None = field(repr=False)
    push_url: str | None = field(repr=False)
    push_secret: tuple[str, ...] = field(repr=False)
    public_url: str | None
    runbook_url: str | None
    request_log: str
    progress_path: Path | None
    sentry_dsn: str | None = field(repr=False)
    otel_exporter_otlp_endpoint: str | None

    def left_out_accounts(self, with_test: bool) -> frozenset[str]:
        """Return the accounts that lists leave out. with_test: test accounts were asked for."""
        return frozenset() if with_test else self.test_accounts

    @property
    def tokens(self) -> tuple[Token, ...]:
        """All bearer tokens: those that may do everything, and those that may only read."""
        return self.api_tokens + self.read_tokens

    @property
    def url(self) -> str:
        """The service's address for clients on this machine, without a slash at its end."""
        host = LOOPBACK.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def console_url(self) -> str:
        """The console's address for people, in pushes."""
        return f"{(self.public_url or self.url).rstrip('/')}/ops"

    @property
    def shown_push_url(self) -> str:
        """PUSH_URL for people and logs: without its query, which may hold a token."""
        return (self.push_url or "").partition("?")[0]

    @property
    def installation(self) -> str:
        """The name of this installation, for people who look after several."""
        return urlsplit(self.public_url or self.url).netloc

    @property
    def runbook_base(self) -> str:
        """The address of the runbook, without the section."""
        return self.runbook_url or f"{self.console_url}/runbook"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read and check an environment; NAME_FILE gives the value of NAME from a file.

        Raises: BadSettings with every fault.
        """
        values, faults = _with_files(environ)
        general = _load(GENERAL, values, faults)
        accounts, test_accounts = _accounts(values, faults)
        if general.get("PUSH_URL") and not general["PUSH_SECRET"]:
            faults.append(f"PUSH_URL: needs PUSH_SECRET, which signs what is sent: {NEW_SECRET}")
        if faults:
            raise BadSettings(sorted(faults))
        for name in ("DATA_DIR", "PROGRESS_PATH", "ARCHIVE_DIR"):
            general[name] = Path(general[name]) if general[name] else None
        return cls(
            **{name.lower(): value for name, value in general.items()},
            accounts=MappingProxyType(accounts),
            test_accounts=test_accounts,
        )


class CommaList(fields.Field[tuple[str, ...]]):
    """A comma-separated list: `a, b` is read as ("a", "b")."""

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        return tuple(item.strip() for item in value.split(",") if item.strip())


class TokenList(fields.Field[tuple[Token, ...]]):
    """A comma-separated list of `token` or `name:token`. kind: `api` or `read`."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(validate=self._check, **options)
        self._kind = kind

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> tuple[Token, ...]:
        items = (item.strip() for item in value.split(","))
        return read_tokens([item for item in items if item], self._kind)

    @staticmethod
    def _check(tokens: tuple[Token, ...]) -> None:
        if faults := list(find_faults(tokens)) if tokens else ["contains no token"]:
            raise ValidationError(faults)


class JsonObject(fields.Field[dict[str, Any]]):
    """A JSON object in a string."""

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            parsed = json.loads(value)
        except ValueError as error:
            raise ValidationError(f"is not JSON: {error}") from None
        if not isinstance(parsed, dict):
            raise ValidationError("is not a JSON object")
        return parsed


def _scheme(*schemes: str) -> Callable[[str], None]:
    def check(url: str) -> None:
        try:
            parts = urlsplit(url)
            # Several Sentinels are a comma-separated list: one:26379,two:26379.
            hosts = parts.netloc.rpartition("@")[2].split(",")
            ports = [urlsplit(f"//{host}").port for host in hosts]
        except ValueError:
            raise ValidationError("is not a valid URL: check its host and port") from None
        if parts.scheme not in schemes or 0 in ports:
            raise ValidationError(f"must be a URL that starts with {' or '.join(schemes)}:")

    return check


def _base_address(url: str) -> None:
    """Check an address to which paths are appended and which is logged: no user, query or space."""
    _address(url)
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValidationError("must end with its path and contain no user name, `?` or `#`")


def _push_address(url: str) -> None:
    """Check the address that the change feed is pushed to. The signature shows who sends it."""
    _address(url)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValidationError("must contain no user and password: the shop checks the signature")
    if parts.fragment:
        raise ValidationError("must contain no `#`")


def _address(url: str) -> None:
    _scheme("http", "https")(url)
    if not urlsplit(url).hostname:
        raise ValidationError("must contain a host")
    if not url.isascii() or any(character.isspace() for character in url):
        raise ValidationError("must not contain spaces or characters that need percent-encoding")


def _apprise_addresses(urls: tuple[str, ...]) -> None:
    """Check addresses for alerts; a bad one is reported by its number, for it holds a password."""
    if not urls:
        return
    from apprise import Apprise  # noqa: PLC0415 (importing it takes half a second)

    bad = [str(place) for place, url in enumerate(urls, 1) if not Apprise().add(url)]
    if bad:
        raise ValidationError(f"Apprise does not recognize address no. {', '.join(bad)}")


def _sentry_dsn(url: str) -> None:
    _scheme("http", "https")(url)
    parts = urlsplit(url)
    if not (parts.username and parts.hostname and parts.path.rpartition("/")[2].isdecimal()):
        raise ValidationError("is not the DSN of a project: https://<key>@<host>/<number>")


def _installed(package: str, extra: str) -> Callable[[str], None]:
    def check(_given: str) -> None:
        try:
            version(package)
        except PackageNotFoundError:
            message = f"needs {package}, which is not installed: pip install 'ordertrail[{extra}]'"
            raise ValidationError(message) from None

    return check


def _long_token(token: str) -> None:
    if len(token) < TOKEN_CHARACTERS:
        least = f"{TOKEN_CHARACTERS} characters: create one with `openssl rand -hex 32`"
        raise ValidationError(f"has fewer than {least}")


def _webhook_secrets(secrets: Iterable[str]) -> None:
    """Check secrets of Standard Webhooks; a bad one is reported by its number."""
    bad = [str(place) for place, secret in enumerate(secrets, 1) if not _is_webhook_secret(secret)]
    if bad:
        form = f"whsec_ and 24 to 64 bytes in base64: {NEW_SECRET}"
        raise ValidationError(f"secret no. {', '.join(bad)} is not {form}")


def _is_webhook_secret(secret: str) -> bool:
    try:
        key = b64decode(secret.removeprefix(WEBHOOK_SECRET), validate=True)
    except ValueError:
        return False
    return secret.startswith(WEBHOOK_SECRET) and len(key) in WEBHOOK_KEY_BYTES


NOT_SET: dict[str, Any] = {"required": "is not set"}


def _required(*checks: Callable[[str], Any]) -> fields.String:
    return fields.String(required=True, validate=checks, error_messages=NOT_SET)


def _text(default: str | None = None, *checks: Callable[[str], Any]) -> fields.String:
    return fields.String(load_default=default, validate=checks)


def _choice(*choices: str) -> fields.String:
    return _text(choices[0], validate.OneOf(choices))


def _positive(default: int, most: int | None = None) -> fields.Integer:
    return fields.Integer(load_default=default, validate=validate.Range(1, most))


class _GeneralSchema(Schema):
    @validates_schema(skip_on_field_errors=False)
    def check_that_tokens_differ(self, general: dict[str, Any], **_options: Any) -> None:
        api_tokens: tuple[Token, ...] = general.get("API_TOKENS", ())
        known = list(find_repetitions(api_tokens))
        of_both = find_repetitions(api_tokens + general.get("READ_TOKENS", ()))
        added = [fault for fault in of_both if fault not in known]
        faults = {"API_TOKENS": known, "READ_TOKENS": added}
        if any(faults.values()):
            raise ValidationError({name: found for name, found in faults.items() if found})


# An empty value counts as not set, so that a line `NAME=` in an env file restores the default.
GENERAL = _GeneralSchema.from_dict(
    {
        "DATABASE_URL": _required(_scheme("postgresql", "postgres", "postgresql+psycopg")),
        "REDIS_URL": _required(_scheme("redis", "rediss", "unix", "redis+sentinel")),
        "API_TOKENS": TokenList("api", required=True, error_messages=NOT_SET),
        "READ_TOKENS": TokenList("read", load_default=()),
        "HOST": _text("127.0.0.1"),
        "PORT": _positive(8000, most=65535),
        "DATA_DIR": _text(".data"),
        "METRICS_TOKEN": _text(None, _long_token),
        "MAX_BODY_BYTES": _positive(1_048_576),
        "POLL_INTERVAL_FACTOR": fields.Float(
            load_default=1.0, validate=validate.Range(min=0, min_inclusive=False, max=1000)
        ),
        "INBOX_RETENTION_DAYS": _positive(90),
        "PERSONAL_DATA_RETENTION_DAYS": _positive(90),
        # Couriers repeat a webhook for three weeks; one about a removed order makes a new one.
        "ORDER_RETENTION_DAYS": fields.Integer(load_default=None, validate=validate.Range(30)),
        "ARCHIVE_DIR": _text(),
        "ALERT_URLS": CommaList(load_default=(), validate=_apprise_addresses),
        "HEARTBEAT_URL": _text(None, _scheme("http", "https")),
        "PUSH_URL": _text(None, _push_address),
        "PUSH_SECRET": CommaList(load_default=(), validate=_webhook_secrets),
        "PUBLIC_URL": _text(None, _base_address),
        "RUNBOOK_URL": _text(None, _scheme("http", "https")),
        "REQUEST_LOG": _choice("on", "off"),
        "PROGRESS_PATH": _text(None),
        "SENTRY_DSN": _text(None, _sentry_dsn, _installed("sentry-sdk", "sentry")),
        "OTEL_EXPORTER_OTLP_ENDPOINT": _text(
            None, _base_address, _installed("opentelemetry-instrumentation-flask", "opentelemetry")
        ),
    }
)()


class _AccountSchema(Schema):
    DRIVER = fields.String(validate=validate.OneOf(list(DRIVERS)))
    SECRETS = CommaList(load_default=())
    RETIRED_SECRETS = CommaList(load_default=())
    API_URL = _text(None, _base_address)
    API_USER = _text()
    API_TOKEN = _text()
    UNKNOWN_ORDERS = _choice("accept", "park")
    FIELDS = JsonObject(load_default=dict)
    ZONE = _text(None, validate.OneOf(available_timezones(), error="is no IANA time zone"))
    ORDER_PATH = _text(
        "/orders/{id}",
        validate.Regexp(r"^/.*\{id\}.*$", error="must start with / and contain {{id}}"),
    )
    CONFIRM = _choice("none", "terminal", "all")
    TEST = _choice("off", "on")

    @validates_schema
    def check_with_driver(self, account: dict[str, Any], **_options: Any) -> None:
        driver, secrets = DRIVERS[account["DRIVER"]], account["SECRETS"]
        faults: dict[str, list[str]] = {}
        if not driver.signed and not all(map(URL_TOKEN.fullmatch, secrets)):
            faults["SECRETS"] = ["a token is part of a URL: use only A-Z a-z 0-9 . _ ~ -"]
        if set(secrets) & set(account["RETIRED_SECRETS"]):
            faults["RETIRED_SECRETS"] = ["one is also in SECRETS: keep it in one of the two only"]
        if driver.check_field_map is not None:
            faults["FIELDS"] = driver.check_field_map(account["FIELDS"])
        elif account["FIELDS"]:
            faults["FIELDS"] = [f"{driver.name} does not use a field map"]
        if any(faults.values()):
            raise ValidationError(faults)


ACCOUNT = _AccountSchema()
ACCOUNT_NAME = re.compile(
    rf"COURIER_(?P<account>[A-Z0-9][A-Z0-9_]*?)_(?P<setting>{'|'.join(ACCOUNT.fields)})"
)


def _with_files(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the environment with each NAME_FILE replaced by NAME, and the faults found."""
    values = {name: value for name, value in environ.items() if value != ""}
    faults = []
    for file_name in [name for name in values if name.endswith("_FILE")]:
        name = file_name.removesuffix("_FILE")
        if name not in GENERAL.fields and not ACCOUNT_NAME.fullmatch(name):
            continue
        file = Path(values.pop(file_name))
        if name in values:
            faults.append(f"{name} and {file_name} are both set: keep one")
            continue
        try:
            value = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{file_name} cannot be read: {error}")
            continue
        if value:
            values[name] = value
    return values, faults


def _load(
    schema: Schema, values: Mapping[str, str], faults: list[str], prefix: str = ""
) -> dict[str, Any]:
    """Return the schema's values; add a fault for each name that it rejects."""
    try:
        return dict(schema.load(values, unknown=EXCLUDE))
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow's
        for name, lines in messages.items():
            if not any(fault.startswith(f"{prefix}{name}_FILE ") for fault in faults):
                faults += [f"{prefix}{name}: {line}" for line in lines]
        return {}


def _accounts(
    values: Mapping[str, str], faults: list[str]
) -> tuple[dict[str, Account], frozenset[str]]:
    """Return the accounts that have secrets, by slug, and the slugs of all test accounts."""
    named: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        if not name.startswith("COURIER_"):
            continue
        match = ACCOUNT_NAME.fullmatch(name)
        if match is None:
            faults.append(f"{name} is not a setting: see deploy/env.example for the names")
            continue
        named.setdefault(match["account"], {})[match["setting"]] = value
    accounts, test_accounts = {}, set()
    for name, given in named.items():
        account = _load(ACCOUNT, {"DRIVER": name.lower(), **given}, faults, f"COURIER_{name}_")
        slug = name.lower().replace("_", "-")
        is_test = account.pop("TEST", "off") == "on"
        if is_test:
            test_accounts.add(slug)
        if account.get("SECRETS"):
            accounts[slug] = Account(
                slug=slug,
                parks_unknown_orders=account.pop("UNKNOWN_ORDERS") == "park",
                field_map=account.pop("FIELDS"),
                test=is_test,
                **{setting.lower(): value for setting, value in account.items()},
            )
    return accounts, frozenset(test_accounts)
