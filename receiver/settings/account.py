"""The settings of one account, COURIER_<ACCOUNT>_<NAME>, and the account that they make."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import available_timezones

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.couriers import DRIVERS
from receiver.couriers.polling import Access
from receiver.couriers.signatures import Scheme
from receiver.couriers.snapshot import MessageContext
from receiver.settings.checks import check_base_address
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
    api_headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    own_signature: Scheme | None = None

    @property
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

    @property
    def access(self) -> Access | None:
        """The address and credentials of its courier's API; None where they are incomplete."""
        api = DRIVERS[self.driver].api
        url = self.api_url or (api.url if api else None)
        if api is None or url is None or self.api_token is None:
            return None
        if api.needs_user and self.api_user is None:
            return None
        return Access(
            url.rstrip("/"),
            self.api_user,
            self.api_token,
            self.order_path,
            self.api_headers,
            self.settings,
        )


class _AccountSchema(Schema):
    DRIVER = fields.String(validate=validate.OneOf(list(DRIVERS)))
    SECRETS = CommaList(load_default=())
    RETIRED_SECRETS = CommaList(load_default=())
    API_URL = text(None, check_base_address)
    API_USER = text()
    API_TOKEN = text()
    UNKNOWN_ORDERS = choice("accept", "park")
    FIELDS = JsonObject(load_default=dict)
    ZONE = text(None, validate.OneOf(available_timezones(), error="is no IANA time zone"))
    ORDER_PATH = text(
        None, validate.Regexp(r"^/.*\{id\}.*$", error="must start with / and contain {{id}}")
    )
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
