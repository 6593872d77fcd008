"""The only reader of the environment: one frozen object, built once and handed down.

Every missing or bad name is reported together, so that an installation is mended in one go.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from receiver.couriers import DRIVERS
from receiver.couriers.contract import Access, Driver

ACCOUNT_NAME = re.compile(
    r"COURIER_(?P<account>[A-Z0-9][A-Z0-9_]*?)_"
    r"(?P<setting>SECRETS|RETIRED_SECRETS|DRIVER|API_URL|API_USER|API_TOKEN|UNKNOWN_ORDERS|FIELDS"
    r"|ORDER_PATH|CONFIRM)"
)
# A token stands in a URL's path: these characters arrive there as they are.
URL_TOKEN = re.compile(r"[A-Za-z0-9._~-]+")


class BadSettings(Exception):
    """The environment cannot be used; the text lists every fault, a line each."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n  ".join(["Ordertrail cannot start:", *self.faults]))


@dataclass(frozen=True)
class Account:
    """One configured contract with a courier. Its slug stands in URLs and in every row."""

    slug: str
    driver: str
    secrets: tuple[str, ...] = field(repr=False)
    retired_secrets: tuple[str, ...] = field(default=(), repr=False)
    api_url: str | None = None
    api_user: str | None = None
    api_token: str | None = field(default=None, repr=False)
    parks_unknown_orders: bool = False
    field_map: Mapping[str, Any] = field(default_factory=dict)
    order_path: str = "/orders/{id}"
    confirm: str = "none"

    @property
    def access(self) -> Access | None:
        """Where and as whom its courier is asked; None where that is not all given."""
        api = DRIVERS[self.driver].api
        url = self.api_url or (api.url if api else None)
        if api is None or url is None or self.api_token is None:
            return None
        if api.needs_user and self.api_user is None:
            return None
        return Access(url.rstrip("/"), self.api_user, self.api_token, self.order_path)


@dataclass(frozen=True)
class Settings:
    """Everything that differs between installations."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    api_tokens: tuple[str, ...] = field(repr=False)
    accounts: Mapping[str, Account]
    host: str
    port: int
    data_dir: Path
    metrics_token: str | None = field(repr=False)
    max_body_bytes: int
    poll_interval_factor: float
    inbox_retention_days: int
    personal_data_retention_days: int
    alert_urls: tuple[str, ...] = field(repr=False)
    request_log: str
    sentry_dsn: str | None = field(repr=False)
    otel_exporter_otlp_endpoint: str | None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "Settings":
        """Read and check an environment; NAME_FILE gives the value of NAME from a file.

        Raises: BadSettings with every fault.
        """
        values, faults = _with_files(environ)
        general = _load(GENERAL, values, faults)
        accounts = _accounts(values, faults)
        if faults:
            raise BadSettings(sorted(faults))
        general["DATA_DIR"] = Path(general["DATA_DIR"])
        return cls(
            **{name.lower(): value for name, value in general.items()},
            accounts=MappingProxyType(accounts),
        )


class CommaList(fields.Field[tuple[str, ...]]):
    """`a, b` as ("a", "b")."""

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        return tuple(item.strip() for item in value.split(",") if item.strip())


class JsonObject(fields.Field[dict[str, Any]]):
    """A JSON object in a string."""

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            told = json.loads(value)
        except ValueError as wrong:
            raise ValidationError(f"is not JSON: {wrong}") from None
        if not isinstance(told, dict):
            raise ValidationError("is not a JSON object")
        return told


def _scheme(*schemes: str) -> Callable[[str], None]:
    def check(url: str) -> None:
        try:
            parts = urlsplit(url)
            # Sentinels stand side by side: one:26379,two:26379.
            hosts = parts.netloc.rpartition("@")[2].split(",")
            ports = [urlsplit(f"//{host}").port for host in hosts]
        except ValueError:
            raise ValidationError("is not a URL: look at its host and port") from None
        if parts.scheme not in schemes or 0 in ports:
            raise ValidationError(f"is not a URL that starts with {' or '.join(schemes)}:")

    return check


def _base_address(url: str) -> None:
    """An address to which paths are added, and which goes to logs: nothing else may be in it."""
    _scheme("http", "https")(url)
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValidationError("names no host")
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise ValidationError("is to end with its path, and to hold no user, `?` or `#`")
    if not url.isascii() or any(character.isspace() for character in url):
        raise ValidationError("holds a space, or a letter that must be percent-encoded")


def _not_empty(items: tuple[str, ...]) -> None:
    if not items:
        raise ValidationError("holds no token")


def _apprise_addresses(urls: tuple[str, ...]) -> None:
    """By their place in the list: there are passwords in them."""
    if not urls:
        return
    from apprise import Apprise  # noqa: PLC0415 (half a second, for those who push alerts)

    bad = [str(place) for place, url in enumerate(urls, 1) if not Apprise().add(url)]
    if bad:
        raise ValidationError(f"Apprise does not know what address no. {', '.join(bad)} is")


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
            message = f"is set, and {package} is not installed: pip install 'ordertrail[{extra}]'"
            raise ValidationError(message) from None

    return check


positive = validate.Range(min=1)

# Empty counts as not set, so that a line `NAME=` in an env file switches a default back on.
GENERAL = Schema.from_dict(
    {
        "DATABASE_URL": fields.String(
            required=True, validate=_scheme("postgresql", "postgres", "postgresql+psycopg")
        ),
        "REDIS_URL": fields.String(
            required=True, validate=_scheme("redis", "rediss", "unix", "redis+sentinel")
        ),
        "API_TOKENS": CommaList(required=True, validate=_not_empty),
        "HOST": fields.String(load_default="127.0.0.1"),
        "PORT": fields.Integer(load_default=8000, validate=validate.Range(1, 65535)),
        "DATA_DIR": fields.String(load_default=".data"),
        "METRICS_TOKEN": fields.String(load_default=None),
        "MAX_BODY_BYTES": fields.Integer(load_default=1_048_576, validate=positive),
        "POLL_INTERVAL_FACTOR": fields.Float(
            load_default=1.0, validate=validate.Range(min=0, min_inclusive=False, max=1000)
        ),
        "INBOX_RETENTION_DAYS": fields.Integer(load_default=90, validate=positive),
        "PERSONAL_DATA_RETENTION_DAYS": fields.Integer(load_default=90, validate=positive),
        "ALERT_URLS": CommaList(load_default=(), validate=_apprise_addresses),
        "REQUEST_LOG": fields.String(load_default="on", validate=validate.OneOf(["on", "off"])),
        "SENTRY_DSN": fields.String(
            load_default=None, validate=[_sentry_dsn, _installed("sentry-sdk", "sentry")]
        ),
        "OTEL_EXPORTER_OTLP_ENDPOINT": fields.String(
            load_default=None,
            validate=[
                _base_address,
                _installed("opentelemetry-exporter-otlp-proto-http", "opentelemetry"),
            ],
        ),
    }
)()

ACCOUNT = Schema.from_dict(
    {
        "DRIVER": fields.String(validate=validate.OneOf(list(DRIVERS))),
        "SECRETS": CommaList(load_default=()),
        "RETIRED_SECRETS": CommaList(load_default=()),
        "API_URL": fields.String(load_default=None, validate=_base_address),
        "API_USER": fields.String(load_default=None),
        "API_TOKEN": fields.String(load_default=None),
        "UNKNOWN_ORDERS": fields.String(
            load_default="accept", validate=validate.OneOf(["accept", "park"])
        ),
        "FIELDS": JsonObject(load_default=dict),
        "ORDER_PATH": fields.String(
            load_default="/orders/{id}", validate=validate.Regexp(r"^/.*\{id\}.*$")
        ),
        "CONFIRM": fields.String(
            load_default="none", validate=validate.OneOf(["none", "terminal", "all"])
        ),
    }
)()


def _with_files(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment with each NAME_FILE read, and what was wrong with any of them."""
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
        except (OSError, UnicodeDecodeError) as wrong:
            faults.append(f"{file_name} cannot be read: {wrong}")
            continue
        if value:
            values[name] = value
    return values, faults


