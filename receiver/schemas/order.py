"""One order, as we know it now."""

from operator import itemgetter
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.db.models import Poll
from receiver.schemas.fields import (
    A_COURIER_STATUS,
    A_KIND,
    A_LIMIT,
    A_MESSAGE,
    A_REASON,
    A_REFERENCE,
    A_STATUS,
    A_TRUST,
    AN_ACCOUNT,
    AN_ORDER,
    IDENTIFIER,
    KINDS,
    NEXT_CURSOR,
    STATUSES,
    TRUSTS,
    Line,
    Part,
    Time,
    Whole,
    example,
    sometimes,
)
from receiver.statuses import GROUPS, VOCABULARY


class SourceSchema(Schema):
    """What told us the status."""

    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    message_id = fields.String(metadata=A_MESSAGE)
    received_at = fields.String(
        metadata=example("2026-04-16T07:00:01Z", "When the message reached us.", format="date-time")
    )


class EtaSchema(Schema):
    """When the order is expected to arrive."""

    from_ = fields.String(
        data_key="from",
        attribute="from",
        metadata=example(
            "2026-04-16T09:10:00Z", "The earliest it is expected.", format="date-time"
        ),
    )
    to = fields.String(
        metadata=example(
            "2026-04-16T09:40:00Z",
            "The latest; the same as `from` where the courier named one moment.",
            format="date-time",
        )
    )
    source = fields.String(
        validate=validate.OneOf(["tour_plan", "order", "poll"]),
        metadata=example("tour_plan", "Where it comes from."),
    )
    updated_at = fields.String(
        metadata=example("2026-04-16T07:30:00Z", "When we were told so.", format="date-time")
    )


class ParcelSchema(Schema):
    """One of an order's parcels."""

    tracking_number = fields.String(
        metadata=example("18A24901BE5D49C3", "What the parcel is tracked by.")
    )
    tracking_url = fields.String(
        allow_none=True,
        metadata=example("https://postnl.example/3SCEBU123456789", "Where people can follow it."),
    )
    courier_name = fields.String(
        allow_none=True, metadata=example("Postnl", "Who carries it, where that is another one.")
    )
    status = fields.String(metadata=A_STATUS)


class PollingSchema(Schema):
    """How asking the courier about this order goes; no part of the order's version."""

    next_poll_at = Time(
        attribute="due_at",
        allow_none=True,
        metadata=example(
            "2026-04-16T08:00:00Z", "When it is asked next, at the earliest; null: not at all."
        ),
    )
    last_polled_at = Time(
        attribute="polled_at",
        allow_none=True,
        metadata=example("2026-04-16T07:00:00Z", "When it was asked last; null: never."),
    )
    failures = fields.Integer(metadata=example(0, "Looks in a row that gave no answer."))
    stopped_at = Time(
        allow_none=True,
        metadata=example("2026-05-16T07:00:00Z", "When we gave up asking; null: we did not."),
    )
    stop_reason = fields.String(
        allow_none=True,
        metadata=example(
            "given up: the courier does not know this order", "Why we gave up asking."
        ),
    )


# An order of an account that is not polled.
NO_POLLING = Poll(failures=0)


