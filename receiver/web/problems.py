"""The one table from errors to answers: for the shop's services as RFC 9457 problem details.

Couriers are told the same in a shape of their own (webhooks.py), people on the console as a page.
Our fault is 5xx so that the courier returns; theirs is 4xx.
"""

from http import HTTPStatus

import structlog
from flask import Flask, Response, jsonify, request
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError, SQLAlchemyError
from werkzeug.exceptions import HTTPException

from receiver import errors, telemetry
from receiver.logs import exception_fields
from receiver.web.console.failures import failure_page
from receiver.web.console.places import in_console

log = structlog.get_logger(__name__)

STATUS_OF: dict[type[errors.OrdertrailError], HTTPStatus] = {
    errors.UnknownAccount: HTTPStatus.NOT_FOUND,
    errors.RefusedCredential: HTTPStatus.UNAUTHORIZED,
    errors.BodyTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.BodyCutOff: HTTPStatus.BAD_REQUEST,
    errors.UnreadableBody: HTTPStatus.BAD_REQUEST,
    errors.StorageUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.UnknownOrder: HTTPStatus.NOT_FOUND,
    errors.AmbiguousIdentifier: HTTPStatus.CONFLICT,
    errors.UnknownTour: HTTPStatus.NOT_FOUND,
    errors.UnknownConflict: HTTPStatus.NOT_FOUND,
    errors.UnknownMessage: HTTPStatus.NOT_FOUND,
    errors.WrongOutcome: HTTPStatus.CONFLICT,
    errors.InvalidCursor: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.TooManyWaiting: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.NotPolled: HTTPStatus.CONFLICT,
    errors.MissingBearerToken: HTTPStatus.UNAUTHORIZED,
}

# PostgreSQL answers, and refuses what we ask of it.
OUR_FAULT = (DataError, IntegrityError, ProgrammingError)

RETRY_SECONDS = "5"
SEE_ERRORS = "the request holds fields that cannot be used: see errors"


def init_app(app: Flask) -> None:
    """Answer every error of this application in the shape of its part of the URL space."""
    app.register_error_handler(errors.InvalidCursor, _cursor)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(Exception, _other)


def judged(error: Exception, where: str | None) -> tuple[HTTPStatus, str]:
    """How an error is answered, and in which words; what is our fault is logged.

    where: the name of what failed, for the log.
    """
    if isinstance(error, errors.OrdertrailError):
        return STATUS_OF.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR), str(error)
    telemetry.failed(error, endpoint=where)
    if isinstance(error, SQLAlchemyError) and not isinstance(error, OUR_FAULT):
        log.error("PostgreSQL failed a request", endpoint=where, **exception_fields(error))
        return HTTPStatus.SERVICE_UNAVAILABLE, "the database cannot be reached just now"
    log.error("a request failed", endpoint=where, **exception_fields(error))
    return HTTPStatus.INTERNAL_SERVER_ERROR, "this is our fault; it has been logged"


def _other(error: Exception) -> Response:
    return _answer(*judged(error, request.endpoint))


def _cursor(error: errors.InvalidCursor) -> Response:
    where = "query" if error.parameter in request.args else "json"
    fields = {where: {error.parameter: [str(error)]}}
    status, message = judged(error, request.endpoint)
    return _answer(status, message, {"messages": fields, "detail": message})


def http(error: HTTPException) -> Response:
    """Flask's own errors (no such path, wrong method, bad parameters) in our shapes."""
    answer = _answer(
        HTTPStatus(error.code or 500), error.description or "", getattr(error, "data", None)
    )
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            answer.headers[name] = value
    return answer


def _answer(status: HTTPStatus, message: str, data: dict[str, object] | None = None) -> Response:
    if in_console(request.path):
        answer = failure_page(status, message)
    else:
        problem: dict[str, object] = {
            "type": "about:blank",
            "title": status.phrase,
            "status": status.value,
            "detail": message,
        }
        if data and data.get("messages"):
            # webargs gives, per location (query, json) and field, what is wrong.
            problem["errors"] = data["messages"]
            problem["detail"] = data.get("detail", SEE_ERRORS)
        answer = jsonify(problem)
        answer.mimetype = "application/problem+json"
    answer.status_code = status.value
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        answer.headers["Retry-After"] = RETRY_SECONDS
    if status == HTTPStatus.UNAUTHORIZED:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="ordertrail"'
    return answer
