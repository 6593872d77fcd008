"""The blueprint class of the API: authentication, strict parsing, and what all routes document."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from http import HTTPStatus
from inspect import cleandoc
from typing import Any, TypeVar

import orjson
from flask import Request, Response, request
from flask_smorest import Blueprint
from marshmallow import RAISE, Schema, ValidationError
from webargs import missing
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.routing import BaseConverter, PathConverter

from receiver.web.auth import require_token
from receiver.web.context import app_context
from receiver.web.encoded_slashes import decode_slashes, encode_slashes
from receiver.web.http_problems import find_code
from receiver.web.openapi.components import PATH_PARAMETERS, SECURITY, describe_problem
from receiver.web.request_body import read_body

MAX_API_BODY_BYTES = 262_144

# What follows an order in a path.
ORDER_SUBRESOURCES = r"events|explain|label|parcels|personal-data|refresh|conflicts/[^/]+/close"

View = TypeVar("View", bound=Callable[..., Any])


class AnyPath(PathConverter):
    """The rest of a path, also if it starts with a slash or contains a newline, as ids may."""

    part_isolating = False
    regex = "(?s:.+?)"

    def to_python(self, value: str) -> str:
        return decode_slashes(value)

    def to_url(self, value: str) -> str:
        return encode_slashes(value)


class OrderPath(AnyPath):
    """An order, but none of its subresources: GET on those that only accept POST is 405."""

    regex = rf"(?!(?s:.+)/(?:{ORDER_SUBRESOURCES})\Z){AnyPath.regex}"


class Number(BaseConverter):
    """A whole number above 0, as text: `/messages/retry` is not a message."""

    regex = "[1-9][0-9]{0,18}"


CONVERTERS = {"path": AnyPath, "order": OrderPath, "number": Number}


class Parser(FlaskParser):
    """A parser that refuses unknown and repeated names instead of guessing what they mean."""

    DEFAULT_UNKNOWN_BY_LOCATION = {  # noqa: RUF012 (as webargs has it)
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": RAISE,
    }

    def load_querystring(self, req: Request, schema: Schema) -> Any:
        _refuse_repeated(name for name, values in req.args.lists() for _ in values)
        return super().load_querystring(req, schema)

    def load_json(self, req: Request, schema: Schema) -> Any:
        limit = min(MAX_API_BODY_BYTES, app_context().settings.max_body_bytes)
        raw = read_body(req, limit)
        if not raw.strip():
            return missing
        if not req.is_json:
            # curl -d sends application/x-www-form-urlencoded.
            raise UnsupportedMediaType("the body must be sent with Content-Type: application/json")
        return parse_json(raw)


def parse_json(raw: bytes) -> Any:
    """Parse JSON in which each name of an object stands once.

    Raises: BadRequest; ValidationError, which names what is repeated.
    """
    try:
        return json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8: byte {error.start}: {error.reason}") from None
    except RecursionError:
        raise BadRequest("the body is JSON that is nested too deeply") from None
    except ValueError as error:
        # Also a whole number of more than 4,300 digits.
        raise BadRequest(f"the body is not JSON: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _refuse_repeated(name for name, _ in pairs)
    return dict(pairs)


def _refuse_repeated(names: Iterable[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValidationError({name: ["must not be given more than once"] for name in repeated})


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not allowed")


def json_answer(content: Any, status: int = 200) -> Response:
    """Return an answer whose content is ready, as its schema describes it."""
    try:
        body = orjson.dumps(content)
    except orjson.JSONEncodeError:
        # A problem repeats a name of the request that has half a surrogate pair.
        body = json.dumps(content).encode()
    return Response(body, status, mimetype="application/json")


def _keep_private(answer: Response) -> Response:
    """Keep answers out of shared caches."""
    answer.headers.setdefault("Cache-Control", "private, no-store")
    return answer


# What does not exist, by the parameter of the path that names it: the first one of these.
NOT_FOUND = {
    "order_id": "OrderNotFound",
    "tour_id": "TourNotFound",
    "message_id": "MessageNotFound",
    "alert_id": "AlertNotFound",
    "account": "AccountNotFound",
}


def _shared_problems(path: list[str], arguments: list[dict[str, Any]]) -> dict[int, str]:
    """Name the errors that an operation shares with others. path: names of its parameters."""
    problems = {401: "Unauthorized", 429: "TooManyAttempts", 503: "Unavailable"}
    locations = {argument["in"] for argument in arguments}
    problems |= next(({404: found} for name, found in NOT_FOUND.items() if name in path), {})
    if "order_id" in path:
        problems |= {409: "Ambiguous"}
    if path or "query" in locations:
        problems |= {414: "UriTooLong"}
    if "query" in locations:
        problems |= {422: "BadParameters"}
    if "json" in locations:
        problems |= {400: "BadBody", 413: "TooLarge", 415: "WrongMediaType", 422: "BadFields"}
    return problems


class ApiBlueprint(Blueprint):  # type: ignore[misc] # flask-smorest is not typed
    """A blueprint that requires a token and documents what all of its operations share.

    A read token is enough for every GET, unless the route says otherwise.
    """

    ARGUMENTS_PARSER = Parser()

    def __init__(self, name: str, description: str) -> None:
        super().__init__(name, __name__, description=description)
        self._open_to_readers: set[str] = set()
        self.before_request(self._require_token)
        self.after_request(_keep_private)

    def _require_token(self) -> None:
        is_open = request.method == "OPTIONS" or request.endpoint in self._open_to_readers
        require_token(is_open_to_readers=is_open)

    def route(
        self, rule: str, *, is_open_to_readers: bool | None = None, **options: Any
    ) -> Callable[[View], View]:
        """Register a view; its parameters, errors and operation id are documented by themselves.

        is_open_to_readers: whether a read token is enough; by default for GET only.
        """
        is_open = is_open_to_readers
        if is_open is None:
            is_open = list(options.get("methods", ["GET"])) == ["GET"]
        names = re.findall(r"<(?:\w+:)?(\w+)>", rule)
        parameters = [{"in": "path", "name": name, **PATH_PARAMETERS[name]} for name in names]
        register = super().route(rule, parameters=parameters, **options)

        def document(view: View) -> View:
            docs = getattr(view, "_apidoc", {})
            problems = _shared_problems(names, docs.get("arguments", {}).get("parameters", []))
            if is_open:
                self._open_to_readers.add(f"{self.name}.{view.__name__}")
            else:
                problems |= {403: "ReadOnlyToken"}
            responses = problems | docs.get("manual_doc", {}).get("responses", {})
            described = self.doc(
                operationId=view.__name__,
                responses=responses,
                security=SECURITY if is_open else SECURITY[:1],
            )(view)
            registered: View = register(described)
            return registered

        return document

    def arguments(self, schema: type[Schema], **options: Any) -> Any:
        """Parse a part of the request by the schema: one object of it for all requests.

        webargs would make one for each request, which copies all its fields.
        """
        return super().arguments(schema(), **options)

    def response(self, status_code: int, schema: Any = None, **options: Any) -> Any:
        """Document the answer, by default with the description of its schema."""
        description = cleandoc(schema.__doc__) if schema else "Done. The response has no body."
        return super().response(status_code, schema, **({"description": description} | options))

    def problem(
        self, status: int, description: str, detail: str, code: str | None = None
    ) -> Callable[[View], View]:
        """Document an error of one operation.

        detail, code: of its example; without a code, that of the status.
        """
        code = code or find_code(HTTPStatus(status))
        documented: Callable[[View], View] = self.doc(
            responses={status: describe_problem(status, code, description, detail)}
        )
        return documented
