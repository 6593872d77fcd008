"""The kinds of fields and the shared descriptions that the other schemas are made of."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from receiver.statuses import GROUPS, VOCABULARY
from receiver.times import rfc3339

STATUSES = list(VOCABULARY)
IDENTIFIER = validate.Length(min=1, max=255)
CURSOR = validate.Length(1, 200)
DIGITS = re.compile(r"-?[0-9]+")
NO_NUL = validate.Regexp(r"^[^\u0000]*$", error="must not contain U+0000")


class Answer(Schema):
    """Base of everything that the API returns: clients must accept fields they do not know.

    All fields are always present, but those named in `sometimes`.
    """

    sometimes: tuple[str, ...] = ()

    class Meta:
        unknown = EXCLUDE

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:
        """Say in the OpenAPI description whether the field is always present."""
        field_obj.required = field_name not in self.sometimes


class Time(fields.DateTime):
    """RFC 3339 with a zone; written in UTC with Z. Times in JSON columns are texts already."""

    def _serialize(
        self, value: datetime | str | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return value if isinstance(value, str) else rfc3339(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if isinstance(value, str) and "\x00" in value:
            # datetime.fromisoformat accepts one at the end.
            raise ValidationError("must not contain U+0000")
        # In a query string a bare + arrives as a space, as in 2026-01-01T00:00:00+01:00.
        text = value.replace(" ", "+") if isinstance(value, str) and "T" in value else value
        at = super()._deserialize(text, attr, data, **kwargs)
        if at.tzinfo is None:
            raise ValidationError("needs a time zone, such as Z or +01:00")
        try:
            return at.astimezone(UTC)
        except OverflowError:
            raise ValidationError("is outside the years 1 to 9999") from None


class Text(fields.String):
    """Text that PostgreSQL can store: without U+0000 and half surrogate pairs."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators = [NO_NUL, *self.validators]

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = str(super()._deserialize(value, attr, data, **kwargs))
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValidationError("must not contain half a surrogate pair") from None
        return text


class WholeNumber(fields.Integer):
    """A whole number in the digits 0 to 9: no spaces, no underscores, no other scripts' digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and not DIGITS.fullmatch(value):
            raise ValidationError("is not a whole number")
        return int(super()._deserialize(value, attr, data, **kwargs))


class Part(fields.Nested):
    """An object that is computed from the object that contains it."""

    def __init__(self, schema: type[Schema], of: Callable[[Any], Any], **kwargs: Any) -> None:
        super().__init__(schema, **kwargs)
        self.of = of

    def get_value(self, obj: Any, attr: str, accessor: Any = None, default: Any = None) -> Any:
        return self.of(obj)


def example(value: Any, description: str, **more: Any) -> dict[str, Any]:
    """Describe a field with one example. more: further keywords of its JSON schema."""
    return {"description": description, "examples": [value], **more}


def string(value: str | None, description: str, **options: Any) -> fields.String:
    """A text field of an answer. options: of the marshmallow field, here and below."""
    return fields.String(metadata=example(value, description), **options)


def integer(value: int, description: str, **options: Any) -> fields.Integer:
    return fields.Integer(metadata=example(value, description), **options)


def boolean(value: bool, description: str, **options: Any) -> fields.Boolean:
    return fields.Boolean(metadata=example(value, description), **options)


def time(value: str, description: str, **options: Any) -> Time:
    return Time(metadata=example(value, description), **options)


def items(schema: type[Schema], description: str) -> fields.List[Any]:
    return fields.List(fields.Nested(schema), metadata={"description": description})


# Shared by several schemas.
AN_ACCOUNT = example("tiramizoo", "Slug of the account, as in URLs.")
AN_ORDER = example("2a9eeeb3-16ba-4184-b894-c9734f613e93", "The courier's own id of the order.")
A_REFERENCE = example(
    "41", "The shop's own number of the order. Several orders may have the same reference."
)
A_STATUS = example(
    "delivery_failed",
    "Current status in the words of this service. More values may be added: treat a status that"
    " you do not know by its group. `GET /v1/statuses` lists all of them.",
)
A_COURIER_STATUS = example("delivery_failed", "The status in the courier's own words, unchanged.")
A_REASON = example(
    "recipient_was_not_at_home",
    "The courier's own reason for the status, unchanged. Removed when personal data is erased.",
)
A_PARCEL = example(
    "18A24901BE5D49C3",
    "Tracking number of the parcel that the event is about; null: the whole order.",
)
A_MESSAGE = example("184467", "Id of the message in the inbox that reported it first.")
A_KIND = example(
    "webhook", "`webhook`: the courier sent it; `poll`: the courier answered a request of ours."
)
A_TRUST = example(
    "token",
    "How the message was authenticated. `signed`: by the courier's signature; `token`: by the"
    " secret token in the webhook's URL; `fetched`: we requested it from the courier's API.",
)
A_TOPIC = example(
    "orders", "What the message is about: `orders` or `tours`, as in the webhook's URL."
)
A_LIMIT = "The largest number of entries in one answer."
FLAGS = example(
    ["time_inferred"],
    "What had to be assumed about the event. `time_inferred`: the courier gave no time, so the"
    " time of arrival is used; `clock_skew`: the courier's time was in the future, so the time of"
    " arrival is used; `zone_assumed`: the courier's time had no time zone, so the account's zone"
    " is used; `minute_only`: the courier's time is only exact to the minute. More values may be"
    " added.",
)
IS_APPLIED = example(True, "Whether the event counts towards the order's status.")
WHY_NOT = example("already delivered", "Why the event does not count; null if it does.")
NEXT_CURSOR = example(
    "bzQx", "Send it as `cursor` to read the next page; null: this is the last page."
)
A_CURSOR = example("bzQx", "The `next_cursor` of the previous page.")
KINDS = validate.OneOf(["webhook", "poll"])
TRUSTS = validate.OneOf(["signed", "token", "fetched"])


class ProblemSchema(Answer):
    """An error, as RFC 9457 problem details."""

    sometimes = ("errors",)

    type = string("about:blank", "Always `about:blank`; see `status`.")
    title = string("Not Found", "The name of the HTTP status.")
    status = integer(404, "The HTTP status code.")
    detail = string("there is no message 7", "What went wrong, as a text for people.")
    errors = fields.Dict(
        metadata=example(
            {"query": {"limit": ["is not a whole number"]}},
            "The invalid parameters (under `query`) or fields (under `json`): by name, a list of"
            " what is wrong with each. Inside lists and objects the position or the name comes"
            " first. Present only if single parameters or fields are invalid.",
        ),
    )


class StatusRowSchema(Answer):
    """One status of this service, with the words of each courier that are mapped to it."""

    status = string("in_transit", "The status.", attribute="name")
    group = string("in_transit", "The group it belongs to.", validate=validate.OneOf(GROUPS))
    rank = integer(
        40, "Decides between events of the same moment: the one with the higher rank is later."
    )
    is_terminal = boolean(
        False, "Whether the order's transport has ended with this status.", attribute="terminal"
    )
    needs_attention = boolean(
        False, "Whether a person should look into an order with this status.", attribute="attention"
    )
    couriers = fields.Dict(
        keys=fields.String(),
        values=fields.List(fields.String()),
        metadata=example(
            {"cottoncast": ["N", "L"]}, "By courier: its own words that mean this status."
        ),
    )


class VocabularySchema(Answer):
    """All statuses. More may be added."""

    statuses = items(StatusRowSchema, "One entry per status.")
