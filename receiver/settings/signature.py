"""The setting COURIER_<ACCOUNT>_SIGNATURE: how the webhooks of one account are authenticated."""

from collections.abc import Callable, Mapping
from typing import Any

from marshmallow import RAISE, Schema, ValidationError, fields, validate

from receiver.couriers.signatures import (
    BasicCredentials,
    HeaderToken,
    Hmac,
    Scheme,
    StandardWebhooks,
    TokenInUrl,
)
from receiver.couriers.signatures.hmac_signature import ALGORITHMS, ENCODINGS, KEY_FORMS, SEPARATORS
from receiver.settings.field_types import JsonObject, choice, text

# A courier that sends a webhook again with its first timestamp does so for days.
MOST_TOLERANCE_SECONDS = 30 * 24 * 3600

HEADER_NAME = validate.Regexp(
    r"[A-Za-z0-9!#$%&'*+.^`|~-]+\Z",
    error="is no header's name that reaches us (web servers drop those with an underscore)",
)


class _Form(Schema):
    """One of the forms of the setting."""

    class Meta:
        unknown = RAISE

    def handle_error(self, error: ValidationError, data: Any, **kwargs: Any) -> None:
        known = ", ".join(self.fields)
        for name in set(data).difference(self.fields):
            error.messages[name] = [f"is not a key of this form, whose keys are {known}"]


def _header(**options: Any) -> fields.String:
    return fields.String(
        validate=HEADER_NAME,
        error_messages={"required": "is missing: the name of the header with the credential"},
        **options,
    )


class _HmacForm(_Form):
    header = _header(required=True)
    algorithm = choice(*ALGORITHMS)
    encoding = choice(*ENCODINGS)
    prefix = text("")
    separator = fields.String(
        load_default=None, allow_none=True, validate=validate.OneOf(SEPARATORS)
    )
    key = choice(*KEY_FORMS)
    signed = text("{body}")
    timestamp_header = _header(load_default=None, allow_none=True)
    timestamp_prefix = fields.String(
        load_default=None, allow_none=True, validate=validate.Length(min=1)
    )
    tolerance_seconds = fields.Integer(
        strict=True, load_default=300, validate=validate.Range(1, MOST_TOLERANCE_SECONDS)
    )


class _TokenForm(_Form):
    compare = choice("token")
    header = _header(required=True)
    prefix = text("")


class _BasicForm(_Form):
    compare = choice("basic")
    header = _header(load_default="Authorization")


class _StandardWebhooksForm(_Form):
    scheme = choice("standard-webhooks")
    prefix = fields.String(load_default="webhook-", validate=HEADER_NAME)
    tolerance_seconds = fields.Integer(
        strict=True, load_default=300, validate=validate.Range(1, MOST_TOLERANCE_SECONDS)
    )


class _UrlForm(_Form):
    scheme = choice("token-in-url")


_HMAC = _HmacForm()
_BY_COMPARE: Mapping[str, tuple[_Form, Callable[..., Scheme]]] = {
    "token": (_TokenForm(), HeaderToken),
    "basic": (_BasicForm(), BasicCredentials),
}
_BY_SCHEME: Mapping[str, tuple[_Form, Callable[..., Scheme]]] = {
    "standard-webhooks": (_StandardWebhooksForm(), StandardWebhooks),
    "token-in-url": (_UrlForm(), TokenInUrl),
}


class SignatureScheme(JsonObject):
    """A scheme, as a JSON object in a string."""

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> Any:
        return read_scheme(super()._deserialize(value, *args, **kwargs))


def read_scheme(given: Mapping[str, Any]) -> Scheme:
    """Return the scheme that a JSON object describes. Raises: ValidationError with sentences."""
    form, make = _choose_form(given)
    try:
        values = form.load(given)
        values.pop("compare", None)
        values.pop("scheme", None)
        return make(**values)
    except ValidationError as error:
        messages = error.normalized_messages()  # type: ignore[no-untyped-call] # marshmallow's
        faults = [f"{name}: {line}" for name, lines in messages.items() for line in lines]
        raise ValidationError(sorted(faults)) from None
    except ValueError as error:
        raise ValidationError(list(error.args)) from None


def _choose_form(given: Mapping[str, Any]) -> tuple[_Form, Callable[..., Scheme]]:
    """Return the form that an object has, by its keys `compare` and `scheme`."""
    for key, forms in (("compare", _BY_COMPARE), ("scheme", _BY_SCHEME)):
        if key in given:
            if not isinstance(given[key], str) or given[key] not in forms:
                raise ValidationError(f"{key}: Must be one of: {', '.join(forms)}.")
            return forms[given[key]]
    return _HMAC, Hmac
