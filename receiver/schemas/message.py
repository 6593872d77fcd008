"""The inbox."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.db.models import OUTCOMES, PARKED, QUARANTINED
from receiver.schemas.fields import (
    A_KIND,
    A_LIMIT,
    A_TOPIC,
    A_TRUST,
    AN_ACCOUNT,
    IDENTIFIER,
    KINDS,
    TRUSTS,
    Line,
    Time,
    Whole,
    example,
    sometimes,
)


class MessageSchema(Schema):
    """One webhook body or poll answer, and what became of it."""

    id = fields.String(metadata=example("184467", "Rises with arrival"))
    account = fields.String(metadata=AN_ACCOUNT)
    topic = fields.String(metadata=A_TOPIC)
    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    outcome = fields.String(
        validate=validate.OneOf(OUTCOMES),
        metadata=example(
            "quarantined",
            "`pending`: not read yet; `parked`: waits for its order to be registered;"
            " `quarantined`: cannot be read; `discarded`: somebody said that it need not be",
        ),
    )
    reason = fields.String(
        allow_none=True,
        metadata=example("state: Missing data for required field.", "Why it is no more than that"),
    )
    courier_order_id = fields.String(
        allow_none=True, metadata=example("3AF7", "The order that it tells of, once it was read")
    )
    size = fields.Integer(
        allow_none=True, metadata=example(812, "The body's bytes; null where it is not kept")
    )
    received_at = Time(metadata=example("2026-04-16T07:00:02Z", "When it came, by our clock"))
    processed_at = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:03Z", "When its outcome was settled")
    )
    last_seen_at = Time(metadata=example("2026-04-16T07:05:02Z", "When the same body came last"))
    repetitions = fields.Integer(metadata=example(2, "How often the same body came again"))
    retried_at = Time(
        allow_none=True,
        metadata=example("2026-04-17T09:00:00Z", "When it was last sent back to the workers"),
    )
    body = fields.String(
        allow_none=True,
        metadata=sometimes('{"orderID": "3AF7"}', "Word for word, where it is UTF-8; not in lists"),
    )
    body_base64 = fields.String(
        allow_none=True, metadata=sometimes("//79", "Byte for byte, where it is not; not in lists")
    )


class MessagePageSchema(Schema):
    """Messages without their bodies, the newest first."""

    messages = fields.List(
        fields.Nested(MessageSchema), metadata={"description": "The messages of this page."}
    )
    next_cursor = fields.String(
        allow_none=True, metadata=example("bTQx", "For the next page; null on the last one")
    )


class MessageFiltersSchema(Schema):
    """Which messages to list: those that fit all of them."""

    outcome = Line(
        validate=validate.OneOf(OUTCOMES), metadata=example("quarantined", "What became of it")
    )
    account = Line(validate=IDENTIFIER, metadata=example("tiramizoo", "The account's slug"))
    courier_order_id = Line(
        validate=IDENTIFIER, metadata=example("3AF7", "Of this order; needs `account` beside it")
    )
    limit = Whole(load_default=50, validate=validate.Range(1, 200), metadata=example(50, A_LIMIT))
    cursor = Line(
        validate=validate.Length(max=200),
        metadata=example("bTQx", "`next_cursor` of the last page"),
    )

    @validates_schema
    def _order_of_an_account(self, filters: dict[str, Any], **kwargs: Any) -> None:
        if "courier_order_id" in filters and "account" not in filters:
            raise ValidationError("needs account beside it", "courier_order_id")


class RetrySchema(Schema):
    """Which messages to send back to the workers."""

    outcome = Line(
        required=True,
        validate=validate.OneOf([QUARANTINED, PARKED]),
        metadata=example("quarantined", "`quarantined` or `parked`"),
    )
    account = Line(validate=IDENTIFIER, metadata=example("tiramizoo", "Of this account only"))
    cursor = Line(
        validate=validate.Length(max=200), metadata=example("bTQx", "Go on after an earlier answer")
    )


class RetriedSchema(Schema):
    """How many messages went back to the workers."""

    retried = fields.Integer(metadata=example(17, "How many messages went back to the workers"))
    next_cursor = fields.String(
        allow_none=True, metadata=example("bTQx", "Null unless there are more: go on with it")
    )
