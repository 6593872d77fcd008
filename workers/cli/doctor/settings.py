"""Check the environment: faults, accounts that are off or not polled, secrets that are weak,
and a directory that cannot be written.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryFile

from receiver.couriers import DRIVERS
from receiver.settings import ACCOUNT_NAME, Account, BadSettings, Settings
from receiver.standalone.launch import PLACEHOLDERS, is_missing
from workers.cli.doctor.findings import BROKEN, NOTE, OK, WARNING, Finding, Findings

# Characters; a token of 16 random bytes has 22 in base64.
SHORT = 20
# What people write where a secret has to be filled in.
GUESSABLE = re.compile(r"secret|change|password|example|test|demo|token|admin|12345", re.IGNORECASE)


def read_usable_settings(environ: Mapping[str, str]) -> tuple[Settings, list[str], set[str]]:
    """Read the settings without those that have faults, so that the rest can be checked.

    Returns the settings, the faults, and the required names that got placeholders.
    """
    given = {name: value for name, value in environ.items() if value}
    faults = [f"{name}: is not set" for name in PLACEHOLDERS if is_missing(name, given)]
    while True:
        missing = {name for name in PLACEHOLDERS if is_missing(name, given)}
        try:
            settings = Settings.from_env(given | {name: PLACEHOLDERS[name] for name in missing})
            return settings, faults, missing
        except BadSettings as error:
            faults += error.faults
            given = _without_faults(given, error.faults)


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


def check_settings(settings: Settings, faults: list[str], environ: Mapping[str, str]) -> Findings:
    for fault in faults:
        name, _, text = fault.partition(" ")
        advice = "See deploy/env.example; no process starts until this is corrected."
        yield Finding(name.rstrip(":"), BROKEN, text, advice)
    if not faults:
        yield Finding("environment", OK, "all settings are valid")
    yield from _check_accounts(settings, environ)
    yield from _check_secrets(settings)
    if settings.poll_interval_factor < 1:
        seen = f"{settings.poll_interval_factor:g}: couriers are polled more often than agreed"
        advice = "Remove it, unless this is a demonstration."
        yield Finding("POLL_INTERVAL_FACTOR", WARNING, seen, advice)
    if settings.archive_dir is not None:
        yield _check_archive(settings.archive_dir)
    if not settings.alert_urls:
        yield Finding("ALERT_URLS", NOTE, "not set: alerts are shown, but not sent to anyone")
    elif not settings.heartbeat_url:
        seen = "not set: no outside monitor notices when the clock, which pushes alerts, is dead"
        yield Finding("HEARTBEAT_URL", NOTE, seen)


def _check_archive(directory: Path) -> Finding:
    """Check that orders can be archived; without that none is removed."""
    try:
        with TemporaryFile(dir=directory):
            return Finding("ARCHIVE_DIR", OK, f"{directory} can be written")
    except OSError as error:
        seen = f"{directory} cannot be written ({error.strerror}): no order is removed"
        advice = "Create it, or let the workers' user write it; run this on a host with a worker."
        return Finding("ARCHIVE_DIR", BROKEN, seen, advice)


def _check_accounts(settings: Settings, environ: Mapping[str, str]) -> Findings:
    """Check which accounts are on, which are off without secrets, and which cannot be polled."""
    given = (name.removesuffix("_FILE") for name, value in environ.items() if value)
    for name in sorted({match["account"] for match in map(ACCOUNT_NAME.fullmatch, given) if match}):
        slug = name.lower().replace("_", "-")
        if slug in settings.accounts:
            yield _check_polling(settings.accounts[slug])
            yield from _describe_driver_settings(settings.accounts[slug])
        else:
            seen = "off: it has no secrets, or its settings have faults"
            yield Finding(slug, WARNING, seen, f"Set COURIER_{name}_SECRETS.")
    if not settings.accounts:
        seen = "no account is on: every webhook is answered 404"
        yield Finding("accounts", BROKEN, seen, "Set COURIER_<ACCOUNT>_SECRETS.")


def _describe_driver_settings(account: Account) -> Findings:
    """Show the settings that an account's driver declares, without the values of secret ones."""
    shown = [
        f"{account.env_name(name)}={'***' if field.metadata.get('secret') else value}"
        for name, field in DRIVERS[account.driver].settings.items()
        if (value := account.settings.get(name)) is not None
    ]
    if shown:
        yield Finding(account.slug, OK, ", ".join(shown))


def _check_polling(account: Account) -> Finding:
    api = DRIVERS[account.driver].api
    webhooks = f"its webhooks are authenticated by {account.signature.description}"
    if api is None:
        return Finding(account.slug, OK, f"on; {webhooks}; its courier has no API to poll")
    if account.access is not None:
        return Finding(account.slug, OK, f"on; {webhooks}; its courier is polled")
    seen = f"on; {webhooks}; not polled: what a lost webhook reported is never learned"
    names = ", ".join(map(account.env_name, account.missing_for_polling))
    return Finding(account.slug, WARNING, seen, f"Set {names}.")


def _check_secrets(settings: Settings) -> Findings:
    """Check for secrets that can be guessed, or that are used more than once."""
    named = {
        name: tuple(token.value for token in tokens)
        for name, tokens in (
            ("API_TOKENS", settings.api_tokens),
            ("READ_TOKENS", settings.read_tokens),
        )
    }
    if settings.metrics_token:
        named["METRICS_TOKEN"] = (settings.metrics_token,)
    for account in settings.accounts.values():
        named[account.env_name("SECRETS")] = account.secrets
    names: dict[str, list[str]] = {}
    for name, secrets in named.items():
        for secret in secrets:
            names.setdefault(secret, []).append(name)
    names.pop(PLACEHOLDERS["API_TOKENS"], None)
    weak = 0
    for secret, used in names.items():
        problems = {
            f"has only {len(secret)} characters": len(secret) < SHORT,
            "contains a common word": GUESSABLE.search(secret),
            f"is also used as {', '.join(used[1:])}": len(used) > 1,
        }
        if any(problems.values()):
            weak += 1
            seen = " and ".join(problem for problem, is_so in problems.items() if is_so)
            advice = "Replace it with one from `openssl rand -hex 32`, and tell its user."
            yield Finding(used[0], WARNING, f"a secret {seen}", advice)
    if names and not weak:
        yield Finding("secrets", OK, f"{len(names)} in use, all long and different")
