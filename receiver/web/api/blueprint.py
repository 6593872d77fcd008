"""The blueprint that every part of the API is: strict about what it is asked."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from flask import Request
from flask_smorest import Blueprint
from marshmallow import RAISE, Schema, ValidationError
from webargs import missing
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.routing import BaseConverter, PathConverter

from receiver.web.context import app_context
from receiver.web.request_body import read_body

# What the shop sends is small.
API_BODY_BYTES = 262_144

# Nothing in the API is a number of more digits than PostgreSQL's bigint has.
MOST_DIGITS = 19


# What stands after an order in a path.
PARTS_OF_AN_ORDER = r"events|explain|personal-data|refresh|conflicts/[^/]+/close"

View = TypeVar("View", bound=Callable[..., Any])


class AnyPath(PathConverter):
    """The rest of a path, also where it starts with a slash or holds a newline: ids do."""

    part_isolating = False
    regex = "(?s:.+?)"


class OrderPath(AnyPath):
    """An order, and none of what orders have: GET of those that are only told to is 405."""

    regex = rf"(?!(?s:.+)/(?:{PARTS_OF_AN_ORDER})\Z){AnyPath.regex}"


class Number(BaseConverter):
    """A whole number above 0, as text: `retry` is none, and so no message."""

    regex = "[1-9][0-9]{0,18}"


CONVERTERS = {"path": AnyPath, "order": OrderPath, "number": Number}


class Parser(FlaskParser):
    """What says a thing twice, or what nobody can mean, is refused and not guessed at."""

    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012 (as webargs has it)
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": RAISE,
    }

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        repeated = [name for name, values in req.args.lists() if len(values) > 1]
        if repeated:
            raise ValidationError({name: ["is given more than once"] for name in repeated})
        return super().load_querystring(req, schema)

    def load_json(self, req: Request, schema: Schema) -> Any:
        limit = min(API_BODY_BYTES, app_context().settings.max_body_bytes)
        raw = read_body(req, limit)
        if not raw.strip():
            return missing
        if not req.is_json:
            # curl -d says that it sends a form.
            raise UnsupportedMediaType("say what the body is: Content-Type: application/json")
        return read_json(raw)


def read_json(raw: bytes) -> Any:
    """JSON as RFC 8259 has it, each name of an object once.

    Raises: BadRequest; ValidationError which names what is given twice.
    """
    try:
        return json.loads(
            raw.decode(),
            object_pairs_hook=_once_each,
            parse_constant=_refuse_number,
            parse_int=_bounded,
        )
    except UnicodeDecodeError as wrong:
        raise BadRequest(f"the body is not UTF-8: byte {wrong.start}: {wrong.reason}") from None
    except json.JSONDecodeError as wrong:
        raise BadRequest(f"the body is not JSON: {wrong}") from None
    except RecursionError:
        raise BadRequest("the body is JSON nested deeper than anybody can mean") from None


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) < len(pairs):
        times = Counter(name for name, _ in pairs)
        raise ValidationError(
            {name: ["is given more than once"] for name, count in times.items() if count > 1}
        )
    return told


def _bounded(digits: str) -> int:
    return int(digits) if len(digits.lstrip("-")) <= MOST_DIGITS else _refuse_number(digits)


def _refuse_number(text: str) -> NoReturn:
    raise BadRequest(f"the body holds a number that nobody can mean: {text[:MOST_DIGITS]}")


class Routes(Blueprint):  # type: ignore[misc] # flask-smorest is not typed
    """A blueprint whose arguments are read by Parser, and whose operations have names."""

    ARGUMENTS_PARSER = Parser()

    def route(self, rule: str, **options: Any) -> Callable[[View], View]:
        """The same, with the view's name as that of its operation in the description."""
        register = super().route(rule, **options)

        def named(view: View) -> View:
            told: View = register(self.doc(operationId=view.__name__)(view))
            return told

        return named
