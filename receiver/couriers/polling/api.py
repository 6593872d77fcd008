"""What a driver declares so that its courier can be polled."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from receiver.couriers.polling.access import Access, OAuth, credential_headers
from receiver.couriers.polling.pages import Page
from receiver.couriers.polling.requests import OrderNames, Request, requests_by_path
from receiver.couriers.schedule import Schedule
from receiver.couriers.snapshot import Decoded, MessageContext

# 201 is what Tiramizoo's document shows for a list of orders.
SUCCESS_STATUSES = frozenset({200, 201})
UNKNOWN_STATUSES = frozenset({404, 410})


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
            headers = credential_headers(access.auth, access)
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
