"""What drivers read a courier's bodies with: fields, times, addresses and signatures."""

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from marshmallow import EXCLUDE, Schema, ValidationError

from receiver.couriers.contract import ZONE_ASSUMED, Moment
from receiver.couriers.fast_load import NotPlain, Plain
from receiver.errors import Undecodable, UnknownToCourier

# What becomes part of a key or an index; longer ones are no ids or words of any courier's.
MOST_CHARACTERS = 255
# What is only shown: enough for any honest one.
MOST_ADDRESS = 2_000


class Body(Schema):
    """Names what we read of a courier's body; all else in it is left alone."""

    class Meta:
        unknown = EXCLUDE


def sign(secret: str, raw: bytes) -> str:
    """The lower-case hex HMAC-SHA256 of a raw body."""
    return hmac.new(secret.encode(), raw, hashlib.sha256).hexdigest()


PLAIN = Plain()


def load(schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
    """Read a body through a driver's schema.

    Raises: Undecodable, naming each field that was refused and why.
    """
    try:
        return PLAIN.read(schema, body)
    except NotPlain:
        pass
    try:
        return dict(schema.load(body))
    except ValidationError as refused:
        told = json.dumps(refused.messages, sort_keys=True, ensure_ascii=False)
        raise Undecodable(f"the courier's schema refuses it: {told}") from None


def read_time(value: Any, zone: str, field_name: str = "time") -> Moment | None:
    """Read a courier's time; None where there is none.

    Shape:  an ISO 8601 string. One without a zone is read in `zone` and flagged.
    Raises: Undecodable where it is no time, or outside the years 1 to 9999.
    """
    if value is None or value == "":
        return None
    try:
        told = datetime.fromisoformat(value)
        if told.tzinfo is None:
            local = told.replace(tzinfo=ZoneInfo(zone))
            return Moment(local.astimezone(UTC), frozenset({ZONE_ASSUMED}))
        return Moment(told.astimezone(UTC))
    except (TypeError, ValueError, OverflowError):
        raise Undecodable(f"{field_name} is not a time: {value!r:.80}") from None


def read_seconds(value: Any, zone: str, field_name: str = "timestamp") -> Moment | None:
    """Read a time told as Unix seconds (a number, or one in a string), or as read_time does."""
    if isinstance(value, bool):
        raise Undecodable(f"{field_name} is not a time: {value!r}")
    try:
        return Moment(datetime.fromtimestamp(float(value), UTC))
    except (TypeError, ValueError):
        return read_time(value, zone, field_name)
    except (OverflowError, OSError):
        raise Undecodable(f"{field_name} is not a time: {value!r:.80}") from None


def one_segment(name: str) -> str:
    """A name as one segment of an address's path.

    Raises: UnknownToCourier for a name that leads up the path wherever a server resolves it (`..`,
        also beside a slash that it takes for one), or to the list of all orders (an empty one).
    """
    if not name or {".", ".."} & set(re.split(r"[/\\]", name)):
        raise UnknownToCourier("no order's name is empty, or leads up the path of an address")
    return quote(name, safe="")


def web_address(value: Any) -> str | None:
    """An address that may be shown as a link; None for anything else (`javascript:`, a novel)."""
    if not isinstance(value, str) or len(value) > MOST_ADDRESS:
        return None
    return value if value.lower().startswith(("http://", "https://")) else None
