"""What happened to orders: their timelines, the change feed, and tour plans."""

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
    AN_ORDER,
    FLAGS,
    IS_APPLIED,
    KINDS,
    TRUSTS,
    WHY_NOT,
    Answer,
    Part,
    Text,
    WholeNumber,
    example,
    integer,
    items,
    string,
    time,
)


class EventSourceSchema(Answer):
    """The message that reported an event first."""

    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    message_id = fields.String(metadata=A_MESSAGE)


class EventSchema(Answer):
    """One event of an order's timeline."""

    occurred_at = time("2026-04-16T07:00:00Z", "When it happened, by the courier's clock.")
    received_at = time("2026-04-16T07:00:02Z", "When its message arrived, by our clock.")
    status = fields.String(metadata=A_STATUS)
    courier_status = fields.String(metadata=A_COURIER_STATUS)
    reason = fields.String(allow_none=True, metadata=A_REASON)
    parcel = fields.Function(
        lambda event: event.parcel or None, metadata=A_PARCEL | {"type": ["string", "null"]}
    )
    source = Part(
        EventSourceSchema,
        lambda event: event,
        metadata={"description": "The message that reported the event first."},
    )
    applied = fields.Boolean(metadata=IS_APPLIED)
    not_applied_why = fields.String(allow_none=True, metadata=WHY_NOT)
    flags = fields.List(fields.String(), metadata=FLAGS)
    proofs = fields.List(
        fields.Dict(),
        metadata=example(
            [{"kind": "signature", "url": "https://example.com/1.png", "name": "B. Obbay"}],
            "Signatures and photos that the courier took as proof: their addresses, and the name"
            " of the person who signed.",
        ),
    )


class TimelineSchema(Answer):
    """The timeline of an order."""

    events = items(EventSchema, "The events, oldest first, without repeated ones.")


class ChangeSchema(Answer):
    """One change of one order. `version` and `status` are those after this change."""

    cursor = string("YzQx", "Position of this change in the feed; usable as `after`.")
    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    reference = string("41", "The shop's own number of the order, as it is now.", allow_none=True)
    version = integer(3, "The order's version after this change.")
    status = string("in_transit", "The order's status after this change.")
    changed = fields.List(
        fields.String(),
        metadata=example(
            ["status", "courier_status", "status_at", "events"],
            "What changed: names of the order's fields; `conflicts`; `events` if its timeline"
            " changed; `created` if the order is new.",
        ),
    )


class ChangePageSchema(Answer):
    """A page of the change feed."""

    changes = items(ChangeSchema, "The changes, oldest first; empty if there are none.")
    next_cursor = string("YzQx", "Send it as `after` to read on. Always given.")


class ChangeFiltersSchema(Schema):
    """Where to read the change feed, and how much of it."""

    after = Text(
        validate=validate.Length(max=200),
        metadata=example(
            "YzQx",
            "Return changes after this position: the `next_cursor` of the last answer, or the"
            " `cursor` of a change. Without it the feed starts at the beginning; `now` skips"
            " everything up to the present.",
        ),
    )
    limit = WholeNumber(
        load_default=100,
        validate=validate.Range(1, 1000),
        metadata=example(100, "The largest number of changes in one answer, 1 to 1000."),
    )
    wait = WholeNumber(
        load_default=0,
        validate=validate.Range(0, 30),
        metadata=example(
            30, "How many seconds to wait for a change if there is none yet, 0 to 30."
        ),
    )


class TourStopSchema(Answer):
    """One order on a tour."""

    order_id = string("ID1-0", "The order, as the tour plan names it.")
    eta = time(
        "2026-04-16T08:00:00Z",
        "When the tour is expected to reach the order; null: the plan does not say.",
        allow_none=True,
    )
    packages = fields.List(
        fields.String(),
        metadata=example(["P-ID1-0"], "Packages of the order, as the tour plan names them."),
    )


class TourSchema(Answer):
    """A tour, as its newest plan describes it."""

    account = fields.String(metadata=AN_ACCOUNT)
    tour_id = string("EDFIL1-1", "The courier's id of the tour.")
    courier_name = string("N1", "Name of the driver or the vehicle.", allow_none=True)
    pick_up_at = time(
        "2026-04-16T07:00:00Z", "When the goods are to be picked up.", allow_none=True
    )
    window_from = time("2026-04-16T07:00:00Z", "When the tour begins.", allow_none=True)
    window_to = time("2026-04-16T10:00:00Z", "When the tour ends.", allow_none=True)
    stops = items(TourStopSchema, "The orders of the tour, in the order of the plan.")
    received_at = time("2026-04-16T06:50:00Z", "When the plan arrived.")
