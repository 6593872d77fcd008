"""What happened to orders: timelines, conflicts, explanations, the change feed, and tour plans."""

from marshmallow import Schema
from marshmallow.fields import Dict, List, Raw

from receiver.changes.order_version import CHANGED_NAMES
from receiver.schemas import fields
from receiver.schemas.fields import (
    Answer,
    boolean,
    choices_list,
    described,
    given_text,
    identifier,
    integer,
    nested,
    nested_list,
    text,
    texts,
    time,
    whole_number,
)
from receiver.schemas.message import MessageFields
from receiver.schemas.order import EtaSchema, EventSourceSchema, OrderFields
from receiver.statuses import GROUPS


class EventFields(Answer):
    """What the timeline and the explanation of an order both say about an event."""

    occurred_at = time("When it happened, by the courier's clock.")
    received_at = time("When its message arrived, by our clock.", "2026-04-16T07:00:02Z")
    status = fields.STATUS
    courier_status = text(fields.A_COURIER_STATUS, "delivery_failed")
    reason = fields.REASON
    parcel = text("Parcel's tracking number; null: the whole order.", "18A24901BE5D49C3", null=True)
    applied = boolean("Whether the event counts towards the order's status.", True)
    not_applied_why = text("Why it does not count; null: it does.", "already delivered", null=True)
    flags = texts(
        "What had to be assumed about the event. `time_inferred`: the courier gave no time, so the"
        " time of arrival is used; `clock_skew`: the courier's time was in the future, so the time"
        " of arrival is used; `zone_assumed`: the courier's time had no time zone, so the account's"
        " zone is used; `minute_only`: the courier's time is only exact to the minute;"
        " `state_disagrees`: the state is not that of the newest time, and counts after it;"
        " `answered`: the courier's answer to our own request, which may take the order back;"
        " `of_shipment`: about a shipment, and not the order itself. More values may be added.",
        ["time_inferred"],
    )


class EventSchema(EventFields):
    """One event of an order's timeline."""

    source = nested(EventSourceSchema, "The message that reported the event first.")
    proofs = described(
        List,
        "Signatures and photos that the courier took as proof: their addresses, and the name"
        " of the person who signed.",
        [{"kind": "signature", "url": "https://example.com/1.png", "name": "B. Obbay"}],
        cls_or_instance=Dict(),
    )


class TimelineSchema(Answer):
    """A page of the timeline of an order."""

    events = nested_list(EventSchema, "The events, oldest first, without repeated ones.")
    next_cursor = fields.NEXT_CURSOR


class EventFiltersSchema(fields.OrderPageFilters):
    """Which part of a timeline to return."""


class ConflictSchema(Answer):
    """Two reported facts that contradict each other. Open until settled or closed."""

    id = text("Id of the conflict; it never changes.", "29807b91bde4")
    kind = text("The two facts: `<later>_after_<earlier>`.", "picked_up_after_cancelled")
    occurred_at = time("When the later fact happened, by the courier's clock.")
    settled_at = time(
        "When a later event settled it; null: not settled.", "2026-04-16T09:00:00Z", null=True
    )
    closed_at = time("When a person closed it; null: not yet.", "2026-04-17T09:00:00Z", null=True)
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

    conflicts = nested_list(OrderConflictSchema, "Newest order first; `limit` counts the orders.")
    next_cursor = fields.NEXT_CURSOR


class ConflictFiltersSchema(fields.PageFilters):
    """Which conflicts to list."""

    test = fields.TEST


class ConflictNoteSchema(Schema):
    """Who takes the decision, and why."""

    by = given_text("Name of the person who decides.", "Ann", required=True, length=(1, 100))
    note = given_text(
        "Why, in the person's own words.",
        "the driver called, it is there",
        load_default="",
        length=(None, 1000),
    )


class ExplainedMessageSchema(MessageFields):
    """A message about the order."""

    first_told = texts(
        "The events that this message was the first to report, in the courier's words; at most 50.",
        ["delivery_failed"],
    )


class ExplainedEventSchema(EventFields):
    """An event, and its effect on the order."""

    message_id = fields.MESSAGE_ID
    set_status = boolean("Whether the order's current status comes from this event.", True)


class ExplainedDetailSchema(Answer):
    """A detail of the order, and the message that reported it."""

    name = text("Name of the detail.", "tracking_url")
    value = described(Raw, "Value.", "https://www.tiramizoo.com/orders/ID4K7EHQX62RA", null=True)
    told_at = time("When it was reported, by the courier's clock; null: no time given.", null=True)
    message_id = fields.MESSAGE_ID


