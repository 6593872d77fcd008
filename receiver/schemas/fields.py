"""The kinds of fields, and the fields and descriptions that several schemas share."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import Any

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate

from receiver.audit import current_actor
from receiver.statuses import GROUPS
from receiver.times import rfc3339

IDENTIFIER = validate.Length(1, 255)
DIGITS = re.compile(r"-?[0-9]+")
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
UNKNOWN_CHOICE = "{input} is not one of: {choices}"
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
            raise ValidationError("must have a time zone, such as Z or +01:00")
        try:
            return at.astimezone(UTC)
        except OverflowError:
            raise ValidationError("must be in the years 1 to 9999") from None


class Day(fields.Date):
    """A UTC day, as YYYY-MM-DD; a time of RFC 3339 stands for its UTC day."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> date:
        if isinstance(value, str) and "T" in value:
            return Time().deserialize(value).date()
        if not isinstance(value, str) or not DAY.fullmatch(value):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        return super()._deserialize(value, attr, data, **kwargs)


class TrueOrFalse(fields.Boolean):
    """A boolean of a JSON body: neither a number nor a text that reads like one."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, *args, **kwargs)


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
            raise ValidationError("must not contain an unpaired surrogate") from None
        return text


class Name(Text):
    """A name of an order: blanks around it do not count."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        return super()._deserialize(value, attr, data, **kwargs).strip()


class WholeNumber(fields.Integer):
    """A whole number in the digits 0 to 9: no spaces, no underscores, no other scripts' digits."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str) and not DIGITS.fullmatch(value):
            raise ValidationError("must be a whole number")
        return int(super()._deserialize(value, attr, data, **kwargs))


class CommaList(fields.List[Any]):
    """Values of a query string that are separated by commas: blanks do not count, nor repetitions.

    A list is accepted as well: the command line and the console have one.
    """

    # For webargs: the parameter itself is one text.
    is_multiple = False

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        values = value.split(",") if isinstance(value, str) else list(value)
        if not all(value.strip() for value in values):
            raise ValidationError("must be one or more values, separated by commas")
        unique = list(dict.fromkeys(value.strip() for value in values))
        return super()._deserialize(unique, attr, data, **kwargs)


def described(
    kind: type[fields.Field[Any]],
    description: str,
    example: Any = "2026-04-16T07:00:00Z",
    null: bool = False,
    choices: Sequence[str] | None = None,
    length: tuple[int | None, int] | None = None,
    keywords: dict[str, Any] | None = None,
    **options: Any,
) -> Any:
    """Make a field of this kind with its description and one example.

    null: whether it may be null. keywords: further ones of its JSON schema. options: of the kind.
    """
    if choices:
        options["validate"] = validate.OneOf(choices)
    if length:
        options["validate"] = validate.Length(*length)
    metadata = {"description": description, "examples": [example], **(keywords or {})}
    return kind(metadata=metadata, allow_none=null, **options)


def who_acts() -> str:
    """Return the name of who acts now, where an action is not given the name of a person."""
    return current_actor().who


def choices_list(description: str, example: str, choices: Sequence[str]) -> Any:
    """Make a filter that takes one or more of the choices, separated by commas."""
    choice = Text(validate=validate.OneOf(choices, error=UNKNOWN_CHOICE))
    return described(CommaList, description, [example], cls_or_instance=choice)


def nested(schema: type[Schema], description: str, null: bool = False) -> fields.Nested:
    """Make a field that is an object."""
    return fields.Nested(schema, allow_none=null, metadata={"description": description})


def nested_list(schema: type[Schema], description: str) -> fields.List[Any]:
    """Make a field that is a list of objects."""
    return fields.List(fields.Nested(schema), metadata={"description": description})


# Of answers.
text = partial(described, fields.String)
texts = partial(described, fields.List, cls_or_instance=fields.String())
text_map = partial(described, fields.Dict, keys=fields.String(), values=fields.String())
integer = partial(described, fields.Integer)
boolean = partial(described, fields.Boolean)
time = partial(described, Time)
day = partial(described, Day)
ratio = partial(described, fields.Float)

# Of requests.
given_text = partial(described, Text)
given_boolean = partial(described, TrueOrFalse)
identifier = partial(described, Text, length=(1, 255))
name = partial(described, Name, length=(1, 255))


def whole_number(description: str, example: int, lowest: int, highest: int, default: int) -> Any:
    """Make a number between two others, with a default."""
    within = validate.Range(lowest, highest)
    return described(WholeNumber, description, example, load_default=default, validate=within)


# The example of the end of a range of times, which the time itself does not belong to.
UNTIL = "2026-04-17T07:00:00Z"


def check_range(given: Mapping[str, Any], since: str, until: str) -> None:
    """Check the two ends of a range of times, by the names of their fields.

    Raises: ValidationError where the range ends before it begins.
    """
    if since in given and until in given and given[until] < given[since]:
        raise ValidationError(f"must not be before {since}", until)


AN_ACCOUNT = "Slug of the account, as in URLs."
A_REFERENCE = "The shop's own number of the order. Several orders may have the same reference."

ACCOUNT = text(AN_ACCOUNT, "tiramizoo")
COURIER = text("The courier behind the account.", "tiramizoo")
COURIER_ORDER_ID = text("The courier's id of the order.", "2a9eeeb3-16ba-4184-b894-c9734f613e93")
REFERENCE = text(A_REFERENCE, "41", null=True)
STATUS = text(
    "Current status in the words of this service. More values may be added: treat a status that"
    " you do not know by its group. `GET /v1/statuses` lists all of them.",
    "delivery_failed",
)
A_COURIER_STATUS = "The status in the courier's own words, unchanged."
REASON = text(
    "The courier's own reason for the status, unchanged. Removed when personal data is erased.",
    "recipient_was_not_at_home",
    null=True,
)
MESSAGE_ID = text("Id of the message that was the first to report it.", "184467")
KIND = text(
    "`webhook`: the courier sent it; `poll`: a response of the courier's API.",
    "webhook",
    choices=["webhook", "poll"],
)
TRUST = text(
    "How the message was authenticated. `signed`: by the courier's signature; `token`: by the"
    " secret token in the webhook's URL or in a header; `fetched`: we requested it from the"
    " courier's API.",
    "token",
    choices=["signed", "token", "fetched"],
)
NEXT_CURSOR = text("Send it as `cursor` for the next page; null: last page.", "bzQx", null=True)


TEST = boolean(
    "`true`: also those of test accounts (`COURIER_<ACCOUNT>_TEST`), which are left out otherwise.",
    True,
    truthy={"true", "1"},
    falsy={"false", "0"},
)


class PageFilters(Schema):
    """The filter and the position that all lists have."""

    account = identifier(AN_ACCOUNT, "tiramizoo")
    limit = whole_number("The largest number of entries on a page.", 50, 1, 200, default=50)
    cursor = given_text("The `next_cursor` of the previous page.", "bzQx", length=(1, 200))


class OrderPageFilters(Schema):
    """Which part of an order's list to return."""

    limit = whole_number("The largest number of entries on a page.", 200, 1, 200, default=200)
    cursor = given_text("The `next_cursor` of the previous page.", "ZTIwMA", length=(1, 200))


