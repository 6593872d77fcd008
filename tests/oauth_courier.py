"""A courier whose API wants an access token, and the OAuth server that gives it out, over HTTP."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN_PATH = "/oauth/token"


@dataclass
class HeardRequest:
    """A request, as the server received it. sent: its headers, also those that came twice."""

    method: str
    path: str
    sent: list[tuple[str, str]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return {name.lower(): value for name, value in self.sent}


@dataclass
class Reply:
    """What the server answers: a JSON value or bytes, after some seconds."""

    content: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def body(self) -> bytes:
        is_raw = isinstance(self.content, bytes)
        return self.content if is_raw else json.dumps(self.content).encode()


@dataclass
class OAuthCourier:
    """The server. It gives out t-1, t-2, ...; only the newest is accepted, unless accepts_none.

    token_replies: what it answers to requests for a token instead, one after the other.
    needs_token: whether its API wants one. pages: what it answers at a path of its API; 404 at any
    other.
    """

    url: str = ""
    token_replies: list[Reply] = field(default_factory=list)
    expires_in: Any = 3600
    needs_token: bool = True
    accepts_none: bool = False
    slow_seconds: float = 0.0
    pages: dict[str, Reply] = field(
        default_factory=lambda: {"/orders/41": Reply({"id": "41"}), "/find": Reply({"id": "41"})}
    )
    heard: list[HeardRequest] = field(default_factory=list)
    tokens_given: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self, path: str) -> list[HeardRequest]:
        return [request for request in self.heard if request.path.partition("?")[0] == path]

    @property
    def token_requests(self) -> list[HeardRequest]:
        return self.requests(TOKEN_PATH)

    def revoke(self) -> None:
        """Refuse the newest token from now on."""
        with self.lock:
            self.tokens_given += 1

    def reply(self, request: HeardRequest) -> Reply:
        with self.lock:
            self.heard.append(request)
            if request.path.endswith(TOKEN_PATH):
                if self.token_replies:
                    return self.token_replies.pop(0)
                self.tokens_given += 1
                content = {"access_token": f"t-{self.tokens_given}", "token_type": "Bearer"}
                if self.expires_in is not None:
                    content["expires_in"] = self.expires_in
                return Reply(content, seconds=self.slow_seconds)
            is_newest = request.headers.get("authorization") == f"Bearer t-{self.tokens_given}"
            if self.needs_token and (self.accepts_none or not is_newest):
                return Reply({"error": "invalid_token"}, 401)
        known = self.pages.get(request.path.partition("?")[0])
        return known or Reply({"error": "not found"}, 404)


@contextmanager
def serving(courier: OAuthCourier | None = None) -> Iterator[OAuthCourier]:
    """Yield a courier that listens."""
    served = courier or OAuthCourier()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            body = self.rfile.read(length)
            reply = served.reply(HeardRequest(self.command, self.path, self.headers.items(), body))
            time.sleep(reply.seconds)
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = answer  # noqa: N815 (as http.server names them)

        def log_message(self, *_args: Any) -> None:
            pass

        def handle(self) -> None:
            try:
                super().handle()
            except OSError:
                # The client has given up.
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
