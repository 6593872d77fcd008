"""A shop that changes are pushed to: a real HTTP server, which can be out of order in many ways."""

import base64
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
OLD_SECRET = f"whsec_{base64.b64encode(KEY[::-1]).decode()}"
PATH = "/hooks/ordertrail"

# What the shop does with a request: a status that it answers, or nothing at all.
OK, HANGS = 204, 0


@dataclass(frozen=True, slots=True)
class PushSeen:
    """A request whose signature is right.

    at: when it came, by time.time(). answered: the status, HANGS where there was no answer.
    """

    at: float
    id: str
    body: bytes
    answered: int

    @property
    def content(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def changes(self) -> list[dict[str, Any]]:
        return list(self.content["data"]["changes"])


class PushShop(ThreadingHTTPServer):
    """Notes what is pushed to it. does: the status that it answers, or HANGS.

    refused: requests whose signature was not right. most_at_once: requests at one moment.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, secret: str = SECRET, seconds: float = 0.0) -> None:
        self.does = OK
        self.seconds = seconds
        self.seen: list[PushSeen] = []
        self.refused = self.most_at_once = 0
        self.resumes, self.away = threading.Event(), threading.Event()
        self._webhook = Webhook(secret)
        self._lock = threading.Lock()
        self._at_once = 0
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{PATH}"

    @property
    def environ(self) -> dict[str, str]:
        """The settings that make a service push here."""
        return {"PUSH_URL": self.url, "PUSH_SECRET": SECRET}

    def accepted(self) -> list[PushSeen]:
        """The requests that were answered 2xx, each batch once, in the order in which they came."""
        with self._lock:
            taken = [push for push in self.seen if push.answered == OK]
        return list({push.id: push for push in reversed(taken)}.values())[::-1]

    def changes(self) -> list[dict[str, Any]]:
        """The changes that it accepted."""
        return list(itertools.chain.from_iterable(push.changes for push in self.accepted()))

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Note a request, and return the status to answer."""
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            does = self.does
            try:
                self._webhook.verify(body, headers)
            except Exception:  # noqa: BLE001 (whatever is wrong with it)
                self.refused += 1
                does = 401
            else:
                self.seen.append(PushSeen(time.time(), headers["webhook-id"], body, does))
        if does == HANGS:
            self.resumes.wait(60)
        else:
            time.sleep(self.seconds)
        with self._lock:
            self._at_once -= 1
        return does

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    server: PushShop
    protocol_version = "HTTP/1.1"
    timeout = 30

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.server.away.is_set():
            # A connection that was open before.
            self.close_connection = True
            return
        status = self.server.take({name.lower(): it for name, it in self.headers.items()}, body)
        if status == HANGS:
            self.close_connection = True
            return
        self.send_response(status)
        if status != OK:
            self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""


@contextmanager
def open_shop(port: int = 0, secret: str = SECRET, seconds: float = 0.0) -> Iterator[PushShop]:
    """A shop that listens. seconds: how long it takes over a request."""
    shop = PushShop(port, secret, seconds)
    thread = threading.Thread(target=shop.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield shop
    finally:
        shop.away.set()
        shop.resumes.set()
        shop.shutdown()
        shop.server_close()
        thread.join()
