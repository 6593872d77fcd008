"""Send one request to a courier's API, and return its response or say what was wrong with it.

The only place that sends a request to a courier. Nothing in a response is trusted: not its length,
not that it ends, not where it redirects to.

Built on httpcore, the lower half of httpx: what httpx adds (redirects, cookies, decompression,
proxies and passwords from the environment, a log of URLs) must not happen here. It runs on an event
loop because only a coroutine can be cancelled wherever it waits, the lookup of a name included.
"""

import asyncio
import functools
import re
import ssl
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any, TypeVar

import httpcore

from receiver import errors
from receiver.couriers.polling import Access, Api, Request
from receiver.inbox.json_body import parse_body

Result = TypeVar("Result")

# 201 is what document 003 shows for a list of orders.
ANSWERED = {200, 201}
UNKNOWN = {404, 410}
REFUSED = {401, 403}
BUSY = 429
TIMED_OUT = 408
SERVER_ERROR = 500

# A courier that asks for a longer wait means something else.
MAX_WAIT_SECONDS = timedelta(days=1).total_seconds()
SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
# How much is read of the body of an error.
MAX_ERROR_BYTES = 65_536
# Idle connections are closed before most servers close them.
KEEP_ALIVE_SECONDS = 15.0

# What a URL and a header may hold: httpcore's own complaint would quote the token.
VALID_URL = re.compile(r"[!\"$-~]+")
VALID_HEADER = re.compile(rb"[!-~\x80-\xff]([ -~\x80-\xff]*[!-~\x80-\xff])?")

