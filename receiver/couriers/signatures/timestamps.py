"""The timestamps that couriers sign."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

UNIX_SECONDS = re.compile(r"[0-9]{10}", re.ASCII)
UNIX_MILLISECONDS = re.compile(r"[0-9]{13}", re.ASCII)
HTTP_DATE = re.compile(
    r"[A-Za-z]{3}, [0-9]{1,2} [A-Za-z]{3} [0-9]{4} [0-9:]{8} (?:GMT|[+-][0-9]{4})", re.ASCII
)
RFC_3339 = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9:.]{8,18}(?:[Zz]|[+-][0-9]{2}:[0-9]{2})")


def parse_timestamp(text: str) -> datetime | None:
    """Return the time of a timestamp: Unix seconds or milliseconds, RFC 3339, or an HTTP date.

    None for any other text.
    """
    if UNIX_SECONDS.fullmatch(text):
        return datetime.fromtimestamp(int(text), UTC)
    if UNIX_MILLISECONDS.fullmatch(text):
        return datetime.fromtimestamp(int(text) / 1000, UTC)
    try:
        if RFC_3339.fullmatch(text):
            return datetime.fromisoformat(text.upper())
        if HTTP_DATE.fullmatch(text):
            return parsedate_to_datetime(text.replace("-0000", "+0000"))
    except ValueError:
        return None
    return None
