"""Post one signed request to PUSH_URL, bounded in time and size, and say how the shop answered.

Signed by Standard Webhooks (https://www.standardwebhooks.com). A redirect is not followed, because
it would lead the changes to an address that nobody configured.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from typing import Any

import httpcore
import orjson
from standardwebhooks import Webhook

from receiver.stats.totals import ACCEPTED, BROKEN, REDIRECTED, REJECTED, TIMED_OUT, UNREACHABLE
from receiver.times import rfc3339
from workers.polling.http_client import (
    FAILURES,
    describe_failure,
    find_header,
    parse_retry_after,
    trusted_certificates,
)

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
# For the whole request, the lookup of the name included.
WHOLE_SECONDS = 12.0
# How long, and how many bytes of, a response's body is read once its status is known. It is read so
# that the connection can be used again, and shown by `ordertrail push --check`.
BODY_SECONDS = 2.0
BODY_BYTES = 65_536
# Idle connections are kept for a burst only, since servers close theirs after a few seconds.
KEEP_ALIVE_SECONDS = 1.5

SUCCESS, REDIRECTS = range(200, 300), range(300, 400)


@dataclass(frozen=True, slots=True)
class ShopAnswer:
    """How a request to the shop ended.

    result: one of receiver.stats.totals.PUSH_RESULTS. detail: the same for people, without text
    that the shop sent. seconds: how long it took. body: the beginning of the response's body.
    retry_after: for how many seconds the shop asked not to be sent anything; 0 where it did not.
    """

    result: str
    detail: str
    seconds: float
    body: str = ""
    retry_after: float = 0.0

    @property
    def is_accepted(self) -> bool:
        """Whether the shop answered 2xx, and with that took what was sent."""
        return self.result == ACCEPTED


class ShopClient:
    """Sends requests to one address, one at a time, from one thread.

    secrets: each signs, so that the shop may check any of them while they are rotated.
    """

    def __init__(self, url: str, secrets: Sequence[str]) -> None:
        self._url = url
        self._signers = [Webhook(secret) for secret in secrets]
        # Not asyncio.run(), whose end would wait for a lookup of the name that hangs.
        self._loop = asyncio.new_event_loop()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trusted_certificates(), keepalive_expiry=KEEP_ALIVE_SECONDS
        )

    def post(
        self, message_id: str, kind: str, at: datetime, data: dict[str, Any], now: datetime
    ) -> ShopAnswer:
        """Post a message and return how the shop answered.

        message_id: `webhook-id`. kind: `type` of the body, and at: its `timestamp`, when it
        happened. now: `webhook-timestamp`, when it is sent.
        """
        body = orjson.dumps({"type": kind, "timestamp": rfc3339(at), "data": data})
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"Ordertrail/{version('ordertrail')}",
            "Accept-Encoding": "identity",
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._sign(message_id, now, body),
        }
        return self._loop.run_until_complete(self._post(list(headers.items()), body, now))

    def close(self) -> None:
        """Close the connections; nothing is being posted."""
        self._loop.run_until_complete(self._pool.aclose())
        self._loop.close()

    def _sign(self, message_id: str, now: datetime, body: bytes) -> str:
        text = body.decode()
        return " ".join(signer.sign(message_id, now, text) for signer in self._signers)

    async def _post(self, headers: list[tuple[str, str]], body: bytes, now: datetime) -> ShopAnswer:
        began_at = time.monotonic()
        limits = {"connect": CONNECT_SECONDS, "read": READ_SECONDS, "write": READ_SECONDS}
        request = self._pool.stream(
            "POST", self._url, headers=headers, content=body, extensions={"timeout": limits}
        )
        status, retry_after, beginning = None, 0.0, bytearray()
        try:
            async with asyncio.timeout(WHOLE_SECONDS), request as response:
                status = response.status
                retry_after = parse_retry_after(find_header(response, b"retry-after"), now) or 0.0
                async with asyncio.timeout(BODY_SECONDS):
                    async for chunk in response.aiter_stream():
                        beginning += chunk
                        if len(beginning) > BODY_BYTES:
                            break
        except (*FAILURES, OSError, ValueError) as error:
            # Whatever its body is like, the shop has answered once there is a status.
            if status is None:
                result, detail = _classify_failure(error)
                return ShopAnswer(result, detail, time.monotonic() - began_at)
        seconds = time.monotonic() - began_at
        result, detail = _classify_status(status or 0)
        text = beginning[:BODY_BYTES].decode(errors="replace")
        return ShopAnswer(result, detail, seconds, text, retry_after)


def _classify_status(status: int) -> tuple[str, str]:
    if status in SUCCESS:
        return ACCEPTED, f"answered {status}"
    if status in REDIRECTS:
        detail = f"answered {status}, a redirect, which is not followed: set PUSH_URL to where it"
        return REDIRECTED, f"{detail} leads"
    return REJECTED, f"answered {status}"


def _classify_failure(error: Exception) -> tuple[str, str]:
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return TIMED_OUT, describe_failure(error)
    if isinstance(error, httpcore.ConnectError):
        return UNREACHABLE, describe_failure(error)
    if isinstance(error, httpcore.NetworkError | httpcore.ProtocolError):
        return BROKEN, describe_failure(error)
    return UNREACHABLE, f"cannot be reached ({type(error).__name__})"
