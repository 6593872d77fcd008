"""Build the request of a webhook as its courier makes it, and post it."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpcore

from receiver.couriers import DRIVERS
from receiver.couriers.signatures import sign
from receiver.couriers.signatures.scheme import SIGNED
from receiver.errors import Undecodable
from receiver.settings import Account

TIMEOUT_SECONDS = 15.0
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


@dataclass(frozen=True)
class WebhookResponse:
    """A response and its text; status None: there was no response, and text says why."""

    status: int | None
    milliseconds: int
    text: str


def build_request(account: Account, topic: str, base_url: str, body: bytes) -> WebhookRequest:
    """Build the request, authenticated as the courier does it."""
    secret = account.secrets[0]
    url = f"{base_url}/webhooks/{account.slug}/{topic}"
    headers = {"Content-Type": "application/json", "User-Agent": "ordertrail send"}
    if account.signature.in_url:
        return WebhookRequest(f"{url}/{secret}", f"{url}/<token>", headers, headers, body)
    added = sign(account.signature, secret, body, datetime.now(UTC))
    shown = added if account.signature.trust == SIGNED else dict.fromkeys(added, "<token>")
    return WebhookRequest(url, url, {**headers, **added}, {**headers, **shown}, body)


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
            "POST",
            request.url,
            headers=[(name, value.encode("latin-1")) for name, value in request.headers.items()],
            content=request.body,
            extensions={"timeout": timeout},
        )
        status, text = response.status, response.content[:SHOWN_BYTES].decode(errors="replace")
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        status, text = None, f"{type(error).__name__}: {error}".rstrip(": ")
    return WebhookResponse(status, round((time.monotonic() - started) * 1000), text.strip())


def find_subject(account: Account, topic: str, body: bytes) -> str | None:
    """Return the id of the first order or tour in a body; None where the driver cannot read it."""
    try:
        parsed = json.loads(body)
        declared = DRIVERS[account.driver].topics[topic]
        kinds = {"array": (list,), "any": (dict, list)}.get(declared.body, (dict,))
        if not isinstance(parsed, kinds):
            return None
        context = account.message_context(datetime.now(UTC), "webhook")
        decoded = declared.decode(parsed, context)
    except (ValueError, Undecodable):
        return None
    orders = [order.courier_order_id for order in decoded.orders]
    return next(iter([*orders, *(tour.tour_id for tour in decoded.tours)]), None)
