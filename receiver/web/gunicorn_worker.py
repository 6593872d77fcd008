"""gunicorn's gevent worker, with answers of our own to what is not valid HTTP.

gunicorn would answer with an HTML page that repeats the request line, and log that line where
something fails. It may contain a courier's token.
"""

import time
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from socket import SHUT_WR
from types import SimpleNamespace
from typing import Any

import orjson
import structlog
from gevent import get_hub
from gevent.os import tp_write
from gevent.server import StreamServer
from gunicorn.glogging import Logger as GunicornLogger
from gunicorn.http import errors
from gunicorn.workers.base_async import AsyncWorker
from gunicorn.workers.ggevent import GeventWorker
from structlog.contextvars import bind_contextvars

from receiver.log_writer import WRITER
from receiver.logs import failure_fields
from receiver.web.http_problems import find_code
from receiver.web.request_id import HEADER, choose_request_id

log = structlog.get_logger("gunicorn.error")

# Any other of gunicorn's errors is a bad request. An unknown transfer coding would be 501, but 5xx
# asks couriers to send again.
PARSE_ERRORS: dict[type[Exception], tuple[int, str]] = {
    errors.LimitRequestLine: (414, "the URL is too long"),
    errors.LimitRequestHeaders: (431, "there are too many headers, or one of them is too long"),
    errors.ExpectationFailed: (417, "Expect must be 100-continue"),
    errors.UnsupportedTransferCoding: (400, "Transfer-Encoding must be chunked or be left out"),
    errors.InvalidRequestLine: (400, "the request line is not valid HTTP"),
    errors.InvalidRequestMethod: (400, "the method is not valid HTTP"),
    errors.InvalidHTTPVersion: (400, "the HTTP version must be 1.0 or 1.1"),
    errors.InvalidHeaderName: (400, "a header's name is not valid HTTP"),
    errors.InvalidHeader: (400, "a header is not valid HTTP"),
    errors.ObsoleteFolding: (400, "a header spans several lines"),
}
# Parse errors by class, but errors of the application.
APPLICATION_ERRORS = (
    errors.InvalidResponseHeader,
    errors.InvalidResponseHeaderName,
    errors.ConfigurationProblem,
)

# How long a client may take to read its answer, or a large piece of it.
READ_SECONDS = 15.0

# If a connection is closed while the sender still writes, the kernel resets it and the answer is
# lost: so what the sender still writes is read and dropped, up to a limit.
LINGER_SECONDS = 1.0
LINGER_BYTES = 1024 * 1024

# Lines wait this long, so that a busy process writes many at a time.
LOG_DELAY_SECONDS = 0.1
# An error outside of requests, such as that no file can be opened, may come a thousand times a
# second; it is logged this often.
LOOP_ERROR_SECONDS = 1.0


class LoopErrorLog:
    """Logs errors that gevent would print on stderr, at most one each LOOP_ERROR_SECONDS."""

    def __init__(self) -> None:
        self._logged_at = float("-inf")
        self._left_out = 0

    def __call__(self, context: object, kind: type, error: Any, trace: object) -> None:
        """Log an error; gevent calls this like its own Hub.print_exception."""
        now = time.monotonic()
        if now - self._logged_at < LOOP_ERROR_SECONDS:
            self._left_out += 1
            return
        fields = failure_fields(error if isinstance(error, BaseException) else kind())
        log.error("event_loop_error", left_out=self._left_out, **fields)
        self._logged_at, self._left_out = now, 0


class Logger(GunicornLogger):  # type: ignore[misc] # gunicorn ships no types
    """gunicorn's logger, without its access log.

    Since its logging is configured by a dictionary, it would make up a line of every request, at a
    tenth of a webhook's cost, for a log that nobody writes.
    """

    access_log_enabled = False


class DrainingServer(StreamServer):
    """A server that accepts all connections in its backlog before it closes.

    Otherwise the kernel resets them.
    """

    def close(self) -> None:
        with suppress(OSError):
            while accepted := self.do_read():
                self.do_handle(*accepted)
        super().close()


class Worker(GeventWorker):  # type: ignore[misc] # gunicorn ships no types
    """A gevent worker that never repeats what was sent, in an answer or in the log."""

    def run(self) -> None:
        """Serve until the end. From here on everything is patched, and logging waits for nobody."""
        # Not os.write: all requests share the process's one thread.
        WRITER.start(tp_write, LOG_DELAY_SECONDS)
        get_hub().print_exception = LoopErrorLog()  # type: ignore[method-assign, assignment]
        super().run()

    def server_class(
        self, listener: Any, spawn: Any, ssl_context: Any = None, **_: Any
    ) -> DrainingServer:
        """Return what accepts connections; gunicorn calls this like a class."""
        address = listener.getsockname()
        # The listener may be closed by the time gunicorn asks for its address, and gunicorn would
        # drop the connections that were accepted last before a stop.
        handle = partial(self.handle, SimpleNamespace(getsockname=lambda: address))
        tls = {"ssl_context": ssl_context} if ssl_context else {}
        server = DrainingServer(listener, handle=handle, spawn=spawn, **tls)
        if self.cfg.workers > 1:
            # One connection at a time, or the first worker to wake up takes all of them.
            server.max_accept = 1
        return server

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serve a connection; gunicorn would wait without limit for a client to read."""
        client.settimeout(READ_SECONDS)
        AsyncWorker.handle(self, listener, client, addr)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answer a request that did not reach the application, or at which it crashed."""
        # Its headers were not read, or not understood.
        request_id = choose_request_id(None)
        bind_contextvars(request_id=request_id)
        if isinstance(exc, errors.ParseException) and not isinstance(exc, APPLICATION_ERRORS):
            status, detail = PARSE_ERRORS.get(type(exc), (400, "the request is not valid HTTP"))
            log.warning("invalid_request_refused", error=type(exc).__name__)
        else:
            status, detail = 500, "an internal error occurred: the log has the details"
            log.error("request_failed_outside_application", **failure_fields(exc))
        path = getattr(req, "path", None) or ""
        with suppress(OSError):
            client.settimeout(LINGER_SECONDS)
            client.sendall(_render_response(HTTPStatus(status), detail, path, request_id))
            client.shutdown(SHUT_WR)
            remaining, ends_at = LINGER_BYTES, time.monotonic() + LINGER_SECONDS
            while remaining > 0 and time.monotonic() < ends_at:
                received = client.recv(65_536)
                if not received:
                    break
                remaining -= len(received)


def _render_response(status: HTTPStatus, detail: str, path: str, request_id: str) -> bytes:
    """Return an error response in the shape that this part of the URL space has (problems.py)."""
    if path.startswith("/webhooks/"):
        content_type = "application/json"
        body = orjson.dumps({"status": "error", "message": detail})
    else:
        content_type = "application/problem+json"
        problem = {"type": "about:blank", "title": status.phrase, "status": status.value}
        more = {"detail": detail, "code": find_code(status), "request_id": request_id}
        body = orjson.dumps({**problem, **more})
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nConnection: close\r\n"
        f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
        f"{HEADER}: {request_id}\r\n\r\n"
    )
    return head.encode() + body
