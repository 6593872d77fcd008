"""The fields of couriers' bodies, and the readers of times and URLs.

Each field takes what couriers are known to send in its place: a number for a text, `false`, `""`,
`[]` or `{}` for nothing (PHP), an object with the entries of a list.
"""

import functools
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote
from zoneinfo import ZoneInfo

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from receiver.couriers.snapshot import MINUTE_ONLY, ZONE_ASSUMED, Moment
from receiver.errors import UnknownToCourier

# The limit of whatever becomes part of a key or an index; no courier has longer ids or words.
MAX_NAME_LENGTH = 255
# URLs are only displayed; a longer one is left out.
MAX_URL_LENGTH = 2_000

ZONE_FLAGS = frozenset({ZONE_ASSUMED})
# Before this year a time is a zero value: the epoch in any zone, year 1, or year 0.
FIRST_YEAR = 1971
# From 1973 to 5138. A smaller number is a time of day or a date in some other spelling.
UNIX_SECONDS = range(100_000_000, 100_000_000_000)
NUMBER = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?")
# YYYYMMDD, with or without HHMM and SS.
COMPACT_LENGTHS = (8, 12, 14)
# Spellings of ISO 8601 that datetime.fromisoformat() refuses or reads without saying how exact.
ISO = re.compile(
    r"(?P<year>-?[0-9]{4})-?(?P<month>[0-9]{2})-?(?P<day>[0-9]{2})"
    r"(?:[Tt ]? ?(?P<hour>[0-9]{2}):?(?P<minute>[0-9]{2})"
    r"(?::?(?P<second>[0-9]{2})(?:[.,](?P<fraction>[0-9]+))?)?)?"
    r" ?(?P<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?"
)


class Body(Schema):
    """The base of a driver's schemas: keys that a schema does not name are ignored."""

    class Meta:
        unknown = EXCLUDE


def is_empty(value: Any) -> bool:
    """Return whether a value stands for nothing."""
    return value is None or value is False or value in ("", [], {})


class _EmptyIsNull:
    """The base of a field in which any empty value counts as null."""

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        given = None if is_empty(value) else value
        return super().deserialize(given, *args, **kwargs)  # type: ignore[misc] # a field's


class Text(_EmptyIsNull, fields.Field[str]):
    """Text without the blanks around it, or a number in its place: 41.0 is read as `41`."""

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            value = value.strip()
        return super().deserialize(value, *args, **kwargs)

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValidationError("Not a text.")
        is_whole = isinstance(value, float) and value.is_integer()
        return str(int(value) if is_whole else value)


class WebUrl(Text):
    """A URL that is safe to show as a link, which `javascript:` is not."""

    PLAIN: ClassVar[re.Pattern[str]] = re.compile(
        rf"(?i:https?://)[^\s]{{1,{MAX_URL_LENGTH - 8}}}", re.ASCII
    )

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        url = super()._deserialize(value, *args, **kwargs)
        if len(url) > MAX_URL_LENGTH or not url.lower().startswith(("http://", "https://")):
            raise ValidationError("Not the URL of a web page.")
        return url


class Time(_EmptyIsNull, fields.Field[Moment | None]):
    """A time, see parse_time()."""

    def _deserialize(self, value: Any, *_args: Any, **_kwargs: Any) -> Moment | None:
        try:
            return parse_time(value)
        except ValueError:
            raise ValidationError("Not a time.") from None


class Object(_EmptyIsNull, fields.Nested):
    """An object."""


class Entries(_EmptyIsNull, fields.List[Any]):
    """A list of objects, without those that are empty. A required one may be empty."""

    def __init__(self, schema: type[Schema], **kwargs: Any) -> None:
        super().__init__(fields.Nested(schema), **kwargs)
        self.entry_schema: Schema = schema()

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value is not None and is_empty(value):
            return []
        return super().deserialize(value, *args, **kwargs)

    def list_entries(self, value: Any) -> list[Any]:
        """Return the entries that a value stands for.

        An object holds them under its keys; where it has the keys of an entry, it is the only one.
        """
        if isinstance(value, dict):
            keys = {field.data_key or name for name, field in self.entry_schema.fields.items()}
            return [value] if keys & value.keys() else [*value.values()]
        if not isinstance(value, list):
            raise ValidationError("Not a list.")
        return value

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Any]:
        entries = [item for item in self.list_entries(value) if not is_empty(item)]
        return super()._deserialize(entries, *args, **kwargs)


