"""Why an order has its present status."""

from marshmallow.fields import Raw

from receiver.schemas import fields
from receiver.schemas.conflict import ConflictSchema
from receiver.schemas.fields import (
    Answer,
    boolean,
    described,
    nested,
    nested_list,
    text,
    texts,
    time,
)
from receiver.schemas.message import MessageFields
from receiver.schemas.order import EtaSchema, OrderFields
from receiver.schemas.timeline import EventFields


class ExplainedMessageSchema(MessageFields):
    """A message about the order."""

    first_told = texts(
        "The events that this message was the first to report, in the courier's words.",
        ["delivery_failed"],
    )


class ExplainedEventSchema(EventFields):
    """An event, and its effect on the order."""

    message_id = fields.MESSAGE_ID
    set_status = boolean("Whether the order's present status comes from this event.", True)


class ExplainedDetailSchema(Answer):
    """A detail of the order, and the message that reported it."""

    name = text("Name of the detail.", "tracking_url")
    value = described(
        Raw, "Its value.", "https://www.tiramizoo.com/orders/ID4K7EHQX62RA", null=True
    )
    told_at = time(
        "When the courier reported it, by the courier's clock; null: the message had no time.",
        null=True,
    )
    message_id = fields.MESSAGE_ID


class ExplainedOrderSchema(OrderFields):
    """The explained part of the order."""


class ExplanationSchema(Answer):
    """Why an order has its present status."""

    order = nested(ExplainedOrderSchema, "The order as it is now.")
    messages = nested_list(ExplainedMessageSchema, "All messages about the order, oldest first.")
    events = nested_list(
        ExplainedEventSchema, "All events of the order, oldest first, repeated ones included."
    )
    details = nested_list(
        ExplainedDetailSchema, "All details of the order, and the messages that reported them."
    )
    etas = nested_list(EtaSchema, "All expected times of arrival so far, oldest first.")
    conflicts = nested_list(
        ConflictSchema, "All conflicts of the order, settled and closed ones included."
    )
