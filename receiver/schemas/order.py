"""Orders: one, many, registered, looked up and refreshed."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.schemas.fields import (
    A_COURIER_STATUS,
    A_CURSOR,
    A_KIND,
    A_LIMIT,
    A_MESSAGE,
    A_REASON,
    A_REFERENCE,
    A_STATUS,
    A_TRUST,
    AN_ACCOUNT,
    AN_ORDER,
    CURSOR,
    IDENTIFIER,
    KINDS,
    NEXT_CURSOR,
    STATUSES,
    TRUSTS,
    Answer,
    Text,
    Time,
    WholeNumber,
    boolean,
    example,
    integer,
    items,
    string,
    time,
)
from receiver.statuses import GROUPS

MOST_METADATA_KEYS = 50
MOST_LOOKED_UP = 100


class SourceSchema(Answer):
    """The message that the status comes from."""

    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    message_id = fields.String(metadata=A_MESSAGE)
    received_at = time("2026-04-16T07:00:01Z", "When the message arrived, by our clock.")


class EtaSchema(Answer):
    """When the order is expected to arrive."""

    from_ = time(
        "2026-04-16T09:10:00Z", "The earliest expected time.", data_key="from", attribute="from"
    )
    to = time(
        "2026-04-16T09:40:00Z",
        "The latest expected time; equal to `from` if the courier gave a single time.",
    )
    source = string(
        "tour_plan",
        "Where it comes from: a `tour_plan`, a webhook about the `order`, or a `poll`.",
        validate=validate.OneOf(["tour_plan", "order", "poll"]),
    )
    updated_at = time("2026-04-16T07:30:00Z", "When the courier reported it.")


class ParcelSchema(Answer):
    """One parcel of an order."""

    tracking_number = string("18A24901BE5D49C3", "Tracking number of the parcel.")
    tracking_url = string(
        "https://postnl.example/3SCEBU123456789",
        "Public page to track the parcel.",
        allow_none=True,
    )
    courier_name = string(
        "Postnl",
        "Name of the carrier if it is another one than the account's courier.",
        allow_none=True,
    )
    status = fields.String(metadata=A_STATUS)


class PollingSchema(Answer):
    """How the courier's API is polled for the order. Not covered by the order's version."""

    next_poll_at = time(
        "2026-04-16T08:00:00Z",
        "When the next poll is due at the earliest; null: none is due.",
        allow_none=True,
    )
    last_polled_at = time(
        "2026-04-16T07:00:00Z",
        "When the last poll was made; null: none yet.",
        allow_none=True,
    )
    failures = integer(0, "How many polls in a row have failed most recently.")
    stopped_at = time(
        "2026-05-16T07:00:00Z",
        "When polling was given up; null: it was not given up.",
        allow_none=True,
    )
    stop_reason = string(
        "given up: the courier does not know this order",
        "Why polling was given up; null: it was not.",
        allow_none=True,
    )


class OrderSchema(Answer):
    """The current state of one order."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier = string("tiramizoo", "The courier behind the account.")
    courier_order_id = fields.String(metadata=AN_ORDER)
    identifiers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata=example(
            {"identifier": "ZVW8GV", "tracking_code": "ID4K7-EHQX-62RA"},
            "Further identifiers that the courier gave the order, by kind. The order is found by"
            " each of them.",
        ),
    )
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    status = fields.String(metadata=A_STATUS)
    status_group = string(
        "exception",
        "Group of the status. This list of groups is complete.",
        validate=validate.OneOf(GROUPS),
    )
    courier_status = fields.String(allow_none=True, metadata=A_COURIER_STATUS)
    status_at = time(
        "2026-04-16T07:00:00Z",
        "Since when it has this status, by the courier's clock; null: no event yet.",
        allow_none=True,
    )
    reason = fields.String(allow_none=True, metadata=A_REASON)
    is_terminal = boolean(
        False,
        "Whether the transport has ended with this status, so that the order is no longer polled.",
    )
    needs_attention = boolean(True, "Whether a person should look into the order.")
    source = fields.Nested(
        SourceSchema,
        allow_none=True,
        metadata={
            "description": "The message that the status comes from; null: no message arrived yet."
        },
    )
    tracking_url = string(
        "https://www.tiramizoo.com/orders/ID4K7EHQX62RA/tracking_status",
        "Public page to track the order; null: not known.",
        allow_none=True,
    )
    eta = fields.Nested(
        EtaSchema,
        allow_none=True,
        metadata={"description": "When the order is expected to arrive; null: not known."},
    )
    label_url = string(
        "https://courier.example/labels/41.pdf",
        "Address of its label; null: not known.",
        allow_none=True,
    )
    pickup_at = time(
        "2026-04-16T06:30:00Z",
        "When the courier plans to pick it up; null: not known.",
        allow_none=True,
    )
    parcels = items(ParcelSchema, "The parcels that the courier has reported.")
    milestones = fields.Dict(
        keys=fields.String(),
        values=Time(),
        metadata=example(
            {"picked_up": "2026-04-16T06:00:00Z", "delivery_failed": "2026-04-16T07:00:00Z"},
            "By status: when the order first had it. Sorted by time, earliest first.",
        ),
    )
    polling = fields.Nested(
        PollingSchema,
        metadata={
            "description": "How the courier's API is polled for it. Not covered by `version`."
        },
    )
    last_heard_at = time(
        "2026-04-16T07:00:01Z",
        "When the last message about the order arrived, by our clock; null: none yet. Not"
        " covered by `version`.",
        allow_none=True,
    )
    metadata = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata=example({"shop": "munich"}, "What the shop stored when it registered the order."),
    )
    version = fields.Integer(
        metadata=example(3, "Increases by one with each change; also the `ETag`.", minimum=1)
    )
    created_at = time("2026-04-16T06:00:00Z", "When the order became known to this service.")
    updated_at = time("2026-04-16T07:00:02Z", "When the order last changed.")


