"""The parts of the description that several operations share: parameters, headers and errors."""

from http import HTTPStatus
from typing import Any

# The objects that every example is about.
ACCOUNT = "tiramizoo"
ORDER_ID = "2a9eeeb3-16ba-4184-b894-c9734f613e93"
TOUR_ID = "EDFIL1-1"
MESSAGE_ID = "184467"

ID = {"type": "string", "minLength": 1, "maxLength": 255}
NUMBER = {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}


def _parameter(description: str, example: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "schema": schema, "example": example}


PATH_PARAMETERS = {
    "account": _parameter("Slug of the account, as in `GET /v1/couriers`.", ACCOUNT, ID),
    "order_id": _parameter(
        "The courier's own id of the order, or any further identifier that the courier gave it."
        " Percent-encode it, slashes included: `a/b` is `a%2Fb`.",
        ORDER_ID,
        ID,
    ),
    "message_id": _parameter("Id of the message: a whole number above 0.", MESSAGE_ID, NUMBER),
    "alert_id": _parameter("Id of an open alert.", "1", NUMBER),
    "conflict_id": _parameter("Id of the conflict.", "29807b91bde4", ID),
    "tour_id": _parameter("The courier's id of the tour. Percent-encode all of it.", TOUR_ID, ID),
}

IF_NONE_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    **_parameter(
        "An earlier `ETag`: 304 if the order is unchanged.",
        '"3-8-4959e383a449"',
        {"type": "string"},
    ),
}


def _header(description: str, example: Any, **schema: Any) -> dict[str, Any]:
    return {"description": description, "required": True, "schema": schema, "example": example}


HEADERS: dict[str, dict[str, Any]] = {
    "ETag": _header(
        "Stands for everything that the order's representation shows; send it back as"
        " `If-None-Match`. Treat it as opaque text.",
        '"3-8-4959e383a449"',
        type="string",
        pattern='^"[0-9a-f-]+"$',
    ),
    "Retry-After": _header("Retry after this many seconds.", 5, type="integer", minimum=1),
    "WWW-Authenticate": _header("How to authenticate.", 'Bearer realm="ordertrail"', type="string"),
    "Cache-Control": _header("Whether the response may be cached.", "no-cache", type="string"),
}


def describe_problem(
    status: int, description: str, detail: str, errors: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Describe an error answer. detail, errors: of its example."""
    title = HTTPStatus(status).phrase
    problem = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    example = problem | ({"errors": errors} if errors else {})
    headers = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
    return {
        "description": description,
        "headers": {headers[status]: headers[status]} if status in headers else {},
        "content": {"application/problem+json": {"schema": "Problem", "example": example}},
    }


SEE_ERRORS = "the request has invalid parameters or fields: see errors"
PROBLEMS: dict[str, dict[str, Any]] = {
    "Unauthorized": describe_problem(
        401,
        "The request has no valid token.",
        "the request has no valid token: send Authorization: Bearer <token>",
    ),
    "TooManyAttempts": describe_problem(
        429,
        "Too many wrong tokens came from this address. A token that it used before still works.",
        "too many wrong tokens came from this address: wait",
    ),
    "NotFound": describe_problem(
        404,
        "The account, order, message, conflict or tour does not exist.",
        "account 'tiramizoo' has no order 'ZVW8GV'",
    ),
    "Ambiguous": describe_problem(
        409,
        "Several orders have this identifier: use the courier's own id.",
        "several orders of account 'tiramizoo' have the identifier 'ZVW8GV': use the"
        " courier_order_id of one",
    ),
    "UriTooLong": describe_problem(414, "The URL exceeds 8,190 bytes.", "the URL is too long"),
    "BadParameters": describe_problem(
        422,
        "Parameters are unknown, repeated, or have values that are not valid: see `errors`.",
        SEE_ERRORS,
        {"query": {"limit": ["Must be greater than or equal to 1 and less than or equal to 200."]}},
    ),
    "BadBody": describe_problem(
        400,
        "The body is not JSON in UTF-8.",
        "the body is not JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    "TooLarge": describe_problem(
        413, "The body is larger than 256 KiB.", "the body is larger than 262144 bytes"
    ),
    "WrongMediaType": describe_problem(
        415,
        "The request has no `Content-Type: application/json`.",
        "the body must be sent with Content-Type: application/json",
    ),
    "BadFields": describe_problem(
        422,
        "Fields are missing, unknown, repeated, or have values that are not valid: see `errors`.",
        SEE_ERRORS,
        {"json": {"account": ["Missing data for required field."]}},
    ),
    "Unavailable": describe_problem(
        503,
        "The database cannot be reached, or the service is overloaded. Nothing was changed.",
        "PostgreSQL cannot be reached: retry in a few seconds",
    ),
}
