"""One frozen `Settings` object: everything that differs between installations."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from receiver.access.tokens import Token
from receiver.couriers import DRIVERS
from receiver.errors import OrdertrailError
from receiver.settings.account import Account
from receiver.settings.checks import NEW_SECRET
from receiver.settings.environment import load_values, read_accounts, with_files
from receiver.settings.general import GENERAL

# The address of this machine to connect to where the service listens on all of its addresses.
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - read, not bound to


class BadSettings(OrdertrailError):
    """The environment is not usable; the text lists every fault, one per line."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = list(faults)
        super().__init__("\n  ".join(["Ordertrail cannot start:", *self.faults]))


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
    def own_words(self) -> dict[str, dict[str, str]]:
        """The words of each account whose field map has its own, and their statuses."""
        return {
            slug: DRIVERS[account.driver].words_with(account.field_map)
            for slug, account in self.accounts.items()
            if account.field_map.get("statuses")
        }

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
        values, faults = with_files(environ)
        general = load_values(GENERAL, values, faults)
        accounts, test_accounts = read_accounts(values, faults)
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
