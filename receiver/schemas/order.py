"""One order, as we know it now."""

from operator import itemgetter

from marshmallow import Schema, fields, validate

from receiver.db.models import Poll
from receiver.schemas.fields import (
    A_COURIER_STATUS,
    A_KIND,
    A_MESSAGE,
    A_REASON,
    A_REFERENCE,
    A_STATUS,
    A_TRUST,
    AN_ACCOUNT,
    AN_ORDER,
    KINDS,
    TRUSTS,
    Part,
    Time,
    example,
)
from receiver.statuses import GROUPS, VOCABULARY


class Source(Schema):
    """What told us the status."""

    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    message_id = fields.String(metadata=A_MESSAGE)
    received_at = fields.String(
        metadata=example("2026-04-16T07:00:01Z", "When the message reached us.", format="date-time")
    )


class Eta(Schema):
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


class Parcel(Schema):
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


class Polling(Schema):
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


class Order(Schema):
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
        Source,
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
        Eta, allow_none=True, metadata={"description": "When it is expected; null: not known."}
    )
    label_url = fields.String(
        allow_none=True,
        metadata=example("https://courier.example/labels/41.pdf", "Where its label is."),
    )
    pickup_at = Time(
        allow_none=True, metadata=example("2026-04-16T06:30:00Z", "When it is to be picked up.")
    )
    parcels = fields.List(
        fields.Nested(Parcel), metadata={"description": "Its parcels, as far as we were told."}
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
        Polling,
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
