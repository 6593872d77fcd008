"""Send one request, bounded in time and size, and return everything its response shows.

Redirects are not followed, since couriers do not follow them either.
"""

import asyncio
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpcore

from workers.polling.http_client import connect_error_reason, trusted_certificates

# For the whole request; and how much of a response is read, in bytes.
TIME_LIMIT_SECONDS = 8.0
MOST_BYTES = 65_536
REDIRECTS = range(300, 400)


class NoResponse(Exception):
    """There was no response; the text says why."""


@dataclass(frozen=True, slots=True)
class ProbeResponse:
    """A response.

    sent_at: when the request was sent, by our clock. server_at: the response's Date header.
    certificate_until: when the server's certificate expires; None without TLS.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    milliseconds: int
    sent_at: datetime
    server_at: datetime | None
    certificate_until: datetime | None


def send_probe(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
) -> ProbeResponse:
    """Send one request. Raises: NoResponse."""
    try:
        return asyncio.run(asyncio.wait_for(_send(method, url, headers, body), TIME_LIMIT_SECONDS))
    except (TimeoutError, httpcore.TimeoutException):
        raise NoResponse("no response in time") from None
    except httpcore.ConnectError as error:
        raise NoResponse(f"no connection: {connect_error_reason(error)}") from None
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError, ValueError) as error:
        raise NoResponse(f"the connection failed ({type(error).__name__})") from None


async def _send(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None
) -> ProbeResponse:
    started, sent_at = time.monotonic(), datetime.now(UTC)
    async with (
        httpcore.AsyncConnectionPool(ssl_context=trusted_certificates()) as pool,
        pool.stream(method, url, headers=list(headers.items()), content=body) as response,
    ):
        certificate_until = _certificate_until(response)
        content = bytearray()
        async for chunk in response.aiter_stream():
            content += chunk
            if len(content) > MOST_BYTES:
                break
        received = {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in response.headers
        }
        milliseconds = round((time.monotonic() - started) * 1000)
        times = (milliseconds, sent_at, _parse_date(received.get("date", "")), certificate_until)
        return ProbeResponse(response.status, received, bytes(content), *times)


def _certificate_until(response: httpcore.Response) -> datetime | None:
    tls = response.extensions["network_stream"].get_extra_info("ssl_object")
    end = (tls.getpeercert() or {}).get("notAfter") if tls else None
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(end), UTC) if end else None


def _parse_date(header: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(header)
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
