"""What the shop gives: orders to register, one or many, and corrections of them."""

from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Dict, List

from receiver.schemas import fields
from receiver.schemas.fields import (
    Answer,
    Text,
    any_item,
    described,
    given_text,
    identifier,
    integer,
    name,
    nested,
    nested_list,
)
from receiver.schemas.order import TRACKING, OrderSchema

MOST_METADATA_KEYS = 50
MOST_REGISTERED = 100


def _validate_size(metadata: dict[str, Any]) -> None:
    if len(metadata) > MOST_METADATA_KEYS:
        raise ValidationError(f"must not have more than {MOST_METADATA_KEYS} keys")


def _given_metadata(further: str, **options: Any) -> Any:
    """Make a field of the shop's data. further: what else to say of it."""
    return described(
        Dict,
        "Anything that the shop wants to store with the order: at most 50 keys of 1 to 100"
        f" characters, each with a text of at most 1,000 characters. {further}",
        {"shop": "munich"},
        null=True,
        keywords={"maxProperties": MOST_METADATA_KEYS},
        keys=Text(validate=validate.Length(1, 100)),
        values=Text(validate=validate.Length(max=1000)),
        validate=_validate_size,
        **options,
    )


class NewOrderSchema(Schema):
    """An order that the shop has given to a courier."""

    account = identifier(fields.AN_ACCOUNT, "tiramizoo", required=True)
    courier_order_id = name(
        "The courier's own id of the order, or another identifier that the courier gave it.",
        "2a9eeeb3-16ba-4184-b894-c9734f613e93",
        required=True,
    )
    reference = name(fields.A_REFERENCE, "41", null=True, load_default=None)
    metadata = _given_metadata(
        "Replaces what was given under this name of the order before.", load_default=None
    )


class OrderChangesSchema(Schema):
    """What to correct of an order: at least one of these. What is left out stays as it is."""

    reference = name(
        f"{fields.A_REFERENCE} null: the shop gives none, and the courier's own counts again.",
        "41",
        null=True,
    )
    metadata = _given_metadata(
        "Replaces all that the order has, whatever it was given under; null: removes all of it. An"
        " order whose personal data was erased keeps none."
    )
    tracking = given_text(
        "`stopped`: the order is not polled any more and raises no alert; what its courier sends is"
        " processed all the same. `active`: it is tracked again.",
        "stopped",
        choices=TRACKING,
    )

    @validates_schema
    def _at_least_one(self, changes: dict[str, Any], **kwargs: Any) -> None:
        if not changes:
            raise ValidationError("give at least one of reference, metadata and tracking")


class NewOrderBatchSchema(Schema):
    """Orders that the shop has given to couriers."""

    orders = described(
        List,
        "1 to 100 orders, each as for `POST /v1/orders`.",
        [{"account": "tiramizoo", "courier_order_id": "ZVW8GV", "reference": "41"}],
        required=True,
        cls_or_instance=any_item(),
        length=(1, MOST_REGISTERED),
    )


class BatchResultSchema(Answer):
    """What became of one order of a batch."""

    sometimes = ("order", "problem")

    status = integer(
        "201: it is registered now; 200: it was known already; 404: the account does not exist;"
        " 422: fields of it are invalid.",
        201,
    )
    order = nested(OrderSchema, "The order. Absent with 404 and 422.")
    problem = nested(fields.ProblemSchema, "Why it was not registered. Absent with 200 and 201.")


class BatchAnswerSchema(Answer):
    """The results of a batch."""

    results = nested_list(BatchResultSchema, "One result per order, in the order of the orders.")
