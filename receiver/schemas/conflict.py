"""Conflicts: reported facts about an order that contradict each other."""

from marshmallow import Schema, fields, validate

from receiver.schemas.fields import (
    A_CURSOR,
    A_REFERENCE,
    A_STATUS,
    AN_ACCOUNT,
    AN_ORDER,
    CURSOR,
    IDENTIFIER,
    NEXT_CURSOR,
    Answer,
    Text,
    WholeNumber,
    example,
    items,
    string,
    time,
)


class ConflictSchema(Answer):
    """Two reported facts that contradict each other. Open until settled or closed."""

    id = string("29807b91bde4", "Id of the conflict; it never changes.")
    kind = string(
        "picked_up_after_cancelled", "The later and the earlier fact: `<later>_after_<earlier>`."
    )
    occurred_at = time(
        "2026-04-16T08:00:00Z", "When the later fact happened, by the courier's clock."
    )
    settled_at = time(
        "2026-04-16T09:00:00Z",
        "When a later event resolved the contradiction; null: none did.",
        allow_none=True,
    )
    closed_at = time(
        "2026-04-17T09:00:00Z", "When a person closed it; null: nobody did.", allow_none=True
    )
    closed_by = string("Ann", "Name of the person who closed it.", allow_none=True)
    note = string(
        "the driver called, it is there", "Note of the person who closed it.", allow_none=True
    )


class OrderConflictSchema(ConflictSchema):
    """A conflict together with the order it is about."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    status = fields.String(metadata=A_STATUS)


class ConflictPageSchema(Answer):
    """A page of open conflicts."""

    conflicts = items(OrderConflictSchema, "The open conflicts of this page, newest order first.")
    next_cursor = fields.String(allow_none=True, metadata=NEXT_CURSOR)


class ConflictFiltersSchema(Schema):
    """Which conflicts to list."""

    account = Text(validate=IDENTIFIER, metadata=AN_ACCOUNT)
    limit = WholeNumber(
        load_default=50,
        validate=validate.Range(1, 200),
        metadata=example(50, "The largest number of orders whose conflicts are in one answer."),
    )
    cursor = Text(validate=CURSOR, metadata=A_CURSOR)


class ConflictNoteSchema(Schema):
    """Who takes the decision, and why."""

    by = Text(
        required=True,
        validate=validate.Length(1, 100),
        metadata=example("Ann", "Name of the person who decides."),
    )
    note = Text(
        load_default="",
        validate=validate.Length(max=1000),
        metadata=example("the driver called, it is there", "Why, in the person's own words."),
    )
