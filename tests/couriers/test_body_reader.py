"""The reader of bodies beside marshmallow itself, which says what is right."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import Schema, ValidationError, fields

from receiver.couriers import parsing
from receiver.couriers.body_reader import read_fields
from receiver.errors import Undecodable


class InnerSchema(parsing.Body):
    id = parsing.required_name()
    at = parsing.optional_time()
    url = parsing.optional_url()


class OuterSchema(parsing.Body):
    id = parsing.required_name()
    name = parsing.optional_name()
    text = parsing.optional_text(data_key="Text")
    at = parsing.optional_time()
    new = parsing.optional_flag()
    inner = parsing.optional_object(InnerSchema)
    entries = parsing.optional_list(InnerSchema)


scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(
        [
            *(" A1 ", "x" * 256, "https://x.example/1", "javascript:1", "20260416", "noon"),
            *("2026-04-16T09:00:00+02:00", "2026-04-16 09:00", "0001-01-01T00:00:00Z", "true"),
        ]
    )
)
inners = st.fixed_dictionaries({}, optional={"id": scalars, "at": scalars, "url": scalars})
shapes = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=3), scalars)
bodies = st.fixed_dictionaries(
    {},
    optional={
        "id": scalars | st.just("an id"),
        "name": shapes,
        "Text": shapes,
        "at": shapes,
        "new": shapes,
        "inner": inners | shapes,
        "entries": st.lists(inners | scalars, max_size=3)
        | st.dictionaries(st.text(max_size=3), inners | scalars, max_size=3)
        | shapes,
        "beside": shapes,
    },
)


def load_leniently(schema: Schema, body: Any) -> dict[str, Any] | None:
    """What marshmallow's own loading leaves of a body; None where a required field is missing."""
    try:
        loaded = schema.load(body)
    except ValidationError as refused:
        loaded = refused.valid_data
    return complete(schema, loaded) if isinstance(loaded, dict) else None


def complete(schema: Schema, loaded: dict[str, Any]) -> dict[str, Any] | None:
    for name, field in schema.load_fields.items():
        if field.required and loaded.get(name) is None:
            return None
        value = loaded.setdefault(name, None)
        if isinstance(field, parsing.Entries) and value is not None:
            entries = [complete(field.entry_schema, entry) for entry in value]
            loaded[name] = [entry for entry in entries if entry is not None]
        elif isinstance(field, fields.Nested) and value is not None:
            loaded[name] = complete(field.schema, value)
    return loaded


def fields_refused(messages: Any, path: str = "") -> Iterator[str]:
    """The fields that marshmallow complains of, without the numbers of entries."""
    if not isinstance(messages, dict):
        yield path
        return
    for key, inner in messages.items():
        is_part = isinstance(key, int) or key == "_schema"
        yield from fields_refused(inner, path if is_part else f"{path}.{key}".lstrip("."))


def test_what_is_no_object_is_said_to_be_none() -> None:
    _data, left_out = read_fields(OuterSchema, {"id": "x", "inner": 5})
    assert ("inner", "Not an object.") in [(item.field, item.why) for item in left_out]


@given(body=bodies)
def test_the_reader_reads_what_marshmallow_does(body: dict[str, Any]) -> None:
    expected = load_leniently(OuterSchema(), body)
    try:
        data, left_out = read_fields(OuterSchema, body)
    except Undecodable:
        assert expected is None
        return
    assert data == expected
    named = {".".join(p for p in item.field.split(".") if not p.isdecimal()) for item in left_out}
    refused = set(fields_refused(OuterSchema().validate(body)))
    # Of an entry without its required field the rest is not looked at.
    assert named <= refused
    assert bool(named) == bool(refused)


def test_a_schema_that_only_marshmallow_understands_is_refused() -> None:
    with pytest.raises(TypeError, match="Strict"):
        read_fields(Schema.from_dict({"id": fields.String()}, name="Strict"), {})


@pytest.mark.parametrize("count", [0, 1, 400])
def test_a_body_that_is_unreadable_throughout_reports_a_bounded_number_of_faults(
    count: int,
) -> None:
    data, left_out = read_fields(OuterSchema, {"id": "1", "entries": [{"at": 1}] * count})
    assert data["entries"] == []
    assert len(left_out) == min(count, 50)
