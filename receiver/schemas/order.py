"""Orders as they are shown: one, a page of them, their parcels; and a poll that was requested."""

from typing import Any

from marshmallow import validates_schema
from marshmallow.fields import Dict, String

from receiver.schemas import fields
from receiver.schemas.fields import (
    UNTIL,
    Answer,
    boolean,
    check_range,
    choices_list,
    described,
    integer,
    name,
    nested,
    nested_list,
    text,
    text_map,
    time,
)
from receiver.statuses import GROUPS, VOCABULARY

TRACKING = ("active", "stopped")


class EventSourceSchema(Answer):
    """The message that reported an event first."""

    kind = fields.KIND
    trust = fields.TRUST
    message_id = fields.MESSAGE_ID


class SourceSchema(EventSourceSchema):
    """The message that the status comes from."""

    received_at = time("When the message arrived, by our clock.", "2026-04-16T07:00:01Z")


class EtaSchema(Answer):
    """When the order is expected to arrive."""

    from_ = time("The earliest.", "2026-04-16T09:10:00Z", data_key="from", attribute="from")
    to = time("The latest; equal to `from` if a single time was given.", "2026-04-16T09:40:00Z")
    source = text(
        "Where it comes from: a `tour_plan`, a webhook about the `order`, or a `poll`.",
        "tour_plan",
        choices=["tour_plan", "order", "poll"],
    )
    updated_at = time("When the courier reported it.", "2026-04-16T07:30:00Z")


class ParcelSchema(Answer):
    """One parcel of an order."""

    tracking_number = text("Tracking number of the parcel.", "18A24901BE5D49C3")
    tracking_url = text("Its tracking page.", "https://postnl.example/3SCEBU123456789", null=True)
    courier_name = text("Name of its carrier, if that is not the courier.", "Postnl", null=True)
    status = fields.STATUS


class PromisedSchema(Answer):
    """A window for the delivery."""

    from_ = time(
        "When it begins; null: not said.",
        "2026-04-16T08:00:00Z",
        null=True,
        data_key="from",
        attribute="from",
    )
    to = time("When it ends; null: not said.", "2026-04-16T10:00:00Z", null=True)


class PollingSchema(Answer):
    """How the courier's API is polled for the order. Not covered by the order's version."""

    next_poll_at = time(
        "When the next poll is due at the earliest; null: none.", "2026-04-16T08:00:00Z", null=True
    )
    last_polled_at = time("When the last poll was made; null: none yet.", null=True)
    failures = integer("How many polls have failed in a row since the last success.", 0)
    unknown_since = time(
        "Since when the courier answers that it does not know the id; null: it knows it, or was not"
        " polled yet. If it is a tracking number, register the courier's id of the order.",
        null=True,
    )
    stopped_at = time("When polling was given up; null: never.", "2026-05-16T07:00:00Z", null=True)
    stop_reason = text(
        "Why polling was given up; null: it was not.",
        "given up: the courier does not know this order",
        null=True,
    )


class OrderFields(Answer):
    """What the order itself and its explanation both say."""

    account = fields.ACCOUNT
    courier_order_id = fields.COURIER_ORDER_ID
    reference = fields.REFERENCE
    identifiers = text_map(
        "Further identifiers that the courier gave the order, by kind. Each of them finds it.",
        {"identifier": "ZVW8GV", "tracking_code": "ID4K7-EHQX-62RA"},
    )
    status = fields.STATUS
    courier_status = text(fields.A_COURIER_STATUS, "delivery_failed", null=True)
    status_at = time("When it got this status, by the courier's clock; null: not known.", null=True)
    reason = fields.REASON
    needs_attention = boolean("Whether a person should look into the order.", True)


