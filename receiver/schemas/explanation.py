"""Why an order stands where it stands."""

from marshmallow import Schema, fields, validate

from receiver.db.models import OUTCOMES
from receiver.schemas.conflict import ConflictSchema
from receiver.schemas.fields import (
    A_COURIER_STATUS,
    A_KIND,
    A_MESSAGE,
    A_PARCEL,
    A_REASON,
    A_REFERENCE,
    A_STATUS,
    A_TOPIC,
    A_TRUST,
    AN_ACCOUNT,
    AN_ORDER,
    APPLIED_TOLD,
    FLAGS,
    KINDS,
    TRUSTS,
    WHY_NOT,
    example,
)
from receiver.schemas.order import EtaSchema


class ExplainedMessageSchema(Schema):
    """A message that told of the order."""

    id = fields.String(metadata=example("184467", "See `GET /v1/messages/{message_id}`."))
    topic = fields.String(metadata=A_TOPIC)
    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    received_at = fields.String(
        metadata=example("2026-04-16T07:00:02Z", "When it came, by our clock.", format="date-time")
    )
    repetitions = fields.Integer(metadata=example(2, "How often the same body came again."))
    last_seen_at = fields.String(
        metadata=example(
            "2026-04-16T07:05:02Z", "When the same body came last.", format="date-time"
        )
    )
    outcome = fields.String(
        validate=validate.OneOf(OUTCOMES), metadata=example("applied", "What became of it.")
    )
    reason = fields.String(
        allow_none=True,
        metadata=example("state: Missing data for required field.", "Why it is no more than that."),
    )
    first_told = fields.List(
        fields.String(),
        metadata=example(
            ["delivery_failed"], "The courier's words that no other message told before."
        ),
    )


class ExplainedEventSchema(Schema):
    """An event, with what it did to the order."""

    occurred_at = fields.String(
        metadata=example(
            "2026-04-16T07:00:00Z", "When it happened, by the courier's clock.", format="date-time"
        )
    )
    received_at = fields.String(
        metadata=example(
            "2026-04-16T07:00:02Z", "When we heard of it, by our clock.", format="date-time"
        )
    )
    courier_status = fields.String(metadata=A_COURIER_STATUS)
    status = fields.String(metadata=A_STATUS)
    reason = fields.String(allow_none=True, metadata=A_REASON)
    parcel = fields.String(allow_none=True, metadata=A_PARCEL)
    message_id = fields.String(metadata=A_MESSAGE)
    applied = fields.Boolean(metadata=APPLIED_TOLD)
    not_applied_why = fields.String(allow_none=True, metadata=WHY_NOT)
    set_status = fields.Boolean(metadata=example(True, "Whether it set the order's status."))
    flags = fields.List(fields.String(), metadata=FLAGS)


class ExplainedDetailSchema(Schema):
    """A detail of the order, and what told it."""

    name = fields.String(metadata=example("tracking_url", "What it is about."))
    value = fields.Raw(
        allow_none=True,
        metadata=example("https://www.tiramizoo.com/orders/ID4K7EHQX62RA", "What was told."),
    )
    told_at = fields.String(
        allow_none=True,
        metadata=example("2026-04-16T07:00:00Z", "By the courier's clock.", format="date-time"),
    )
    message_id = fields.String(metadata=A_MESSAGE)


class ExplainedOrderSchema(Schema):
    """The order, as far as it is explained."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    identifiers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata=example({"identifier": "ZVW8GV"}, "Further names that the courier gave it."),
    )
    status = fields.String(metadata=A_STATUS)
    courier_status = fields.String(allow_none=True, metadata=A_COURIER_STATUS)
    status_at = fields.String(
        allow_none=True,
        metadata=example(
            "2026-04-16T07:00:00Z", "Since when, by the courier's clock.", format="date-time"
        ),
    )
    reason = fields.String(allow_none=True, metadata=A_REASON)
    needs_attention = fields.Boolean(metadata=example(False, "Whether a person should look."))


class ExplanationSchema(Schema):
    """Why an order stands where it stands."""

    order = fields.Nested(ExplainedOrderSchema, metadata={"description": "Where it stands."})
    messages = fields.List(
        fields.Nested(ExplainedMessageSchema),
        metadata={"description": "Every message that told of it, the oldest first."},
    )
    events = fields.List(
        fields.Nested(ExplainedEventSchema),
        metadata={"description": "Every event, the oldest first, repetitions too."},
    )
    details = fields.List(
        fields.Nested(ExplainedDetailSchema),
        metadata={"description": "Every detail, with the message that told it."},
    )
    etas = fields.List(
        fields.Nested(EtaSchema),
        metadata={"description": "When it was expected, the oldest first."},
    )
    conflicts = fields.List(
        fields.Nested(ConflictSchema),
        metadata={"description": "Its conflicts, also the closed ones."},
    )
