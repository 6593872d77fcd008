"""What the API takes and gives, field by field; the OpenAPI description is made from these."""

from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from receiver.couriers.base import rfc3339
from receiver.models import Poll
from receiver.statuses import GROUPS, VOCABULARY

STATUSES = list(VOCABULARY)
IDENTIFIER = validate.Length(min=1, max=255)
MOST_METADATA_KEYS = 50


class Time(fields.DateTime):
    """RFC 3339 with a zone; shown in UTC with Z."""

    def _serialize(
        self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        # In a query string a bare + arrives as a space, as in 2026-01-01T00:00:00+01:00.
        told = value.replace(" ", "+") if isinstance(value, str) and "T" in value else value
        at = super()._deserialize(told, attr, data, **kwargs)
        if at.tzinfo is None:
            raise ValidationError("needs a zone, such as Z or +01:00")
        try:
            return at.astimezone(UTC)
        except OverflowError:
            raise ValidationError("is outside the years 1 to 9999") from None


class Line(fields.String):
    """Text without U+0000, which PostgreSQL cannot keep."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        told = str(super()._deserialize(value, attr, data, **kwargs))
        if "\x00" in told:
            raise ValidationError("must not hold U+0000")
        try:
            told.encode()
        except UnicodeEncodeError:
            raise ValidationError("must not hold half a surrogate pair") from None
        return told


def example(value: Any, description: str) -> dict[str, Any]:
    return {"description": description, "examples": [value]}


class Problem(Schema):
    """RFC 9457 problem details."""

    type = fields.String()
    title = fields.String()
    status = fields.Integer()
    detail = fields.String()
    errors = fields.Dict(metadata={"description": "Per field, what is wrong with it"})


class Source(Schema):
    kind = fields.String(metadata=example("webhook", "`webhook` or `poll`"))
    trust = fields.String(metadata=example("token", "`signed`, `token` or `fetched`"))
    message_id = fields.String(metadata=example("184467", "The message in the inbox"))
    received_at = fields.String(
        metadata=example("2026-04-16T07:00:01Z", "When the message reached us")
    )


class Eta(Schema):
    from_ = fields.String(data_key="from", attribute="from")
    to = fields.String()
    source = fields.String(metadata=example("tour_plan", "`tour_plan`, `order` or `poll`"))
    updated_at = fields.String()


class Parcel(Schema):
    tracking_number = fields.String()
    tracking_url = fields.String(allow_none=True)
    courier_name = fields.String(allow_none=True)
    status = fields.String()


class Polling(Schema):
    """How asking the courier about this order goes; no part of the order's version."""

    next_poll_at = Time(attribute="due_at", allow_none=True)
    last_polled_at = Time(attribute="polled_at", allow_none=True)
    failures = fields.Integer(metadata={"description": "Looks in a row that gave no answer"})
    stopped_at = Time(allow_none=True, metadata={"description": "When we gave up asking"})
    stop_reason = fields.String(allow_none=True)


# An order of an account that is not polled.
NO_POLLING = Poll(failures=0)


class Order(Schema):
    """One order as we know it now."""

    account = fields.String(metadata=example("tiramizoo", "The account's slug"))
    courier = fields.String(metadata=example("tiramizoo", "The courier behind the account"))
    courier_order_id = fields.String(metadata=example("3AF7", "The courier's own id"))
    identifiers = fields.Dict(
        metadata=example({"tracking_code": "ID4K7-EHQX-62RA"}, "Further names it is found by")
    )
    reference = fields.String(
        allow_none=True, metadata=example("41", "The shop's own order number")
    )
    status = fields.String(metadata=example("in_transit", "Our word; see /v1/statuses"))
    status_group = fields.Function(lambda order: VOCABULARY[order.status].group)
    courier_status = fields.String(
        allow_none=True, metadata=example("E", "The courier's word, unchanged")
    )
    status_at = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:00Z", "Since when, by their clock")
    )
    reason = fields.String(
        allow_none=True, metadata=example("recipient_was_not_at_home", "The courier's reason")
    )
    is_terminal = fields.Function(lambda order: VOCABULARY[order.status].terminal)
    needs_attention = fields.Boolean(metadata=example(False, "Whether a person should look"))
    source = fields.Nested(
        Source, allow_none=True, metadata={"description": "What told us the status"}
    )
    tracking_url = fields.String(allow_none=True)
    eta = fields.Nested(Eta, allow_none=True)
    label_url = fields.String(allow_none=True)
    pickup_at = Time(allow_none=True)
    parcels = fields.List(fields.Nested(Parcel))
    # jsonb orders names by length; people read milestones by time.
    milestones = fields.Function(
        lambda order: dict(sorted(order.milestones.items(), key=itemgetter(1))),
        metadata=example(
            {"info_received": "2026-04-16T07:00:00Z"}, "When each status was first reached"
        ),
    )
    polling = fields.Function(lambda order: Polling().dump(order.poll or NO_POLLING))
    last_heard_at = Time(allow_none=True)
    metadata = fields.Dict(attribute="shop_metadata")
    version = fields.Integer(metadata=example(3, "Rises with every change; the ETag"))
    created_at = Time()
    updated_at = Time()