class OrderSchema(OrderFields):
    """The current state of one order."""

    courier = fields.COURIER
    status_group = text("Group of the status; the list is complete.", "exception", choices=GROUPS)
    is_terminal = boolean("Whether the transport has ended, and polling with it.", False)
    source = nested(SourceSchema, "The message that set the status; null: none yet.", null=True)
    tracking_url = text(
        "Public page to track the order; null: not known.",
        "https://www.tiramizoo.com/orders/ID4K7EHQX62RA/tracking_status",
        null=True,
    )
    eta = nested(EtaSchema, "When the order is expected to arrive; null: not known.", null=True)
    promised = nested(
        PromisedSchema,
        "The window that the courier promised for the delivery; null: none.",
        null=True,
    )
    label_url = text(
        "Shipping label: the courier's URL of it, or the path of `GET .../label`, relative to this"
        " API's address, where it came inside a message; null: not known.",
        "https://courier.example/labels/41.pdf",
        null=True,
    )
    pickup_at = time("When pickup is planned; null: not known.", "2026-04-16T06:30:00Z", null=True)
    parcels = nested_list(
        ParcelSchema,
        "The first 50 parcels that the courier has reported; `GET .../parcels` lists all of them.",
    )
    parcel_count = integer("How many parcels the courier has reported.", 1)
    milestones = described(
        Dict,
        "When the order first had each status, by status. Sorted by time, earliest first.",
        {"picked_up": "2026-04-16T06:00:00Z", "delivery_failed": "2026-04-16T07:00:00Z"},
        keys=String(),
        values=fields.Time(),
    )
    polling = nested(PollingSchema, "How it is polled. Not covered by `version`.")
    tracking = text(
        "`stopped`: the shop has stopped the tracking of the order, so it is not polled and raises"
        " no alert until it is `active` again. Webhooks count all the same.",
        "active",
        choices=TRACKING,
    )
    sample = boolean(
        "Whether it is a sample order, as `ordertrail send` makes them: its `courier_order_id`"
        " begins with `ORDERTRAIL-SAMPLE-`. A sample raises no alert and can always be deleted.",
        False,
    )
    last_heard_at = time(
        "When its last message arrived, by our clock; null: none yet. Not covered by `version`.",
        "2026-04-16T07:00:01Z",
        null=True,
    )
    metadata = text_map("What the shop stored when it registered the order.", {"shop": "munich"})
    version = integer("Grows by one with each change.", 3, keywords={"minimum": 1})
    created_at = time("When this service first saw the order.", "2026-04-16T06:00:00Z")
    updated_at = time("When the order last changed.", "2026-04-16T07:00:02Z")


class OrderPageSchema(Answer):
    """A page of orders."""

    orders = nested_list(OrderSchema, "The orders of this page, newest first.")
    next_cursor = fields.NEXT_CURSOR


class OrderFiltersSchema(fields.PageFilters):
    """Which orders to list: those that match all filters."""

    reference = name(fields.A_REFERENCE, "41")
    tracking_number = name(
        "Only orders with a parcel of this tracking number, or with this name. Capitals, dashes and"
        " surrounding blanks do not matter.",
        "18A24901BE5D49C3",
    )
    status = choices_list(
        "Only orders with one of these statuses, separated by commas.",
        "in_transit",
        list(VOCABULARY),
    )
    status_group = choices_list(
        "Only orders of one of these status groups, separated by commas.", "in_transit", GROUPS
    )
    needs_attention = boolean(
        "`true`: only orders that a person should look into; `false`: only the others.",
        False,
        truthy={"true", "1"},
        falsy={"false", "0"},
    )
    test = fields.TEST
    created_since = time(
        "Only orders that this service first saw then or later. A time zone is required; in a URL,"
        " `+` is `%2B`."
    )
    created_until = time("Only orders that this service first saw before.", UNTIL)
    updated_since = time("Only orders that changed last then or later.")
    updated_until = time("Only orders that changed last before.", UNTIL)

    @validates_schema
    def _in_order(self, filters: dict[str, Any], **kwargs: Any) -> None:
        check_range(filters, "created_since", "created_until")
        check_range(filters, "updated_since", "updated_until")


class ParcelFiltersSchema(fields.OrderPageFilters):
    """Which part of an order's parcels to return."""


class ParcelPageSchema(Answer):
    """A page of an order's parcels."""

    parcels = nested_list(ParcelSchema, "The parcels of this page, by tracking number.")
    next_cursor = fields.NEXT_CURSOR


class RefreshedSchema(Answer):
    """An order that is about to be polled."""

    account = fields.ACCOUNT
    courier_order_id = fields.COURIER_ORDER_ID
    next_poll_at = time("When the poll is made at the earliest.")
