"""Requests to a courier's API, and how they are made of what is known of an order."""

import itertools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from receiver.couriers.parsing import quote_path_segment
from receiver.couriers.polling.access import Access
from receiver.errors import UnknownToCourier

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = {"id", "reference", "tracking_number", "postcode"}
# An order with more parcels is asked about by the first of them only.
MOST_NUMBERS = 5


@dataclass(frozen=True, slots=True)
class Request:
    """A request to a courier's API. Its URL is under the API's address.

    headers: those of this request alone, such as its Content-Type.
    """

    url: str
    method: str = "GET"
    body: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class OrderNames:
    """What is known of an order that is polled.

    courier_order_id  the courier's id; before its first news, the name by which the shop
                      registered the order, which may be any of its names
    is_courier_id     which of the two it is
    reference         the shop's own number
    identifiers       the further names that the courier gave the order, by kind
    tracking_numbers  of its parcels
    metadata          what the shop registered with it; `postcode` is the recipient's
    """

    courier_order_id: str
    is_courier_id: bool = False
    reference: str | None = None
    identifiers: Mapping[str, str] = field(default_factory=dict)
    tracking_numbers: Sequence[str] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def requests_by_name(access: Access, path: str, *names: str | None) -> Iterator[Request]:
    """Yield a GET request for each name, at a path with `{id}` in the name's place.

    A name that is missing, or that can be no segment of a path, is left out.
    """
    for name in names:
        try:
            segment = quote_path_segment(name or "")
        except UnknownToCourier:
            continue
        yield Request(access.url + path.replace("{id}", segment))


def requests_by_path(access: Access, path: str, names: OrderNames) -> Iterator[Request]:
    """Yield GET requests for an order at a path with placeholders for what is known of it.

    path: has `{id}`, `{reference}`, `{tracking_number}` (a request for each of the first
        MOST_NUMBERS parcels) or `{postcode}` (of the order's metadata). Before its first news, the
        name by which the shop registered the order stands for any of the first three.

    Nothing is yielded where the order lacks one of them.
    """
    registered = None if names.is_courier_id else names.courier_order_id
    numbers = names.tracking_numbers[:MOST_NUMBERS]
    known: dict[str, Sequence[str | None]] = {
        "id": [names.courier_order_id],
        "reference": [names.reference or registered],
        "tracking_number": numbers or [registered],
        "postcode": [names.metadata.get("postcode")],
    }
    wanted = sorted(find_placeholders(path))
    for values in itertools.product(*(known[name] for name in wanted)):
        filled = path
        try:
            for name, value in zip(wanted, values, strict=True):
                filled = filled.replace(f"{{{name}}}", quote_path_segment(value or ""))
        except UnknownToCourier:
            continue
        yield Request(access.url + filled)


def find_placeholders(path: str) -> set[str]:
    """Return the names in braces in a path. Raises: ValueError for one that is none of ours."""
    found = set(PLACEHOLDER.findall(path))
    if unknown := sorted(found - PLACEHOLDERS):
        raise ValueError(f"unknown placeholder {{{unknown[0]}}}")
    return found


def path_requests(path: str) -> Callable[[Access, OrderNames], Iterator[Request]]:
    """Return the order_requests of a courier that shows an order at one path."""
    find_placeholders(path)

    def order_requests(access: Access, names: OrderNames) -> Iterator[Request]:
        return requests_by_path(access, path, names)

    return order_requests


def json_request(url: str, content: Any) -> Request:
    """Return a POST request with a JSON body, such as a query in GraphQL."""
    body = json.dumps(content, separators=(",", ":")).encode()
    return Request(url, "POST", body, {"Content-Type": "application/json"})


def form_request(url: str, fields: Mapping[str, str]) -> Request:
    """Return a POST request with the fields of a form."""
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    return Request(url, "POST", urlencode(fields).encode(), form)
