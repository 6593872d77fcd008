"""fast_load returns what marshmallow returns, or leaves the body to marshmallow."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some
from marshmallow import INCLUDE, Schema, ValidationError, fields, post_load, validate

from receiver.couriers import cottoncast, tiramizoo
from receiver.couriers.fast_load import NotPlain, _reader_of_class, fast_load
from receiver.couriers.parsing import Body
from tests.bodies import cottoncast_shipment, cottoncast_status, payload

NAMES = some.sampled_from(["text", "short", "raw", "part", "parts", "odd", "other"])
# What couriers send, and what they do not.
values = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(max_size=4),
    lambda inner: some.lists(inner, max_size=2) | some.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)


class Odd(fields.Field[str]):
    def _deserialize(self, value: Any, attr: Any, data: Any, **_: Any) -> str:
        if not isinstance(value, int):
            raise ValidationError("is no number")
        return f"number {value}"


class Part(Body):
    text = fields.String(required=True)
    short = fields.String(allow_none=True, load_default=None, validate=validate.Length(1, 2))


class Whole(Body):
    text = fields.String(allow_none=True, load_default=None)
    short = fields.String(required=True, validate=[validate.Length(min=1), validate.Length(max=3)])
    raw_ = fields.Raw(data_key="raw", allow_none=True, load_default=None)
    part = fields.Nested(Part, allow_none=True, load_default=None)
    parts = fields.List(fields.Nested(Part), allow_none=True, load_default=None)
    odd = Odd(allow_none=True, load_default=None)


WHOLE = Whole()


@given(some.dictionaries(NAMES, values, max_size=6), some.booleans())
def test_the_fast_path_gives_what_marshmallow_gives(body: dict[str, Any], fits: bool) -> None:
    if fits:
        body = {**body, "short": "ok"}
    try:
        found = fast_load(WHOLE, body)
    except NotPlain:
        return
    assert found == WHOLE.load(body)


def test_a_body_that_fits_takes_the_fast_path() -> None:
    part = {"text": "a", "short": None}
    body = {"short": "ok", "raw": [1], "part": part, "parts": [part, part], "odd": 1, "other": {}}
    assert fast_load(WHOLE, body) == WHOLE.load(body)


@pytest.mark.parametrize(
    "name", ["order_web_hook", "show_order", "show_order_delivery_failed", "show_order_v1"]
)
def test_the_couriers_own_bodies_take_the_fast_path(name: str) -> None:
    body = payload(f"tiramizoo/{name}.json")
    body = body.get("order", body)
    assert fast_load(tiramizoo.ORDER, body) == tiramizoo.ORDER.load(body)


def test_a_field_of_another_kind_does_not_keep_the_rest_from_the_fast_path() -> None:
    body = cottoncast_status(order_id=17, shipments=[cottoncast_shipment()])
    assert fast_load(cottoncast.ORDER_STATUS, body) == cottoncast.ORDER_STATUS.load(body)


class Hooked(Body):
    text = fields.String()

    @post_load
    def shout(self, loaded: dict[str, Any], **_: Any) -> dict[str, Any]:
        return {"text": loaded["text"].upper()}


class Including(Schema):
    class Meta:
        unknown = INCLUDE

    text = fields.String()


class Defaulting(Body):
    text = fields.String(load_default="none")


@pytest.mark.parametrize("schema", [Hooked(), Including(), Defaulting(), Whole(many=True)])
def test_a_schema_that_does_more_than_name_fields_is_left_to_marshmallow(schema: Schema) -> None:
    with pytest.raises(NotPlain):
        fast_load(schema, {"text": "a", "short": "ok"})


def test_a_schema_made_for_every_message_is_read_by_one_reader() -> None:
    before = _reader_of_class.cache_info().currsize
    for number in range(10):
        assert fast_load(Whole(), {"short": str(number)})["short"] == str(number)
    assert _reader_of_class.cache_info().currsize <= before + 1
