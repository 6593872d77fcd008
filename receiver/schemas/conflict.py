"""Facts that do not go together."""

from marshmallow import Schema, fields, validate

from receiver.schemas.fields import (
    A_REFERENCE,
    A_STATUS,
    AN_ACCOUNT,
    AN_ORDER,
    IDENTIFIER,
    NEXT_CURSOR,
    Line,
    Whole,
    example,
)


class ConflictSchema(Schema):
    """Two facts that do not go together; open until settled_at or closed_at is there."""

    id = fields.String(metadata=example("29807b91bde4", "Stays the same for its order."))
    kind = fields.String(
        metadata=example("picked_up_after_cancelled", "What came after what: <new>_after_<old>.")
    )
    occurred_at = fields.String(
        metadata=example(
            "2026-04-16T08:00:00Z",
            "When the later one happened, by the courier's clock.",
            format="date-time",
        )
    )
    settled_at = fields.String(
        allow_none=True,
        metadata=example(
            "2026-04-16T09:00:00Z", "Since when a later fact settles it.", format="date-time"
        ),
    )
    closed_at = fields.String(
        allow_none=True,
        metadata=example("2026-04-17T09:00:00Z", "When a person closed it.", format="date-time"),
    )
    closed_by = fields.String(allow_none=True, metadata=example("Ann", "Who closed it."))
    note = fields.String(
        allow_none=True, metadata=example("the driver called, it is there", "What they said.")
    )


class OrderConflictSchema(ConflictSchema):
    """A conflict with the order it is about."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    status = fields.String(metadata=A_STATUS)


class ConflictPageSchema(Schema):
    """Open conflicts, the newest order first."""

    conflicts = fields.List(
        fields.Nested(OrderConflictSchema), metadata={"description": "The conflicts of this page."}
    )
    next_cursor = fields.String(allow_none=True, metadata=NEXT_CURSOR)


class ConflictFiltersSchema(Schema):
    """Which conflicts to list."""

    account = Line(validate=IDENTIFIER, metadata=AN_ACCOUNT)
    limit = Whole(
        load_default=50,
        validate=validate.Range(1, 200),
        metadata=example(50, "The most orders whose conflicts to give at once."),
    )
    cursor = Line(
        validate=validate.Length(1, 200), metadata=example("bzQx", "The last page's `next_cursor`.")
    )


class ConflictNoteSchema(Schema):
    """Who dealt with it, and how."""

    by = Line(
        required=True, validate=validate.Length(1, 100), metadata=example("Ann", "Who says so.")
    )
    note = Line(
        load_default="",
        validate=validate.Length(max=1000),
        metadata=example("the driver called, it is there", "What they have to say."),
    )
