"""The one table from errors to answers, in the two shapes that the outside knows.

Couriers get {"status": "error", "message": ...}, the shop's services RFC 9457 problem details.
Our fault is 5xx so that the courier returns; theirs is 4xx.
"""

from http import HTTPStatus

import structlog
from flask import Flask, Response, jsonify, request
from sqlalchemy.exc import SQLAlchemyError
from werkzeug.exceptions import HTTPException

from receiver import errors, telemetry
from receiver.console.failures import failure_page
from receiver.console.places import in_console
from receiver.logs import told

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

RETRY_SECONDS = "5"
SEE_ERRORS = "the request holds fields that cannot be used: see errors"


def init_app(app: Flask) -> None:
    """Answer every error of this application in the shape of its part of the URL space."""
    app.register_error_handler(errors.OrdertrailError, _named)
    app.register_error_handler(HTTPException, http)
    app.register_error_handler(SQLAlchemyError, _storage)
    app.register_error_handler(Exception, _unforeseen)


def _named(error: errors.OrdertrailError) -> Response:
    status = STATUS_OF.get(type(error), HTTPStatus.INTERNAL_SERVER_ERROR)
    if isinstance(error, errors.InvalidCursor):
        where = "query" if error.parameter in request.args else "json"
        fields = {where: {error.parameter: [str(error)]}}
        return _answer(status, str(error), {"messages": fields, "detail": str(error)})
    return _answer(status, str(error))


def http(error: HTTPException) -> Response:
    """Flask's own errors (no such path, wrong method, bad parameters) in our shapes."""
    answer = _answer(
        HTTPStatus(error.code or 500), error.description or "", getattr(error, "data", None)
    )
    for name, value in error.get_headers():
        if name.lower() not in {"content-type", "content-length"}:
            answer.headers[name] = value
    return answer


def _storage(error: SQLAlchemyError) -> Response:
    log.error("PostgreSQL failed a request", endpoint=request.endpoint, **told(error))
    telemetry.failed(error, endpoint=request.endpoint)
    return _answer(HTTPStatus.SERVICE_UNAVAILABLE, "the database cannot be reached just now")


def _unforeseen(error: Exception) -> Response:
    log.error("a request failed", endpoint=request.endpoint, **told(error))
    telemetry.failed(error, endpoint=request.endpoint)
    return _answer(HTTPStatus.INTERNAL_SERVER_ERROR, "this is our fault; it has been logged")


def _answer(status: HTTPStatus, message: str, data: dict[str, object] | None = None) -> Response:
    if request.path.startswith("/webhooks/"):
        answer = jsonify({"status": "error", "message": message})
    elif in_console(request.path):
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
    if status == HTTPStatus.UNAUTHORIZED and not request.path.startswith("/webhooks/"):
        answer.headers["WWW-Authenticate"] = 'Bearer realm="ordertrail"'
    return answer
