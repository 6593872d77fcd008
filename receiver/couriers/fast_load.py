"""Reads a body that plainly fits its schema without marshmallow, which takes ten times as long.

The schema stays the one description of the body, and this knows only the kinds of fields that our
drivers use. Whatever does not plainly fit is left to marshmallow, which also says what is wrong.
"""

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import Schema, ValidationError, fields, missing, validate

Read = Callable[[Any], Any]


class NotPlain(Exception):
    """Left to marshmallow: the body does not fit, or the schema has something unknown to us."""


def reader(schema: Schema) -> Read:
    """What reads a body of this schema, or raises NotPlain.

    Raises: NotPlain for a schema that only marshmallow can read.
    """
    if schema.many or schema.unknown != "exclude" or any(schema._hooks.values()):  # noqa: SLF001
        raise NotPlain
    plan = [
        (field.data_key or name, field.attribute or name, _reader_or_default(field))
        for name, field in schema.load_fields.items()
    ]

    def read(body: Any) -> dict[str, Any]:
        if type(body) is not dict:
            raise NotPlain
        return {name: value(body.get(key, missing)) for key, name, value in plan}

    return read


def _reader_or_default(field: fields.Field[Any]) -> Read:
    """What reads a field's value: missing, null or there."""
    there = _reader(field)
    if field.load_default is not None and field.load_default is not missing:
        raise NotPlain
    nullable, optional = field.allow_none, field.load_default is None

    def read(value: Any) -> Any:
        if value is None and nullable:
            return None
        if value is missing and optional:
            return None
        return there(value)

    return read


def _reader(field: fields.Field[Any]) -> Read:
    if field.validators and type(field) in {fields.Raw, fields.Nested, fields.List}:
        return _by_itself(field)
    if type(field) is fields.Raw:
        return _given
    if type(field) is fields.Nested and field.unknown is None:
        return reader(field.schema)
    if type(field) is fields.List:
        return _list_of(_reader_or_default(field.inner))
    if type(field) is fields.String:
        return _text(field.validators)
    return _by_itself(field)


def _by_itself(field: fields.Field[Any]) -> Read:
    """A kind of field that only it knows: the rest of the body is read quickly all the same."""

    def read(value: Any) -> Any:
        try:
            return field.deserialize(value)
        except ValidationError:
            raise NotPlain from None

    return read


def _given(value: Any) -> Any:
    if value is missing or value is None:
        raise NotPlain
    return value


def _list_of(item: Read) -> Read:
    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise NotPlain
        return [item(it) for it in value]

    return read


def _text(validators: list[Callable[[Any], Any]]) -> Read:
    least, most = 0, float("inf")
    for bound in validators:
        if type(bound) is not validate.Length or bound.equal is not None:
            raise NotPlain
        least, most = max(least, bound.min or 0), min(most, bound.max or most)

    def read(value: Any) -> str:
        if type(value) is not str or not least <= len(value) <= most:
            raise NotPlain
        return value

    return read


class Plain:
    """The readers of schemas, each made when it is first needed."""

    def __init__(self) -> None:
        self._readers: dict[Schema, Read] = {}

    def read(self, schema: Schema, body: Mapping[str, Any]) -> dict[str, Any]:
        """The body as schema.load() gives it.

        Raises: NotPlain.
        """
        read = self._readers.get(schema)
        if read is None:
            try:
                read = reader(schema)
            except NotPlain:
                read = _never
            self._readers[schema] = read
        loaded: dict[str, Any] = read(body)
        return loaded


def _never(_: Any) -> Any:
    raise NotPlain
