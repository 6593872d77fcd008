"""Conflicts: reported facts about an order that contradict each other."""

from marshmallow import Schema, validate

from receiver.schemas import fields
from receiver.schemas.fields import Answer, given_text, nested_list, text, time


class ConflictSchema(Answer):
    """Two reported facts that contradict each other. Open until settled or closed."""

    id = text("Id of the conflict; it never changes.", "29807b91bde4")
    kind = text(
        "The later and the earlier fact: `<later>_after_<earlier>`.", "picked_up_after_cancelled"
    )
    occurred_at = time("When the later fact happened, by the courier's clock.")
    settled_at = time(
        "When a later event resolved it; null: none did.", "2026-04-16T09:00:00Z", null=True
    )
    closed_at = time(
        "When a person closed it; null: nobody did.", "2026-04-17T09:00:00Z", null=True
    )
    closed_by = text("Name of the person who closed it.", "Ann", null=True)
    note = text("Note of the person who closed it.", "the driver called, it is there", null=True)


class OrderConflictSchema(ConflictSchema):
    """A conflict together with the order it is about."""

    account = fields.ACCOUNT
    courier_order_id = fields.COURIER_ORDER_ID
    reference = fields.REFERENCE
    status = fields.STATUS


class ConflictPageSchema(Answer):
    """A page of open conflicts."""

    conflicts = nested_list(
        OrderConflictSchema,
        "The open conflicts of this page, newest order first; `limit` counts the orders.",
    )
    next_cursor = fields.NEXT_CURSOR


class ConflictFiltersSchema(fields.PageFilters):
    """Which conflicts to list."""


class ConflictNoteSchema(Schema):
    """Who takes the decision, and why."""

    by = given_text(
        "Name of the person who decides.", "Ann", required=True, validate=validate.Length(1, 100)
    )
    note = given_text(
        "Why, in the person's own words.",
        "the driver called, it is there",
        load_default="",
        validate=validate.Length(max=1000),
    )
