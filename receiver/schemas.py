"""What the API takes and gives, field by field; the OpenAPI description is made from these."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.couriers.base import rfc3339
from receiver.models import APPLIED, DISCARDED, PARKED, PENDING, QUARANTINED, Poll
from receiver.statuses import GROUPS, VOCABULARY

STATUSES = list(VOCABULARY)
OUTCOMES = [PENDING, APPLIED, PARKED, QUARANTINED, DISCARDED]
IDENTIFIER = validate.Length(min=1, max=255)
MOST_METADATA_KEYS = 50
MOST_LOOKED_UP = 100
DIGITS = re.compile(r"-?[0-9]+")


class Time(fields.DateTime):
    """RFC 3339 with a zone; shown in UTC with Z."""

    def _serialize(
        self, value: datetime | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if isinstance(value, str) and "\x00" in value:
            # Python's own reader passes over one at the end.
            raise ValidationError("must not hold U+0000")
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


class Whole(fields.Integer):
    """A whole number in the digits 0 to 9: no spaces, no underscores, no other scripts' digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and not DIGITS.fullmatch(value):
            raise ValidationError("is not a whole number")
        return int(super()._deserialize(value, attr, data, **kwargs))


class Part(fields.Nested):
    """An object that is worked out of the one it is a part of."""

    def __init__(self, schema: type[Schema], of: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(schema, **kwargs)
        self.of = of

    def get_value(self, obj: Any, attr: str, accessor: Any = None, default: Any = None) -> Any:
        return self.of(obj)


def example(value: Any, description: str, **more: Any) -> dict[str, Any]:
    """What the description tells of a field. more: of its JSON schema, where it has no type."""
    return {"description": description, "examples": [value], **more}


def sometimes(value: Any, description: str) -> dict[str, Any]:
    """The same of a field that is not in every answer."""
    return example(value, description, **{"x-sometimes": True})


# Said of the same thing wherever it stands.
AN_ACCOUNT = example("tiramizoo", "The account's slug.")
AN_ORDER = example("2a9eeeb3-16ba-4184-b894-c9734f613e93", "The courier's own id of the order.")
A_REFERENCE = example("41", "The shop's own number of the order; several may share one.")
A_STATUS = example(
    "delivery_failed",
    "Our word for where the order stands: an open set, see `GET /v1/statuses`. Treat one that you"
    " do not know by its group.",
)
A_COURIER_STATUS = example("delivery_failed", "The courier's word for it, unchanged.")
A_REASON = example("recipient_was_not_at_home", "The courier's own reason, unchanged.")
A_PARCEL = example(
    "18A24901BE5D49C3", "The parcel's tracking number; null where it is about the whole order."
)
A_MESSAGE = example("184467", "The message in the inbox that told it.")
A_KIND = example("webhook", "Whether the courier told it by itself, or was asked.")
A_TRUST = example(
    "token",
    "How we know that the courier said so: it `signed` the message, it used an address with our"
    " `token`, or we `fetched` it.",
)
A_TOPIC = example("orders", "Which kind of address it came to: `orders` or `tours`.")
A_LIMIT = "The most to give at once."
FLAGS = example(
    ["time_inferred"],
    "What was added to what the courier said: `time_inferred` (it gave no time: when we heard of"
    " it), `clock_skew` (its time lay in the future: when we heard of it), `zone_assumed` (its time"
    " had no zone: its own was taken). More may come.",
)
APPLIED_TOLD = example(True, "Whether it counts for the status.")
WHY_NOT = example("already delivered", "Why it does not count for the status; null where it does.")
NEXT_CURSOR = example("bzQx", "Send it as `cursor` for the next page; null on the last one.")
KINDS = validate.OneOf(["webhook", "poll"])
TRUSTS = validate.OneOf(["signed", "token", "fetched"])


class Problem(Schema):
    """RFC 9457 problem details."""

    type = fields.String(metadata=example("about:blank", "Always `about:blank`: see `status`."))
    title = fields.String(metadata=example("Not Found", "The status in words."))
    status = fields.Integer(metadata=example(404, "The HTTP status."))
    detail = fields.String(
        metadata=example("there is no message 7", "What was wrong, for a person to read.")
    )
    errors = fields.Dict(
        metadata=sometimes(
            {"query": {"limit": ["is not a whole number"]}},
            "Where single parameters (`query`) or fields (`json`) are wrong: by name, what is wrong"
            " with each. Inside lists and objects the position or the name comes first.",
        )
    )


class Source(Schema):
    """What told us the status."""

    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    message_id = fields.String(metadata=A_MESSAGE)
    received_at = fields.String(
        metadata=example("2026-04-16T07:00:01Z", "When the message reached us.", format="date-time")
    )


class Eta(Schema):
    """When the order is expected to arrive."""

    from_ = fields.String(
        data_key="from",
        attribute="from",
        metadata=example(
            "2026-04-16T09:10:00Z", "The earliest it is expected.", format="date-time"
        ),
    )
    to = fields.String(
        metadata=example(
            "2026-04-16T09:40:00Z",
            "The latest; the same as `from` where the courier named one moment.",
            format="date-time",
        )
    )
    source = fields.String(
        validate=validate.OneOf(["tour_plan", "order", "poll"]),
        metadata=example("tour_plan", "Where it comes from."),
    )
    updated_at = fields.String(
        metadata=example("2026-04-16T07:30:00Z", "When we were told so.", format="date-time")
    )


class Parcel(Schema):
    """One of an order's parcels."""

    tracking_number = fields.String(
        metadata=example("18A24901BE5D49C3", "What the parcel is tracked by.")
    )
    tracking_url = fields.String(
        allow_none=True,
        metadata=example("https://postnl.example/3SCEBU123456789", "Where people can follow it."),
    )
    courier_name = fields.String(
        allow_none=True, metadata=example("Postnl", "Who carries it, where that is another one.")
    )
    status = fields.String(metadata=A_STATUS)


class Polling(Schema):
    """How asking the courier about this order goes; no part of the order's version."""

    next_poll_at = Time(
        attribute="due_at",
        allow_none=True,
        metadata=example(
            "2026-04-16T08:00:00Z", "When it is asked next, at the earliest; null: not at all."
        ),
    )
    last_polled_at = Time(
        attribute="polled_at",
        allow_none=True,
        metadata=example("2026-04-16T07:00:00Z", "When it was asked last; null: never."),
    )
    failures = fields.Integer(metadata=example(0, "Looks in a row that gave no answer."))
    stopped_at = Time(
        allow_none=True,
        metadata=example("2026-05-16T07:00:00Z", "When we gave up asking; null: we did not."),
    )
    stop_reason = fields.String(
        allow_none=True,
        metadata=example(
            "given up: the courier does not know this order", "Why we gave up asking."
        ),
    )


# An order of an account that is not polled.
NO_POLLING = Poll(failures=0)


class Order(Schema):
    """One order as we know it now."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier = fields.String(metadata=example("tiramizoo", "The courier behind the account."))
    courier_order_id = fields.String(metadata=AN_ORDER)
    identifiers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata=example(
            {"identifier": "ZVW8GV", "tracking_code": "ID4K7-EHQX-62RA"},
            "Further names that the courier gave it, by their kind; it is found by each of them.",
        ),
    )
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    status = fields.String(metadata=A_STATUS)
    status_group = fields.Function(
        lambda order: VOCABULARY[order.status].group,
        metadata=example(
            "exception", "What kind of status it is.", type="string", enum=list(GROUPS)
        ),
    )
    courier_status = fields.String(allow_none=True, metadata=A_COURIER_STATUS)
    status_at = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:00:00Z", "Since when, by the courier's clock."),
    )
    reason = fields.String(allow_none=True, metadata=A_REASON)
    is_terminal = fields.Function(
        lambda order: VOCABULARY[order.status].terminal,
        metadata=example(
            False, "Whether it is at an end, so that nobody is asked any more.", type="boolean"
        ),
    )
    needs_attention = fields.Boolean(metadata=example(True, "Whether a person should look."))
    source = fields.Nested(
        Source,
        allow_none=True,
        metadata={"description": "What told us the status; null where nothing was heard yet."},
    )
    tracking_url = fields.String(
        allow_none=True,
        metadata=example(
            "https://www.tiramizoo.com/orders/ID4K7EHQX62RA/tracking_status",
            "Where people can follow it.",
        ),
    )
    eta = fields.Nested(
        Eta, allow_none=True, metadata={"description": "When it is expected; null: not known."}
    )
    label_url = fields.String(
        allow_none=True,
        metadata=example("https://courier.example/labels/41.pdf", "Where its label is."),
    )
    pickup_at = Time(
        allow_none=True, metadata=example("2026-04-16T06:30:00Z", "When it is to be picked up.")
    )
    parcels = fields.List(
        fields.Nested(Parcel), metadata={"description": "Its parcels, as far as we were told."}
    )
    # jsonb orders names by length; people read milestones by time.
    milestones = fields.Function(
        lambda order: dict(sorted(order.milestones.items(), key=itemgetter(1))),
        metadata=example(
            {"picked_up": "2026-04-16T06:00:00Z", "delivery_failed": "2026-04-16T07:00:00Z"},
            "When each status was first reached, the earliest first.",
            type="object",
            additionalProperties={"type": "string", "format": "date-time"},
        ),
    )
    polling = Part(
        Polling,
        lambda order: order.poll or NO_POLLING,
        metadata={"description": "How asking its courier goes; no part of the version."},
    )
    last_heard_at = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:00:01Z", "When a message told of it last, by our clock."),
    )
    metadata = fields.Dict(
        attribute="shop_metadata",
        keys=fields.String(),
        values=fields.String(),
        metadata=example({"shop": "munich"}, "What the shop noted when it registered the order."),
    )
    version = fields.Integer(
        metadata=example(3, "Rises by one with every change; the `ETag`.", minimum=1)
    )
    created_at = Time(metadata=example("2026-04-16T06:00:00Z", "When we heard of it first."))
    updated_at = Time(metadata=example("2026-04-16T07:00:02Z", "When it changed last."))


class OrderPage(Schema):
    """Orders, the newest first."""

    orders = fields.List(fields.Nested(Order), metadata={"description": "The orders of this page."})
    next_cursor = fields.String(allow_none=True, metadata=NEXT_CURSOR)


class OrderFilters(Schema):
    """Which orders to list: those that fit all of them."""

    reference = Line(validate=IDENTIFIER, metadata=A_REFERENCE)
    account = Line(validate=IDENTIFIER, metadata=AN_ACCOUNT)
    status = Line(
        validate=validate.OneOf(STATUSES), metadata=example("in_transit", "At this status now.")
    )
    status_group = Line(
        validate=validate.OneOf(GROUPS),
        metadata=example("in_transit", "At a status of this group now."),
    )
    needs_attention = fields.Boolean(
        truthy={"true", "1"},
        falsy={"false", "0"},
        metadata=example(False, "Those that a person should look at, or those that none need."),
    )
    updated_since = Time(
        metadata=example(
            "2026-04-16T07:00:00Z",
            "Changed then or later. With a zone; in a query string write `+` as `%2B`.",
        )
    )
    limit = Whole(load_default=50, validate=validate.Range(1, 200), metadata=example(50, A_LIMIT))
    cursor = Line(
        validate=validate.Length(1, 200), metadata=example("bzQx", "The last page's `next_cursor`.")
    )


def _small(metadata: dict[str, Any]) -> None:
    if len(metadata) > MOST_METADATA_KEYS:
        raise ValidationError(f"holds more than {MOST_METADATA_KEYS} names")


class NewOrder(Schema):
    """An order that the shop has given to a courier."""

    account = Line(required=True, validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Line(
        required=True,
        validate=IDENTIFIER,
        metadata=example(
            "2a9eeeb3-16ba-4184-b894-c9734f613e93",
            "The courier's own id of the order, or any identifier by which we know it already.",
        ),
    )
    reference = Line(load_default=None, allow_none=True, validate=IDENTIFIER, metadata=A_REFERENCE)
    metadata = fields.Dict(
        keys=Line(validate=validate.Length(1, 100)),
        values=Line(validate=validate.Length(max=1000)),
        load_default=None,
        allow_none=True,
        validate=_small,
        metadata=example(
            {"shop": "munich"},
            "What the shop wants to find with the order: at most 50 names of 1 to 100 characters,"
            " each with a text of at most 1,000. What was noted before is replaced.",
            maxProperties=MOST_METADATA_KEYS,
            **{"x-names": {"minLength": 1, "maxLength": 100}},
        ),
    )


class OrderName(Schema):
    """An order by one of its names."""

    account = Line(required=True, validate=IDENTIFIER, metadata=AN_ACCOUNT)
    courier_order_id = Line(
        required=True,
        validate=IDENTIFIER,
        metadata=example(
            "ID4K7-EHQX-62RA", "The courier's own id, or any identifier that it gave the order."
        ),
    )


class Lookup(Schema):
    """What to look up: either `references` or `orders`."""

    references = fields.List(
        Line(validate=IDENTIFIER),
        validate=validate.Length(1, MOST_LOOKED_UP),
        metadata=example(["41", "42"], "The shop's own order numbers, 1 to 100"),
    )
    orders = fields.List(
        fields.Nested(OrderName),
        validate=validate.Length(1, MOST_LOOKED_UP),
        metadata=example([{"account": "cottoncast", "courier_order_id": "3AF7"}], "1 to 100"),
    )

    @validates_schema
    def _one_of_them(self, asked: dict[str, Any], **kwargs: Any) -> None:
        if len(asked.keys() & {"references", "orders"}) != 1:
            raise ValidationError("give either references or orders", "references")


class LookupResult(Schema):
    """What was found for one item, which is told as it was asked for."""

    reference = fields.String(metadata=sometimes("41", "Where it was asked by reference."))
    account = fields.String(metadata=sometimes("tiramizoo", "Where it was asked by name."))
    courier_order_id = fields.String(
        metadata=sometimes("ID4K7-EHQX-62RA", "Where it was asked by name; as it was asked.")
    )
    found = fields.Boolean(metadata=example(True, "Whether there is such an order."))
    orders = fields.List(
        fields.Nested(Order), metadata={"description": "The newest first, at most 10."}
    )
    more = fields.Boolean(metadata=example(False, "Whether it has more orders than are shown."))


class LookupAnswer(Schema):
    """What was found."""

    results = fields.List(
        fields.Nested(LookupResult),
        metadata={"description": "One for each item, in the order of the items."},
    )


class Message(Schema):
    """One webhook body or poll answer, and what became of it."""

    id = fields.String(metadata=example("184467", "Rises with arrival"))
    account = fields.String(metadata=AN_ACCOUNT)
    topic = fields.String(metadata=A_TOPIC)
    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    outcome = fields.String(
        validate=validate.OneOf(OUTCOMES),
        metadata=example(
            "quarantined",
            "`pending`: not read yet; `parked`: waits for its order to be registered;"
            " `quarantined`: cannot be read; `discarded`: somebody said that it need not be",
        ),
    )
    reason = fields.String(
        allow_none=True,
        metadata=example("state: Missing data for required field.", "Why it is no more than that"),
    )
    courier_order_id = fields.String(
        allow_none=True, metadata=example("3AF7", "The order that it tells of, once it was read")
    )
    size = fields.Integer(
        allow_none=True, metadata=example(812, "The body's bytes; null where it is not kept")
    )
    received_at = Time(metadata=example("2026-04-16T07:00:02Z", "When it came, by our clock"))
    processed_at = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:03Z", "When its outcome was settled")
    )
    last_seen_at = Time(metadata=example("2026-04-16T07:05:02Z", "When the same body came last"))
    repetitions = fields.Integer(metadata=example(2, "How often the same body came again"))
    retried_at = Time(
        allow_none=True,
        metadata=example("2026-04-17T09:00:00Z", "When it was last sent back to the workers"),
    )
    body = fields.String(
        allow_none=True,
        metadata=sometimes('{"orderID": "3AF7"}', "Word for word, where it is UTF-8; not in lists"),
    )
    body_base64 = fields.String(
        allow_none=True, metadata=sometimes("//79", "Byte for byte, where it is not; not in lists")
    )


class MessagePage(Schema):
    """Messages without their bodies, the newest first."""

    messages = fields.List(
        fields.Nested(Message), metadata={"description": "The messages of this page."}
    )
    next_cursor = fields.String(
        allow_none=True, metadata=example("bTQx", "For the next page; null on the last one")
    )


class MessageFilters(Schema):
    """Which messages to list: those that fit all of them."""

    outcome = Line(
        validate=validate.OneOf(OUTCOMES), metadata=example("quarantined", "What became of it")
    )
    account = Line(validate=IDENTIFIER, metadata=example("tiramizoo", "The account's slug"))
    courier_order_id = Line(
        validate=IDENTIFIER, metadata=example("3AF7", "Of this order; needs `account` beside it")
    )
    limit = Whole(load_default=50, validate=validate.Range(1, 200), metadata=example(50, A_LIMIT))
    cursor = Line(
        validate=validate.Length(max=200),
        metadata=example("bTQx", "`next_cursor` of the last page"),
    )

    @validates_schema
    def _order_of_an_account(self, filters: dict[str, Any], **kwargs: Any) -> None:
        if "courier_order_id" in filters and "account" not in filters:
            raise ValidationError("needs account beside it", "courier_order_id")


class Retry(Schema):
    """Which messages to send back to the workers."""

    outcome = Line(
        required=True,
        validate=validate.OneOf([QUARANTINED, PARKED]),
        metadata=example("quarantined", "`quarantined` or `parked`"),
    )
    account = Line(validate=IDENTIFIER, metadata=example("tiramizoo", "Of this account only"))
    cursor = Line(
        validate=validate.Length(max=200), metadata=example("bTQx", "Go on after an earlier answer")
    )


class Retried(Schema):
    """How many messages went back to the workers."""

    retried = fields.Integer(metadata=example(17, "How many messages went back to the workers"))
    next_cursor = fields.String(
        allow_none=True, metadata=example("bTQx", "Null unless there are more: go on with it")
    )


class EventSource(Schema):
    """What told an event first."""

    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    message_id = fields.String(metadata=A_MESSAGE)


class Event(Schema):
    """One event of an order's timeline."""

    occurred_at = Time(
        metadata=example("2026-04-16T07:00:00Z", "When it happened, by the courier's clock.")
    )
    received_at = Time(
        metadata=example("2026-04-16T07:00:02Z", "When we heard of it, by our clock.")
    )
    status = fields.String(metadata=A_STATUS)
    courier_status = fields.String(metadata=A_COURIER_STATUS)
    reason = fields.String(allow_none=True, metadata=A_REASON)
    parcel = fields.Function(
        lambda event: event.parcel or None, metadata=A_PARCEL | {"type": ["string", "null"]}
    )
    source = Part(EventSource, lambda event: event, metadata={"description": "What told it first."})
    applied = fields.Boolean(metadata=APPLIED_TOLD)
    not_applied_why = fields.String(allow_none=True, metadata=WHY_NOT)
    flags = fields.List(fields.String(), metadata=FLAGS)
    proofs = fields.List(
        fields.Dict(),
        metadata=example(
            [{"kind": "signature", "url": "https://example.com/1.png", "name": "B. Obbay"}],
            "Signatures and photos: where they are, and whose name they bear.",
        ),
    )


class Timeline(Schema):
    """An order's timeline."""

    events = fields.List(
        fields.Nested(Event), metadata={"description": "The oldest first; repetitions left out."}
    )


class Conflict(Schema):
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


class OrderConflict(Conflict):
    """A conflict with the order it is about."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    status = fields.String(metadata=A_STATUS)


class ConflictPage(Schema):
    """Open conflicts, the newest order first."""

    conflicts = fields.List(
        fields.Nested(OrderConflict), metadata={"description": "The conflicts of this page."}
    )
    next_cursor = fields.String(allow_none=True, metadata=NEXT_CURSOR)


class ConflictFilters(Schema):
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


class ConflictNote(Schema):
    """Who dealt with it, and how."""

    by = Line(
        required=True, validate=validate.Length(1, 100), metadata=example("Ann", "Who says so.")
    )
    note = Line(
        load_default="",
        validate=validate.Length(max=1000),
        metadata=example("the driver called, it is there", "What they have to say."),
    )


class ExplainedMessage(Schema):
    """A message that told of the order."""

    id = fields.String(metadata=example("184467", "See `GET /v1/messages/{message_id}`."))
    topic = fields.String(metadata=A_TOPIC)
    kind = fields.String(validate=KINDS, metadata=A_KIND)
    trust = fields.String(validate=TRUSTS, metadata=A_TRUST)
    received_at = fields.String(
        metadata=example("2026-04-16T07:00:02Z", "When it came, by our clock.", format="date-time")
    )
    repetitions = fields.Integer(metadata=example(2, "How often the same body came again."))
    last_seen_at = fields.String(
        metadata=example(
            "2026-04-16T07:05:02Z", "When the same body came last.", format="date-time"
        )
    )
    outcome = fields.String(
        validate=validate.OneOf(OUTCOMES), metadata=example("applied", "What became of it.")
    )
    reason = fields.String(
        allow_none=True,
        metadata=example("state: Missing data for required field.", "Why it is no more than that."),
    )
    first_told = fields.List(
        fields.String(),
        metadata=example(
            ["delivery_failed"], "The courier's words that no other message told before."
        ),
    )


class ExplainedEvent(Schema):
    """An event, with what it did to the order."""

    occurred_at = fields.String(
        metadata=example(
            "2026-04-16T07:00:00Z", "When it happened, by the courier's clock.", format="date-time"
        )
    )
    received_at = fields.String(
        metadata=example(
            "2026-04-16T07:00:02Z", "When we heard of it, by our clock.", format="date-time"
        )
    )
    courier_status = fields.String(metadata=A_COURIER_STATUS)
    status = fields.String(metadata=A_STATUS)
    reason = fields.String(allow_none=True, metadata=A_REASON)
    parcel = fields.String(allow_none=True, metadata=A_PARCEL)
    message_id = fields.String(metadata=A_MESSAGE)
    applied = fields.Boolean(metadata=APPLIED_TOLD)
    not_applied_why = fields.String(allow_none=True, metadata=WHY_NOT)
    set_status = fields.Boolean(metadata=example(True, "Whether it set the order's status."))
    flags = fields.List(fields.String(), metadata=FLAGS)


class ExplainedDetail(Schema):
    """A detail of the order, and what told it."""

    name = fields.String(metadata=example("tracking_url", "What it is about."))
    value = fields.Raw(
        allow_none=True,
        metadata=example("https://www.tiramizoo.com/orders/ID4K7EHQX62RA", "What was told."),
    )
    told_at = fields.String(
        allow_none=True,
        metadata=example("2026-04-16T07:00:00Z", "By the courier's clock.", format="date-time"),
    )
    message_id = fields.String(metadata=A_MESSAGE)


class ExplainedOrder(Schema):
    """The order, as far as it is explained."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    reference = fields.String(allow_none=True, metadata=A_REFERENCE)
    identifiers = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        metadata=example({"identifier": "ZVW8GV"}, "Further names that the courier gave it."),
    )
    status = fields.String(metadata=A_STATUS)
    courier_status = fields.String(allow_none=True, metadata=A_COURIER_STATUS)
    status_at = fields.String(
        allow_none=True,
        metadata=example(
            "2026-04-16T07:00:00Z", "Since when, by the courier's clock.", format="date-time"
        ),
    )
    reason = fields.String(allow_none=True, metadata=A_REASON)
    needs_attention = fields.Boolean(metadata=example(False, "Whether a person should look."))


