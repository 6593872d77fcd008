"""Pages of a courier's list of orders."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from receiver.errors import Undecodable

JSON_SEPARATORS = re.compile(r"[ \t\n\r,:]*")


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a courier's list of orders.

    bodies       each order's own JSON bytes
    next_cursor  what list_request() makes the next page's request of, None on the last one
    pages_left   how many pages follow, None where the courier does not say
    """

    bodies: Sequence[bytes]
    next_cursor: str | None = None
    pages_left: int | None = None


def read_items(raw: bytes, name: str) -> tuple[list[bytes], dict[str, Any]]:
    """Return the items of the list `name` in a page of a courier's list, and the whole page.

    Each item has its bytes unchanged: it is stored as the message that a request for the order
    alone would have given.

    Raises: Undecodable where the page is no JSON object that holds such a list.
    """
    try:
        text = raw.decode("utf-8-sig")
        page = json.loads(text)
    except (ValueError, RecursionError):
        raise Undecodable("a page of the list of orders is not JSON") from None
    if not isinstance(page, dict) or not isinstance(page.get(name), list):
        raise Undecodable(f"a page of the list of orders has no list {name!r}")
    return list(_raw_items(text, name)), page


def _raw_items(text: str, name: str) -> Iterator[bytes]:
    """Yield the items of the list `name` in a JSON object. text is valid JSON."""
    scan = json.JSONDecoder().raw_decode

    def skip_separators(at: int) -> int:
        separators = JSON_SEPARATORS.match(text, at)
        return separators.end() if separators else at

    at, found = skip_separators(text.index("{") + 1), 0
    while text[at] != "}":
        key, at = scan(text, at)
        at = skip_separators(at)
        # Of a duplicate key the last value counts, as for json.loads.
        found = at if key == name else found
        _, at = scan(text, at)
        at = skip_separators(at)
    at = skip_separators(found + 1)
    while text[at] != "]":
        _, end = scan(text, at)
        yield text[at:end].encode()
        at = skip_separators(end)