# Raised where the server or the network on the way to it is at fault.
FAILURES = (
    TimeoutError,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.RemoteProtocolError,
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, for the next bytes, and for the whole request."""

    connect: float = 3.0
    read: float = 5.0
    whole: float = 8.0


class CourierApi:
    """The API of one account's courier. Threads may share it; a process made by fork must not."""

    def __init__(
        self, slug: str, access: Access, api: Api, timeouts: Timeouts | None = None
    ) -> None:
        self._slug = slug
        self._access = access
        self._api = api
        self._timeouts = timeouts or Timeouts()
        headers = {
            **api.headers(access),
            **access.headers,
            "User-Agent": f"Ordertrail/{version('ordertrail')}",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
        }
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trusted_certificates(),
            max_connections=None,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name=f"courier-api-{slug}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Close every connection."""
        self._run(self._pool.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def fetch_object(
        self, request: Request, max_bytes: int, now: datetime
    ) -> tuple[bytes, dict[str, Any]]:
        """Return the JSON object that the courier answers with, as it came and parsed.

        Raises: like fetch, and BrokenAnswer if it is not a JSON object.
        """
        body = self.fetch(request, max_bytes, now)
        try:
            return body, parse_body(body)
        except errors.UnreadableBody as error:
            message = self._message(f"sent an answer that cannot be read: {error}")
            raise errors.BrokenAnswer(message, body or None) from None

    def fetch(self, request: Request, max_bytes: int, now: datetime) -> bytes:
        """Return the body of the courier's answer.

        now: what a Retry-After that names a date is counted from.

        Raises: UnknownToCourier and BrokenAnswer, which are about the order; CourierUnavailable,
            CourierBusy and CourierRefused, which are about the account; ValueError if the URL is
            not part of this account's API.
        """
        self._check(request.url)
        try:
            return self._run(self._fetch(request, max_bytes, now))
        except FAILURES as error:
            raise errors.CourierUnavailable(self._message(describe_failure(error))) from None

    def _check(self, url: str) -> None:
        """Allow no URL outside the account's own API, not by a driver's mistake either."""
        path = url.partition("?")[0].split("/")
        if not url.startswith(f"{self._access.url}/") or {".", ".."} & set(path):
            raise ValueError(f"account {self._slug}: not a URL of its courier's API")
        if not VALID_URL.fullmatch(url):
            message = "cannot be polled: API_URL or ORDER_PATH has a space, # or non-ASCII letter"
            raise errors.CourierRefused(self._message(message))
        if not all(VALID_HEADER.fullmatch(value) for _, value in self._headers):
            message = "cannot be polled: API_TOKEN contains a line break, or ends with a space"
            raise errors.CourierRefused(self._message(message))

    async def _fetch(self, request: Request, max_bytes: int, now: datetime) -> bytes:
        deadline = asyncio.get_running_loop().time() + self._timeouts.whole
        connect, read = self._timeouts.connect, self._timeouts.read
        timeout = {"timeout": {"connect": connect, "read": read, "write": read}}
        headers = [(name.encode(), value.encode()) for name, value in request.headers.items()]
        sent = self._pool.stream(
            request.method,
            request.url,
            headers=[*self._headers, *headers],
            content=request.body,
            extensions=timeout,
        )
        async with AsyncExitStack() as stack:
            async with asyncio.timeout_at(deadline):
                response = await stack.enter_async_context(sent)
            if response.status not in ANSWERED:
                raise await self._error(response, deadline, now)
            if not _is_uncompressed(response):
                message = "compressed its answer, although the request forbade it"
                raise errors.BrokenAnswer(self._message(message), None)
            body = await _read(response, max_bytes, deadline)
            if body is None:
                message = f"answered with more than {max_bytes} bytes"
                raise errors.BrokenAnswer(self._message(message), None)
            return body

    async def _error(
        self, response: httpcore.Response, deadline: float, now: datetime
    ) -> errors.OrdertrailError:
        """Return the error that a response without an answer means."""
        status = response.status
        if status in UNKNOWN:
            return errors.UnknownToCourier(self._message(f"does not know the order ({status})"))
        if status in REFUSED:
            message = f"refuses our credentials ({status}): check API_USER and API_TOKEN"
            return errors.CourierRefused(self._message(message))
        if status >= SERVER_ERROR or status == TIMED_OUT:
            return errors.CourierUnavailable(
                self._message(f"answered with a server error ({status})")
            )
        if status == BUSY:
            seconds = await self._wait_seconds(response, deadline, now)
            wait = "" if seconds is None else f", retry in {seconds:.0f} seconds"
            return errors.CourierBusy(
                self._message(f"limits our request rate{wait} ({status})"), seconds
            )
        body = None
        if _is_uncompressed(response):
            body = await _read(response, MAX_ERROR_BYTES, deadline)
        message = f"answered with the unexpected status {status}"
        return errors.BrokenAnswer(self._message(message), body or None)

    async def _wait_seconds(
        self, response: httpcore.Response, deadline: float, now: datetime
    ) -> float | None:
        """Return how long a 429 asks us to wait, by its header or else by its text."""
        seconds = parse_retry_after(find_header(response, b"retry-after"), now)
        if seconds is None and self._api.read_retry_after is not None:
            try:
                body = await _read(response, MAX_ERROR_BYTES, deadline) or b""
            except FAILURES:
                body = b""
            seconds = self._api.read_retry_after(body.decode(errors="replace"))
        return None if seconds is None else min(max(0.0, seconds), MAX_WAIT_SECONDS)

    def _run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def _message(self, what: str) -> str:
        return f"account {self._slug}: the courier {what}"


@functools.cache
def trusted_certificates() -> ssl.SSLContext:
    """Return the certificate authorities of the system and of certifi. Slow to read, so cached."""
    return httpcore.default_ssl_context()


def parse_retry_after(value: str, now: datetime) -> float | None:
    """Return the seconds in a Retry-After header, a number or a date; None if it is neither."""
    if SECONDS.fullmatch(value):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # A date that ends in -0000 has no time zone.
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()


def find_header(response: httpcore.Response, name: bytes) -> str:
    values = (value for key, value in response.headers if key.lower() == name)
    return next(values, b"").decode("latin-1").strip()


def _is_uncompressed(response: httpcore.Response) -> bool:
    return find_header(response, b"content-encoding").lower() in {"", "identity"}


async def _read(response: httpcore.Response, max_bytes: int, deadline: float) -> bytes | None:
    """Return the body, None if it is larger, whatever Content-Length says."""
    body = bytearray()
    async with asyncio.timeout_at(deadline):
        async for chunk in response.aiter_stream():
            body += chunk
            if len(body) > max_bytes:
                return None
    return bytes(body)


def connect_error_reason(error: httpcore.ConnectError) -> str:
    """Return why a connection failed: anyio's own words are general, those of its cause are not."""
    return str(getattr(error.__context__, "__cause__", None) or error)


def describe_failure(error: Exception) -> str:
    """Describe one of FAILURES. Text that a server sent is not quoted: it may echo a token."""
    if isinstance(error, httpcore.ConnectTimeout):
        return "did not accept a connection in time"
    if isinstance(error, TimeoutError | httpcore.TimeoutException):
        return "did not answer in time"
    if isinstance(error, httpcore.ConnectError):
        return f"cannot be reached: {connect_error_reason(error)}"
    return "closed the connection early, or did not answer in HTTP"
