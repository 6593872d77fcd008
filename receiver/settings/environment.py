"""Read the environment by the schemas of the settings, and collect every fault."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError

from receiver.settings.account import ACCOUNT, ACCOUNT_NAME, DRIVER_SETTINGS, Account
from receiver.settings.general import GENERAL


def with_files(environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
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


def load_values(
    schema: Schema,
    values: Mapping[str, str],
    faults: list[str],
    prefix: str = "",
    partial: bool = False,
) -> dict[str, Any]:
    """Return the schema's values; add a fault for each name that it rejects.

    partial: what is required may be missing.
    """
    try:
        return dict(schema.load(values, unknown=EXCLUDE, partial=partial))
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow's
        for name, lines in messages.items():
            if not any(fault.startswith(f"{prefix}{name}_FILE ") for fault in faults):
                faults += [f"{prefix}{name}: {line}" for line in lines]
        return {}


def read_accounts(
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
        account = load_values(
            ACCOUNT, {"DRIVER": name.lower(), **given}, faults, f"COURIER_{name}_"
        )
        settings = _read_driver_settings(name, given, faults, is_on=bool(account.get("SECRETS")))
        slug = name.lower().replace("_", "-")
        is_test = account.pop("TEST", "off") == "on"
        if is_test:
            test_accounts.add(slug)
        if account.get("SECRETS"):
            accounts[slug] = Account(
                slug=slug,
                parks_unknown_orders=account.pop("UNKNOWN_ORDERS") == "park",
                field_map=account.pop("FIELDS"),
                settings=MappingProxyType(settings),
                test=is_test,
                own_signature=account.pop("SIGNATURE"),
                **{setting.lower(): value for setting, value in account.items()},
            )
    return accounts, frozenset(test_accounts)


def _read_driver_settings(
    name: str, given: Mapping[str, str], faults: list[str], is_on: bool
) -> dict[str, Any]:
    """Return the values of the settings that an account's driver declares."""
    driver = given.get("DRIVER", name.lower())
    schema = DRIVER_SETTINGS.get(driver)
    if schema is None:
        # There is a fault for its DRIVER already.
        return {}
    faults += [
        f"COURIER_{name}_{setting}: the driver {driver} has no such setting"
        for setting in given.keys() - ACCOUNT.fields.keys() - schema.fields.keys()
    ]
    return load_values(schema, given, faults, f"COURIER_{name}_", partial=not is_on)
