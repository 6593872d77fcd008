"""Send one HTTP request, bounded in time and size, and trust nothing of the response.

Not its length, not that it ends, not where it redirects to. Built on httpcore, the lower half of
httpx: what httpx adds (redirects, cookies, decompression, proxies and passwords from the
environment, a log of URLs) must not happen here. It runs on an event loop because only a coroutine
can be cancelled wherever it waits, the lookup of a name included.
"""

import asyncio
import functools
import re
import ssl
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpcore

from receiver.couriers.polling import Request

Result = TypeVar("Result")

SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
# Idle connections are closed before most servers close them.
KEEP_ALIVE_SECONDS = 15.0

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


@dataclass(frozen=True, slots=True)
class Response:
    """A response whose headers have come; its body has to come before the deadline."""

    received: httpcore.Response
    deadline: float

    @property
    def status(self) -> int:
        return self.received.status

    @property
    def is_uncompressed(self) -> bool:
        coding = find_header(self.received, b"content-encoding")
        return coding.lower() in {"", "identity"}

    async def read(self, max_bytes: int) -> bytes | None:
        """Return the body, None if it is larger, whatever Content-Length says."""
        body = bytearray()
        async with asyncio.timeout_at(self.deadline):
            async for chunk in self.received.aiter_stream():
                body += chunk
                if len(body) > max_bytes:
                    return None
        return bytes(body)


class HttpClient:
    """Connections and an event loop with a thread of its own.

    Threads may share it; a process made by fork must not.
    """

    def __init__(self, name: str, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=trusted_certificates(),
            max_connections=None,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=name, daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run a coroutine on the event loop, and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def close(self) -> None:
        """Close every connection."""
        self.run(self._pool.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @asynccontextmanager
    async def exchange(
        self, request: Request, headers: Mapping[str, str]
    ) -> AsyncIterator[Response]:
        """Send a request and yield its response, on the event loop. Raises: FAILURES.

        headers: those beside the request's own, which win whatever their capitals.
        """
        named = {name.lower(): (name, value) for name, value in headers.items()}
        named |= {name.lower(): (name, value) for name, value in request.headers.items()}
        deadline = asyncio.get_running_loop().time() + self._timeouts.whole
        connect, read = self._timeouts.connect, self._timeouts.read
        sent = self._pool.stream(
            request.method,
            request.url,
            headers=[(name.encode(), value.encode()) for name, value in named.values()],
            content=request.body,
            extensions={"timeout": {"connect": connect, "read": read, "write": read}},
        )
        async with AsyncExitStack() as stack:
            async with asyncio.timeout_at(deadline):
                response = await stack.enter_async_context(sent)
            yield Response(response, deadline)


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
