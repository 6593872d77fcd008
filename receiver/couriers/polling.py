"""The polling side of a driver's contract: how a courier's API is asked, and how it answers.

Nothing here sends a request: workers/polling/courier_api.py does, for all couriers alike.
"""

import itertools
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import urlencode

from receiver.couriers.parsing import quote_path_segment
from receiver.couriers.schedule import Schedule
from receiver.couriers.snapshot import Decoded, MessageContext
from receiver.errors import Undecodable, UnknownToCourier

JSON_SEPARATORS = re.compile(r"[ \t\n\r,:]*")

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
PLACEHOLDERS = {"id", "reference", "tracking_number", "postcode"}
# An order with more parcels is asked about by the first of them only.
MOST_NUMBERS = 5

# 201 is what Tiramizoo's document shows for a list of orders.
SUCCESS_STATUSES = frozenset({200, 201})
UNKNOWN_STATUSES = frozenset({404, 410})

# How the credentials are sent to the server that gives out tokens, and how the body is encoded.
CLIENT_AUTHS = ("basic", "body")
OAUTH_ENCODINGS = ("form", "json")


@dataclass(frozen=True, slots=True)
class OAuth:
    """How a courier gives out the access tokens that its API wants (RFC 6749, section 4.4).

    The client's id is the account's API_USER, its secret API_TOKEN. The access token is sent as
    `Authorization: Bearer`, kept in memory only, and renewed shortly before it expires. A login
    that is not OAuth works the same way: grant="", encoding="json" and the names of its fields.

    token_path   where tokens are given out, under the API's address; or
    token_url    the whole address, where that is another host
    scope        the scopes to request, separated by blanks
    client_auth  how the id and the secret are sent: `basic` (a header) or `body`
    grant        the grant_type, `client_credentials` or `password`; empty: none is sent
    extra        further parameters, such as `audience`
    encoding     how the request's body is encoded: `form` or `json`
    credential_names  the names of the id and the secret in the body; by default those of the grant
    token_name   the name of the access token in the answer
    """

    token_path: str | None = None
    token_url: str | None = None
    scope: str = ""
    client_auth: str = "basic"
    grant: str = "client_credentials"
    extra: Mapping[str, str] = field(default_factory=dict, repr=False)
    encoding: str = "form"
    credential_names: tuple[str, str] | None = None
    token_name: str = "access_token"  # noqa: S105 (a name)


@dataclass(frozen=True, slots=True)
class Access:
    """The address and credentials of an account's API, from configuration only.

    url         has no trailing slash
    order_path  the account's own path of one order under it, as requests_by_path() takes it; None:
                the driver's requests
    headers     the account's own request headers, beside the driver's
    settings    the values of the settings that the driver declares (Driver.settings)
    auth        how the account authenticates: `bearer`, `basic` or `header:<Name>`; None: as its
                driver does
    oauth       how the account gets an access token; None: as its driver does
    """

    url: str
    user: str | None
    token: str = field(repr=False)
    order_path: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    auth: str | None = None
    oauth: OAuth | None = None


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


@dataclass(frozen=True)
class Api:
    """How a courier's API is polled: what to request and how to read the response.

    headers         the request headers that authenticate us
    sign_request    further headers that authenticate one request at a time: a signature over it, or
                    a JWT that the client makes
    order_requests  the requests that show one order, each by another name: they are sent in this
                    order until the courier knows the order. A name that no request can be made of
                    is left out. path_requests() makes this for a courier that shows an order at
                    one path
    decode          decodes the response; one that holds no order, such as an empty list, means that
                    the courier does not know the order
    schedule        when to poll
    per_second      requests per second that the courier accepts from one account
    answer_body     what the body of a response about one order is: an `object`, an `array` or `any`
                    (one of both) of JSON
    success_statuses   the status codes of a response that holds an order or a list
    unknown_statuses   those by which the courier says that it does not know the order
    url             the production base URL; None where each shop has its own
    needs_user      whether the courier wants a user name beside the token
    needs_settings  the settings of the driver without which an account is not polled
    oauth           where the account's credentials are exchanged for an access token: `headers`
                    then has none
    names_orders_by_reference  whether an order can be shown by the shop's own number
    list_request    the request for a page of the orders created since a time. cursor: None for the
                    first page, then the next_cursor of the page before
    listed_name     matches a name, in any capitals, that no request shows an order by, but by which
                    the list has it
    read_list_page     reads such a page, given the cursor that it was requested by. Raises
                       Undecodable where the response is no such page
    read_retry_after   the seconds to wait that the text of a 429 response names, None where none
    """

    order_requests: Callable[[Access, OrderNames], Iterable[Request]]
    decode: Callable[[Any, MessageContext], Decoded]
    schedule: Schedule
    per_second: float
    headers: Callable[[Access], Mapping[str, str]] = lambda _access: {}
    sign_request: Callable[[Access, Request, datetime], Mapping[str, str]] | None = None
    answer_body: Literal["object", "array", "any"] = "object"
    success_statuses: frozenset[int] = SUCCESS_STATUSES
    unknown_statuses: frozenset[int] = UNKNOWN_STATUSES
    url: str | None = None
    needs_user: bool = False
    needs_settings: tuple[str, ...] = ()
    oauth: OAuth | None = None
    names_orders_by_reference: bool = False
    list_request: Callable[[Access, datetime, str | None], Request] | None = None
    listed_name: str | None = None
    read_list_page: Callable[[bytes, str | None], Page] | None = None
    read_retry_after: Callable[[str], float | None] | None = None

    def list_order_requests(self, access: Access, names: OrderNames) -> Iterable[Request]:
        """Return the requests for one order: by the account's own path where it has one."""
        if access.order_path is not None:
            return requests_by_path(access, access.order_path, names)
        return self.order_requests(access, names)

    def find_oauth(self, access: Access) -> OAuth | None:
        """Return how an account gets an access token, None where it needs none."""
        if access.oauth is not None or access.auth is not None:
            return access.oauth
        return self.oauth

    def needs_user_of(self, access: Access) -> bool:
        """Return whether an account cannot be polled without a user name."""
        if access.auth is not None:
            return access.auth == "basic"
        return self.needs_user or self.find_oauth(access) is not None

    def account_headers(self, access: Access) -> dict[str, str]:
        """Return the headers of an account's requests, but for an access token.

        The account's own headers win over the driver's, whatever their capitals.
        """
        if access.auth is not None:
            headers = _credentials(access.auth, access)
        else:
            headers = {} if access.oauth is not None else dict(self.headers(access))
        own = {name.lower() for name in access.headers}
        kept = {name: value for name, value in headers.items() if name.lower() not in own}
        return {**kept, **access.headers}

    def request_headers(self, access: Access, request: Request, now: datetime) -> dict[str, str]:
        """Return the headers of one request, but for those that each of the account's has."""
        is_replaced = access.auth is not None or access.oauth is not None
        if self.sign_request is None or is_replaced:
            return dict(request.headers)
        return {**request.headers, **self.sign_request(access, request, now)}


def _credentials(auth: str, access: Access) -> dict[str, str]:
    if auth == "bearer":
        return {"Authorization": f"Bearer {access.token}"}
    if auth == "basic":
        return {"Authorization": basic_credentials(access.user or "", access.token)}
    return {auth.removeprefix("header:"): access.token}


def basic_credentials(user: str, password: str) -> str:
    """Return the value of an Authorization header (RFC 7617)."""
    return f"Basic {b64encode(f'{user}:{password}'.encode()).decode()}"


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
