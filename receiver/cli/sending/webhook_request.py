"""Build the request of a webhook as its courier makes it, and post it."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import httpcore

from receiver.couriers import DRIVERS
from receiver.couriers.signatures import sign
from receiver.couriers.signatures.scheme import SIGNED
from receiver.errors import Undecodable, UnreadableBody
from receiver.inbox.content import parse_content, parse_parameters
from receiver.settings import Account

TIMEOUT_SECONDS = 15.0
FORM_TYPE = "application/x-www-form-urlencoded"
# How much of a response is shown, in bytes.
SHOWN_BYTES = 2_000


@dataclass(frozen=True)
class WebhookRequest:
    """A request; what of it can be shown is without the secret token."""

    url: str
    shown_url: str
    headers: Mapping[str, str]
    shown_headers: Mapping[str, str]
    body: bytes
    method: str = "POST"


@dataclass(frozen=True)
class WebhookResponse:
    """A response and its text; status None: there was no response, and text says why."""

    status: int | None
    milliseconds: int
    text: str

    @property
    def is_success(self) -> bool:
        return self.status is not None and self.status // 100 == 2  # noqa: PLR2004


def build_request(
    account: Account, topic: str, base_url: str, body: bytes, query: str = ""
) -> WebhookRequest:
    """Build the request, authenticated as the courier does it."""
    secret, driver = account.secrets[0], DRIVERS[account.driver]
    declared = driver.topics[topic]
    url, method = f"{base_url}/webhooks/{account.slug}/{topic}", declared.methods[0]
    headers = {"User-Agent": "ordertrail send", **driver.sample_headers}
    if declared.body != "empty":
        is_form = declared.body == "form"
        headers["Content-Type"] = FORM_TYPE if is_form else "application/json"
    query = f"?{query}" if query else ""
    if account.signature.in_url:
        urls = (f"{url}/{secret}{query}", f"{url}/<token>{query}")
        return WebhookRequest(*urls, headers, headers, body, method)
    added = sign(account.signature, secret, body, datetime.now(UTC))
    shown = added if account.signature.trust == SIGNED else dict.fromkeys(added, "<token>")
    url += query
    return WebhookRequest(url, url, {**headers, **added}, {**headers, **shown}, body, method)


def post_repeatedly(request: WebhookRequest, times: int) -> Iterator[WebhookResponse]:
    """Post a request so many times on one connection; stop when there is no response."""
    with httpcore.ConnectionPool(ssl_context=httpcore.default_ssl_context()) as pool:
        for _ in range(times):
            yield (response := _post(pool, request))
            if response.status is None:
                return


def _post(pool: httpcore.ConnectionPool, request: WebhookRequest) -> WebhookResponse:
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_SECONDS)
    started = time.monotonic()
    try:
        response = pool.request(
            request.method,
            request.url,
            headers=[(name, value.encode("latin-1")) for name, value in request.headers.items()],
            content=request.body,
            extensions={"timeout": timeout},
        )
        status, text = response.status, response.content[:SHOWN_BYTES].decode(errors="replace")
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        status, text = None, f"{type(error).__name__}: {error}".rstrip(": ")
    return WebhookResponse(status, round((time.monotonic() - started) * 1000), text.strip())


def find_subject(account: Account, topic: str, body: bytes, query: str) -> str | None:
    """Return the id of the first order or tour in a body; None where the driver cannot read it."""
    driver = DRIVERS[account.driver]
    declared = driver.topics[topic]
    context = replace(
        account.message_context(datetime.now(UTC), "webhook"),
        method=declared.methods[0],
        headers={name.lower(): value for name, value in driver.sample_headers.items()},
        query=parse_parameters(query),
    )
    try:
        decoded = declared.decode(parse_content(body, declared.body), context)
    except (UnreadableBody, Undecodable):
        return None
    orders = [order.courier_order_id for order in decoded.orders]
    return next(iter([*orders, *(tour.tour_id for tour in decoded.tours)]), None)
