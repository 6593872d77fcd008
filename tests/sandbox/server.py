"""A real HTTP server that reads requests and sends their answers as badly as these ask for.

A thread for each connection, on 127.0.0.1 unless told otherwise. It knows nothing of couriers.
"""

import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.sandbox.wire import Answer, Request

# Seconds: how often a wait looks whether anybody still waits for its end, and how long stopping
# waits for threads to see that they are to end.
TICK = 0.05
PATIENCE = 5.0
FILLER = b"a" * 65_536


class Handler(BaseHTTPRequestHandler):
    """One connection, with as many requests as its client sends on it."""

    server: "Server"
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def serve(self) -> None:
        at = time.monotonic()
        length = int(self.headers.get("Content-Length") or 0)
        path, _, query = self.path.partition("?")
        body = self.rfile.read(length)
        request = Request(self.command, path, query, self.headers, body)
        answer = self.server.answer(request, at)
        try:
            self._send(answer)
        except OSError:
            # Whoever asked has gone: clients do, and some faults are there to make them.
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = serve  # noqa: N815 (http.server's)

    def _send(self, answer: Answer) -> None:
        if answer.delay and not self._wait(answer.delay):
            self.close_connection = True
            return
        head = self._head(answer)
        if answer.cut:
            self.connection.sendall(head + answer.body[: len(answer.body) // 2])
            self.close_connection = True
        elif answer.gap:
            if not answer.head_too:
                self.connection.sendall(head)
            self._drip(head + answer.body if answer.head_too else answer.body, answer.gap)
        else:
            # Head and body in one: two small writes would make the client wait.
            pieces = self._pieces(answer)
            self.connection.sendall(head + next(pieces))
            for piece in pieces:
                self.connection.sendall(piece)

    def _head(self, answer: Answer) -> bytes:
        status = HTTPStatus(answer.status)
        headers = {
            "Date": formatdate(usegmt=True),
            "Content-Type": answer.content_type,
            **answer.headers,
        }
        if answer.announced:
            size = len(answer.body) + answer.filler + len(answer.tail)
            headers["Content-Length"] = str(size)
        else:
            headers["Transfer-Encoding"] = "chunked"
        lines = [f"HTTP/1.1 {status.value} {status.phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def _pieces(self, answer: Answer) -> Iterator[bytes]:
        def contents() -> Iterator[bytes]:
            yield answer.body
            for start in range(0, answer.filler, len(FILLER)):
                yield FILLER[: answer.filler - start]
            if answer.tail:
                yield answer.tail

        for piece in contents():
            yield piece if answer.announced else b"%x\r\n%s\r\n" % (len(piece), piece)
        if not answer.announced:
            yield b"0\r\n\r\n"

    def _drip(self, content: bytes, gap: float) -> None:
        for place in range(len(content)):
            self.connection.sendall(content[place : place + 1])
            if not self._wait(gap):
                self.close_connection = True
                return

    def _wait(self, seconds: float) -> bool:
        """Wait; False where the server stops or the client leaves before the time is over."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.server.stopping.wait(min(left, TICK)) or self._client_left():
                return False
        return True

    def _client_left(self) -> bool:
        try:
            peeked: bytes = self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
            return peeked == b""
        except BlockingIOError:
            return False

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (http.server's)
        """The ledger has it."""


class Server(socketserver.ThreadingTCPServer):
    """Answers what `answer` says; it is given each request, and the monotonic time it came at."""

    allow_reuse_address = True
    request_queue_size = 256

    def __init__(
        self, answer: Callable[[Request, float], Answer], port: int = 0, host: str = "127.0.0.1"
    ) -> None:
        super().__init__((host, port), Handler)
        self.answer = answer
        self.port: int = self.socket.getsockname()[1]
        self.stopping = threading.Event()
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._loop = threading.Thread(
            target=self.serve_forever, args=[TICK], name="sandbox", daemon=True
        )

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        """End every connection, and every wait in it."""
        self.stopping.set()
        self.shutdown()
        self._loop.join(PATIENCE)
        self.server_close()
        with self._lock:
            still_open = dict(self._open)
        for connection in still_open:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in still_open.values():
            thread.join(PATIENCE)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self.process_request_thread, args=[request, client_address], daemon=True
        )
        with self._lock:
            self._open[request] = thread
        thread.start()

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell of what went wrong, unless it is that a client went away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)
