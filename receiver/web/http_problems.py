"""The problems that are known by their HTTP status only: their stable codes and their texts.

Apart from problems.py, because gunicorn's worker needs them before anything may import Flask.
"""

from http import HTTPStatus

# By status: the code, and the text where nobody gave a better one.
HTTP_PROBLEMS: dict[HTTPStatus, tuple[str, str]] = {
    HTTPStatus.BAD_REQUEST: ("malformed_request", "the request cannot be read"),
    HTTPStatus.FORBIDDEN: ("forbidden", "the request is not allowed"),
    HTTPStatus.NOT_FOUND: ("path_not_found", "there is nothing at this path: see GET /"),
    HTTPStatus.METHOD_NOT_ALLOWED: (
        "method_not_allowed",
        "this path does not accept this method: the Allow header lists those that it accepts",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("body_too_large", "the body is too large"),
    HTTPStatus.REQUEST_URI_TOO_LONG: ("uri_too_long", "the URL is too long"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        "unsupported_media_type",
        "the body must be sent with Content-Type: application/json",
    ),
    HTTPStatus.EXPECTATION_FAILED: ("expectation_failed", "Expect must be 100-continue"),
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        "invalid_request",
        "the request has invalid parameters or fields: see errors",
    ),
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: (
        "headers_too_large",
        "there are too many headers, or one of them is too long",
    ),
    HTTPStatus.INTERNAL_SERVER_ERROR: (
        "internal_error",
        "an internal error occurred: the log has the details",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "database_unavailable",
        "PostgreSQL cannot be reached: retry in a few seconds",
    ),
}


def find_code(status: HTTPStatus) -> str:
    """Return the code of a problem of which only the status is known."""
    return HTTP_PROBLEMS[status][0] if status in HTTP_PROBLEMS else status.name.lower()
