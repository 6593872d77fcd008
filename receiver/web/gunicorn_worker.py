"""gunicorn's worker, with what it answers by itself in our own shapes: what is no valid HTTP.

gunicorn would answer with a page of HTML that repeats the request line, and log it where something
fails: there are couriers' tokens in it.
"""

import gc
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from socket import SHUT_WR
from typing import Any

import orjson
from gevent.server import StreamServer
from gevent.socket import socket
from gunicorn.glogging import Logger
from gunicorn.http import errors
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker

from receiver.logs import exception_fields

# What a sender did wrong, and how it is told; anything else of gunicorn's is a bad request.
# A transfer coding that nobody knows would be 501, but 5xx asks couriers to come again.
TOLD: dict[type[Exception], tuple[HTTPStatus, str]] = {
    errors.LimitRequestLine: (HTTPStatus.REQUEST_URI_TOO_LONG, "the address is too long"),
    errors.LimitRequestHeaders: (
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "there are too many headers, or one of them is too long",
    ),
    errors.ExpectationFailed: (HTTPStatus.EXPECTATION_FAILED, "Expect is to be 100-continue"),
    errors.UnsupportedTransferCoding: (
        HTTPStatus.BAD_REQUEST,
        "Transfer-Encoding is to be chunked, or to be left out",
    ),
    errors.InvalidRequestLine: (HTTPStatus.BAD_REQUEST, "the request line is not HTTP"),
    errors.InvalidRequestMethod: (HTTPStatus.BAD_REQUEST, "the method is not one of HTTP"),
    errors.InvalidHTTPVersion: (HTTPStatus.BAD_REQUEST, "the HTTP version is to be 1.0 or 1.1"),
    errors.InvalidHeaderName: (HTTPStatus.BAD_REQUEST, "a header's name is not HTTP"),
    errors.InvalidHeader: (HTTPStatus.BAD_REQUEST, "a header is not HTTP"),
    errors.ObsoleteFolding: (HTTPStatus.BAD_REQUEST, "a header goes over several lines"),
}
OUR_OWN = (
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
    errors.ConfigurationProblem,
)

# So long may a client take to read what it asked for, an answer or a large piece of one.
READ_SECONDS = 15.0

# Of an answer no more is held back than this.
HELD_BYTES = 65_536

# A connection that is closed while the sender still writes is reset, and our answer lost: so what
# it still sends is read and thrown away, up to a point.
LINGER_SECONDS = 1.0
LINGER_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Address:
    """Where a connection came in. gunicorn asks the listening socket itself, which is closed by
    then for who came in last, and would drop the connection for that.
    """

    name: Any

    def getsockname(self) -> Any:
        return self.name


class Door(StreamServer):
    """Lets in whoever stands in line before it closes: else the kernel resets their connections."""

    def close(self) -> None:
        with suppress(OSError):
            while came := self.do_read():
                self.do_handle(*came)
        super().close()


class Whole(socket):
    """A connection on which an answer goes out in one piece: gunicorn sends its head and its body
    by themselves, and a call into the kernel is a tenth of what an answer costs.
    """

    def __init__(self, family: int, kind: int, proto: int, fileno: int) -> None:
        super().__init__(family, kind, proto, fileno)
        self._held: list[bytes] = []
        self._size = 0

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Hold this until the answer is whole, or so long that it may as well go."""
        self._held.append(data)
        self._size += len(data)
        if self._size > HELD_BYTES or flags:
            self.flush()

    def sendfile(self, *args: Any, **kwargs: Any) -> int:
        """Send a file, behind what was held."""
        self.flush()
        sent: int = super().sendfile(*args, **kwargs)
        return sent

    def flush(self) -> None:
        """Send what is held."""
        held, self._held, self._size = self._held, [], 0
        if held:
            super().sendall(b"".join(held))


class Log(Logger):  # type: ignore[misc] # gunicorn ships no types
    """gunicorn's log, without one of accesses: our own is request_log.py's.

    gunicorn would make a line of each request, and then find that nobody wants to see it.
    """

    access_log_enabled = False


class Worker(GeventWorker):  # type: ignore[misc] # gunicorn ships no types
    """Answers and logs without a word of what was sent."""

    def run(self) -> None:
        """Serve until told to stop."""
        # What was loaded stays, and a request makes few cycles: a collector that looks through it
        # after every few hundred objects took a fifteenth of accept's time.
        gc.collect()
        gc.freeze()
        gc.set_threshold(20_000, 50, 100)
        # As plain attributes: gunicorn looks a dozen of them up for each request, by two calls of
        # Python each, which was a tenth of accept's time. A worker's settings never change.
        self.cfg.__dict__.update({name: it.get() for name, it in self.cfg.settings.items()})
        super().run()

    def server_class(self, listener: Any, spawn: Any, ssl_context: Any = None, **_: Any) -> Door:
        """What accepts connections: gunicorn asks for it as for a class."""
        address = Address(listener.getsockname())
        over_tls = {"ssl_context": ssl_context} if ssl_context else {}
        door = Door(listener, handle=partial(self.handle, address), spawn=spawn, **over_tls)
        if self.cfg.workers > 1:
            # One at a time, or the worker that looks first has all of them.
            door.max_accept = 1
        return door

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection; gunicorn would wait for ever for a client to read."""
        if not self.cfg.is_ssl:
            client = Whole(client.family, client.type, client.proto, client.detach())
        client.settimeout(READ_SECONDS)
        AsyncWorker.handle(self, listener, client, addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Answer a request of a connection that may have more of them."""
        try:
            super().handle_request(listener_name, req, sock, addr)
        finally:
            if isinstance(sock, Whole):
                sock.flush()

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer where no application could."""
        if isinstance(exc, errors.ParseException) and not isinstance(exc, OUR_OWN):
            status, detail = TOLD.get(type(exc), (HTTPStatus.BAD_REQUEST, "this is no valid HTTP"))
            self.log.warning("an invalid request was refused: %s", type(exc).__name__)
        else:
            status, detail = HTTPStatus.INTERNAL_SERVER_ERROR, "this is our fault; it was logged"
            self.log.error("a request failed outside the application: %s", exception_fields(exc))
            # Not in gunicorn's master, which loads this file before gevent patches what it patches.

        path = getattr(req, "path", None) or ""
        with suppress(OSError):
            client.settimeout(LINGER_SECONDS)
            client.sendall(answer(status, detail, path))
            if isinstance(client, Whole):
                client.flush()
            client.shutdown(SHUT_WR)
            _linger(client)


def answer(status: HTTPStatus, detail: str, path: str) -> bytes:
    """A whole answer, in the shape that this part of the URL space has (as in problems.py)."""
    if path.startswith("/webhooks/"):
        kind = "application/json"
        body = orjson.dumps({"status": "error", "message": detail})
    else:
        kind = "application/problem+json"
        problem = {"type": "about:blank", "title": status.phrase, "status": status.value}
        body = orjson.dumps({**problem, "detail": detail})
    lines = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        "Connection: close",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


def _linger(client: Any) -> None:
    left, ends_at = LINGER_BYTES, time.monotonic() + LINGER_SECONDS
    while left > 0 and time.monotonic() < ends_at:
        came = client.recv(65_536)
        if not came:
            break
        left -= len(came)
