"""Cursors: opaque to the outside, so that what is in them can change.

A cursor is a letter for what it goes through, so that no list takes another's, and numbers.
"""

import base64
import binascii
import re

from receiver.errors import InvalidCursor

CONFLICTS = "k"
ORDERS = "o"
CHANGES = "c"
MESSAGES = "m"

CURSOR = re.compile(rb"([a-z])([0-9]{1,18}(?:,[0-9]{1,18})*)")


def write_cursor(*numbers: int, kind: str = ORDERS) -> str:
    """The cursor of the page that comes after the row with these numbers."""
    told = kind + ",".join(map(str, numbers))
    return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")


def read_cursor(cursor: str, kind: str = ORDERS, name: str = "cursor") -> int:
    """The one number in a cursor of ours. name: of the parameter, for the message.

    Raises: InvalidCursor.
    """
    return read_numbers(cursor, 1, kind, name)[0]


def read_numbers(cursor: str, count: int, kind: str, name: str = "cursor") -> tuple[int, ...]:
    """The numbers in a cursor of ours.

    Raises: InvalidCursor.
    """
    try:
        told = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (ValueError, binascii.Error):
        told = b""
    match = CURSOR.fullmatch(told)
    numbers = tuple(map(int, match[2].split(b","))) if match else ()
    # Written anew, since the decoding passes over characters that belong to no cursor.
    if len(numbers) != count or write_cursor(*numbers, kind=kind) != cursor.rstrip("="):
        raise InvalidCursor(f"{name} is not one that this service handed out here", name)
    return numbers