class ExplainedOrderSchema(OrderFields):
    """The explained part of the order."""


class ExplanationSchema(Answer):
    """Why an order has its current status.

    `messages`, `events` and `details` come in pages; everything else is on each page.
    """

    order = nested(ExplainedOrderSchema, "The order as it is now.")
    summary = text(
        "What set the status, in a sentence for people.",
        "Set by the courier's status 'delivered' in message 184467, the latest of all applied"
        " events.",
    )
    message_count = integer("How many messages there are about the order.", 2)
    event_count = integer("How many events there are, also repeated ones.", 4)
    messages = nested_list(ExplainedMessageSchema, "Messages about the order, oldest first.")
    events = nested_list(ExplainedEventSchema, "Events, oldest first, also repeated ones.")
    details = nested_list(ExplainedDetailSchema, "Details, each with its message.")
    etas = nested_list(EtaSchema, "The last 50 expected times of arrival, oldest first.")
    conflicts = nested_list(ConflictSchema, "All conflicts, also settled and closed ones.")
    next_cursor = fields.NEXT_CURSOR


class ExplanationFiltersSchema(fields.OrderPageFilters):
    """Which part of an explanation to return."""


class ChangeSchema(Answer):
    """One change of one order, with its version, reference and status after this change."""

    id = text("Id of this change. Later changes have higher numbers.", "184467")
    cursor = text("Position of this change in the feed; can be sent as `after`.", "YzQx")
    account = fields.ACCOUNT
    courier_order_id = fields.COURIER_ORDER_ID
    reference = text(
        "The shop's own number of the order after this change; where an older release wrote the"
        " change, as it is now.",
        "41",
        null=True,
    )
    version = integer("The order's version after this change.", 3)
    status = text("The order's status after this change.", "in_transit")
    status_group = text("Group of the status; the list is complete.", "in_transit", choices=GROUPS)
    status_at = time(
        "When the order got this status, by the courier's clock; null: not known.", null=True
    )
    changed = texts(
        "What changed: names of the order's fields; `conflicts`; `events` if its timeline"
        " changed; `created` if the order is new.",
        ["status", "courier_status", "status_at", "events"],
    )
    changed_at = time("When this service made the change.", "2026-04-16T07:00:02Z")


class ChangePageSchema(Answer):
    """A page of the change feed."""

    changes = nested_list(ChangeSchema, "The changes, oldest first; empty if there are none.")
    next_cursor = text("Send it as `after` to continue reading. Never null.", "YzQx")


class ChangeFiltersSchema(Schema):
    """Where to read the change feed, and how much of it."""

    after = given_text(
        "Return changes after this position: the `next_cursor` of the last response, or the"
        " `cursor` of a change. Without it the feed starts at the beginning; `now` skips"
        " everything up to the present.",
        "YzQx",
        length=(None, 200),
    )
    limit = whole_number("The most changes on a page, 1 to 1000.", 100, 1, 1000, default=100)
    account = identifier("Only changes of orders of this account.", "tiramizoo")
    status_group = choices_list(
        "Only changes after which the status is of one of these groups, separated by commas.",
        "in_transit",
        GROUPS,
    )
    changed = choices_list(
        "Only changes of one of these, separated by commas: the names that `changed` lists.",
        "status",
        CHANGED_NAMES,
    )
    wait = whole_number("How many seconds to wait for a change, 0 to 30.", 30, 0, 30, default=0)
    test = fields.TEST


class TourStopSchema(Answer):
    """One order on a tour."""

    order_id = text("The order, as the tour plan names it.", "ID1-0")
    eta = time("When the tour is expected to reach it; null: the plan does not say.", null=True)
    packages = texts("Packages of the order, as the tour plan names them.", ["P-ID1-0"])


class TourSchema(Answer):
    """A tour, as its newest plan describes it."""

    account = fields.ACCOUNT
    tour_id = text("The courier's id of the tour.", "EDFIL1-1")
    courier_name = text("Name of the driver or the vehicle.", "N1", null=True)
    pick_up_at = time("When the goods are to be picked up.", null=True)
    window_from = time("When the tour begins.", null=True)
    window_to = time("When the tour ends.", "2026-04-16T10:00:00Z", null=True)
    stops = nested_list(TourStopSchema, "The orders of the tour, in the order of the plan.")
    received_at = time("When the plan arrived.", "2026-04-16T06:50:00Z")
