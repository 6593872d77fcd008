"""What many operations of the API share, as OpenAPI has it: parameters, answers, headers, links.

Tables only; description.py puts them where they belong.
"""

from typing import Any

Told = dict[str, Any]

# The order that every example is about.
ACCOUNT = "tiramizoo"
ORDER_ID = "2a9eeeb3-16ba-4184-b894-c9734f613e93"
TOUR_ID = "EDFIL1-1"
MESSAGE_ID = "184467"
CONFLICT_ID = "29807b91bde4"

PARAMETERS: dict[str, Told] = {
    "account": {
        "description": "The account's slug, as `GET /v1/couriers` lists it.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "example": ACCOUNT,
    },
    "order_id": {
        "description": (
            "The courier's own id of the order, or any further identifier that the courier gave it."
            " Percent-encode it, slashes too: `a/b` is `a%2Fb`."
        ),
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "example": ORDER_ID,
    },
    "message_id": {
        "description": "The message's `id`: a whole number above 0, as text.",
        "schema": {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"},
        "example": MESSAGE_ID,
    },
    "conflict_id": {
        "description": "The conflict's `id`, which stays the same for its order.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "example": CONFLICT_ID,
    },
    "tour_id": {
        "description": "The courier's id of the tour. Percent-encode it, slashes too.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
        "example": TOUR_ID,
    },
}

IF_NONE_MATCH: Told = {
    "in": "header",
    "name": "If-None-Match",
    "required": False,
    "description": "The `ETag` that you have; 304 while the order is still at that version.",
    "schema": {"type": "string"},
    "example": '"3"',
}

HEADERS: dict[str, Told] = {
    "ETag": {
        "description": "The order's `version` in quotes, strong: send it back as `If-None-Match`."
        " Asked for by another name than `courier_order_id`, it also tells whose version it is.",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+(-[0-9]+)?"$'},
        "example": '"3"',
    },
    "Retry-After": {
        "description": "After how many seconds the same request is worth another try.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
        "example": 5,
    },
    "WWW-Authenticate": {
        "description": "How to prove who asks.",
        "required": True,
        "schema": {"type": "string"},
        "example": 'Bearer realm="ordertrail"',
    },
    "Cache-Control": {
        "description": "What a cache may do with the answer.",
        "required": True,
        "schema": {"type": "string"},
        "example": "no-cache",
    },
}


def problem(
    status: int, title: str, description: str, detail: str, errors: Told | None = None
) -> Told:
    """An answer that tells of a problem."""
    shown = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return {
        "description": description,
        "content": {
            "application/problem+json": {
                "schema": {"$ref": "#/components/schemas/Problem"},
                "example": shown | ({"errors": errors} if errors else {}),
            }
        },
    }


FIELDS = "the request holds fields that cannot be used: see errors"

PROBLEMS: dict[str, Told] = {
    "Unreadable": problem(
        400,
        "Bad Request",
        "The body is no JSON, not in UTF-8, or holds a number that nobody can mean.",
        "the body is not JSON: Expecting value: line 1 column 1 (char 0)",
    ),
    "Unauthorized": problem(
        401,
        "Unauthorized",
        "No valid token came along.",
        "a valid bearer token is needed: Authorization: Bearer <token>",
    )
    | {"headers": {"WWW-Authenticate": {"$ref": "#/components/headers/WWW-Authenticate"}}},
    "TooLarge": problem(
        413,
        "Request Entity Too Large",
        "The body is larger than 256 KiB.",
        "The data value transmitted exceeds the capacity limit.",
    ),
    "TooLong": problem(
        414,
        "Request-URI Too Long",
        "The address is longer than 8,190 bytes.",
        "the address is too long",
    ),
    "NotSaidToBeJson": problem(
        415,
        "Unsupported Media Type",
        "The body is not said to be JSON.",
        "say what the body is: Content-Type: application/json",
    ),
    "BadParameters": problem(
        422,
        "Unprocessable Entity",
        "Parameters that are unknown, given twice, or hold what they cannot: see `errors`.",
        FIELDS,
        {"query": {"limit": ["Must be greater than or equal to 1 and less than or equal to 200."]}},
    ),
    "BadFields": problem(
        422,
        "Unprocessable Entity",
        "Fields that are missing, unknown, given twice, or hold what they cannot: see `errors`.",
        FIELDS,
        {"json": {"account": ["Missing data for required field."]}},
    ),
    "Unavailable": problem(
        503,
        "Service Unavailable",
        "PostgreSQL cannot be reached, or there is no room for more just now; nothing was done.",
        "the database cannot be reached just now",
    )
    | {"headers": {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}},
}

# What the answers of one status say, where an operation tells it in its own words.
TITLES = {
    404: ("Not Found", "no order of account 'tiramizoo' answers to 'ZVW8GV'"),
    409: ("Conflict", "2 orders of account 'tiramizoo' carry the identifier 'ZVW8GV'"),
    503: ("Service Unavailable", "too many readers wait for changes"),
}

# The server in front of the application answers by itself, before any token is looked at.
# Of schemas: what marshmallow's fields cannot say.
MORE: dict[str, Told] = {
    "Lookup": {"oneOf": [{"required": ["references"]}, {"required": ["orders"]}]},
}

SEVERAL = "Several orders carry this identifier: use the courier's own id"

BODY = "$response.body#"
THIS_ORDER = {"account": f"{BODY}/account", "order_id": f"{BODY}/courier_order_id"}
FIRST_ORDER = {
    "account": f"{BODY}/orders/0/account",
    "order_id": f"{BODY}/orders/0/courier_order_id",
}
FIRST_CHANGE = {
    "account": f"{BODY}/changes/0/account",
    "order_id": f"{BODY}/changes/0/courier_order_id",
}
FIRST_CONFLICT = {
    "account": f"{BODY}/conflicts/0/account",
    "order_id": f"{BODY}/conflicts/0/courier_order_id",
}
SAME_PATH = {"account": "$request.path.account", "order_id": "$request.path.order_id"}
FIRST_MESSAGE = {"message_id": f"{BODY}/messages/0/id"}
THIS_MESSAGE = {"message_id": "$request.path.message_id"}


def link(operation: str, parameters: Told, description: str) -> Told:
    return {"operationId": operation, "parameters": parameters, "description": description}


def _of_order(names: Told) -> dict[str, Told]:
    return {
        "Order": link("get_order", names, "The order itself."),
        "Timeline": link("list_events", names, "Its timeline."),
        "Explanation": link("explain_order", names, "Why it stands where it stands."),
        "Refresh": link("refresh_order", names, "Ask its courier now."),
    }


# What to ask next, by operation and status: with what the answer holds.
LINKS: dict[tuple[str, str], dict[str, Told]] = {
    ("register_order", "201"): _of_order(THIS_ORDER),
    ("register_order", "200"): _of_order(THIS_ORDER),
    ("get_order", "200"): _of_order(THIS_ORDER)
    | {
        "SameReference": link(
            "list_orders", {"reference": f"{BODY}/reference"}, "All orders of its reference."
        ),
        "Erase": link("erase_personal_data", THIS_ORDER, "Erase what it tells of people."),
    },
    ("list_orders", "200"): {
        "NextPage": link(
            "list_orders", {"cursor": f"{BODY}/next_cursor"}, "The next page, unless it is null."
        )
    }
    | _of_order(FIRST_ORDER),
    ("explain_order", "200"): {
        "CloseConflict": link(
            "close_conflict",
            SAME_PATH | {"conflict_id": f"{BODY}/conflicts/0/id"},
            "Say that a person dealt with its first conflict.",
        ),
        "Message": link(
            "get_message", {"message_id": f"{BODY}/messages/0/id"}, "The first message about it."
        ),
    },
    ("list_events", "200"): {
        "Message": link(
            "get_message",
            {"message_id": f"{BODY}/events/0/source/message_id"},
            "The message that told its first event.",
        )
    },
    ("list_messages", "200"): {
        "NextPage": link(
            "list_messages", {"cursor": f"{BODY}/next_cursor"}, "The next page, unless it is null."
        ),
        "Message": link("get_message", FIRST_MESSAGE, "The newest message with its body."),
        "Retry": link("retry_message", FIRST_MESSAGE, "Send it back to the workers."),
    },
    ("get_message", "200"): {
        "Retry": link("retry_message", THIS_MESSAGE, "Send it back to the workers."),
        "Discard": link("discard_message", THIS_MESSAGE, "Say that it needs nothing more."),
    },
    ("discard_message", "200"): {
        "Retry": link("retry_message", THIS_MESSAGE, "Take the word back."),
    },
    ("list_conflicts", "200"): {
        "NextPage": link(
            "list_conflicts", {"cursor": f"{BODY}/next_cursor"}, "The next page, unless it is null."
        ),
        "Close": link(
            "close_conflict",
            FIRST_CONFLICT | {"conflict_id": f"{BODY}/conflicts/0/id"},
            "Say that a person dealt with the first of them.",
        ),
    }
    | _of_order(FIRST_CONFLICT),
    ("follow_changes", "200"): {
        "Next": link(
            "follow_changes", {"after": f"{BODY}/next_cursor"}, "What changes after this page."
        )
    }
    | _of_order(FIRST_CHANGE),
}

# Which of the parameters and fields that may be left out an example shows.
SHOWN: dict[str, tuple[str, ...]] = {
    "list_orders": ("account", "needs_attention", "limit"),
    "list_messages": ("outcome", "limit"),
    "list_conflicts": ("account", "limit"),
    "follow_changes": ("limit", "wait"),
    "register_order": ("reference", "metadata"),
    "look_up": ("references",),
    "retry_messages": ("account",),
    "close_conflict": ("note",),
    "discard_message": ("note",),
}

TAGS: list[Told] = [
    {"name": name, "description": description}
    for name, description in (
        ("orders", "Register an order, read where it stands, find and list orders."),
        ("changes", "What changed, for those who follow along instead of asking again."),
        ("attention", "Why an order stands where it stands, and facts that contradict."),
        ("messages", "The inbox: what couriers told, word for word, and another try at it."),
        ("tours", "Tour plans as last heard."),
        ("couriers", "How each account fares, and asking its courier."),
        ("alerts", "What a person should know of now."),
        ("statuses", "The vocabulary."),
    )
]
