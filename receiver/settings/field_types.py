"""The kinds of fields that the schemas of the settings are made of."""

import json
from collections.abc import Callable
from typing import Any

from marshmallow import ValidationError, fields, validate

from receiver.access.tokens import Token, find_faults, read_tokens

NOT_SET: dict[str, Any] = {"required": "is not set"}


class CommaList(fields.Field[tuple[str, ...]]):
    """A comma-separated list: `a, b` is read as ("a", "b")."""

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> tuple[str, ...]:
        return tuple(item.strip() for item in value.split(",") if item.strip())


class TokenList(fields.Field[tuple[Token, ...]]):
    """A comma-separated list of `token` or `name:token`. kind: `api` or `read`."""

    def __init__(self, kind: str, **options: Any) -> None:
        super().__init__(validate=self._check, **options)
        self._kind = kind

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> tuple[Token, ...]:
        items = (item.strip() for item in value.split(","))
        return read_tokens([item for item in items if item], self._kind)

    @staticmethod
    def _check(tokens: tuple[Token, ...]) -> None:
        if faults := list(find_faults(tokens)) if tokens else ["contains no token"]:
            raise ValidationError(faults)


class JsonObject(fields.Field[dict[str, Any]]):
    """A JSON object in a string."""

    def _deserialize(self, value: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            parsed = json.loads(value, object_pairs_hook=_unique_keys)
        except RecursionError:
            raise ValidationError("is nested too deeply") from None
        except ValueError as error:
            raise ValidationError(f"is not JSON: {error}") from None
        if not isinstance(parsed, dict):
            raise ValidationError("is not a JSON object")
        return parsed


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object. Of a key that is written twice, only one value could count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValidationError(f"the key {twice!r} is there twice")
    return found


def required_text(*checks: Callable[[str], Any]) -> fields.String:
    """Return a text that must be set and pass the checks."""
    return fields.String(required=True, validate=checks, error_messages=NOT_SET)


def text(default: str | None = None, *checks: Callable[[str], Any]) -> fields.String:
    """Return a text that must pass the checks where it is set."""
    return fields.String(load_default=default, validate=checks)


def choice(*choices: str) -> fields.String:
    """Return one of some words; the first is the default."""
    return text(choices[0], validate.OneOf(choices))


def positive(default: int, most: int | None = None) -> fields.Integer:
    """Return a whole number from 1 to `most`."""
    return fields.Integer(load_default=default, validate=validate.Range(1, most))
