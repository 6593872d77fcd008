"""The settings: every fault, and what may be used but should not be used like this."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from receiver.couriers import DRIVERS
from receiver.settings import ACCOUNT_NAME, Account, BadSettings, Settings
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings

AREA = "settings"
# Characters; a token of 16 random bytes has 22 in base64.
SHORT = 20
# What people write where a secret is to be filled in.
MADE_UP = re.compile(r"secret|change|password|example|test|demo|token|admin|12345", re.IGNORECASE)
STAND_INS = {"DATABASE_URL": "postgresql:///", "REDIS_URL": "unix:///", "API_TOKENS": "x"}


@dataclass(frozen=True)
class Usable:
    """What of the environment can be used, and what was wrong with the rest.

    missing: the names that are needed and stand-ins were taken for.
    """

    settings: Settings
    faults: tuple[str, ...]
    missing: frozenset[str]


def usable(environ: Mapping[str, str]) -> Usable:
    """As much of the settings as can be used: one fault is not to hide what else is wrong."""
    given, faults = dict(environ), []
    while True:
        stand_ins = {
            name: it
            for name, it in STAND_INS.items()
            if not given.get(name) and not given.get(f"{name}_FILE")
        }
        try:
            settings = Settings.from_env({**given, **stand_ins})
        except BadSettings as bad:
            faults += bad.faults
            named = {name for fault in bad.faults for name in re.findall(r"[A-Z][A-Z0-9_]+", fault)}
            left = {name: it for name, it in given.items() if name not in named}
            if len(left) == len(given):
                raise
            given = left
        else:
            told = {name for name in stand_ins if not any(f.startswith(name) for f in faults)}
            faults += [f"{name}: is not set" for name in sorted(told)]
            return Usable(settings, tuple(faults), frozenset(stand_ins))


def check(found: Usable, environ: Mapping[str, str]) -> Findings:
    for fault in found.faults:
        name, _, told = fault.partition(" ")
        mend = "See deploy/env.example; nothing starts while this is wrong."
        yield Finding(AREA, name.rstrip(":"), BROKEN, told, mend)
    if not found.faults:
        yield Finding(AREA, "environment", OK, "every name can be used")
    yield from _accounts(found.settings, environ)
    yield from _secrets(found.settings)
    if found.settings.poll_interval_factor < 1:
        yield Finding(
            AREA,
            "POLL_INTERVAL_FACTOR",
            WARNING,
            f"{found.settings.poll_interval_factor:g}: couriers are asked more often than agreed",
            "Take it away, unless this is a demonstration.",
        )
    if not found.settings.alert_urls:
        yield Finding(AREA, "ALERT_URLS", NOTE, "not set: alerts are shown and pushed to nobody")


def _accounts(settings: Settings, environ: Mapping[str, str]) -> Findings:
    """Which accounts are on, which are off for lack of secrets, which cannot be polled."""
    names = (
        ACCOUNT_NAME.fullmatch(name.removesuffix("_FILE")) for name, it in environ.items() if it
    )
    for name in sorted({match["account"] for match in names if match}):
        slug = name.lower().replace("_", "-")
        account = settings.accounts.get(slug)
        if account is None:
            seen = "off: it has no secrets, or they cannot be used"
            yield Finding(AREA, slug, WARNING, seen, f"Set COURIER_{name}_SECRETS.")
        else:
            yield _polled(account, f"COURIER_{name}")
    if not settings.accounts:
        seen = "none is on: every webhook is answered 404"
        yield Finding(AREA, "accounts", BROKEN, seen, "Set COURIER_<ACCOUNT>_SECRETS.")


def _polled(account: Account, prefix: str) -> Finding:
    api = DRIVERS[account.driver].api
    if api is None:
        return Finding(AREA, account.slug, OK, "on; its courier cannot be asked")
    if account.access is not None:
        return Finding(AREA, account.slug, OK, "on, and its courier is asked where it is silent")
    wanted = [
        *([] if account.api_token else [f"{prefix}_API_TOKEN"]),
        *([] if account.api_url or api.url else [f"{prefix}_API_URL"]),
        *([f"{prefix}_API_USER"] if api.needs_user and not account.api_user else []),
    ]
    seen = "on, but its courier is never asked: a hook that is lost is lost"
    return Finding(AREA, account.slug, WARNING, seen, f"Set {', '.join(wanted)}.")


def _secrets(settings: Settings) -> Findings:
    """Secrets that can be guessed, or that open more than one door."""
    names: dict[str, list[str]] = {}
    for name, secret in _named(settings):
        names.setdefault(secret, []).append(name)
    weak = False
    for secret, used in names.items():
        faults = [
            *([f"has only {len(secret)} characters"] if len(secret) < SHORT else []),
            *(["looks made up"] if MADE_UP.search(secret) else []),
            *([f"is also that of {', '.join(used[1:])}"] if len(used) > 1 else []),
        ]
        if faults:
            weak = True
            mend = (
                "Make one: openssl rand -hex 32. Add it, tell the courier, take the old one away."
            )
            yield Finding(AREA, used[0], WARNING, f"a secret {' and '.join(faults)}", mend)
    if not weak and names:
        yield Finding(AREA, "secrets", OK, f"{len(names)}, each of its own and long enough")


def _named(settings: Settings) -> Iterator[tuple[str, str]]:
    yield from (("API_TOKENS", token) for token in settings.api_tokens if token != "x")  # noqa: S105
    if settings.metrics_token:
        yield "METRICS_TOKEN", settings.metrics_token
    for slug, account in settings.accounts.items():
        name = slug.upper().replace("-", "_")
        yield from ((f"COURIER_{name}_SECRETS", secret) for secret in account.secrets)
