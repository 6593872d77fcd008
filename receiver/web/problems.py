"""Turn every error into an answer: one table from error classes to HTTP statuses and codes.

The table is the same for everybody; the shape of an answer depends on the part of the URL space:
RFC 9457 problem details, except where a part registers a renderer of its own (webhooks, console).
An error of the client is 4xx. An error of ours is 5xx, so that the courier sends again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from inspect import cleandoc
from math import ceil
from typing import Any

import psycopg
import structlog
from flask import Flask, Response, current_app, g, jsonify, request
from sqlalchemy import exc
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from receiver import errors
from receiver.logs import exception_fields, failure_fields
from receiver.web.http_problems import HTTP_PROBLEMS, find_code

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """How errors of one class are answered.

    code: a word for programs, which never changes; None where only couriers get the answer, which
        has none.
    """

    status: HTTPStatus
    code: str | None


ERRORS: dict[type[Exception], ErrorKind] = {
    errors.UnknownAccount: ErrorKind(HTTPStatus.NOT_FOUND, "account_not_found"),
    errors.RefusedCredential: ErrorKind(HTTPStatus.UNAUTHORIZED, None),
    errors.BodyTooLarge: ErrorKind(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large"),
    errors.BodyCutOff: ErrorKind(HTTPStatus.BAD_REQUEST, "incomplete_body"),
    errors.UnreadableBody: ErrorKind(HTTPStatus.BAD_REQUEST, None),
    errors.StorageUnavailable: ErrorKind(HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable"),
    errors.UnknownOrder: ErrorKind(HTTPStatus.NOT_FOUND, "order_not_found"),
    errors.AmbiguousIdentifier: ErrorKind(HTTPStatus.CONFLICT, "ambiguous_order"),
    errors.UnknownLabel: ErrorKind(HTTPStatus.NOT_FOUND, "label_not_found"),
    errors.UnknownTour: ErrorKind(HTTPStatus.NOT_FOUND, "tour_not_found"),
    errors.UnknownAlert: ErrorKind(HTTPStatus.NOT_FOUND, "alert_not_found"),
    errors.UnknownConflict: ErrorKind(HTTPStatus.NOT_FOUND, "conflict_not_found"),
    errors.UnknownMessage: ErrorKind(HTTPStatus.NOT_FOUND, "message_not_found"),
    errors.WrongOutcome: ErrorKind(HTTPStatus.CONFLICT, "wrong_outcome"),
    errors.InvalidCursor: ErrorKind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_cursor"),
    errors.InvalidPeriod: ErrorKind(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_period"),
    errors.TooManyWaiting: ErrorKind(HTTPStatus.SERVICE_UNAVAILABLE, "too_many_waiting"),
    errors.NotPolled: ErrorKind(HTTPStatus.CONFLICT, "account_not_polled"),
    errors.SampleNotPolled: ErrorKind(HTTPStatus.CONFLICT, "sample_not_polled"),
    errors.TrackingStopped: ErrorKind(HTTPStatus.CONFLICT, "tracking_stopped"),
    errors.OrderReported: ErrorKind(HTTPStatus.CONFLICT, "order_reported"),
    errors.MissingBearerToken: ErrorKind(HTTPStatus.UNAUTHORIZED, "missing_token"),
    errors.ReadOnlyToken: ErrorKind(HTTPStatus.FORBIDDEN, "read_only_token"),
    errors.TooManyAttempts: ErrorKind(HTTPStatus.TOO_MANY_REQUESTS, "too_many_attempts"),
}

# PostgreSQL cannot be reached, or not in time. Every other database error is a bug of ours.
UNREACHABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)

RETRY_SECONDS = "5"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is answered to a request that failed.

    fields: what is wrong, by location (query, json) and field; None where that is not known.
    code: a word for programs; without one, that of the status.
    """

    status: HTTPStatus
    detail: str
    fields: dict[str, Any] | None = None
    code: str | None = None


def init_app(app: Flask) -> None:
    """Answer every error of this application by the table."""
    app.extensions["problem_renderers"] = {}
    app.extensions["unknown_path_guards"] = {}
    app.before_request(_guard_unknown_path)
    app.register_error_handler(Exception, _answer_error)


def use_renderer(app: Flask, prefix: str, renderer: Callable[[Problem], Response]) -> None:
    """Render the problems of a part of the URL space by a function of its own."""
    app.extensions["problem_renderers"][prefix] = renderer


