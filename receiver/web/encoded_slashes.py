"""Keep a slash in an id apart from one that separates the segments of a path.

A WSGI server decodes a path before it is routed, and then `/v1/orders/cottoncast/a%2Fevents` would
be the events of order `a`, and not the order `a/events`.
"""

import re
from typing import Any
from urllib.parse import quote, unquote_to_bytes, urlsplit

# The paths in which ids of couriers stand; nothing changes for webhooks' tokens.
PREFIXES = ("/v1/orders/", "/v1/tours/", "/ops/orders/")
ESCAPE = re.compile(r"%(2[Ff]|25)")


def keep_encoded_slashes(environ: dict[str, Any]) -> None:
    """Leave `%2F` and `%25` in the path of a request, so that decode_slashes() can tell them."""
    raw: str = environ.get("RAW_URI") or ""
    if "%2" not in raw or not environ["PATH_INFO"].startswith(PREFIXES):
        return
    path = raw.partition("?")[0] if raw.startswith("/") else urlsplit(raw).path
    path = path.removeprefix(environ.get("SCRIPT_NAME", ""))
    environ["PATH_INFO"] = unquote_to_bytes(ESCAPE.sub(r"%25\1", path)).decode("latin-1")


def decode_slashes(value: str) -> str:
    """Return a part of such a path as it is meant."""
    return ESCAPE.sub(lambda escape: "%" if escape[1] == "25" else "/", value)


def encode_slashes(value: str) -> str:
    """Encode an id for a path; its slashes, too."""
    return quote(value, safe="")
