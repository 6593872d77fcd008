"""One JSON line for each request that a web process answered, on stdout beside its other lines.

A line names the route and not the address, so no token of a hook's address is in it; it has the
account, and the message's or the order's id, with which `ordertrail messages show` and `explain`
go on.

It is kept cheap: a request puts its line into a row, and a thread writes whatever stands there,
a few times a second.
"""

import atexit
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Flask, Response, g, request
from gevent.os import tp_write

STDOUT = 1
# Lines wait for so long, so that a busy process writes many at a time.
PAUSE_SECONDS = 0.1
# What a stdout that nobody reads may cost: the newest lines, and not the memory.
MOST_LINES = 10_000
# Asked by machines every few seconds.
LEFT_OUT = {"/livez", "/readyz", "/metrics", "/static/<path:filename>"}
SHOWN = ("account", "order_id", "message_id", "tour_id")


class RequestLog:
    """The lines that wait to be written, and the thread that writes them."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque(maxlen=MOST_LINES)
        self._news = threading.Event()
        self._writer: threading.Thread | None = None

    def add(
        self, method: str, route: str | None, status: int, began: float | None, **shown: Any
    ) -> None:
        """Tell of an answered request. began: by time.perf_counter; shown: what leads on."""
        line = {
            "event": "request",
            "level": "info",
            "timestamp": datetime.now(UTC).isoformat(),
            "process": "web",
            "method": method,
            "route": route,
            "status": status,
            "ms": None if began is None else round((time.perf_counter() - began) * 1000, 2),
            **shown,
        }
        self._lines.append(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE))
        # Not in __init__: a thread does not live on in a forked gunicorn worker.
        if self._writer is None:
            self._writer = threading.Thread(target=self._write, daemon=True)
            self._writer.start()
            atexit.register(self._flush)
        self._news.set()

    def _write(self) -> None:
        while True:
            self._news.wait()
            self._news.clear()
            self._flush()
            time.sleep(PAUSE_SECONDS)

    def _flush(self) -> None:
        lines = b"".join(self._lines.popleft() for _ in range(len(self._lines)))
        with suppress(OSError):
            # Not os.write: under gevent our thread is the whole process's, and a stdout whose
            # reader hangs would hold up the couriers.
            while lines:
                lines = lines[tp_write(STDOUT, lines) :]

    def watch(self, app: Flask) -> None:
        """Write a line for each request that reaches a Flask application from now on."""
        app.before_request(_begin)
        app.after_request(self._end)

    def _end(self, answer: Response) -> Response:
        rule = request.url_rule.rule if request.url_rule is not None else None
        if rule not in LEFT_OUT:
            given = request.view_args or {}
            shown = {name: given[name] for name in SHOWN if name in given}
            self.add(request.method, rule, answer.status_code, g.get("began"), **shown)
        return answer


def _begin() -> None:
    g.began = time.perf_counter()