class ProblemSchema(Answer):
    """An error, as RFC 9457 problem details."""

    sometimes = ("errors",)

    type = text("Always `about:blank`; see `status`.", "about:blank")
    title = text("The name of the HTTP status.", "Not Found")
    status = integer("The HTTP status code.", 404)
    detail = text("What went wrong, as a text for people.", "there is no message 7")
    code = text(
        "What went wrong, as a word for programs, which never changes. More may be added.",
        "message_not_found",
    )
    request_id = text(
        "The `X-Request-ID` of the answer: name it when you report a problem.",
        "0b1c4f0e9a2d47c3a1f2",
    )
    errors = described(
        fields.Dict,
        "The invalid parameters (under `query`) or fields (under `json`): by name, a list of"
        " what is wrong with each. Inside lists and objects the position or the name comes"
        " first. Present only if single parameters or fields are invalid.",
        {"query": {"limit": ["must be a whole number"]}},
    )


class StatusRowSchema(Answer):
    """One status of this service, with the words of each courier that are mapped to it."""

    status = text("The status.", "in_transit", attribute="name")
    group = text("The group it belongs to.", "in_transit", choices=GROUPS)
    rank = integer("Of two events at the same time, the higher rank counts as later.", 40)
    is_terminal = boolean("Whether the transport ends with it.", False, attribute="terminal")
    needs_attention = boolean(
        "Whether a person should look into an order with this status.", False, attribute="attention"
    )
    couriers = described(
        fields.Dict,
        "By courier: its own words that mean this status.",
        {"cottoncast": ["N", "L"]},
        keys=fields.String(),
        values=fields.List(fields.String()),
    )


class VocabularySchema(Answer):
    """All statuses. More may be added."""

    statuses = nested_list(StatusRowSchema, "One entry per status.")


def any_item() -> fields.Raw:
    """Make a field for the items of a list that the view validates one by one."""
    about = {"description": "An item that cannot be used has a `problem` in its result."}
    return fields.Raw(allow_none=True, metadata=about)
