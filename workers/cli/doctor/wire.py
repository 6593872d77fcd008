"""One bounded request, to a courier's API or to the webhook's own address, and all it tells.

Redirects are not followed: couriers do not follow them either.
"""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore

from workers.polling.courier_api import Deadline, Network, trusted

# Seconds for a whole request, and how much of an answer is read.
WHOLE = 8.0
MOST_BYTES = 65_536
FAILURES = (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError)


class NotReached(Exception):
    """Nothing came back; the text says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer.

    server_at       the Date that it bears; asked_at is when it was asked for by our clock
    trusted_until   when its certificate ends; None without TLS
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    milliseconds: int
    asked_at: datetime
    server_at: datetime | None
    trusted_until: datetime | None


def ask(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Told:
    """Send one request.

    Raises: NotReached.
    """
    deadline = Deadline()
    deadline.set(WHOLE)
    timeout = dict.fromkeys(("connect", "read", "write", "pool"), WHOLE)
    began, asked_at = time.monotonic(), datetime.now(UTC)
    try:
        with (
            httpcore.ConnectionPool(
                ssl_context=trusted(), network_backend=Network(deadline)
            ) as pool,
            pool.stream(
                method,
                url,
                headers=list(headers.items()),
                content=body,
                extensions={"timeout": timeout},
            ) as answer,
        ):
            until = _trusted_until(answer)
            said = bytearray()
            for chunk in answer.iter_stream():
                said += chunk
                if len(said) > MOST_BYTES:
                    break
            told = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in answer.headers
            }
            spent = round((time.monotonic() - began) * 1000)
            at = _date(told.get("date"))
            return Told(answer.status, told, bytes(said), spent, asked_at, at, until)
    except (*FAILURES, ssl.SSLError, OSError, UnicodeError, ValueError) as failure:
        raise NotReached(_why(failure)) from None


def _trusted_until(answer: httpcore.Response) -> datetime | None:
    secured = answer.extensions["network_stream"].get_extra_info("ssl_object")
    if secured is None:
        return None
    ends = (secured.getpeercert() or {}).get("notAfter")
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(ends), UTC) if ends else None


def _date(told: str | None) -> datetime | None:
    try:
        at = parsedate_to_datetime(told or "")
    except (ValueError, OverflowError):
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _why(failure: Exception) -> str:
    if isinstance(failure, httpcore.TimeoutException):
        return "no answer in time"
    if isinstance(failure, httpcore.ConnectError):
        return f"no connection: {failure}"
    return f"broke off ({type(failure).__name__})"
