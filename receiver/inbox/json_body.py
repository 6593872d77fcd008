"""Parse the JSON object in a stored body."""

import re
from typing import Any

import orjson

from receiver.errors import UnreadableBody

# U+0000 as JSON writes it. An even number of backslashes before it belongs to the text.
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def parse_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in a body, without U+0000, which PostgreSQL can store nowhere.

    Raises: UnreadableBody, which says what is wrong and where.
    """
    if not raw.strip():
        raise UnreadableBody("the body is empty")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableBody(f"the body is not UTF-8: byte {error.start}: {error.reason}") from None
    try:
        body = orjson.loads(raw)
        if rb"\u0000" in raw:
            # Only in what was valid JSON before: cut out of anything else, it may make it valid.
            body = orjson.loads(NUL.sub(rb"\1", raw))
    except orjson.JSONDecodeError as error:
        raise UnreadableBody(f"the body is not JSON: {error}") from None
    if not isinstance(body, dict):
        raise UnreadableBody("the body is JSON, but not an object")
    return body
