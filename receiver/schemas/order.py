"""Orders: one, many, registered, looked up and refreshed."""

from typing import Any

from marshmallow import Schema, ValidationError, validate, validates_schema
from marshmallow.fields import Dict, List, Raw, String

from receiver.schemas import fields
from receiver.schemas.fields import (
    UNTIL,
    Answer,
    Text,
    boolean,
    check_range,
    choices_list,
    described,
    given_text,
    identifier,
    integer,
    name,
    nested,
    nested_list,
    text,
    text_map,
    time,
)
from receiver.statuses import GROUPS, VOCABULARY

MOST_METADATA_KEYS = 50
MOST_LOOKED_UP = 100
TRACKING = ("active", "stopped")
MOST_REGISTERED = 100


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
        "Shipping label; null: not known.", "https://courier.example/labels/41.pdf", null=True
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


def _any_item() -> Raw:
    """Make a field for the items of a list that the view validates one by one."""
    about = {"description": "An item that cannot be used has a `problem` in its result."}
    return Raw(allow_none=True, metadata=about)


def _validate_size(metadata: dict[str, Any]) -> None:
    if len(metadata) > MOST_METADATA_KEYS:
        raise ValidationError(f"must not have more than {MOST_METADATA_KEYS} keys")


def _given_metadata(further: str, **options: Any) -> Any:
    """Make a field of the shop's data. further: what else to say of it."""
    return described(
        Dict,
        "Anything that the shop wants to store with the order: at most 50 keys of 1 to 100"
        f" characters, each with a text of at most 1,000 characters. {further}",
        {"shop": "munich"},
        null=True,
        keywords={"maxProperties": MOST_METADATA_KEYS},
        keys=Text(validate=validate.Length(1, 100)),
        values=Text(validate=validate.Length(max=1000)),
        validate=_validate_size,
        **options,
    )


class NewOrderSchema(Schema):
    """An order that the shop has given to a courier."""

    account = identifier(fields.AN_ACCOUNT, "tiramizoo", required=True)
    courier_order_id = name(
        "The courier's own id of the order, or another identifier that the courier gave it.",
        "2a9eeeb3-16ba-4184-b894-c9734f613e93",
        required=True,
    )
    reference = name(fields.A_REFERENCE, "41", null=True, load_default=None)
    metadata = _given_metadata(
        "Replaces what was given under this name of the order before.", load_default=None
    )


class OrderChangesSchema(Schema):
    """What to correct of an order: at least one of these. What is left out stays as it is."""

    reference = name(
        f"{fields.A_REFERENCE} null: the shop gives none, and the courier's own counts again.",
        "41",
        null=True,
    )
    metadata = _given_metadata(
        "Replaces all that the order has, whatever it was given under; null: removes all of it. An"
        " order whose personal data was erased keeps none."
    )
    tracking = given_text(
        "`stopped`: the order is not polled any more and raises no alert; what its courier sends is"
        " processed all the same. `active`: it is tracked again.",
        "stopped",
        choices=TRACKING,
    )

    @validates_schema
    def _at_least_one(self, changes: dict[str, Any], **kwargs: Any) -> None:
        if not changes:
            raise ValidationError("give at least one of reference, metadata and tracking")


class NewOrderBatchSchema(Schema):
    """Orders that the shop has given to couriers."""

    orders = described(
        List,
        "1 to 100 orders, each as for `POST /v1/orders`.",
        [{"account": "tiramizoo", "courier_order_id": "ZVW8GV", "reference": "41"}],
        required=True,
        cls_or_instance=_any_item(),
        length=(1, MOST_REGISTERED),
    )


class BatchResultSchema(Answer):
    """What became of one order of a batch."""

    sometimes = ("order", "problem")

    status = integer(
        "201: it is registered now; 200: it was known already; 404: the account does not exist;"
        " 422: fields of it are invalid.",
        201,
    )
    order = nested(OrderSchema, "The order. Absent with 404 and 422.")
    problem = nested(fields.ProblemSchema, "Why it was not registered. Absent with 200 and 201.")


class BatchAnswerSchema(Answer):
    """The results of a batch."""

    results = nested_list(BatchResultSchema, "One result per order, in the order of the orders.")


class OrderNameSchema(Schema):
    """An order by one of its identifiers."""

    account = identifier(fields.AN_ACCOUNT, "tiramizoo", required=True)
    courier_order_id = name(
        "The courier's own id of the order, any further identifier that the courier gave it, or the"
        " tracking number of a parcel.",
        "ID4K7-EHQX-62RA",
        required=True,
    )


class ReferenceSchema(Schema):
    """A reference to look up."""

    reference = name(fields.A_REFERENCE, "41", required=True)


class TrackingNumberSchema(Schema):
    """A tracking number to look up."""

    tracking_number = name("Of a parcel.", "18A24901BE5D49C3", required=True)


def _looked_up(description: str, example: Any) -> Any:
    return described(
        List, description, example, cls_or_instance=_any_item(), length=(1, MOST_LOOKED_UP)
    )


class LookupSchema(Schema):
    """What to look up: give one of `references`, `orders` and `tracking_numbers`."""

    references = _looked_up("1 to 100 of the shop's own order numbers.", ["41", "42"])
    orders = _looked_up(
        "1 to 100 orders by name, each with `account` and `courier_order_id`.",
        [{"account": "cottoncast", "courier_order_id": "3AF7"}],
    )
    tracking_numbers = _looked_up(
        "1 to 100 tracking numbers of parcels, of any account.", ["18A24901BE5D49C3"]
    )

    @validates_schema
    def _one_of_them(self, lookup: dict[str, Any], **kwargs: Any) -> None:
        if len(lookup) != 1:
            raise ValidationError(
                "give one of references, orders and tracking_numbers", "references"
            )


class LookupResultSchema(Answer):
    """What was found for one item. The item itself is repeated as it was given."""

    sometimes = ("reference", "account", "courier_order_id", "tracking_number", "problem")

    reference = text("The reference that was looked up.", "41")
    account = text("The account that was given with an identifier.", "tiramizoo")
    courier_order_id = text("The identifier that was looked up.", "ID4K7-EHQX-62RA")
    tracking_number = text("The tracking number that was looked up.", "18A24901BE5D49C3")
    found = boolean("Whether any order was found.", True)
    orders = nested_list(OrderSchema, "The orders that were found, newest first, at most 10.")
    more = boolean("Whether there are more orders than the 10 in `orders`.", False)
    problem = nested(fields.ProblemSchema, "Why the item cannot be used. Absent where it can.")


class LookupAnswerSchema(Answer):
    """The results of a lookup."""

    results = nested_list(LookupResultSchema, "One result per item, in the order of the items.")


class RefreshedSchema(Answer):
    """An order that is about to be polled."""

    account = fields.ACCOUNT
    courier_order_id = fields.COURIER_ORDER_ID
    next_poll_at = time("When the poll is made at the earliest.")