class Explanation(Schema):
    """Why an order stands where it stands."""

    order = fields.Nested(ExplainedOrder, metadata={"description": "Where it stands."})
    messages = fields.List(
        fields.Nested(ExplainedMessage),
        metadata={"description": "Every message that told of it, the oldest first."},
    )
    events = fields.List(
        fields.Nested(ExplainedEvent),
        metadata={"description": "Every event, the oldest first, repetitions too."},
    )
    details = fields.List(
        fields.Nested(ExplainedDetail),
        metadata={"description": "Every detail, with the message that told it."},
    )
    etas = fields.List(
        fields.Nested(Eta), metadata={"description": "When it was expected, the oldest first."}
    )
    conflicts = fields.List(
        fields.Nested(Conflict), metadata={"description": "Its conflicts, also the closed ones."}
    )


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


class Refreshed(Schema):
    """An order whose courier is about to be asked."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier_order_id = fields.String(metadata=AN_ORDER)
    next_poll_at = Time(
        metadata=example("2026-04-16T07:00:00Z", "When it is asked, at the earliest.")
    )


class AccountStanding(Schema):
    """How an account fares."""

    account = fields.String(metadata=AN_ACCOUNT)
    courier = fields.String(metadata=example("tiramizoo", "The courier behind the account."))
    last_heard_at = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:00:01Z", "When its courier was heard, by hook or by poll."),
    )
    last_webhook_at = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:01Z", "When it last sent a hook.")
    )
    last_poll_at = Time(
        allow_none=True,
        metadata=example("2026-04-16T06:00:00Z", "When it last answered a poll with news."),
    )
    webhooks = fields.Integer(metadata=example(4711, "Hooks folded so far."))
    polls = fields.Integer(metadata=example(98, "Poll answers folded so far: those with news."))
    poll_requests = fields.Integer(
        metadata=example(1204, "Requests sent to the courier's API so far.")
    )
    poll_requests_saved = fields.Integer(
        metadata=example(310, "Requests that lists of orders made needless so far.")
    )
    polled = fields.Boolean(metadata=example(True, "Whether its courier can be asked."))
    missed_hooks = fields.Integer(
        metadata=example(
            102, "States that we had to ask for so far, though a hook should have told."
        )
    )
    missed_hook_ratio = fields.Float(
        allow_none=True,
        metadata=example(0.0213, "missed_hooks / (missed_hooks + webhooks); null before any."),
    )
    signature_failures = fields.Integer(
        metadata=example(
            3,
            "Requests with a missing or wrong token or signature, since this host's web processes"
            " started.",
        )
    )
    breaker = fields.String(
        validate=validate.OneOf(["closed", "open", "half_open"]),
        metadata=example("closed", "`open`: nobody asks; `half_open`: one request tries."),
    )
    paused_since = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:00:00Z", "Since when nobody asks; null: it is asked."),
    )
    paused_until = Time(
        allow_none=True,
        metadata=example("2026-04-16T07:05:00Z", "When it is tried again, at the earliest."),
    )
    pause_reason = fields.String(
        allow_none=True,
        metadata=example(
            "busy",
            "`busy`: the courier told us to wait; `refused`: it does not accept our credentials;"
            " `failing`: it does not answer. Null: it is asked.",
        ),
    )
    orders_due = fields.Integer(
        metadata=example(12, "Orders to ask about now; counted up to 10,000.")
    )
    orders_given_up = fields.Integer(
        metadata=example(0, "Orders that nobody asks about any more; counted up to 10,000.")
    )


class AccountList(Schema):
    """All accounts."""

    couriers = fields.List(
        fields.Nested(AccountStanding), metadata={"description": "One for each account, by slug."}
    )


class Alert(Schema):
    """A condition that holds now and that a person should know of."""

    condition = fields.String(
        metadata=example("poll_refused", "What kind it is; one alert for each kind and account")
    )
    severity = fields.String(
        validate=validate.OneOf(["warning", "critical"]),
        metadata=example("critical", "`critical`: orders are going wrong while nobody acts"),
    )
    account = fields.String(metadata=example("tiramizoo", "The account's slug"))
    since = Time(
        allow_none=True, metadata=example("2026-04-16T07:00:00Z", "When it began, where we know.")
    )
    count = fields.Integer(metadata=example(12, "How many orders or messages it is about"))
    summary = fields.String(
        metadata=example("the courier does not accept our credentials", "What is wrong")
    )
    what_to_do = fields.String(
        metadata=example("Check COURIER_TIRAMIZOO_API_TOKEN", "What usually mends it")
    )
    example = fields.String(
        allow_none=True,
        metadata=example("3AF7", "One of them: a courier_order_id, or a message's id"),
    )


class AlertList(Schema):
    """The conditions that hold now."""

    alerts = fields.List(fields.Nested(Alert), metadata={"description": "None where all is well."})


class StatusRow(Schema):
    """One of our statuses."""

    status = fields.String(attribute="name", metadata=example("in_transit", "Its name."))
    group = fields.String(
        validate=validate.OneOf(GROUPS), metadata=example("in_transit", "What kind it is.")
    )
    rank = fields.Integer(
        metadata=example(40, "What counts for more among events of the same moment.")
    )
    is_terminal = fields.Boolean(
        attribute="terminal", metadata=example(False, "Whether an order is at an end by it.")
    )
    needs_attention = fields.Boolean(
        attribute="attention", metadata=example(False, "Whether a person should look.")
    )
    couriers = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=example({"cottoncast": ["N", "L"]}, "Each courier's words for it."),
    )


class Vocabulary(Schema):
    """The statuses, an open set."""

    statuses = fields.List(
        fields.Nested(StatusRow), metadata={"description": "All of them; more may come."}
    )


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
