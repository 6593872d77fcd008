"""The parts of the description that several operations share: parameters, headers and errors."""

from http import HTTPStatus
from typing import Any

from receiver.web.http_problems import HTTP_PROBLEMS

# The objects that every example is about.
ACCOUNT = "tiramizoo"
ORDER_ID = "2a9eeeb3-16ba-4184-b894-c9734f613e93"
TOUR_ID = "EDFIL1-1"
MESSAGE_ID = "184467"
ALERT_ID = "1"

REQUEST_ID = "0b1c4f0e9a2d47c3a1f2"

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
    "alert_id": _parameter("Id of an open alert.", ALERT_ID, NUMBER),
    "conflict_id": _parameter("Id of the conflict.", "29807b91bde4", ID),
    "tour_id": _parameter("The courier's id of the tour. Percent-encode all of it.", TOUR_ID, ID),
}

# What a route needs: one of the two, or the first.
SECURITY: list[dict[str, list[str]]] = [{"api_token": []}, {"read_token": []}]
SECURITY_SCHEMES: dict[str, dict[str, Any]] = {
    "api_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of the service's API tokens (`API_TOKENS`): for everything.",
    },
    "read_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of the service's read tokens (`READ_TOKENS`): for every `GET` but a"
        " message with its body and the audit log, and for `POST /v1/orders/lookup`.",
    },
}

# Of an order that can be deleted: a sample.
SAMPLE_ID = {
    "in": "path",
    "name": "order_id",
    "required": True,
    **PATH_PARAMETERS["order_id"],
    "example": "ORDERTRAIL-SAMPLE-T",
}
IF_NONE_MATCH = {
    "in": "header",
    "name": "If-None-Match",
    **_parameter(
        "An earlier `ETag`: 304 if the order is unchanged.",
        # The page sends it as it stands: it must be the ETag of no order.
        '"0-0-000000000000"',
        {"type": "string"},
    ),
}

DOWNLOADED_CSV = (
    "account,courier_order_id,reference,status,status_group,status_at,reason,needs_attention,"
    "created_at,updated_at,eta_from,eta_to,tracking_numbers,tracking_url\r\n"
    f"{ACCOUNT},{ORDER_ID},41,picked_up,in_transit,2026-04-16T08:30:00Z,,false,"
    "2026-04-16T07:00:01Z,2026-04-16T08:30:02Z,,,18A24901BE5D49C3,\r\n"
)
DOWNLOADED_NDJSON = (
    f'{{"account":"{ACCOUNT}","courier_order_id":"{ORDER_ID}","reference":"41",'
    '"status":"picked_up","status_group":"in_transit","status_at":"2026-04-16T08:30:00Z",'
    '"reason":null,"needs_attention":false,"created_at":"2026-04-16T07:00:01Z",'
    '"updated_at":"2026-04-16T08:30:02Z","eta_from":null,"eta_to":null,'
    '"tracking_numbers":["18A24901BE5D49C3"],"tracking_url":null}\n'
)


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
    "Location": _header(
        "The path of the order.", f"/v1/orders/{ACCOUNT}/{ORDER_ID}", type="string"
    ),
    "Retry-After": _header("Retry after this many seconds.", 5, type="integer", minimum=1),
    "WWW-Authenticate": _header("How to authenticate.", 'Bearer realm="ordertrail"', type="string"),
    "Cache-Control": _header("Whether the response may be cached.", "no-cache", type="string"),
}


def describe_problem(
    status: int, code: str, description: str, detail: str, errors: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Describe an error answer. code, detail, errors: of its example."""
    title = HTTPStatus(status).phrase
    problem = {
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": REQUEST_ID,
    }
    example = problem | ({"errors": errors} if errors else {})
    headers = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
    return {
        "description": description,
        "headers": {headers[status]: headers[status]} if status in headers else {},
        "content": {"application/problem+json": {"schema": "Problem", "example": example}},
    }


# Of lists that have an account as a filter.
UNKNOWN_ACCOUNT = "The account does not exist."
UNKNOWN_ACCOUNT_EXAMPLE = "account 'nobody' is not configured: GET /v1/couriers lists the accounts"

SEE_ERRORS = HTTP_PROBLEMS[HTTPStatus.UNPROCESSABLE_ENTITY][1]
PROBLEMS: dict[str, dict[str, Any]] = {
    "Unauthorized": describe_problem(
        401,
        "missing_token",
        "The request has no valid token.",
        "the request has no valid token: send Authorization: Bearer <token>",
    ),
    "ReadOnlyToken": describe_problem(
        403,
        "read_only_token",
        "The token is a read token, which may not do this.",
        "a read token may not do this: it needs one of API_TOKENS",
    ),
    "TooManyAttempts": describe_problem(
        429,
        "too_many_attempts",
        "Too many wrong tokens came from this address. A token that it used before still works.",
        "too many wrong tokens came from this address: wait",
    ),
    "OrderNotFound": describe_problem(
        404,
        "order_not_found",
        "The account has no such order.",
        f"account {ACCOUNT!r} has no order {ORDER_ID!r}",
    ),
    "TourNotFound": describe_problem(
        404,
        "tour_not_found",
        "The account has no such tour.",
        f"account {ACCOUNT!r} has no tour {TOUR_ID!r}",
    ),
    "MessageNotFound": describe_problem(
        404, "message_not_found", "There is no such message.", f"there is no message {MESSAGE_ID}"
    ),
    "AlertNotFound": describe_problem(
        404, "alert_not_found", "No alert of this id is open.", f"no alert {ALERT_ID} is open"
    ),
    "AccountNotFound": describe_problem(
        404,
        "account_not_found",
        "The account does not exist or is off.",
        "account 'nobody' is not configured: GET /v1/couriers lists the accounts",
    ),
    "Ambiguous": describe_problem(
        409,
        "ambiguous_order",
        "Several orders have this identifier: use the courier's own id.",
        "several orders of account 'tiramizoo' have the identifier 'ZVW8GV': use the"
        " courier_order_id of one",
    ),
    "UriTooLong": describe_problem(
        414, "uri_too_long", "The URL exceeds 8,190 bytes.", "the URL is too long"
    ),
    "BadParameters": describe_problem(
        422,
        "invalid_request",
        "Parameters are unknown, repeated, or have values that are not valid: see `errors`.",
        SEE_ERRORS,
        {"query": {"colour": ["Unknown field."]}},
    ),
    "BadBody": describe_problem(
        400,
        "malformed_request",
        "The body is not JSON in UTF-8.",
        "the body is not JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    "TooLarge": describe_problem(
        413,
        "body_too_large",
        "The body is larger than 256 KiB.",
        "the body is larger than 262144 bytes",
    ),
    "WrongMediaType": describe_problem(
        415,
        "unsupported_media_type",
        "The request has no `Content-Type: application/json`.",
        "the body must be sent with Content-Type: application/json",
    ),
    "BadFields": describe_problem(
        422,
        "invalid_request",
        "Fields are missing, unknown, repeated, or have values that are not valid: see `errors`.",
        SEE_ERRORS,
        {"json": {"_schema": ["Invalid input type."]}},
    ),
    "Unavailable": describe_problem(
        503,
        "database_unavailable",
        "The database cannot be reached, or the service is overloaded. Nothing was changed.",
        "PostgreSQL cannot be reached: retry in a few seconds",
    ),
}