_is_name = validate.Length(max=MAX_NAME_LENGTH)
required_name = functools.partial(Text, required=True, validate=_is_name)
# What is missing, empty or refused in an optional field is None.
optional_name = functools.partial(Text, allow_none=True, load_default=None, validate=_is_name)
optional_text = functools.partial(Text, allow_none=True, load_default=None)
optional_url = functools.partial(WebUrl, allow_none=True, load_default=None)
optional_time = functools.partial(Time, allow_none=True, load_default=None)
optional_flag = functools.partial(fields.Boolean, allow_none=True, load_default=None)
optional_object = functools.partial(Object, allow_none=True, load_default=None)
required_object = functools.partial(Object, required=True)
optional_list = functools.partial(Entries, allow_none=True, load_default=None)


def parse_time(value: Any) -> Moment | None:
    """Parse a courier's time; None for an empty value, and for a zero value such as 0001-01-01.

    Shape:  ISO 8601 in any spelling, compact ones too, or Unix seconds, milliseconds, microseconds
            or nanoseconds, as a number or in a string. Without a zone the result has none, and is
            flagged: see in_zone(). A time without seconds is flagged as exact to the minute.
    Raises: ValueError where it is no time.
    """
    if type(value) is str:
        # The usual spelling, with seconds.
        if value[16:17] == ":" and value[4:5] == "-":
            try:
                return _moment(datetime.fromisoformat(value), frozenset())
            except ValueError:
                pass
        value = value.strip()
        if NUMBER.fullmatch(value):
            return _parse_number(value)
        return _parse_iso(value) if value else None
    if is_empty(value):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("not a time")  # noqa: TRY004 (the courier's fault, not ours)
    return _parse_number(f"{value}" if isinstance(value, int) else f"{value:f}")


def _moment(at: datetime, flags: frozenset[str]) -> Moment | None:
    if at.year < FIRST_YEAR:
        return None
    if at.tzinfo is None:
        return Moment(at, flags | ZONE_FLAGS)
    try:
        return Moment(at.astimezone(UTC), flags)
    except OverflowError:
        raise ValueError("not a time") from None


def _parse_number(text: str) -> Moment | None:
    if len(text) in COMPACT_LENGTHS and text.isdecimal():
        try:
            return _parse_iso(text)
        except ValueError:
            if len(text) == COMPACT_LENGTHS[0]:
                raise
    number = float(text)
    if number <= 0:
        return None
    for unit in (1, 1_000, 1_000_000, 1_000_000_000):
        if UNIX_SECONDS.start <= number / unit < UNIX_SECONDS.stop:
            return Moment(datetime.fromtimestamp(number / unit, UTC))
    raise ValueError("not a time")


def _parse_iso(text: str) -> Moment | None:
    match = ISO.fullmatch(text)
    if match is None:
        raise ValueError("not a time")
    year, hour, second = int(match["year"]), int(match["hour"] or 0), int(match["second"] or 0)
    if year < FIRST_YEAR:
        return None
    minute, fraction = int(match["minute"] or 0), (match["fraction"] or "")[:6].ljust(6, "0")
    flags = frozenset({MINUTE_ONLY} if match["hour"] and not match["second"] else ())
    # 24:00:00 is the end of the day, and second 60 a leap second.
    extra = timedelta(days=hour == 24 and not minute and not second, seconds=second == 60)  # noqa: PLR2004
    date = datetime(year, int(match["month"]), int(match["day"]), tzinfo=_parse_zone(match["zone"]))
    at = date.replace(
        hour=0 if extra.days else hour,
        minute=minute,
        second=second - extra.seconds,
        microsecond=int(fraction),
    )
    try:
        return _moment(at + extra, flags)
    except OverflowError:
        raise ValueError("not a time") from None


def _parse_zone(text: str | None) -> Any:
    if text is None:
        return None
    if text[0] not in "+-":
        return UTC
    # The date does not matter: only the offset is used.
    return datetime.fromisoformat(f"2000-01-01T00:00:00{text}").tzinfo


def in_zone(moment: Moment | None, zone: str) -> Moment | None:
    """Return a time in aware UTC; one without a zone is read in this one.

    zone: an IANA name.
    """
    if moment is None or moment.at.tzinfo is not None:
        return moment
    try:
        at = moment.at.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)
    except OverflowError:
        at = moment.at.replace(tzinfo=UTC)
    return Moment(at, moment.flags)


def aware_times(values: Mapping[str, Any], zone: str) -> dict[str, Any]:
    """Return the values of an object, each time among them in aware UTC, see in_zone()."""
    return {
        name: in_zone(value, zone) if isinstance(value, Moment) else value
        for name, value in values.items()
    }


def quote_path_segment(name: str) -> str:
    """Quote a name as one segment of a URL's path.

    Raises: UnknownToCourier for a name that a server may resolve to another path: `..`, also beside
        a slash of either kind, or an empty one, which is the list of all orders.
    """
    if not name or {".", ".."} & set(re.split(r"[/\\]", name)):
        raise UnknownToCourier("an order's name is not empty and does not lead up the URL's path")
    return quote(name, safe="")
