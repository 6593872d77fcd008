"""Messages: the inbox as the API shows it."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.db.models import OUTCOMES, PARKED, QUARANTINED
from receiver.schemas.fields import (
    A_CURSOR,
    A_KIND,
    A_LIMIT,
    A_TOPIC,
    A_TRUST,
    AN_ACCOUNT,
    IDENTIFIER,
    KINDS,
    NEXT_CURSOR,
    TRUSTS,
    Answer,
    Text,
    WholeNumber,
    example,
    integer,
    items,
    string,
    time,
)

AN_OUTCOME = example(
    "quarantined",
    "What was done with the message. `pending`: not processed yet; `applied`: processed;"
    " `parked`: waits until the shop registers its order; `quarantined`: cannot be read;"
    " `discarded`: a person decided that it is not needed.",
)


class MessageSchema(Answer):
    """One webhook body or poll answer, and what was done with it."""

    sometimes = ("body", "body_base64")

    id = string("184467", "Id of the message; later messages have more.")
    account = fields.String(metadata=AN_ACCOUNT)
    topic = fields.String(metadata=A_TOPIC)
    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    outcome = fields.String(validate=validate.OneOf(OUTCOMES), metadata=AN_OUTCOME)
    reason = string(
        "state: Missing data for required field.",
        "Why the message was quarantined, parked or discarded; null otherwise.",
        allow_none=True,
    )
    courier_order_id = string(
        "3AF7", "The order that it is about; null: not read yet, or none.", allow_none=True
    )
    size = integer(
        812, "Size of the body in bytes; null: the body is no longer stored.", allow_none=True
    )
    received_at = time("2026-04-16T07:00:02Z", "When it arrived, by our clock.")
    processed_at = time(
        "2026-04-16T07:00:03Z", "When it was processed; null: not yet.", allow_none=True
    )
    last_seen_at = time("2026-04-16T07:05:02Z", "When the same body arrived most recently.")
    repetitions = integer(2, "How many times the same body arrived again after the first time.")
    retried_at = time(
        "2026-04-17T09:00:00Z", "When it was last retried; null: never.", allow_none=True
    )
    body = string(
        '{"orderID": "3AF7"}',
        "The body as it arrived; null if it is not UTF-8 or no longer stored. Lists do not"
        " have it.",
        allow_none=True,
    )
    body_base64 = string(
        "//79", "The body in base64 if it is not UTF-8. Lists do not have it.", allow_none=True
    )


class MessagePageSchema(Answer):
    """A page of messages, without their bodies."""

    messages = items(MessageSchema, "The messages of this page, newest first.")
    next_cursor = fields.String(allow_none=True, metadata=NEXT_CURSOR)


class MessageFiltersSchema(Schema):
    """Which messages to list: those that match all filters."""

    outcome = Text(validate=validate.OneOf(OUTCOMES), metadata=AN_OUTCOME)
    account = Text(validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Text(
        validate=IDENTIFIER,
        metadata=example("3AF7", "The courier's own id of the order; needs `account`."),
    )
    limit = WholeNumber(
        load_default=50, validate=validate.Range(1, 200), metadata=example(50, A_LIMIT)
    )
    cursor = Text(validate=validate.Length(max=200), metadata=A_CURSOR)

    @validates_schema
    def _order_of_an_account(self, filters: dict[str, Any], **kwargs: Any) -> None:
        if "courier_order_id" in filters and "account" not in filters:
            raise ValidationError("needs account as well", "courier_order_id")


class RetrySchema(Schema):
    """Which messages to retry."""

    outcome = Text(
        required=True,
        validate=validate.OneOf([QUARANTINED, PARKED]),
        metadata=example("quarantined", "Retry messages that are `quarantined` or `parked`."),
    )
    account = Text(
        validate=IDENTIFIER,
        metadata=example("tiramizoo", "Retry messages of this account only."),
    )
    cursor = Text(
        validate=validate.Length(max=200),
        metadata=example("bTQx", "The `next_cursor` of the previous answer, to retry the rest."),
    )


class RetriedSchema(Answer):
    """How many messages will be processed again."""

    retried = integer(17, "How many messages will be processed again by this request.")
    next_cursor = string(
        "bTQx",
        "If there are more messages: send it as `cursor` to retry them too.",
        allow_none=True,
    )
