"""A span a request, named by its route: a courier's token stands in its address."""

from collections.abc import Container

from flask import Flask, Response, g, request
from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from receiver.web.request_log import UNLOGGED_ROUTES

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
SHOP = "/v1/"
SERVER_ERROR = 500


class RequestSpan:
    """The span of a request that is being answered; what is done meanwhile is within it."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._token = context.attach(set_span_in_context(span))

    def answered(self, status: int, message_id: int | None = None) -> None:
        """Say how it was answered, and which message it brought."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= SERVER_ERROR:
            self._span.set_status(StatusCode.ERROR)
        if message_id is not None:
            self._span.set_attribute("ordertrail.message_id", message_id)

    def end(self) -> None:
        context.detach(self._token)
        self._span.end()


class Spans:
    """Makes a span of each request. accounts: those that there are."""

    def __init__(self, tracer: Tracer, accounts: Container[str]) -> None:
        self._tracer = tracer
        self._accounts = accounts

    def begin(
        self, method: str, route: str | None, account: str, before: Context | None = None
    ) -> RequestSpan:
        """The span of a request; a stranger may have made up its method, and its account."""
        method = method if method in METHODS else "_OTHER"
        told = {"http.request.method": method}
        if route is not None:
            told["http.route"] = route
        if account in self._accounts:
            told["ordertrail.account"] = account
        name = f"{method} {route}" if route else method
        return RequestSpan(self._tracer.start_span(name, before, SpanKind.SERVER, told))

    def watch(self, app: Flask) -> None:
        """Make a span of each request that reaches a Flask application from now on."""

        def begin() -> None:
            rule = request.url_rule.rule if request.url_rule is not None else None
            if rule not in UNLOGGED_ROUTES:
                account = (request.view_args or {}).get("account", "")
                g.span = self.begin(request.method, rule, account, _before())

        app.before_request(begin)
        app.after_request(_answered)
        app.teardown_request(_end)


def _before() -> Context | None:
    """The shop's own trace, which goes on here; a courier has no say in ours."""
    came = request.headers.get("traceparent")
    if came is None or not request.path.startswith(SHOP):
        return None
    return TraceContextTextMapPropagator().extract({"traceparent": came})


def _answered(answer: Response) -> Response:
    if "span" in g:
        g.span.answered(answer.status_code)
    return answer


def _end(_failure: BaseException | None) -> None:
    if "span" in g:
        g.span.end()
