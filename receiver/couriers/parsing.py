"""Readers of a courier's bodies: schema fields, times, URLs and signatures."""

import functools
import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from receiver.couriers.snapshot import ZONE_ASSUMED, Moment
from receiver.errors import Undecodable, UnknownToCourier

# The limit of whatever becomes part of a key or an index; no courier has longer ids or words.
MAX_NAME_LENGTH = 255
# URLs are only displayed; a longer one is left out.
MAX_URL_LENGTH = 2_000


class Body(Schema):
    """The base of a driver's schemas: keys that a schema does not name are ignored."""

    class Meta:
        unknown = EXCLUDE


required_name = functools.partial(
    fields.String, required=True, validate=validate.Length(min=1, max=MAX_NAME_LENGTH)
)
optional_text = functools.partial(fields.String, allow_none=True, load_default=None)
# An empty name counts as none.
optional_name = functools.partial(optional_text, validate=validate.Length(max=MAX_NAME_LENGTH))
optional_object = functools.partial(fields.Nested, allow_none=True, load_default=None)


def optional_list(schema: type[Schema]) -> fields.List[Any]:
    """Make the field of a list of objects that may be null or missing."""
    return fields.List(fields.Nested(schema), allow_none=True, load_default=None)


def load_body(schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    """Read a body through a driver's schema.

    Raises: Undecodable, which names each refused field and why.
    """
    try:
        return dict(schema.load(body))
    except ValidationError as refused:
        faults = json.dumps(refused.messages, sort_keys=True, ensure_ascii=False)
        raise Undecodable(f"the body does not match the courier's schema: {faults}") from None


def parse_courier_time(value: Any, zone: str, field_name: str = "time") -> Moment | None:
    """Parse a courier's time; None and "" give None.

    Shape:  an ISO 8601 string. One without a zone is read in `zone` and flagged.
    Raises: Undecodable where it is no time, or outside the years 1 to 9999.
    """
    if value is None or value == "":
        return None
    try:
        parsed = datetime.fromisoformat(value)
        if parsed.tzinfo is None:
            local = parsed.replace(tzinfo=ZoneInfo(zone))
            return Moment(local.astimezone(UTC), frozenset({ZONE_ASSUMED}))
        return Moment(parsed.astimezone(UTC))
    except (TypeError, ValueError, OverflowError):
        raise Undecodable(f"{field_name} is not a time: {value!r:.80}") from None


def parse_unix_time(value: Any, zone: str, field_name: str = "timestamp") -> Moment | None:
    """Parse Unix seconds (a number, or one in a string), or else as parse_courier_time does."""
    if isinstance(value, bool):
        raise Undecodable(f"{field_name} is not a time: {value!r}")
    try:
        return Moment(datetime.fromtimestamp(float(value), UTC))
    except (TypeError, ValueError):
        return parse_courier_time(value, zone, field_name)
    except (OverflowError, OSError):
        raise Undecodable(f"{field_name} is not a time: {value!r:.80}") from None


def web_url(value: Any) -> str | None:
    """Return a URL that is safe to show as a link, None for anything else (`javascript:`)."""
    if not isinstance(value, str) or len(value) > MAX_URL_LENGTH:
        return None
    return value if value.lower().startswith(("http://", "https://")) else None


def quote_path_segment(name: str) -> str:
    """Quote a name as one segment of a URL's path.

    Raises: UnknownToCourier for a name that a server may resolve to another path: `..`, also beside
        a slash of either kind, or an empty one, which is the list of all orders.
    """
    if not name or {".", ".."} & set(re.split(r"[/\\]", name)):
        raise UnknownToCourier("an order's name is not empty and does not lead up the URL's path")
    return quote(name, safe="")


def hmac_sha256_hex(secret: str, raw: bytes) -> str:
    """Return the lower-case hex HMAC-SHA256 of a raw body."""
    return hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()