def guard_unknown_paths(app: Flask, prefix: str, guard: Callable[[], AnyResponse | None]) -> None:
    """Check the requests of a part of the URL space that no route matches, like all others.

    Without it a client without credentials could find out which paths and methods there are.
    guard: may return another answer, or raise.
    """
    app.extensions["unknown_path_guards"][prefix] = guard


def _guard_unknown_path() -> AnyResponse | None:
    if request.routing_exception is None:
        return None
    guards = current_app.extensions["unknown_path_guards"].items()
    own = (guard for prefix, guard in guards if _is_below(prefix))
    return next(own, lambda: None)()


def classify(error: Exception) -> Problem:
    """Return how an error is answered. An error that is not the client's is logged here."""
    if isinstance(error, HTTPException):
        return _classify_http_exception(error)
    if kind := ERRORS.get(type(error)):
        fields = None
        if isinstance(error, errors.InvalidCursor | errors.InvalidPeriod):
            location = "query" if error.parameter in request.args else "json"
            fields = {location: {error.parameter: [str(error)]}}
        return Problem(kind.status, str(error), fields, kind.code)
    # A primary that became a standby is read-only: the next connection leads to the new primary.
    is_read_only = isinstance(getattr(error, "orig", None), psycopg.errors.ReadOnlySqlTransaction)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    if is_read_only or isinstance(error, UNREACHABLE):
        status = HTTPStatus.SERVICE_UNAVAILABLE
        log.error("database_unreachable", endpoint=request.endpoint, **exception_fields(error))
    else:
        log.error("request_failed", endpoint=request.endpoint, **failure_fields(error))
    return Problem(status, HTTP_PROBLEMS[status][1])


def _classify_http_exception(error: HTTPException) -> Problem:
    """Return how an error of Flask, werkzeug or webargs is answered, in our own words."""
    status = HTTPStatus(error.code or HTTPStatus.INTERNAL_SERVER_ERROR)
    # webargs says what is wrong per location and field.
    fields = (getattr(error, "data", None) or {}).get("messages")
    has_own_text = not fields and error.description != type(error).description
    _, usual_text = HTTP_PROBLEMS.get(status, ("", error.description or status.phrase))
    return Problem(status, (error.description or "") if has_own_text else usual_text, fields)


def _answer_error(error: Exception) -> Response:
    problem = classify(error)
    renderers = current_app.extensions["problem_renderers"].items()
    own = (renderer for prefix, renderer in renderers if _is_below(prefix))
    answer: Response = next(own, _render_problem_details)(problem)
    answer.status_code = problem.status.value
    if isinstance(error, HTTPException):
        for name, value in error.get_headers():
            if name.lower() not in {"content-type", "content-length"}:
                answer.headers[name] = value
    if isinstance(error, errors.MissingBearerToken):
        answer.headers["WWW-Authenticate"] = 'Bearer realm="ordertrail"'
    if isinstance(error, errors.TooManyAttempts):
        answer.headers["Retry-After"] = str(ceil(error.seconds))
    if problem.status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = RETRY_SECONDS
    return answer


def _is_below(prefix: str) -> bool:
    return request.path == prefix or request.path.startswith(f"{prefix}/")


def problem_details(problem: Problem) -> dict[str, Any]:
    """Return a problem of the current request as RFC 9457 has it."""
    return {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
        "code": problem.code or find_code(problem.status),
        "request_id": g.request_id,
        **({"errors": problem.fields} if problem.fields else {}),
    }


def list_codes() -> dict[str, tuple[HTTPStatus, str]]:
    """Return what each code of a problem stands for: the status, and its meaning in a sentence."""
    known = [(kind.code, kind.status, error.__doc__) for error, kind in ERRORS.items() if kind.code]
    further = [(code, status, text) for status, (code, text) in HTTP_PROBLEMS.items()]
    meanings: dict[str, tuple[HTTPStatus, str]] = {}
    for code, status, text in (*known, *further):
        sentence = cleandoc(text or "").partition("\n")[0].rstrip(".")
        meanings.setdefault(code, (status, f"{sentence[:1].upper()}{sentence[1:]}."))
    return dict(sorted(meanings.items()))


def _render_problem_details(problem: Problem) -> Response:
    answer = jsonify(problem_details(problem))
    answer.mimetype = "application/problem+json"
    return answer
