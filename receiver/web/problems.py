"""Turn every error into an answer: one table from error classes to HTTP statuses.

The table is the same for everybody; the shape of an answer depends on the part of the URL space:
RFC 9457 problem details, except where a part registers a renderer of its own (webhooks, console).
An error of the client is 4xx. An error of ours is 5xx, so that the courier sends again.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from math import ceil
from typing import Any

import psycopg
import structlog
from flask import Flask, Response, current_app, jsonify, request
from sqlalchemy import exc
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as AnyResponse

from receiver import errors
from receiver.logs import exception_fields, failure_fields

log = structlog.get_logger(__name__)

STATUSES: dict[type[Exception], HTTPStatus] = {
    errors.UnknownAccount: HTTPStatus.NOT_FOUND,
    errors.RefusedCredential: HTTPStatus.UNAUTHORIZED,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyCutOff: HTTPStatus.BAD_REQUEST,
    errors.UnreadableBody: HTTPStatus.BAD_REQUEST,
    errors.StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UnknownOrder: HTTPStatus.NOT_FOUND,
    errors.AmbiguousIdentifier: HTTPStatus.CONFLICT,
    errors.UnknownTour: HTTPStatus.NOT_FOUND,
    errors.UnknownAlert: HTTPStatus.NOT_FOUND,
    errors.UnknownConflict: HTTPStatus.NOT_FOUND,
    errors.UnknownMessage: HTTPStatus.NOT_FOUND,
    errors.WrongOutcome: HTTPStatus.CONFLICT,
    errors.InvalidCursor: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyWaiting: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotPolled: HTTPStatus.CONFLICT,
    errors.MissingBearerToken: HTTPStatus.UNAUTHORIZED,
    errors.TooManyAttempts: HTTPStatus.TOO_MANY_REQUESTS,
}

# PostgreSQL cannot be reached, or not in time. Every other database error is a bug of ours.
UNREACHABLE = (exc.OperationalError, exc.InterfaceError, exc.TimeoutError)

RETRY_SECONDS = "5"


@dataclass(frozen=True, slots=True)
class Problem:
    """What is answered to a request that failed.

    fields: what is wrong, by location (query, json) and field; None where that is not known.
    """

    status: HTTPStatus
    detail: str
    fields: dict[str, Any] | None = None


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
        # webargs says what is wrong per location and field.
        fields = (getattr(error, "data", None) or {}).get("messages")
        invalid = "the request has invalid parameters or fields: see errors"
        detail = invalid if fields else error.description
        return Problem(HTTPStatus(error.code or 500), detail or "", fields)
    if isinstance(error, errors.InvalidCursor):
        location = "query" if error.parameter in request.args else "json"
        fields = {location: {error.parameter: [str(error)]}}
        return Problem(STATUSES[type(error)], str(error), fields)
    if status := STATUSES.get(type(error)):
        return Problem(status, str(error))
    # A primary that became a standby is read-only: the next connection leads to the new primary.
    is_read_only = isinstance(getattr(error, "orig", None), psycopg.errors.ReadOnlySqlTransaction)
    if is_read_only or isinstance(error, UNREACHABLE):
        log.error("database_unreachable", endpoint=request.endpoint, **exception_fields(error))
        detail = "PostgreSQL cannot be reached: retry in a few seconds"
        return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail)
    log.error("request_failed", endpoint=request.endpoint, **failure_fields(error))
    detail = "an internal error occurred: the log has the details"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail)


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
    """Return a problem as RFC 9457 has it."""
    return {
        "type": "about:blank",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.detail,
        **({"errors": problem.fields} if problem.fields else {}),
    }


def _render_problem_details(problem: Problem) -> Response:
    answer = jsonify(problem_details(problem))
    answer.mimetype = "application/problem+json"
    return answer
