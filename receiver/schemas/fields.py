"""What the other files of this package are made of: kinds of fields, and what is said of them."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from receiver.statuses import GROUPS, VOCABULARY
from receiver.times import rfc3339

STATUSES = list(VOCABULARY)
IDENTIFIER = validate.Length(min=1, max=255)
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
A_REASON = example(
    "recipient_was_not_at_home",
    "The courier's own reason, unchanged, until personal data is erased.",
)
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
    " had no zone: its own was taken), `minute_only` (its time was told to the minute). More may"
    " come.",
)
APPLIED_TOLD = example(True, "Whether it counts for the status.")
WHY_NOT = example("already delivered", "Why it does not count for the status; null where it does.")
NEXT_CURSOR = example("bzQx", "Send it as `cursor` for the next page; null on the last one.")
KINDS = validate.OneOf(["webhook", "poll"])
TRUSTS = validate.OneOf(["signed", "token", "fetched"])


class ProblemSchema(Schema):
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


class StatusRowSchema(Schema):
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


class VocabularySchema(Schema):
    """The statuses, an open set."""

    statuses = fields.List(
        fields.Nested(StatusRowSchema), metadata={"description": "All of them; more may come."}
    )
