"""Why an order has its present status."""

from marshmallow import fields, validate

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
    FLAGS,
    IS_APPLIED,
    KINDS,
    TRUSTS,
    WHY_NOT,
    Answer,
    boolean,
    example,
    integer,
    items,
    string,
    time,
)
from receiver.schemas.message import AN_OUTCOME
from receiver.schemas.order import EtaSchema


class ExplainedMessageSchema(Answer):
    """A message about the order."""

    id = string("184467", "Id of the message, see `GET /v1/messages/{message_id}`.")
    topic = fields.String(metadata=A_TOPIC)
    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    received_at = time("2026-04-16T07:00:02Z", "When it arrived, by our clock.")
    repetitions = integer(2, "How many times the same body arrived again after the first time.")
    last_seen_at = time("2026-04-16T07:05:02Z", "When the same body arrived most recently.")
    outcome = fields.String(validate=validate.OneOf(OUTCOMES), metadata=AN_OUTCOME)
    reason = string(
        "state: Missing data for required field.",
        "Why the message was quarantined, parked or discarded; null otherwise.",
        allow_none=True,
    )
    first_told = fields.List(
        fields.String(),
        metadata=example(
            ["delivery_failed"],
            "The events that this message was the first to report, in the courier's words.",
        ),
    )


class ExplainedEventSchema(Answer):
    """An event, and its effect on the order."""

    occurred_at = time("2026-04-16T07:00:00Z", "When it happened, by the courier's clock.")
    received_at = time("2026-04-16T07:00:02Z", "When its message arrived, by our clock.")
    courier_status = fields.String(metadata=A_COURIER_STATUS)
    status = fields.String(metadata=A_STATUS)
    reason = fields.String(allow_none=True, metadata=A_REASON)
    parcel = fields.String(allow_none=True, metadata=A_PARCEL)
    message_id = fields.String(metadata=A_MESSAGE)
    applied = fields.Boolean(metadata=IS_APPLIED)
    not_applied_why = fields.String(allow_none=True, metadata=WHY_NOT)
    set_status = boolean(True, "Whether the order's present status comes from this event.")
    flags = fields.List(fields.String(), metadata=FLAGS)


class ExplainedDetailSchema(Answer):
    """A detail of the order, and the message that reported it."""

    name = string("tracking_url", "Name of the detail.")
    value = fields.Raw(
        allow_none=True,
        metadata=example("https://www.tiramizoo.com/orders/ID4K7EHQX62RA", "Its value."),
    )
    told_at = time(
        "2026-04-16T07:00:00Z",
        "When the courier reported it, by the courier's clock; null: the message had no time.",
        allow_none=True,
    )
    message_id = fields.String(metadata=A_MESSAGE)


class ExplainedOrderSchema(Answer):
    """The explained part of the order."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    identifiers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata=example(
            {"identifier": "ZVW8GV"},
            "Further identifiers that the courier gave the order, by kind.",
        ),
    )
    status = fields.String(metadata=A_STATUS)
    courier_status = fields.String(allow_none=True, metadata=A_COURIER_STATUS)
    status_at = time(
        "2026-04-16T07:00:00Z",
        "Since when it has this status, by the courier's clock.",
        allow_none=True,
    )
    reason = fields.String(allow_none=True, metadata=A_REASON)
    needs_attention = boolean(False, "Whether a person should look into the order.")


class ExplanationSchema(Answer):
    """Why an order has its present status."""

    order = fields.Nested(ExplainedOrderSchema, metadata={"description": "The order as it is now."})
    messages = items(ExplainedMessageSchema, "All messages about the order, oldest first.")
    events = items(
        ExplainedEventSchema, "All events of the order, oldest first, repeated ones included."
    )
    details = items(
        ExplainedDetailSchema, "All details of the order, and the messages that reported them."
    )
    etas = items(EtaSchema, "All expected times of arrival so far, oldest first.")
    conflicts = items(
        ConflictSchema, "All conflicts of the order, settled and closed ones included."
    )
