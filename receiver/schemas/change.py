"""The change feed."""

from marshmallow import Schema, fields, validate

from receiver.schemas.fields import Line, Whole, example


class Change(Schema):
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


class ChangePage(Schema):
    """What changed, the oldest first."""

    changes = fields.List(
        fields.Nested(Change), metadata={"description": "Oldest first; empty: no news"}
    )
    next_cursor = fields.String(
        metadata=example("YzQx", "Where to go on: the next request's `after`, always given")
    )


class ChangeFilters(Schema):
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