class OrderSchema(Schema):
    """One order as we know it now."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier = fields.String(metadata=example("tiramizoo", "The courier behind the account."))
    courier_order_id = fields.String(metadata=AN_ORDER)
    identifiers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata=example(
            {"identifier": "ZVW8GV", "tracking_code": "ID4K7-EHQX-62RA"},
            "Further names that the courier gave it, by their kind; it is found by each of them.",
        ),
    )
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    status = fields.String(metadata=A_STATUS)
    status_group = fields.Function(
        lambda order: VOCABULARY[order.status].group,
        metadata=example(
            "exception", "What kind of status it is.", type="string", enum=list(GROUPS)
        ),
    )
    courier_status = fields.String(allow_none=True, metadata=A_COURIER_STATUS)
    status_at = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:00:00Z", "Since when, by the courier's clock."),
    )
    reason = fields.String(allow_none=True, metadata=A_REASON)
    is_terminal = fields.Function(
        lambda order: VOCABULARY[order.status].terminal,
        metadata=example(
            False, "Whether it is at an end, so that nobody is asked any more.", type="boolean"
        ),
    )
    needs_attention = fields.Boolean(metadata=example(True, "Whether a person should look."))
    source = fields.Nested(
        SourceSchema,
        allow_none=True,
        metadata={"description": "What told us the status; null where nothing was heard yet."},
    )
    tracking_url = fields.String(
        allow_none=True,
        metadata=example(
            "https://www.tiramizoo.com/orders/ID4K7EHQX62RA/tracking_status",
            "Where people can follow it.",
        ),
    )
    eta = fields.Nested(
        EtaSchema,
        allow_none=True,
        metadata={"description": "When it is expected; null: not known."},
    )
    label_url = fields.String(
        allow_none=True,
        metadata=example("https://courier.example/labels/41.pdf", "Where its label is."),
    )
    pickup_at = Time(
        allow_none=True, metadata=example("2026-04-16T06:30:00Z", "When it is to be picked up.")
    )
    parcels = fields.List(
        fields.Nested(ParcelSchema),
        metadata={"description": "Its parcels, as far as we were told."},
    )
    # jsonb orders names by length; people read milestones by time.
    milestones = fields.Function(
        lambda order: dict(sorted(order.milestones.items(), key=itemgetter(1))),
        metadata=example(
            {"picked_up": "2026-04-16T06:00:00Z", "delivery_failed": "2026-04-16T07:00:00Z"},
            "When each status was first reached, the earliest first.",
            type="object",
            additionalProperties={"type": "string", "format": "date-time"},
        ),
    )
    polling = Part(
        PollingSchema,
        lambda order: order.poll or NO_POLLING,
        metadata={"description": "How asking its courier goes; no part of the version."},
    )
    last_heard_at = Time(
        allow_none=True,
        metadata=example(
            "2026-04-16T07:00:01Z",
            "When a message told of it last, by our clock; no part of the version.",
        ),
    )
    metadata = fields.Dict(
        attribute="shop_metadata",
        keys=fields.String(),
        values=fields.String(),
        metadata=example({"shop": "munich"}, "What the shop noted when it registered the order."),
    )
    version = fields.Integer(
        metadata=example(3, "Rises by one with every change; the `ETag`.", minimum=1)
    )
    created_at = Time(metadata=example("2026-04-16T06:00:00Z", "When we heard of it first."))
    updated_at = Time(metadata=example("2026-04-16T07:00:02Z", "When it changed last."))


MOST_METADATA_KEYS = 50
MOST_LOOKED_UP = 100


class OrderPageSchema(Schema):
    """Orders, the newest first."""

    orders = fields.List(
        fields.Nested(OrderSchema), metadata={"description": "The orders of this page."}
    )
    next_cursor = fields.String(allow_none=True, metadata=NEXT_CURSOR)


class OrderFiltersSchema(Schema):
    """Which orders to list: those that fit all of them."""

    reference = Line(validate=IDENTIFIER, metadata=A_REFERENCE)
    account = Line(validate=IDENTIFIER, metadata=AN_ACCOUNT)
    status = Line(
        validate=validate.OneOf(STATUSES), metadata=example("in_transit", "At this status now.")
    )
    status_group = Line(
        validate=validate.OneOf(GROUPS),
        metadata=example("in_transit", "At a status of this group now."),
    )
    needs_attention = fields.Boolean(
        truthy={"true", "1"},
        falsy={"false", "0"},
        metadata=example(False, "Those that a person should look at, or those that none need."),
    )
    updated_since = Time(
        metadata=example(
            "2026-04-16T07:00:00Z",
            "Changed then or later. With a zone; in a query string write `+` as `%2B`.",
        )
    )
    limit = Whole(load_default=50, validate=validate.Range(1, 200), metadata=example(50, A_LIMIT))
    cursor = Line(
        validate=validate.Length(1, 200), metadata=example("bzQx", "The last page's `next_cursor`.")
    )


def _small(metadata: dict[str, Any]) -> None:
    if len(metadata) > MOST_METADATA_KEYS:
        raise ValidationError(f"holds more than {MOST_METADATA_KEYS} names")


class NewOrderSchema(Schema):
    """An order that the shop has given to a courier."""

    account = Line(required=True, validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Line(
        required=True,
        validate=IDENTIFIER,
        metadata=example(
            "2a9eeeb3-16ba-4184-b894-c9734f613e93",
            "The courier's own id of the order, or any identifier by which we know it already.",
        ),
    )
    reference = Line(load_default=None, allow_none=True, validate=IDENTIFIER, metadata=A_REFERENCE)
    metadata = fields.Dict(
        keys=Line(validate=validate.Length(1, 100)),
        values=Line(validate=validate.Length(max=1000)),
        load_default=None,
        allow_none=True,
        validate=_small,
        metadata=example(
            {"shop": "munich"},
            "What the shop wants to find with the order: at most 50 names of 1 to 100 characters,"
            " each with a text of at most 1,000. What was noted before is replaced.",
            maxProperties=MOST_METADATA_KEYS,
            **{"x-names": {"minLength": 1, "maxLength": 100}},
        ),
    )


class OrderNameSchema(Schema):
    """An order by one of its names."""

    account = Line(required=True, validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Line(
        required=True,
        validate=IDENTIFIER,
        metadata=example(
            "ID4K7-EHQX-62RA", "The courier's own id, or any identifier that it gave the order."
        ),
    )


class LookupSchema(Schema):
    """What to look up: either `references` or `orders`."""

    references = fields.List(
        Line(validate=IDENTIFIER),
        validate=validate.Length(1, MOST_LOOKED_UP),
        metadata=example(["41", "42"], "The shop's own order numbers, 1 to 100"),
    )
    orders = fields.List(
        fields.Nested(OrderNameSchema),
        validate=validate.Length(1, MOST_LOOKED_UP),
        metadata=example([{"account": "cottoncast", "courier_order_id": "3AF7"}], "1 to 100"),
    )

    @validates_schema
    def _one_of_them(self, asked: dict[str, Any], **kwargs: Any) -> None:
        if len(asked.keys() & {"references", "orders"}) != 1:
            raise ValidationError("give either references or orders", "references")


class LookupResultSchema(Schema):
    """What was found for one item, which is told as it was asked for."""

    reference = fields.String(metadata=sometimes("41", "Where it was asked by reference."))
    account = fields.String(metadata=sometimes("tiramizoo", "Where it was asked by name."))
    courier_order_id = fields.String(
        metadata=sometimes("ID4K7-EHQX-62RA", "Where it was asked by name; as it was asked.")
    )
    found = fields.Boolean(metadata=example(True, "Whether there is such an order."))
    orders = fields.List(
        fields.Nested(OrderSchema), metadata={"description": "The newest first, at most 10."}
    )
    more = fields.Boolean(metadata=example(False, "Whether it has more orders than are shown."))


class LookupAnswerSchema(Schema):
    """What was found."""

    results = fields.List(
        fields.Nested(LookupResultSchema),
        metadata={"description": "One for each item, in the order of the items."},
    )


class RefreshedSchema(Schema):
    """An order whose courier is about to be asked."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    next_poll_at = Time(
        metadata=example("2026-04-16T07:00:00Z", "When it is asked, at the earliest.")
    )
