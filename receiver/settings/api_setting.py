"""COURIER_<ACCOUNT>_API: how an account is polled, where that differs from its driver's ways."""

import re
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from receiver.couriers.polling import CLIENT_AUTHS, OAUTH_ENCODINGS, OAuth, find_placeholders
from receiver.settings.checks import check_base_address
from receiver.settings.field_types import JsonObject

# A header's name (RFC 9110) and value, and a path that can be sent as it is.
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
PATH = re.compile(r"/[!\"$-~]*")
# Headers that belong to the connection, or that would change what comes back.
OWN_HEADERS = {
    *("accept-encoding", "connection", "content-length", "host", "keep-alive", "te", "trailer"),
    *("transfer-encoding", "upgrade"),
}


def check_order_path(path: str) -> None:
    """Check the path of one order: placeholders in braces, one of which names the order."""
    try:
        found = find_placeholders(path)
    except ValueError as error:
        raise ValidationError(str(error)) from None
    if not found - {"postcode"} or not PATH.fullmatch(path):
        raise ValidationError(
            "must start with / and contain {id}, {reference} or {tracking_number}, and no space, #"
            " or non-ASCII letter"
        )
    if {".", ".."} & set(path.partition("?")[0].split("/")):
        raise ValidationError("must not contain the segments . and ..")


def check_header_name(name: str) -> None:
    """Check the name of a request header that an account may set."""
    if not HEADER_NAME.fullmatch(name):
        raise ValidationError("is not the name of a header")
    if name.lower() in OWN_HEADERS:
        raise ValidationError(f"{name} is set by Ordertrail itself")


def check_header_value(value: str) -> None:
    """Check that a header can hold a value. The message does not repeat it: it may be a secret."""
    if not HEADER_VALUE.fullmatch(value):
        raise ValidationError(
            "is empty, or has a control character, a letter beyond ASCII or a blank at its end"
        )


def _check_auth(auth: str) -> None:
    kind, colon, name = auth.partition(":")
    if auth in {"bearer", "basic"}:
        return
    if kind != "header" or not colon:
        raise ValidationError("must be bearer, basic or header:<Name>")
    check_header_name(name)


def _check_headers(headers: dict[str, str]) -> None:
    if len({name.lower() for name in headers}) < len(headers):
        raise ValidationError("two headers have one name")


class _Keys(Schema):
    """An object whose unknown keys are faults that name the known ones."""

    def handle_error(self, error: ValidationError, data: Any, **kwargs: Any) -> None:
        known = ", ".join(self.fields)
        for name in set(data).difference(self.fields):
            error.messages[name] = [f"is not a key of it, whose keys are {known}"]


class _OAuthSchema(_Keys):
    token_path = fields.String(validate=validate.Regexp(PATH, error="must start with /"))
    token_url = fields.String(validate=check_base_address)
    scope = fields.String()
    client_auth = fields.String(validate=validate.OneOf(CLIENT_AUTHS))
    grant = fields.String()
    extra = fields.Dict(fields.String(), fields.String())
    encoding = fields.String(validate=validate.OneOf(OAUTH_ENCODINGS))
    credential_names = fields.List(fields.String(), validate=validate.Length(equal=2))
    token_name = fields.String()

    @validates_schema
    def check_addresses(self, given: dict[str, Any], **_options: Any) -> None:
        if "token_path" in given and "token_url" in given:
            raise ValidationError("keep one of token_path and token_url", "token_url")


class _ApiSchema(_Keys):
    path = fields.String(validate=check_order_path)
    auth = fields.String(validate=_check_auth)
    headers = fields.Dict(
        fields.String(validate=check_header_name),
        fields.String(validate=check_header_value),
        validate=_check_headers,
    )
    oauth = fields.Nested(_OAuthSchema)

    @validates_schema
    def check_one_way_to_authenticate(self, given: dict[str, Any], **_options: Any) -> None:
        if "auth" in given and "oauth" in given:
            raise ValidationError("keep one of auth and oauth", "auth")


class ApiSetting(JsonObject):
    """The JSON object of COURIER_<ACCOUNT>_API, with its faults by the path of each key."""

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        given = super()._deserialize(value, *args, **kwargs)
        try:
            return dict(_ApiSchema().load(given))
        except ValidationError as error:
            raise ValidationError(sorted(_flatten("", error.messages))) from None


def _flatten(path: str, messages: Any) -> list[str]:
    if isinstance(messages, dict):
        inner = ((f"{path}.{key}" if path else f"{key}", value) for key, value in messages.items())
        return [line for key, value in inner for line in _flatten(key, value)]
    return [f"{path}: {line}" for line in messages]


def merge_oauth(driver_oauth: OAuth | None, given: dict[str, Any]) -> OAuth:
    """Return how an account gets its access token: what it gives replaces what its driver has.

    Raises: ValidationError where nothing says at which address.
    """
    base = driver_oauth or OAuth()
    values = {name: getattr(base, name) for name in OAuth.__dataclass_fields__}
    if {"token_path", "token_url"} & given.keys():
        values |= {"token_path": None, "token_url": None}
    if "credential_names" in given:
        given = {**given, "credential_names": tuple(given["credential_names"])}
    merged = OAuth(**{**values, **given})
    if merged.token_path is None and merged.token_url is None:
        raise ValidationError("oauth needs token_path or token_url")
    return merged
