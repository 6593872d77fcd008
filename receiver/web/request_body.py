"""Read a request's body within limits of size and time.

Nothing that a sender says about its body is trusted: neither its length nor that it will end.
"""

import gevent
from flask import Request
from gunicorn.http.errors import ParseException
from werkzeug.wsgi import get_input_stream

from receiver.errors import BodyCutOff, BodyTooLarge

# A sender delivers its few kilobytes at once; a slower one only occupies a connection.
BODY_SECONDS = 10.0

# So much of a body past the limit is read and dropped before 413 is answered: a sender whose
# connection is closed while it still writes sees a broken connection instead of the answer.
DISCARD_BYTES = 16 * 1024 * 1024
CHUNK_BYTES = 65_536


def read_body(request: Request, limit: int) -> bytes:
    """Return the raw body, whatever Content-Length promises.

    Raises: BodyTooLarge past the limit; BodyCutOff where the body ends early, is not a valid
        transfer, or takes longer than BODY_SECONDS.
    """
    stream, promised = get_input_stream(request.environ), request.content_length
    chunks: list[bytes] = []
    size, is_cut_off = 0, False
    try:
        with gevent.Timeout(BODY_SECONDS, TimeoutError):
            while size <= limit + DISCARD_BYTES and (chunk := stream.read(CHUNK_BYTES)):
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                if size == promised:
                    break
    except (OSError, ParseException):
        # A timeout is an OSError; gunicorn reports an invalid transfer by its own class.
        is_cut_off = True
    if size > limit:
        raise BodyTooLarge(f"the body is larger than {limit} bytes")
    if is_cut_off:
        raise BodyCutOff("the body is incomplete, or took too long to arrive")
    if promised is not None and size < promised:
        lengths = f"Content-Length is {promised}, {size} bytes arrived"
        raise BodyCutOff(f"the body is incomplete: {lengths}")
    return b"".join(chunks)
