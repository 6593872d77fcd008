"""Lookups of several orders: the items that are looked up, and what was found for each."""

from typing import Any

from marshmallow import Schema, ValidationError, validates_schema
from marshmallow.fields import List

from receiver.schemas import fields
from receiver.schemas.fields import (
    Answer,
    any_item,
    boolean,
    described,
    identifier,
    name,
    nested,
    nested_list,
    text,
)
from receiver.schemas.order import OrderSchema

MOST_LOOKED_UP = 100


class OrderNameSchema(Schema):
    """An order by one of its identifiers."""

    account = identifier(fields.AN_ACCOUNT, "tiramizoo", required=True)
    courier_order_id = name(
        "The courier's own id of the order, any further identifier that the courier gave it, or the"
        " tracking number of a parcel.",
        "ID4K7-EHQX-62RA",
        required=True,
    )


class ReferenceSchema(Schema):
    """A reference to look up."""

    reference = name(fields.A_REFERENCE, "41", required=True)


class TrackingNumberSchema(Schema):
    """A tracking number to look up."""

    tracking_number = name("Of a parcel.", "18A24901BE5D49C3", required=True)


def _looked_up(description: str, example: Any) -> Any:
    return described(
        List, description, example, cls_or_instance=any_item(), length=(1, MOST_LOOKED_UP)
    )


class LookupSchema(Schema):
    """What to look up: give one of `references`, `orders` and `tracking_numbers`."""

    references = _looked_up("1 to 100 of the shop's own order numbers.", ["41", "42"])
    orders = _looked_up(
        "1 to 100 orders by name, each with `account` and `courier_order_id`.",
        [{"account": "cottoncast", "courier_order_id": "3AF7"}],
    )
    tracking_numbers = _looked_up(
        "1 to 100 tracking numbers of parcels, of any account.", ["18A24901BE5D49C3"]
    )

    @validates_schema
    def _one_of_them(self, lookup: dict[str, Any], **kwargs: Any) -> None:
        if len(lookup) != 1:
            raise ValidationError(
                "give one of references, orders and tracking_numbers", "references"
            )


class LookupResultSchema(Answer):
    """What was found for one item. The item itself is repeated as it was given."""

    sometimes = ("reference", "account", "courier_order_id", "tracking_number", "problem")

    reference = text("The reference that was looked up.", "41")
    account = text("The account that was given with an identifier.", "tiramizoo")
    courier_order_id = text("The identifier that was looked up.", "ID4K7-EHQX-62RA")
    tracking_number = text("The tracking number that was looked up.", "18A24901BE5D49C3")
    found = boolean("Whether any order was found.", True)
    orders = nested_list(OrderSchema, "The orders that were found, newest first, at most 10.")
    more = boolean("Whether there are more orders than the 10 in `orders`.", False)
    problem = nested(fields.ProblemSchema, "Why the item cannot be used. Absent where it can.")


class LookupAnswerSchema(Answer):
    """The results of a lookup."""

    results = nested_list(LookupResultSchema, "One result per item, in the order of the items.")
