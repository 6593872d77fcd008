"""Page cursors: opaque to the outside, so that what is in them can change."""

import base64
import binascii
import re

from receiver.errors import InvalidCursor

CURSOR = re.compile(rb"o([0-9]{1,18})")


def write_cursor(order_id: int) -> str:
    """The cursor of the page that comes after an order."""
    return base64.urlsafe_b64encode(f"o{order_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> int:
    """The id in a cursor of ours.

    Raises: InvalidCursor.
    """
    try:
        told = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (ValueError, binascii.Error):
        told = b""
    match = CURSOR.fullmatch(told)
    if match is None:
        raise InvalidCursor("cursor is not one that this service handed out")
    return int(match[1])
