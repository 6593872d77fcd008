"""Couriers' performance: the period that is asked for, and the report."""

from marshmallow import Schema

from receiver.schemas import fields
from receiver.schemas.fields import Answer, boolean, day, integer, nested, ratio


class PerformanceFiltersSchema(Schema):
    """Of which days to report."""

    since = day("The first UTC day. Default: 29 days before `until`.", "2026-04-01")
    until = day(
        "The last UTC day, included; at most 400 days after `since`. Default: today.", "2026-04-30"
    )
    test = boolean(
        "Whether sample orders count, too, and those of a test account.",
        False,
        load_default=False,
        truthy={"true", "1"},
        falsy={"false", "0"},
    )


class PercentilesSchema(Answer):
    """Two percentiles of durations, within 5 %."""

    p50 = ratio("The median, in seconds; null: no duration is known.", 5400.0, null=True)
    p90 = ratio("Nine out of ten took at most so many seconds.", 14200.0, null=True)


class PerformanceSchema(Answer):
    """How fast and how reliably an account's courier delivered in a period."""

    account = fields.ACCOUNT
    since = day("The first UTC day.", "2026-04-01")
    until = day("The last UTC day, included.", "2026-04-30")
    orders = integer(
        "How many orders ended in this period: were delivered, cancelled or returned.", 412
    )
    delivered = integer("How many of them were delivered.", 398)
    first_attempt_ratio = ratio(
        "Share of the delivered orders without a `delivery_failed` before, of any of their parcels;"
        " null: no order was delivered.",
        0.9472,
        null=True,
    )
    on_time_ratio = ratio(
        "Share delivered by the end of `promised`, or without one by the last ETA known before the"
        " delivery. Orders with neither do not count; null: there are no others.",
        0.9021,
        null=True,
    )
    pickup_to_delivery_seconds = nested(
        PercentilesSchema,
        "From the first `picked_up` to the delivery, of the delivered orders where both are known.",
    )
    order_to_pickup_seconds = nested(
        PercentilesSchema,
        "From the order, as reported by the courier or registered by the shop, whichever was"
        " earlier, to the first `picked_up`.",
    )
    webhook_delay_seconds = nested(
        PercentilesSchema,
        "From a state's own time to the arrival of the first webhook that reported it. States that"
        " a poll reported first, and those without a time of the courier's, do not count.",
    )
    missed_webhook_ratio = ratio(
        "Share of the orders' states that a poll found before any webhook reported them; null: no"
        " state is known, or the account is not polled.",
        0.0213,
        null=True,
    )
