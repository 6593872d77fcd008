"""The polling side of a driver's contract: how a courier's API is asked, and how it answers.

Nothing here sends a request: workers/polling/courier_api.py does, for all couriers alike.
"""

from receiver.couriers.polling.access import (
    CLIENT_AUTHS,
    OAUTH_ENCODINGS,
    Access,
    OAuth,
    basic_credentials,
)
from receiver.couriers.polling.api import Api
from receiver.couriers.polling.pages import Page, read_items
from receiver.couriers.polling.requests import (
    OrderNames,
    Request,
    find_placeholders,
    form_request,
    json_request,
    path_requests,
    requests_by_name,
    requests_by_path,
)

__all__ = [
    "CLIENT_AUTHS",
    "OAUTH_ENCODINGS",
    "Access",
    "Api",
    "OAuth",
    "OrderNames",
    "Page",
    "Request",
    "basic_credentials",
    "find_placeholders",
    "form_request",
    "json_request",
    "path_requests",
    "read_items",
    "requests_by_name",
    "requests_by_path",
]