class OrderPage(Schema):
    orders = fields.List(fields.Nested(Order))
    next_cursor = fields.String(allow_none=True, metadata={"description": "Null on the last page"})


class OrderFilters(Schema):
    reference = Line(validate=IDENTIFIER)
    account = Line(validate=IDENTIFIER)
    status = Line(validate=validate.OneOf(STATUSES))
    status_group = Line(validate=validate.OneOf(GROUPS))
    needs_attention = fields.Boolean()
    updated_since = Time()
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    cursor = Line(validate=validate.Length(max=200))


def _small(metadata: dict[str, Any]) -> None:
    if len(metadata) > MOST_METADATA_KEYS:
        raise ValidationError(f"holds more than {MOST_METADATA_KEYS} names")


class NewOrder(Schema):
    """An order that the shop has given to a courier."""

    account = Line(required=True, validate=IDENTIFIER)
    courier_order_id = Line(required=True, validate=IDENTIFIER)
    reference = Line(load_default=None, allow_none=True, validate=IDENTIFIER)
    metadata = fields.Dict(
        keys=Line(validate=validate.Length(1, 100)),
        values=Line(validate=validate.Length(max=1000)),
        load_default=None,
        allow_none=True,
        validate=_small,
    )


class Event(Schema):
    """One event of an order's timeline."""

    occurred_at = Time(metadata=example("2026-04-16T07:00:00Z", "By the courier's clock"))
    received_at = Time(metadata=example("2026-04-16T07:00:02Z", "By ours"))
    status = fields.String()
    courier_status = fields.String()
    reason = fields.String(allow_none=True)
    parcel = fields.Function(
        lambda event: event.parcel or None,
        metadata={"description": "Tracking number, where the courier tells per parcel"},
    )
    source = fields.Function(
        lambda event: {
            "kind": event.kind,
            "trust": event.trust,
            "message_id": str(event.message_id),
        }
    )
    applied = fields.Boolean(metadata={"description": "Whether it counts for the status"})
    not_applied_why = fields.String(allow_none=True)
    flags = fields.List(
        fields.String(),
        metadata=example(["clock_skew"], "time_inferred, clock_skew, zone_assumed, ..."),
    )
    proofs = fields.List(
        fields.Dict(),
        metadata=example(
            [{"kind": "signature", "url": "https://example.com/1.png", "name": "B. Obbay"}],
            "Signatures and photos: where they are, and whose name they bear",
        ),
    )


class Timeline(Schema):
    events = fields.List(fields.Nested(Event))


