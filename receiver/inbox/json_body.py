"""A request's body: read within bounds, and read as JSON.

Nothing that a sender says of its body is trusted: not its length, not that it will come to an end.
"""

import re
from typing import IO, Any

import orjson
from gunicorn.http.errors import ParseException

from receiver.errors import BodyCutOff, BodyTooLarge, UnreadableBody

# A courier sends its few kilobytes at once; whoever takes longer holds a connection for nothing.
BODY_SECONDS = 10.0

# How much of a body past the limit is read and thrown away before 413: a sender that is cut off
# while it still writes sees a broken connection and never learns why.
DISCARD_BYTES = 16 * 1024 * 1024
CHUNK = 65_536

# U+0000 as JSON writes it. An even number of backslashes before it belongs to the text.
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def read_body(stream: IO[bytes], limit: int, promised: int | None) -> bytes:
    """The raw body, read up to one byte past the limit whatever Content-Length promised.

    Raises: BodyTooLarge past the limit; BodyCutOff where it ends early, is no valid transfer, or
        the caller's patience (a TimeoutError) ends before it.
    """
    chunks: list[bytes] = []
    size = 0
    failure: Exception | None = None
    try:
        while size <= limit + DISCARD_BYTES:
            chunk = stream.read(min(CHUNK, limit + 1 - size) if size <= limit else CHUNK)
            if not chunk:
                break
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
    except (OSError, ParseException) as wrong:
        # A timeout is an OSError, a transfer that is no valid one gunicorn's own.
        failure = wrong
    if size > limit:
        raise BodyTooLarge(f"the body is larger than {limit} bytes")
    if failure is not None:
        raise BodyCutOff("the body broke off, or took too long")
    if promised is not None and size < promised:
        raise BodyCutOff(f"Content-Length promised {promised} bytes, {size} came")
    return b"".join(chunks)


def parse(raw: bytes) -> dict[str, Any]:
    """The JSON object in a body, without U+0000, which PostgreSQL keeps in neither text nor jsonb.

    Raises: UnreadableBody, which says what stands in the way and where.
    """
    if not raw.strip():
        raise UnreadableBody("the body is empty")
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError as wrong:
        raise UnreadableBody(f"the body is not UTF-8: byte {wrong.start}: {wrong.reason}") from None
    try:
        body = orjson.loads(raw)
        if rb"\u0000" in raw:
            # Only of what is JSON as it came: cut out of anything else, it may leave another one.
            body = orjson.loads(NUL.sub(rb"\1", raw))
    except orjson.JSONDecodeError as wrong:
        raise UnreadableBody(f"the body is not JSON: {wrong}") from None
    if not isinstance(body, dict):
        raise UnreadableBody("the body is JSON, but not an object")
    return body
