"""Log one JSON line for each request that a web process answered, and trace it where that is on.

A line names the route and not the address, so it holds no token of a webhook's address. It has the
account and the id of the message or order, with which `ordertrail messages show` and `explain` go
on.
"""

import time
from collections.abc import Container
from datetime import UTC, datetime
from typing import Any

import orjson
from flask import Flask, Response, g, request
from structlog.contextvars import bind_contextvars

from receiver.audit import Actor, act_as
from receiver.log_writer import WRITER
from receiver.web.request_id import choose_request_id

# Machines request these every few seconds.
UNLOGGED_ROUTES = {"/livez", "/readyz", "/metrics", "/ops/static/<path:filename>"}
LOGGED_ARGUMENTS = ("order_id", "message_id", "tour_id")


class RequestLog:
    """The log of an application's requests.

    accounts: the configured ones; another name in an address may be a token in a wrong place.
    """

    def __init__(self, accounts: Container[str]) -> None:
        self._accounts = accounts

    def init_app(self, app: Flask) -> None:
        """Log each request to this application from now on."""
        app.after_request(self._log_request)

    def _log_request(self, answer: Response) -> Response:
        rule = request.url_rule
        route = rule.rule if rule is not None else None
        if route in UNLOGGED_ROUTES:
            return answer
        arguments = request.view_args or {}
        line = {
            "event": "request",
            "level": "info",
            "timestamp": datetime.now(UTC),
            "process": "web",
            "method": request.method,
            "route": route,
            "status": answer.status_code,
            "request_id": g.request_id,
            "ms": round((time.perf_counter() - g.request_started) * 1000, 2),
            **{name: arguments[name] for name in LOGGED_ARGUMENTS if name in arguments},
            **g.get("log_fields", {}),
        }
        if arguments.get("account") in self._accounts:
            line["account"] = arguments["account"]
        WRITER.write_line(orjson.dumps(line, default=str, option=orjson.OPT_APPEND_NEWLINE))
        return answer


def add_log_fields(**fields: Any) -> None:
    """Add fields to the log line of the current request."""
    g.setdefault("log_fields", {}).update(fields)


def trace_requests(app: Flask) -> None:
    """Make each request a span, by OpenTelemetry's own instrumentation of Flask."""
    from opentelemetry.instrumentation.flask import FlaskInstrumentor  # noqa: PLC0415 (an extra)

    def add_log_fields_to_span(span: Any, _status: str, _headers: object) -> None:
        for name, value in g.get("log_fields", {}).items():
            span.set_attribute(f"ordertrail.{name}", value)

    FlaskInstrumentor.instrument_app(
        app,
        response_hook=add_log_fields_to_span,
        excluded_urls="/livez$,/readyz$,/metrics$,/ops/static/",
        enable_commenter=False,
    )


def note_start() -> None:
    """Note when the current request began, and its id; nobody acts before a token was checked."""
    g.request_started = time.perf_counter()
    g.request_id = choose_request_id(request.environ.get("HTTP_X_REQUEST_ID"))
    bind_contextvars(request_id=g.request_id)
    act_as(Actor(request_id=g.request_id))
