"""The vocabulary."""

from marshmallow import Schema, fields, validate

from receiver.schemas.fields import example
from receiver.statuses import GROUPS


class StatusRow(Schema):
    """One of our statuses."""

    status = fields.String(attribute="name", metadata=example("in_transit", "Its name."))
    group = fields.String(
        validate=validate.OneOf(GROUPS), metadata=example("in_transit", "What kind it is.")
    )
    rank = fields.Integer(
        metadata=example(40, "What counts for more among events of the same moment.")
    )
    is_terminal = fields.Boolean(
        attribute="terminal", metadata=example(False, "Whether an order is at an end by it.")
    )
    needs_attention = fields.Boolean(
        attribute="attention", metadata=example(False, "Whether a person should look.")
    )
    couriers = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=example({"cottoncast": ["N", "L"]}, "Each courier's words for it."),
    )


class Vocabulary(Schema):
    """The statuses, an open set."""

    statuses = fields.List(
        fields.Nested(StatusRow), metadata={"description": "All of them; more may come."}
    )
