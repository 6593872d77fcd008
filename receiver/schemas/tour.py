"""Tour plans."""

from marshmallow import Schema, fields

from receiver.schemas.fields import AN_ACCOUNT, Time, example


class TourStop(Schema):
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


class Tour(Schema):
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
        fields.Nested(TourStop), metadata={"description": "Its orders, in the plan's order."}
    )
    received_at = Time(metadata=example("2026-04-16T06:50:00Z", "When the plan reached us."))
