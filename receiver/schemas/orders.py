"""Orders: listed, put on record, looked up, asked about."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.schemas.fields import (
    A_LIMIT,
    A_REFERENCE,
    AN_ACCOUNT,
    AN_ORDER,
    IDENTIFIER,
    NEXT_CURSOR,
    STATUSES,
    Line,
    Time,
    Whole,
    example,
    sometimes,
)
from receiver.schemas.order import Order
from receiver.statuses import GROUPS

MOST_METADATA_KEYS = 50
MOST_LOOKED_UP = 100


class OrderPage(Schema):
    """Orders, the newest first."""

    orders = fields.List(fields.Nested(Order), metadata={"description": "The orders of this page."})
    next_cursor = fields.String(allow_none=True, metadata=NEXT_CURSOR)


class OrderFilters(Schema):
    """Which orders to list: those that fit all of them."""

    reference = Line(validate=IDENTIFIER, metadata=A_REFERENCE)
    account = Line(validate=IDENTIFIER, metadata=AN_ACCOUNT)
    status = Line(
        validate=validate.OneOf(STATUSES), metadata=example("in_transit", "At this status now.")
    )
    status_group = Line(
        validate=validate.OneOf(GROUPS),
        metadata=example("in_transit", "At a status of this group now."),
    )
    needs_attention = fields.Boolean(
        truthy={"true", "1"},
        falsy={"false", "0"},
        metadata=example(False, "Those that a person should look at, or those that none need."),
    )
    updated_since = Time(
        metadata=example(
            "2026-04-16T07:00:00Z",
            "Changed then or later. With a zone; in a query string write `+` as `%2B`.",
        )
    )
    limit = Whole(load_default=50, validate=validate.Range(1, 200), metadata=example(50, A_LIMIT))
    cursor = Line(
        validate=validate.Length(1, 200), metadata=example("bzQx", "The last page's `next_cursor`.")
    )


def _small(metadata: dict[str, Any]) -> None:
    if len(metadata) > MOST_METADATA_KEYS:
        raise ValidationError(f"holds more than {MOST_METADATA_KEYS} names")


class NewOrder(Schema):
    """An order that the shop has given to a courier."""

    account = Line(required=True, validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Line(
        required=True,
        validate=IDENTIFIER,
        metadata=example(
            "2a9eeeb3-16ba-4184-b894-c9734f613e93",
            "The courier's own id of the order, or any identifier by which we know it already.",
        ),
    )
    reference = Line(load_default=None, allow_none=True, validate=IDENTIFIER, metadata=A_REFERENCE)
    metadata = fields.Dict(
        keys=Line(validate=validate.Length(1, 100)),
        values=Line(validate=validate.Length(max=1000)),
        load_default=None,
        allow_none=True,
        validate=_small,
        metadata=example(
            {"shop": "munich"},
            "What the shop wants to find with the order: at most 50 names of 1 to 100 characters,"
            " each with a text of at most 1,000. What was noted before is replaced.",
            maxProperties=MOST_METADATA_KEYS,
            **{"x-names": {"minLength": 1, "maxLength": 100}},
        ),
    )


class OrderName(Schema):
    """An order by one of its names."""

    account = Line(required=True, validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Line(
        required=True,
        validate=IDENTIFIER,
        metadata=example(
            "ID4K7-EHQX-62RA", "The courier's own id, or any identifier that it gave the order."
        ),
    )


class Lookup(Schema):
    """What to look up: either `references` or `orders`."""

    references = fields.List(
        Line(validate=IDENTIFIER),
        validate=validate.Length(1, MOST_LOOKED_UP),
        metadata=example(["41", "42"], "The shop's own order numbers, 1 to 100"),
    )
    orders = fields.List(
        fields.Nested(OrderName),
        validate=validate.Length(1, MOST_LOOKED_UP),
        metadata=example([{"account": "cottoncast", "courier_order_id": "3AF7"}], "1 to 100"),
    )

    @validates_schema
    def _one_of_them(self, asked: dict[str, Any], **kwargs: Any) -> None:
        if len(asked.keys() & {"references", "orders"}) != 1:
            raise ValidationError("give either references or orders", "references")


class LookupResult(Schema):
    """What was found for one item, which is told as it was asked for."""

    reference = fields.String(metadata=sometimes("41", "Where it was asked by reference."))
    account = fields.String(metadata=sometimes("tiramizoo", "Where it was asked by name."))
    courier_order_id = fields.String(
        metadata=sometimes("ID4K7-EHQX-62RA", "Where it was asked by name; as it was asked.")
    )
    found = fields.Boolean(metadata=example(True, "Whether there is such an order."))
    orders = fields.List(
        fields.Nested(Order), metadata={"description": "The newest first, at most 10."}
    )
    more = fields.Boolean(metadata=example(False, "Whether it has more orders than are shown."))


class LookupAnswer(Schema):
    """What was found."""

    results = fields.List(
        fields.Nested(LookupResult),
        metadata={"description": "One for each item, in the order of the items."},
    )


class Refreshed(Schema):
    """An order whose courier is about to be asked."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    next_poll_at = Time(
        metadata=example("2026-04-16T07:00:00Z", "When it is asked, at the earliest.")
    )
