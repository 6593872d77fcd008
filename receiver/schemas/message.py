"""Messages: the inbox as the API shows it."""

from typing import Any

from marshmallow import Schema, ValidationError, validates_schema
from marshmallow.fields import Dict, List, Nested

from receiver.db.models import OUTCOMES, PARKED, QUARANTINED
from receiver.schemas import fields
from receiver.schemas.fields import (
    UNTIL,
    Answer,
    check_range,
    described,
    given_boolean,
    given_text,
    identifier,
    integer,
    nested_list,
    text,
    time,
    who_acts,
)

AN_OUTCOME = (
    "What was done with the message. `pending`: not processed yet; `applied`: processed;"
    " `parked`: waits until the shop registers its order; `quarantined`: cannot be read;"
    " `discarded`: a person decided that it is not needed."
)


class LeftOutSchema(Answer):
    """A part of a message that could not be read."""

    field = text("Path of the field, with the number of each entry.", "packages.0.identifier")
    why = text("What is wrong with it.", "Missing data for required field.")


class MessageFields(Answer):
    """What the inbox and the explanation of an order both say about a message."""

    id = text("Id of the message; later messages have higher ids.", "184467")
    topic = text("What it is about: `orders` or `tours`, as in the webhook's URL.", "orders")
    kind = fields.KIND
    trust = fields.TRUST
    outcome = text(AN_OUTCOME, "quarantined", choices=OUTCOMES)
    reason = text(
        "Why the message was quarantined, parked or discarded; null otherwise.",
        "state: Missing data for required field.",
        null=True,
    )
    received_at = time("When it arrived, by our clock.", "2026-04-16T07:00:02Z")
    last_seen_at = time("When the same body arrived most recently.", "2026-04-16T07:05:02Z")
    repetitions = integer("How many times the same body arrived again.", 2)
    left_out = described(
        List,
        "What could not be read and was left out, at most 50 fields; the rest of the message"
        " counts. Null: nothing.",
        [{"field": "packages.0.identifier", "why": "Missing data for required field."}],
        null=True,
        cls_or_instance=Nested(LeftOutSchema),
    )


class MessageSchema(MessageFields):
    """One webhook body or poll response, and what was done with it."""

    sometimes = ("body", "body_base64", "request")

    account = fields.ACCOUNT
    courier_order_id = text("The order it is about; null: not known, or none.", "3AF7", null=True)
    size = integer("Size of the body in bytes; null: it is no longer stored.", 812, null=True)
    processed_at = time("When it was processed; null: not yet.", "2026-04-16T07:00:03Z", null=True)
    retried_at = time("When it was last retried; null: never.", "2026-04-17T09:00:00Z", null=True)
    body = text(
        "The body as it arrived; null if it is not UTF-8 or no longer stored. Not in lists.",
        '{"orderID": "3AF7"}',
        null=True,
    )
    body_base64 = text("The body in base64 if it is not UTF-8. Not in lists.", "//79", null=True)
    request = described(
        Dict,
        "What the courier said beside the body, where its driver reads that: `method`, `headers`"
        " and `query`; of the answer to a poll of one order, by which id it was polled:"
        " `polled_order_id`. Null: there is nothing, or it is no longer stored. Not in lists.",
        {"method": "POST", "headers": {}, "query": {"status": "delivered"}},
        null=True,
    )


class MessagePageSchema(Answer):
    """A page of messages, without their bodies."""

    messages = nested_list(MessageSchema, "The messages of this page, newest first.")
    next_cursor = fields.NEXT_CURSOR


class MessageFiltersSchema(fields.PageFilters):
    """Which messages to list: those that match all filters."""

    outcome = given_text(AN_OUTCOME, "quarantined", choices=OUTCOMES)
    courier_order_id = identifier("The courier's own id of the order; requires `account`.", "3AF7")
    received_since = time("Only messages that arrived at this time or later.")
    received_until = time("Only messages that arrived before this time.", UNTIL)
    contains = given_text(
        "Only messages with this text in their `reason` or, exactly as it stands there, in their"
        " body. Requires `outcome=quarantined`. A request searches for two seconds at most: a page"
        " may have fewer messages than `limit`, or none, and a `next_cursor` all the same.",
        "3AF7",
        length=(1, 255),
    )

    @validates_schema
    def _go_together(self, filters: dict[str, Any], **kwargs: Any) -> None:
        if "courier_order_id" in filters and "account" not in filters:
            raise ValidationError("requires account", "courier_order_id")
        if "contains" in filters and filters.get("outcome") != QUARANTINED:
            raise ValidationError(f"requires outcome={QUARANTINED}", "contains")
        check_range(filters, "received_since", "received_until")


class SelectionSchema(Schema):
    """Which messages to deal with: those that match all filters."""

    outcome = given_text(
        "Messages that are `quarantined` or `parked`.",
        "quarantined",
        required=True,
        choices=[QUARANTINED, PARKED],
    )
    account = identifier("Only messages of this account.", "tiramizoo")
    reason = given_text(
        "Only messages whose `reason` contains this text.", "state: Missing data", length=(1, 255)
    )
    received_since = time("Only messages that arrived at this time or later.")
    received_until = time("Only messages that arrived before this time.", UNTIL)
    dry_run = given_boolean("Whether to only count them.", False, load_default=False)
    cursor = given_text("The `next_cursor` of the previous response.", "bTQx", length=(1, 200))

    @validates_schema
    def _in_order(self, selection: dict[str, Any], **kwargs: Any) -> None:
        check_range(selection, "received_since", "received_until")


class RetrySchema(SelectionSchema):
    """Which messages to retry: those that match all filters."""


class DiscardSchema(SelectionSchema):
    """Which messages to discard: those that match all filters; and who decides it, and why."""

    by = given_text(
        "Name of the person who decides; without it the token's.",
        "Ann",
        load_default=who_acts,
        length=(1, 100),
    )
    note = given_text("Why.", "sent by a test of theirs", required=True, length=(1, 1000))


class DiscardedSchema(Answer):
    """How many messages were discarded; with `dry_run`, how many would be."""

    discarded = integer("How many messages this request discarded.", 17)
    next_cursor = text("If there are more: send it as `cursor` for the next.", "bTQx", null=True)


class RetriedSchema(Answer):
    """How many messages will be processed again; with `dry_run`, how many would be."""

    retried = integer("How many messages this request sent to be processed again.", 17)
    next_cursor = text("If there are more: send it as `cursor` to retry them.", "bTQx", null=True)
