"""Check the environment: faults, accounts that are off or not polled, secrets that are weak."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from receiver.couriers import DRIVERS
from receiver.settings import ACCOUNT_NAME, Account, BadSettings, Settings
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings

# Characters; a token of 16 random bytes has 22 in base64.
SHORT = 20
# What people write where a secret has to be filled in.
GUESSABLE = re.compile(r"secret|change|password|example|test|demo|token|admin|12345", re.IGNORECASE)
PLACEHOLDERS = {"DATABASE_URL": "postgresql:///", "REDIS_URL": "unix:///", "API_TOKENS": "x"}


@dataclass(frozen=True)
class UsableSettings:
    """The usable part of the environment, and the faults of the rest.

    missing: the required names for which placeholders were used.
    """

    settings: Settings
    faults: tuple[str, ...]
    missing: frozenset[str]


def read_usable_settings(environ: Mapping[str, str]) -> UsableSettings:
    """Read the settings without those that have faults, so that the rest can be checked."""
    given, faults = dict(environ), []
    while True:
        placeholders = {
            name: value
            for name, value in PLACEHOLDERS.items()
            if not given.get(name) and not given.get(f"{name}_FILE")
        }
        try:
            settings = Settings.from_env({**given, **placeholders})
        except BadSettings as error:
            faults += error.faults
            given = _without_faults(given, error.faults)
        else:
            absent = [
                name
                for name in sorted(placeholders)
                if not any(fault.startswith(name) for fault in faults)
            ]
            faults += [f"{name}: is not set" for name in absent]
            return UsableSettings(settings, tuple(faults), frozenset(placeholders))


def _without_faults(given: Mapping[str, str], faults: list[str]) -> dict[str, str]:
    """Return the environment without the names that have faults; without any where that fails."""
    names = {re.split("[: ]", fault)[0].removesuffix("_FILE") for fault in faults}
    left = {name: value for name, value in given.items() if name.removesuffix("_FILE") not in names}
    if len(left) < len(given):
        return left
    # The fault is that a name is not set, such as an account's DRIVER: leave out the account.
    accounts = tuple(f"{name.rpartition('_')[0]}_" for name in names)
    left = {name: value for name, value in given.items() if not name.startswith(accounts)}
    return left if len(left) < len(given) else {}


def check_settings(usable: UsableSettings, environ: Mapping[str, str]) -> Findings:
    for fault in usable.faults:
        name, _, text = fault.partition(" ")
        advice = "See deploy/env.example; no process starts until this is corrected."
        yield Finding(name.rstrip(":"), BROKEN, text, advice)
    if not usable.faults:
        yield Finding("environment", OK, "all settings are valid")
    settings = usable.settings
    yield from _check_accounts(settings, environ)
    yield from _check_secrets(settings)
    if settings.poll_interval_factor < 1:
        yield Finding(
            "POLL_INTERVAL_FACTOR",
            WARNING,
            f"{settings.poll_interval_factor:g}: couriers are polled more often than agreed",
            "Remove it, unless this is a demonstration.",
        )
    if not settings.alert_urls:
        yield Finding("ALERT_URLS", NOTE, "not set: alerts are shown, but not sent to anybody")


def _check_accounts(settings: Settings, environ: Mapping[str, str]) -> Findings:
    """Check which accounts are on, which are off without secrets, and which cannot be polled."""
    matches = (
        ACCOUNT_NAME.fullmatch(name.removesuffix("_FILE"))
        for name, value in environ.items()
        if value
    )
    for name in sorted({match["account"] for match in matches if match}):
        slug = name.lower().replace("_", "-")
        account = settings.accounts.get(slug)
        if account is None:
            seen = "off: it has no secrets, or its settings have faults"
            yield Finding(slug, WARNING, seen, f"Set COURIER_{name}_SECRETS.")
        else:
            yield _check_polling(account)
    if not settings.accounts:
        seen = "no account is on: every webhook is answered 404"
        yield Finding("accounts", BROKEN, seen, "Set COURIER_<ACCOUNT>_SECRETS.")


def _check_polling(account: Account) -> Finding:
    api = DRIVERS[account.driver].api
    if api is None:
        return Finding(account.slug, OK, "on; its courier has no API to poll")
    if account.access is not None:
        return Finding(account.slug, OK, "on; its courier is polled")
    wanted = [
        *([] if account.api_token else ["API_TOKEN"]),
        *([] if account.api_url or api.url else ["API_URL"]),
        *(["API_USER"] if api.needs_user and not account.api_user else []),
    ]
    seen = "on, but never polled: what a lost webhook reported is never known"
    names = ", ".join(map(account.env_name, wanted))
    return Finding(account.slug, WARNING, seen, f"Set {names}.")


def _check_secrets(settings: Settings) -> Findings:
    """Check for secrets that can be guessed, or that are used more than once."""
    names: dict[str, list[str]] = {}
    for name, secret in _named_secrets(settings):
        names.setdefault(secret, []).append(name)
    weak = False
    for secret, used in names.items():
        faults = [
            *([f"has only {len(secret)} characters"] if len(secret) < SHORT else []),
            *(["contains a common word"] if GUESSABLE.search(secret) else []),
            *([f"is also used as {', '.join(used[1:])}"] if len(used) > 1 else []),
        ]
        if faults:
            weak = True
            advice = (
                "Make one with `openssl rand -hex 32`; add it, tell the courier, remove this one."
            )
            yield Finding(used[0], WARNING, f"a secret {' and '.join(faults)}", advice)
    if names and not weak:
        yield Finding("secrets", OK, f"{len(names)} in use, all long and different")


def _named_secrets(settings: Settings) -> Iterator[tuple[str, str]]:
    placeholder = PLACEHOLDERS["API_TOKENS"]
    yield from (("API_TOKENS", token) for token in settings.api_tokens if token != placeholder)
    if settings.metrics_token:
        yield "METRICS_TOKEN", settings.metrics_token
    for account in settings.accounts.values():
        yield from ((account.env_name("SECRETS"), secret) for secret in account.secrets)