def _load(
    schema: Schema, values: Mapping[str, str], faults: list[str], prefix: str = ""
) -> dict[str, Any]:
    """The schema's values; each name that it refuses is added to `faults`."""
    try:
        return dict(schema.load(values, unknown=EXCLUDE))
    except ValidationError as refused:
        for name, told in _told(refused).items():
            if not any(fault.startswith(f"{prefix}{name}_FILE ") for fault in faults):
                faults += [f"{prefix}{name}: {line}" for line in told]
        return {}


def _told(refused: ValidationError) -> dict[str, list[str]]:
    return dict(refused.normalized_messages())  # type: ignore[no-untyped-call] # marshmallow's


def _accounts(values: Mapping[str, str], faults: list[str]) -> dict[str, Account]:
    """The accounts that COURIER_* names switch on, by slug."""
    named: dict[str, dict[str, str]] = {}
    for name, value in values.items():
        if not name.startswith("COURIER_"):
            continue
        match = ACCOUNT_NAME.fullmatch(name)
        if match is None:
            faults.append(f"{name} is no setting: see deploy/env.example for the names")
            continue
        named.setdefault(match["account"], {})[match["setting"]] = value
    accounts = {}
    for name, given in named.items():
        prefix = f"COURIER_{name}_"
        before = len(faults)
        account = _load(ACCOUNT, {"DRIVER": name.lower(), **given}, faults, prefix)
        if len(faults) > before:
            continue
        driver = DRIVERS[account["DRIVER"]]
        faults += [f"{prefix}{fault}" for fault in _faults_of_secrets(driver, account)]
        if driver.check_fields is not None:
            faults += [
                f"{prefix}FIELDS: {fault}" for fault in driver.check_fields(account["FIELDS"])
            ]
        elif account["FIELDS"]:
            faults.append(f"{prefix}FIELDS: {driver.name} is not read through a field map")
        slug = name.lower().replace("_", "-")
        if account["SECRETS"]:
            accounts[slug] = Account(
                slug=slug,
                driver=driver.name,
                secrets=account["SECRETS"],
                retired_secrets=account["RETIRED_SECRETS"],
                api_url=account["API_URL"],
                api_user=account["API_USER"],
                api_token=account["API_TOKEN"],
                parks_unknown_orders=account["UNKNOWN_ORDERS"] == "park",
                field_map=account["FIELDS"],
                order_path=account["ORDER_PATH"],
                confirm=account["CONFIRM"],
            )
    return accounts


def _faults_of_secrets(driver: Driver, account: Mapping[str, Any]) -> Iterable[str]:
    if not driver.signed and not all(map(URL_TOKEN.fullmatch, account["SECRETS"])):
        yield "SECRETS: a token stands in a URL: only A-Z a-z 0-9 . _ ~ - may be in it"
    if set(account["SECRETS"]) & set(account["RETIRED_SECRETS"]):
        yield "RETIRED_SECRETS: one of them is live in SECRETS: keep it in one of the two"
