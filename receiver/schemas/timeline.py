"""An order's timeline."""

from marshmallow import Schema, fields, validate

from receiver.schemas.fields import (
    A_COURIER_STATUS,
    A_KIND,
    A_MESSAGE,
    A_PARCEL,
    A_REASON,
    A_STATUS,
    A_TRUST,
    AN_ACCOUNT,
    APPLIED_TOLD,
    FLAGS,
    KINDS,
    TRUSTS,
    WHY_NOT,
    Line,
    Part,
    Time,
    Whole,
    example,
)


class EventSourceSchema(Schema):
    """What told an event first."""

    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    message_id = fields.String(metadata=A_MESSAGE)


class EventSchema(Schema):
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
    source = Part(
        EventSourceSchema, lambda event: event, metadata={"description": "What told it first."}
    )
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


class TimelineSchema(Schema):
    """An order's timeline."""

    events = fields.List(
        fields.Nested(EventSchema),
        metadata={"description": "The oldest first; repetitions left out."},
    )


class ChangeSchema(Schema):
    """One change of one order. Version and status are those it got by this change."""

    cursor = fields.String(metadata=example("YzQx", "This change's place in the feed"))
    account = fields.String(metadata=example("tiramizoo", "The account's slug"))
    courier_order_id = fields.String(metadata=example("3AF7", "The courier's own id"))
    reference = fields.String(
        allow_none=True, metadata=example("41", "The shop's own order number, as it is now")
    )
    version = fields.Integer(metadata=example(3, "The order's version since this change"))
    status = fields.String(metadata=example("in_transit", "The order's status since this change"))
    changed = fields.List(
        fields.String(),
        metadata=example(
            ["status", "courier_status", "status_at", "events"],
            "What is different: fields of the order; `conflicts`; `events` where its timeline"
            " is; and first of all `created` where the order is new to us",
        ),
    )


class ChangePageSchema(Schema):
    """What changed, the oldest first."""

    changes = fields.List(
        fields.Nested(ChangeSchema), metadata={"description": "Oldest first; empty: no news"}
    )
    next_cursor = fields.String(
        metadata=example("YzQx", "Where to go on: the next request's `after`, always given")
    )


class ChangeFiltersSchema(Schema):
    after = Line(
        validate=validate.Length(max=200),
        metadata=example(
            "YzQx",
            "Where to go on: the last answer's `next_cursor`, or a change's `cursor`. Without it"
            " from the beginning; `now` leaves out all that was told so far",
        ),
    )
    limit = Whole(
        load_default=100,
        validate=validate.Range(1, 1000),
        metadata=example(100, "The most changes to give at once, 1 to 1000"),
    )
    wait = Whole(
        load_default=0,
        validate=validate.Range(0, 30),
        metadata=example(
            30, "For how many seconds to hold the answer while there is no news, 0 to 30"
        ),
    )


class TourStopSchema(Schema):
    """An order on a tour."""

    order_id = fields.String(metadata=example("ID1-0", "The order, as the plan names it."))
    eta = fields.String(
        allow_none=True,
        metadata=example(
            "2026-04-16T08:00:00Z", "When the tour is to reach it.", format="date-time"
        ),
    )
    packages = fields.List(
        fields.String(), metadata=example(["P-ID1-0"], "Its packages, as the plan names them.")
    )


class TourSchema(Schema):
    """A tour as the newest plan has it."""

    account = fields.String(metadata=AN_ACCOUNT)
    tour_id = fields.String(metadata=example("EDFIL1-1", "The courier's id of the tour."))
    courier_name = fields.String(allow_none=True, metadata=example("N1", "Who drives."))
    pick_up_at = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:00Z", "When the goods are picked up.")
    )
    window_from = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:00Z", "When the tour begins.")
    )
    window_to = Time(
        allow_none=True, metadata=example("2026-04-16T10:00:00Z", "When the tour ends.")
    )
    stops = fields.List(
        fields.Nested(TourStopSchema), metadata={"description": "Its orders, in the plan's order."}
    )
    received_at = Time(metadata=example("2026-04-16T06:50:00Z", "When the plan reached us."))
