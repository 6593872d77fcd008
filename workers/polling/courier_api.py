"""Send one request to a courier's API and bring back its answer, or say what was wrong with it.

The only place that sends anything to a courier, alike for all of them. Nothing is trusted of what
comes back: not its length, not that it will come to an end, not where it points.

Built on httpcore, the lower half of httpx. httpx knows no time limit for a whole request, and what
it adds (redirects, cookies, decompression, proxies and passwords out of the environment, a log of
addresses) is what must not happen here.
"""

import functools
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from importlib.metadata import version
from typing import Any

import httpcore

from receiver.couriers.contract import Access, Api
from receiver.errors import (
    BrokenAnswer,
    CourierBusy,
    CourierRefused,
    CourierUnavailable,
    OrdertrailError,
    UnknownToCourier,
    UnreadableBody,
)
from receiver.inbox.json_body import parse_body

# 201 is what document 003 shows for a list of orders.
ANSWERED = {200, 201}
UNKNOWN = {404, 410}
REFUSED = {401, 403}
BUSY = 429
# 408: the courier waited for us.
TIMED_OUT = 408
FAULT = 500

# A courier that tells us to come back later than this means something else.
MOST_SECONDS = timedelta(days=1).total_seconds()
SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")
# What is read of an answer that only says why it is none.
MOST_OF_A_REFUSAL = 65_536
# Idle connections are closed before most servers close them.
KEEP_ALIVE_SECONDS = 15.0

# What may stand in an address, and in a header: httpcore's own complaint would quote the token.
ADDRESS = re.compile(r"[!\"$-~]+")
HEADER = re.compile(rb"[!-~\x80-\xff]([ -~\x80-\xff]*[!-~\x80-\xff])?")