class Conflict(Schema):
    """Two facts that do not go together; open until settled_at or closed_at is there."""

    id = fields.String(metadata=example("0f3a9c11d2e4", "Stays the same for its order"))
    kind = fields.String(metadata=example("picked_up_after_cancelled", "<new>_after_<old>"))
    occurred_at = fields.String()
    settled_at = fields.String(allow_none=True, metadata={"description": "By a later fact"})
    closed_at = fields.String(allow_none=True, metadata={"description": "By a person"})
    closed_by = fields.String(allow_none=True)
    note = fields.String(allow_none=True)


class OrderConflict(Conflict):
    account = fields.String()
    courier_order_id = fields.String()
    reference = fields.String(allow_none=True)
    status = fields.String()


class ConflictPage(Schema):
    conflicts = fields.List(fields.Nested(OrderConflict))
    next_cursor = fields.String(allow_none=True)


class ConflictFilters(Schema):
    account = Line(validate=IDENTIFIER)
    limit = fields.Integer(load_default=50, validate=validate.Range(1, 200))
    cursor = Line(validate=validate.Length(max=200))


class ConflictNote(Schema):
    by = Line(required=True, validate=validate.Length(1, 100))
    note = Line(load_default="", validate=validate.Length(max=1000))


class ExplainedMessage(Schema):
    id = fields.String()
    topic = fields.String()
    kind = fields.String()
    trust = fields.String()
    received_at = fields.String()
    repetitions = fields.Integer(metadata=example(2, "How often the same body came again"))
    last_seen_at = fields.String()
    outcome = fields.String()
    reason = fields.String(allow_none=True)
    first_told = fields.List(
        fields.String(), metadata={"description": "The courier's words that it told first"}
    )


class ExplainedEvent(Schema):
    occurred_at = fields.String()
    received_at = fields.String()
    courier_status = fields.String()
    status = fields.String()
    reason = fields.String(allow_none=True)
    parcel = fields.String(allow_none=True)
    message_id = fields.String()
    applied = fields.Boolean()
    not_applied_why = fields.String(allow_none=True)
    set_status = fields.Boolean(metadata={"description": "Whether it set the order's status"})
    flags = fields.List(fields.String())


class ExplainedDetail(Schema):
    name = fields.String()
    value = fields.Raw()
    told_at = fields.String(metadata={"description": "By the courier's clock"})
    message_id = fields.String()


class Explanation(Schema):
    """Why an order stands where it stands."""

    order = fields.Dict()
    messages = fields.List(fields.Nested(ExplainedMessage))
    events = fields.List(fields.Nested(ExplainedEvent))
    details = fields.List(fields.Nested(ExplainedDetail))
    etas = fields.List(fields.Nested(Eta), metadata={"description": "Oldest first"})
    conflicts = fields.List(fields.Nested(Conflict))


class TourStop(Schema):
    order_id = fields.String(metadata=example("ID1-0", "As the plan names the order"))
    eta = fields.String(allow_none=True)
    packages = fields.List(fields.String())


class Tour(Schema):
    """A tour as the newest plan has it."""

    account = fields.String()
    tour_id = fields.String(metadata=example("EDFIL1-1", "The courier's id of the tour"))
    courier_name = fields.String(allow_none=True, metadata=example("N1", "Who drives"))
    pick_up_at = Time(allow_none=True)
    window_from = Time(allow_none=True)
    window_to = Time(allow_none=True)
    stops = fields.List(fields.Nested(TourStop))
    received_at = Time()


class StatusRow(Schema):
    status = fields.String(attribute="name")
    group = fields.String()
    rank = fields.Integer()
    is_terminal = fields.Boolean(attribute="terminal")
    needs_attention = fields.Boolean(attribute="attention")
    couriers = fields.Dict(
        metadata=example({"cottoncast": ["N", "L"]}, "Each courier's words for it")
    )


class Vocabulary(Schema):
    statuses = fields.List(fields.Nested(StatusRow))
