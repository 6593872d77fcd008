"""The settings of one account, COURIER_<ACCOUNT>_<NAME>, and the account that they make."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any
from zoneinfo import available_timezones

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.couriers import DRIVERS
from receiver.couriers.contract import Driver
from receiver.couriers.polling import Access
from receiver.couriers.signatures import Scheme
from receiver.couriers.snapshot import MessageContext
from receiver.settings.api_setting import ApiSetting, check_order_path, merge_oauth
from receiver.settings.checks import check_base_address, check_credential
from receiver.settings.field_types import CommaList, JsonObject, choice, text
from receiver.settings.signature import SignatureScheme


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
    order_path: str | None = None
    confirm: str = "none"
    test: bool = False
    api: Mapping[str, Any] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    own_signature: Scheme | None = None

    @cached_property
    def signature(self) -> Scheme:
        """How its webhooks are authenticated: as its settings say, or else as its driver does."""
        return self.own_signature or DRIVERS[self.driver].signature

    def env_name(self, setting: str) -> str:
        """Return the environment variable of one of the account's settings, such as SECRETS."""
        return f"COURIER_{self.slug.upper().replace('-', '_')}_{setting}"

    def message_context(
        self, received_at: datetime, kind: str, polled_order_id: str = ""
    ) -> MessageContext:
        """Return what its driver needs beside the body of a message to decode it."""
        return MessageContext(
            received_at,
            kind,
            self.field_map,
            self.zone or "",
            polled_order_id,
            settings=self.settings,
        )

    # Once for each account: a fold asks for it with every order.
    @cached_property
    def access(self) -> Access | None:
        """The address and credentials of its courier's API; None where they are incomplete."""
        return self._access() if self.why_not_polled is None else None

    @property
    def why_not_polled(self) -> str | None:
        """Why its courier cannot be polled and what to do, None where it can."""
        if DRIVERS[self.driver].api is None:
            return "its courier has no API"
        names = " and ".join(map(self.env_name, self.missing_for_polling))
        return f"set {names}" if names else None

    @property
    def missing_for_polling(self) -> list[str]:
        """The settings without which the account cannot be polled; none where nothing helps."""
        api = DRIVERS[self.driver].api
        if api is None:
            return []
        is_missing = {
            "API_TOKEN": self.api_token is None,
            "API_URL": not (self.api_url or api.url),
            "API_USER": self.api_user is None and api.needs_user_of(self._access()),
            **{name: not self.settings.get(name) for name in api.needs_settings},
        }
        return [name for name, missing in is_missing.items() if missing]

    def _access(self) -> Access:
        api = DRIVERS[self.driver].api
        driver_url, driver_oauth = (api.url, api.oauth) if api else (None, None)
        oauth = self.api.get("oauth")
        return Access(
            (self.api_url or driver_url or "").rstrip("/"),
            self.api_user,
            self.api_token or "",
            self.api.get("path", self.order_path),
            self.api.get("headers", {}),
            self.settings,
            self.api.get("auth"),
            merge_oauth(driver_oauth, oauth) if oauth is not None else None,
        )


class _AccountSchema(Schema):
    DRIVER = fields.String(
        validate=validate.OneOf(
            list(DRIVERS),
            error="there is no driver {input!r}: {choices}. `fields` reads a courier by settings",
        )
    )
    SECRETS = CommaList(load_default=())
    RETIRED_SECRETS = CommaList(load_default=())
    API_URL = text(None, check_base_address)
    API_USER = text(None, check_credential)
    API_TOKEN = text(None, check_credential)
    API = ApiSetting(load_default=dict)
    UNKNOWN_ORDERS = choice("accept", "park")
    FIELDS = JsonObject(load_default=dict)
    ZONE = text(
        None,
        validate.OneOf(available_timezones(), error="is no IANA time zone, such as Europe/Berlin"),
    )
    ORDER_PATH = text(None, check_order_path)
    CONFIRM = choice("none", "terminal", "all")
    TEST = choice("off", "on")
    SIGNATURE = SignatureScheme(load_default=None)

    @validates_schema
    def check_with_driver(self, account: dict[str, Any], **_options: Any) -> None:
        driver, secrets = DRIVERS[account["DRIVER"]], account["SECRETS"]
        faults: dict[str, list[str]] = {}
        scheme = account["SIGNATURE"] or driver.signature
        found = dict.fromkeys(map(scheme.find_secret_fault, secrets))
        faults["SECRETS"] = [fault for fault in found if fault is not None]
        if set(secrets) & set(account["RETIRED_SECRETS"]):
            faults["RETIRED_SECRETS"] = ["one is also in SECRETS: keep it in one of the two only"]
        if account["API"]:
            faults["API"] = list(_api_faults(driver, account))
        if driver.check_field_map is not None:
            faults["FIELDS"] = driver.check_field_map(account["FIELDS"])
        elif account["FIELDS"]:
            faults["FIELDS"] = [f"{driver.name} does not use a field map"]
        if any(faults.values()):
            raise ValidationError(faults)


def _api_faults(driver: Driver, account: Mapping[str, Any]) -> Iterator[str]:
    """Yield what is wrong with the account's API setting beside its other settings."""
    given = account["API"]
    if driver.api is None:
        yield f"{driver.name} has no API that is polled"
        return
    if "path" in given and account["ORDER_PATH"] is not None:
        yield "path: ORDER_PATH says the same: keep one of the two"
    if "oauth" in given:
        try:
            merge_oauth(driver.api.oauth, given["oauth"])
        except ValidationError as error:
            yield from map(str, error.messages)


ACCOUNT = _AccountSchema()
# The settings that drivers declare for their accounts, by driver.
DRIVER_SETTINGS = {
    driver.name: Schema.from_dict(dict(driver.settings))() for driver in DRIVERS.values()
}
_NAMES = {*ACCOUNT.fields, *(name for schema in DRIVER_SETTINGS.values() for name in schema.fields)}
ACCOUNT_NAME = re.compile(
    rf"COURIER_(?P<account>[A-Z0-9][A-Z0-9_]*?)_(?P<setting>{'|'.join(sorted(_NAMES))})"
)
