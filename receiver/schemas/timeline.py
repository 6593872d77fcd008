"""An order's timeline."""

from marshmallow import Schema, fields

from receiver.schemas.fields import (
    A_COURIER_STATUS,
    A_KIND,
    A_MESSAGE,
    A_PARCEL,
    A_REASON,
    A_STATUS,
    A_TRUST,
    APPLIED_TOLD,
    FLAGS,
    KINDS,
    TRUSTS,
    WHY_NOT,
    Part,
    Time,
    example,
)


class EventSource(Schema):
    """What told an event first."""

    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    message_id = fields.String(metadata=A_MESSAGE)


class Event(Schema):
    """One event of an order's timeline."""

    occurred_at = Time(
        metadata=example("2026-04-16T07:00:00Z", "When it happened, by the courier's clock.")
    )
    received_at = Time(
        metadata=example("2026-04-16T07:00:02Z", "When we heard of it, by our clock.")
    )
    status = fields.String(metadata=A_STATUS)
    courier_status = fields.String(metadata=A_COURIER_STATUS)
    reason = fields.String(allow_none=True, metadata=A_REASON)
    parcel = fields.Function(
        lambda event: event.parcel or None, metadata=A_PARCEL | {"type": ["string", "null"]}
    )
    source = Part(EventSource, lambda event: event, metadata={"description": "What told it first."})
    applied = fields.Boolean(metadata=APPLIED_TOLD)
    not_applied_why = fields.String(allow_none=True, metadata=WHY_NOT)
    flags = fields.List(fields.String(), metadata=FLAGS)
    proofs = fields.List(
        fields.Dict(),
        metadata=example(
            [{"kind": "signature", "url": "https://example.com/1.png", "name": "B. Obbay"}],
            "Signatures and photos: where they are, and whose name they bear.",
        ),
    )


class Timeline(Schema):
    """An order's timeline."""

    events = fields.List(
        fields.Nested(Event), metadata={"description": "The oldest first; repetitions left out."}
    )
