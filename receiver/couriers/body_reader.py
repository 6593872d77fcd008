"""Reads a body field by field: what its schema refuses is left out, and everything else counts.

Only a refused field that is required makes an object unreadable. An unreadable object costs the
nearest optional field or entry of a list that holds it, in the end the whole body.

The schemas stay the only description of a body. A reader is compiled once for each schema class,
because marshmallow itself takes ten times as long for an ordinary body; a value that is not plainly
right is still judged by its marshmallow field. tests/couriers/test_body_reader.py compares both.
"""

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, missing, validate

from receiver.couriers.parsing import Entries, Object, Text, Time, WebUrl, is_empty, parse_time
from receiver.couriers.snapshot import LeftOut
from receiver.errors import Undecodable

# (path, why) of what was left out so far; a reader adds to it.
Faults = list[tuple[str, str]]
Reader = Callable[[Any, Faults], Any]

# How many parts of a body are reported: where everything is unreadable, the rest says no more.
MAX_LEFT_OUT = 50
REFUSED = object()


class _Refused(Exception):
    """An object cannot be read, because of the last of the faults."""


def read_fields(
    schema: type[Schema], body: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[LeftOut, ...]]:
    """Return the fields of a body (None for what is missing or refused), and what was refused.

    Raises: Undecodable where a required field of the body itself cannot be read.
    """
    faults: Faults = []
    try:
        data = _object_reader(schema)(body, faults)
    except _Refused:
        path, why = faults[-1]
        raise Undecodable(f"the body does not match the courier's schema: {path}: {why}") from None
    if not faults:
        return data, ()
    return data, tuple(LeftOut(path, why) for path, why in faults[:MAX_LEFT_OUT])


@functools.lru_cache(maxsize=256)
def _object_reader(schema_class: type[Schema]) -> Reader:
    schema = schema_class()
    if schema.unknown != EXCLUDE or any(schema._hooks.values()):  # noqa: SLF001
        raise TypeError(f"{schema_class.__name__} must exclude unknown keys and have no hooks")
    plan = [
        (field.data_key or name, name, _longest_text(field), _value_reader(field), field.required)
        for name, field in schema.load_fields.items()
    ]

    def read(body: Any, faults: Faults) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, name, longest, read_value, required in plan:
            value = body.get(key)
            if longest and type(value) is str and 0 < len(text := value.strip()) <= longest:
                data[name] = text
            elif value is None and not required:
                data[name] = None
            else:
                given = body.get(key, missing) if value is None else value
                value = _attempt(read_value, given, faults, key)
                if value is REFUSED and required:
                    raise _Refused
                data[name] = None if value is REFUSED else value
        return data

    return read


def _attempt(read: Reader, value: Any, faults: Faults, key: str | int) -> Any:
    """Read the value of a key, or return REFUSED; add the key to the paths of its faults."""
    known = len(faults)
    try:
        value = read(value, faults)
    except ValidationError as error:
        # What is no object has a message under a key of its own.
        messages = error.messages if isinstance(error.messages, list) else ["Not an object."]
        faults.append(("", " ".join(map(str, messages))))
        value = REFUSED
    except _Refused:
        value = REFUSED
    if len(faults) > known:
        faults[known:] = [
            (f"{key}.{path}" if path else f"{key}", why) for path, why in faults[known:]
        ]
    return value


def _longest_text(field: fields.Field[Any]) -> int:
    """Return the length up to which any text is right without its field, 0 for other fields."""
    if type(field) is not Text:
        return 0
    if not field.validators:
        return sys.maxsize
    (bound,) = field.validators
    return (bound.max or sys.maxsize) if type(bound) is validate.Length else 0


def _value_reader(field: fields.Field[Any]) -> Reader:
    """Return the reader of a field's value, which raises ValidationError or _Refused."""
    if type(field) is Object:
        return _nested_reader(field)
    if type(field) is Entries:
        return _list_reader(field)

    def read(value: Any, _faults: Faults) -> Any:
        return field.deserialize(value)

    def read_time(value: Any, faults: Faults) -> Any:
        try:
            return parse_time(value)
        except ValueError:
            return read(value, faults)

    def read_url(value: Any, faults: Faults) -> Any:
        is_plain = type(value) is str and WebUrl.PLAIN.fullmatch(value)
        return value if is_plain else read(value, faults)

    if type(field) is Time:
        return read_time
    return read_url if type(field) is WebUrl else read


def _nested_reader(field: Object) -> Reader:
    read_object = _object_reader(type(field.schema))

    def read(value: Any, faults: Faults) -> Any:
        return (
            read_object(value, faults)
            if type(value) is dict and value
            else field.deserialize(value)
        )

    return read


def _list_reader(field: Entries) -> Reader:
    read_object = _object_reader(type(field.entry_schema))

    def read_entry(value: Any, faults: Faults) -> Any:
        if type(value) is not dict:
            raise ValidationError("Not an object.")
        return read_object(value, faults)

    def read(value: Any, faults: Faults) -> Any:
        if type(value) is not list:
            if is_empty(value) or value is missing:
                return field.deserialize(value)
            value = field.list_entries(value)
        entries = [
            _attempt(read_entry, item, faults, number)
            for number, item in enumerate(value)
            if not is_empty(item)
        ]
        return [entry for entry in entries if entry is not REFUSED]

    return read
