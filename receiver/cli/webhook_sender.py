"""A message as its courier would send it: for trying an installation from outside.

Nothing but the account's secret is needed for it: no database, no Redis, no API token.
"""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import httpcore

from receiver.couriers.contract import Driver
from receiver.couriers.parsing import hmac_sha256_hex
from receiver.couriers.snapshot import MessageContext
from receiver.errors import Undecodable
from receiver.settings import Account

# Seconds that an answer may take, and how much of it is shown.
PATIENCE = 15.0
MOST_SHOWN = 2_000

# What an answer that is not 200 means; name: the account's, as in its settings.
ADVICE = {
    401: "the secret is not the one that this account has there: compare COURIER_{name}_SECRETS"
    " on both sides (a proxy may also have changed the body, if the courier signs)",
    404: "no such account there (COURIER_{name}_SECRETS is not set on the server, or --url misses"
    " a part of the path), or the order waits to be registered: the answer says which",
    405: "something in front of Ordertrail, or a redirect, changed the method: --url must be the"
    " final address, with https:// if that is what it is",
    413: "larger than MAX_BODY_BYTES there, or than the limit of the proxy in front",
    429: "the proxy in front limits how often may be sent",
    502: "the proxy in front reaches no web process: is one running?",
    503: "it cannot reach its PostgreSQL: the courier would come again later",
    504: "the proxy in front got no answer in time",
}


@dataclass(frozen=True)
class Outgoing:
    """What is sent: where to, with which headers, and the same address without its token."""

    url: str
    shown_url: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Answered:
    """What came back; status None: nothing did, and text says why."""

    status: int | None
    milliseconds: int
    text: str


def outgoing(
    contract: Account, driver: Driver, topic: str, installation: str, body: bytes
) -> Outgoing:
    """The request as the courier makes it."""
    secret = contract.secrets[0]
    url = f"{installation}/webhooks/{contract.slug}/{topic}"
    headers = {"Content-Type": "application/json", "User-Agent": "ordertrail send"}
    if driver.signature_header is None:
        return Outgoing(f"{url}/{secret}", f"{url}/<token>", headers, body)
    return Outgoing(
        url, url, {**headers, driver.signature_header: hmac_sha256_hex(secret, body)}, body
    )


def post(message: Outgoing, times: int) -> Iterator[Answered]:
    """Send it, over and over on one connection, for as long as anybody answers."""
    with httpcore.ConnectionPool(ssl_context=httpcore.default_ssl_context()) as pool:
        for _ in range(times):
            yield (answer := post_once(pool, message))
            if answer.status is None:
                return


def post_once(pool: httpcore.ConnectionPool, message: Outgoing) -> Answered:
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), PATIENCE)
    began = time.monotonic()
    try:
        response = pool.request(
            "POST",
            message.url,
            headers=list(message.headers.items()),
            content=message.body,
            extensions={"timeout": timeout},
        )
        status, text = response.status, response.content[:MOST_SHOWN].decode(errors="replace")
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as failure:
        status, text = None, f"{type(failure).__name__}: {failure}".rstrip(": ")
    return Answered(status, round((time.monotonic() - began) * 1000), text.strip())


def named(driver: Driver, topic: str, body: bytes) -> str | None:
    """What the message is about: the first order or tour in it; None where it cannot be read."""
    try:
        told = json.loads(body)
        if not isinstance(told, dict):
            return None
        decoded = driver.topics[topic](told, MessageContext(datetime.now(UTC)))
    except (ValueError, Undecodable):
        return None
    first = [order.courier_order_id for order in decoded.orders]
    return next(iter([*first, *(tour.tour_id for tour in decoded.tours)]), None)