class OrderPageSchema(Answer):
    """A page of orders."""

    orders = items(OrderSchema, "The orders of this page, newest first.")
    next_cursor = fields.String(allow_none=True, metadata=NEXT_CURSOR)


class OrderFiltersSchema(Schema):
    """Which orders to list: those that match all filters."""

    reference = Text(validate=IDENTIFIER, metadata=A_REFERENCE)
    account = Text(validate=IDENTIFIER, metadata=AN_ACCOUNT)
    status = Text(
        validate=validate.OneOf(STATUSES),
        metadata=example("in_transit", "Only orders that have this status now."),
    )
    status_group = Text(
        validate=validate.OneOf(GROUPS),
        metadata=example("in_transit", "Only orders that have a status of this group now."),
    )
    needs_attention = boolean(
        False,
        "`true`: only orders that a person should look into; `false`: only the others.",
        truthy={"true", "1"},
        falsy={"false", "0"},
    )
    updated_since = time(
        "2026-04-16T07:00:00Z",
        "Only orders that changed at this time or later. Needs a time zone; in a query string"
        " write `+` as `%2B`.",
    )
    limit = WholeNumber(
        load_default=50, validate=validate.Range(1, 200), metadata=example(50, A_LIMIT)
    )
    cursor = Text(validate=CURSOR, metadata=A_CURSOR)


def _validate_size(metadata: dict[str, Any]) -> None:
    if len(metadata) > MOST_METADATA_KEYS:
        raise ValidationError(f"must not have more than {MOST_METADATA_KEYS} keys")


class NewOrderSchema(Schema):
    """An order that the shop has given to a courier."""

    account = Text(required=True, validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Text(
        required=True,
        validate=IDENTIFIER,
        metadata=example(
            "2a9eeeb3-16ba-4184-b894-c9734f613e93",
            "The courier's own id of the order, or any identifier of an order that is known"
            " already.",
        ),
    )
    reference = Text(load_default=None, allow_none=True, validate=IDENTIFIER, metadata=A_REFERENCE)
    metadata = fields.Dict(
        keys=Text(validate=validate.Length(1, 100)),
        values=Text(validate=validate.Length(max=1000)),
        load_default=None,
        allow_none=True,
        validate=_validate_size,
        metadata=example(
            {"shop": "munich"},
            "Anything that the shop wants to store with the order: at most 50 keys of 1 to 100"
            " characters, each with a text of at most 1,000 characters. Replaces what was stored"
            " before.",
            maxProperties=MOST_METADATA_KEYS,
        ),
    )


class OrderNameSchema(Schema):
    """An order by one of its identifiers."""

    account = Text(required=True, validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Text(
        required=True,
        validate=IDENTIFIER,
        metadata=example(
            "ID4K7-EHQX-62RA",
            "The courier's own id of the order, or any further identifier that the courier gave"
            " it.",
        ),
    )


class LookupSchema(Schema):
    """Which orders to look up: give either `references` or `orders`."""

    references = fields.List(
        Text(validate=IDENTIFIER),
        validate=validate.Length(1, MOST_LOOKED_UP),
        metadata=example(["41", "42"], "1 to 100 of the shop's own order numbers."),
    )
    orders = fields.List(
        fields.Nested(OrderNameSchema),
        validate=validate.Length(1, MOST_LOOKED_UP),
        metadata=example(
            [{"account": "cottoncast", "courier_order_id": "3AF7"}],
            "1 to 100 orders by name.",
        ),
    )

    @validates_schema
    def _one_of_them(self, lookup: dict[str, Any], **kwargs: Any) -> None:
        if len(lookup.keys() & {"references", "orders"}) != 1:
            raise ValidationError("give either references or orders", "references")


class LookupResultSchema(Answer):
    """What was found for one item. The item itself is repeated as it was given."""

    sometimes = ("reference", "account", "courier_order_id")

    reference = string("41", "The reference that was looked up. Absent if it was an identifier.")
    account = string("tiramizoo", "The account that was given. Absent with a reference.")
    courier_order_id = string(
        "ID4K7-EHQX-62RA", "The identifier that was given. Absent with a reference."
    )
    found = boolean(True, "Whether any order was found.")
    orders = items(OrderSchema, "The orders that were found, newest first, at most 10.")
    more = boolean(False, "Whether there are more orders than the 10 in `orders`.")


class LookupAnswerSchema(Answer):
    """The results of a lookup."""

    results = items(LookupResultSchema, "One result per item, in the order of the items.")


class RefreshedSchema(Answer):
    """An order that is about to be polled."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    next_poll_at = time("2026-04-16T07:00:00Z", "When it is polled at the earliest.")