# What comes instead of an answer where the courier or the way to it is at fault.
FAILURES = (httpcore.TimeoutException, httpcore.NetworkError, httpcore.RemoteProtocolError)


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a courier is waited for: for a connection, for the next bytes, for all."""

    connect: float = 3.0
    read: float = 5.0
    whole: float = 8.0


class CourierApi:
    """The API of one account's courier. Threads may share it; a process made by fork must not."""

    def __init__(
        self, slug: str, access: Access, api: Api, patience: Patience | None = None
    ) -> None:
        self._slug = slug
        self._access = access
        self._api = api
        self._patience = patience or Patience()
        self._headers = [
            (name.encode(), value.encode())
            for name, value in {
                **api.headers(access),
                "User-Agent": f"Ordertrail/{version('ordertrail')}",
                "Accept": "application/json",
                "Accept-Encoding": "identity",
            }.items()
        ]
        self._deadline = Deadline()
        self._pool = httpcore.ConnectionPool(
            ssl_context=trusted(),
            max_connections=None,
            keepalive_expiry=KEEP_ALIVE_SECONDS,
            network_backend=Network(self._deadline),
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def ask(self, url: str, most_bytes: int, now: datetime) -> bytes:
        """The courier's answer, a JSON object, word for word.

        now: what the time to come back at is counted from, where the courier names one.

        Raises: UnknownToCourier and BrokenAnswer, which are about the order; CourierUnavailable,
            CourierBusy and CourierRefused, which are about the account; ValueError where the
            address is not of this account's API.
        """
        self._check(url)
        self._deadline.set(self._patience.whole)
        timeout = {
            "connect": self._patience.connect,
            "read": self._patience.read,
            "write": self._patience.read,
        }
        try:
            with self._pool.stream(
                "GET", url, headers=self._headers, extensions={"timeout": timeout}
            ) as response:
                if response.status not in ANSWERED:
                    raise self._refusal(response, now)
                return self._object(response, most_bytes)
        except FAILURES as failure:
            raise CourierUnavailable(self._says(_what_happened(failure))) from None

    def _check(self, url: str) -> None:
        """Nothing but the account's own API is ever asked: not by a driver's mistake either."""
        path = url.partition("?")[0].split("/")
        if not url.startswith(f"{self._access.url}/") or {".", ".."} & set(path):
            raise ValueError(f"account {self._slug}: not an address of its courier's API")
        if not ADDRESS.fullmatch(url):
            raise CourierRefused(
                self._says("cannot be asked: API_URL or ORDER_PATH holds a space, an umlaut or a #")
            )
        if not all(HEADER.fullmatch(value) for _, value in self._headers):
            raise CourierRefused(
                self._says("cannot be asked: API_TOKEN holds a line break, or a space at its end")
            )

    def _object(self, response: httpcore.Response, most_bytes: int) -> bytes:
        if not _is_plain(response):
            raise BrokenAnswer(self._says("compressed its answer, though asked not to"), None)
        body = _read(response, most_bytes)
        if body is None:
            raise BrokenAnswer(self._says(f"answered with more than {most_bytes} bytes"), None)
        try:
            parse_body(body)
        except UnreadableBody as wrong:
            told = self._says(f"answered what cannot be read: {wrong}")
            raise BrokenAnswer(told, body or None) from None
        return body

    def _refusal(self, response: httpcore.Response, now: datetime) -> OrdertrailError:
        """What an answer means that does not tell of an order."""
        status = response.status
        if status in UNKNOWN:
            return UnknownToCourier(self._says(f"does not know the order ({status})"))
        if status in REFUSED:
            return CourierRefused(
                self._says(f"refuses our credentials ({status}): look at API_USER and API_TOKEN")
            )
        if status >= FAULT or status == TIMED_OUT:
            return CourierUnavailable(self._says(f"has a fault of its own ({status})"))
        if status == BUSY:
            seconds = self._seconds(response, now)
            wait = "later" if seconds is None else f"in {seconds:.0f} seconds"
            return CourierBusy(self._says(f"is busy and wants to be asked {wait}"), seconds)
        body = _read(response, MOST_OF_A_REFUSAL) if _is_plain(response) else None
        return BrokenAnswer(self._says(f"answered neither yes nor no ({status})"), body or None)

    def _seconds(self, response: httpcore.Response, now: datetime) -> float | None:
        """How long a busy courier wants to be left alone, by its header or else by its words."""
        seconds = retry_after(_header(response, b"retry-after"), now)
        if seconds is None and self._api.read_retry_after is not None:
            try:
                said = _read(response, MOST_OF_A_REFUSAL) or b""
            except FAILURES:
                said = b""
            seconds = self._api.read_retry_after(said.decode(errors="replace"))
        return None if seconds is None else min(max(0.0, seconds), MOST_SECONDS)

    def _says(self, what: str) -> str:
        return f"account {self._slug}: the courier {what}"


@functools.cache
def trusted() -> ssl.SSLContext:
    """Whose certificates count: the system's and certifi's authorities. Slow to read, so once."""
    return httpcore.default_ssl_context()


def retry_after(value: str, now: datetime) -> float | None:
    """The seconds in a Retry-After, which names them or a date; None where it names neither."""
    if SECONDS.fullmatch(value):
        return float(value)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    # `-0000` instead of GMT says no more than that.
    return ((at if at.tzinfo else at.replace(tzinfo=UTC)) - now).total_seconds()


def _header(response: httpcore.Response, name: bytes) -> str:
    told = (value for known, value in response.headers if known.lower() == name)
    return next(told, b"").decode("latin-1").strip()


def _is_plain(response: httpcore.Response) -> bool:
    return _header(response, b"content-encoding").lower() in {"", "identity"}


def _read(response: httpcore.Response, most_bytes: int) -> bytes | None:
    """The body, None where it is larger: counted on what comes, whatever was promised."""
    body = bytearray()
    for chunk in response.iter_stream():
        body += chunk
        if len(body) > most_bytes:
            return None
    return bytes(body)


def _what_happened(failure: Exception) -> str:
    """A failure in words. Only what our own side says is quoted: theirs may echo the token."""
    if isinstance(failure, httpcore.ConnectTimeout):
        return "took no connection in time"
    if isinstance(failure, httpcore.TimeoutException):
        return "did not answer in time"
    if isinstance(failure, httpcore.ConnectError):
        return f"cannot be reached: {failure}"
    return "broke off, or answered in no HTTP"


class Deadline(threading.local):
    """When the request that a thread has under way must be over."""

    at = 0.0

    def set(self, seconds: float) -> None:
        self.at = time.monotonic() + seconds

    def within(self, seconds: float | None) -> float:
        """How long the next step may take, of so many seconds.

        Raises: TimeoutException of httpcore where the time is up.
        """
        left = self.at - time.monotonic()
        if left <= 0:
            raise httpcore.TimeoutException("the time for the whole request is up")
        return left if seconds is None else min(left, seconds)


class Network(httpcore.NetworkBackend):
    """httpcore's connections, each step of them within the deadline.

    httpcore limits the wait for each piece of an answer alone, so a courier that sends a byte now
    and then could hold a thread for days. Looking up the courier's name is the one step that only
    the system's resolver limits.
    """

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as wrong:
            raise httpcore.ConnectError(str(wrong)) from None
        failure: Exception = httpcore.ConnectError("its name has no address")
        # One by one, since left to itself each of a name's addresses would have the whole timeout.
        for *_, address in found:
            try:
                stream = self._plain.connect_tcp(
                    str(address[0]),
                    port,
                    self._deadline.within(timeout),
                    local_address,
                    socket_options,
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as wrong:
                failure = wrong
            else:
                return Stream(stream, self._deadline)
        raise failure


class Stream(httpcore.NetworkStream):
    """One connection, each step of it within the deadline."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._deadline.within(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, self._deadline.within(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        within = self._deadline.within(timeout)
        return Stream(self._stream.start_tls(ssl_context, server_hostname, within), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)
